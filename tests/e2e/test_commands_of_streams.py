"""logs, exec, attach, cp, port-forward and run as `localset` has them, on real Pods and real terminals."""

import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, surroundings, until
from tests.e2e.terminal import PROMPT, at_terminal

MANIFEST = Path(__file__).parent / "manifests" / "streams.yaml"
SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: talk}
spec:
  serviceName: talk
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: talk}}
  template:
    metadata: {labels: {app: talk}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: host
        command: [sh, -c, "for n in 1 2 3; do echo $HOSTNAME says $n; sleep 0.2; done; exec sleep 1000"]
"""


@pytest.fixture(scope="module")
def pods() -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.run("apply", "-f", str(MANIFEST), "-f", "-", "--wait", stdin=SET)
        until(lambda: house.run("logs", "two", "-c", "b", "-p", check=False).returncode == 0, why="the second run of b")
        until(lambda: "says 3" in house.run("logs", "talk-1").stdout and "says 3" in house.run("logs", "talk/0").stdout)
        yield house
    finally:
        house.down()


def environment(house: House, **more: str) -> dict[str, str]:
    _, path = surroundings(None)
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "LOCALSET_DATA_DIR": str(house.data), "TERM": "xterm"}
    return {**given, **more}


def argv(*words: str) -> list[str]:
    return [surroundings(None)[0], "-m", "localset", *words]


def begin(house: House, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv(*words), env=environment(house), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def test_logs_of_one_container_in_all_forms(pods: House) -> None:
    done = pods.run("logs", "two")
    assert (done.stdout, done.stderr) == ("a1\na2\na3\n", 'Defaulted container "a" out of: a, b, first (init)\n')
    assert pods.run("logs", "two", "-c", "a", "--tail=2").stdout == "a2\na3\n"
    assert pods.run("logs", "two", "a", "--limit-bytes=4", "--since=1h").stdout == "a1\na"
    assert pods.run("logs", "two", "-c", "b", "-p").stdout == "run\n"
    assert pods.run("logs", "two", "--all-containers").stdout == "prepared\na1\na2\na3\nrun\n"
    assert "[pod/two/b] run\n" in pods.run("logs", "pod/two", "--all-containers", "--prefix").stdout
    stamps = [line.split(" ")[0] for line in pods.run("logs", "two", "-c", "a", "--timestamps").stdout.splitlines()]
    assert stamps == sorted(stamps)
    since = pods.run("logs", "two", "-c", "a", f"--since-time={stamps[1]}").stdout
    assert since.splitlines()[-1] == "a3"


def test_logs_of_a_set_are_merged_by_time_and_marked(pods: House) -> None:
    merged = pods.run("logs", "talk", "--timestamps").stdout.splitlines()
    assert sorted(line.split()[0] for line in merged) == ["[pod/talk-0/c]"] * 3 + ["[pod/talk-1/c]"] * 3
    stamps = [line.split()[1] for line in merged]
    assert stamps == sorted(stamps)
    one = pods.run("logs", "sts/talk", "--tail=1")
    chosen = one.stdout.partition(" ")[0]
    assert chosen in {"talk-0", "talk-1"}
    assert (one.stdout, one.stderr) == (f"{chosen} says 3\n", f"Found 2 pods, using pod/{chosen}\n")
    both = pods.run("logs", "-l", "app=talk", "--tail=1", "--prefix").stdout
    assert both == "[pod/talk-0/c] talk-0 says 3\n[pod/talk-1/c] talk-1 says 3\n"
    assert pods.run("logs", "svc/web", "--tail=0").returncode == 0


def test_a_set_is_followed_over_the_restarts_of_its_pods(pods: House) -> None:
    process = begin(pods, "logs", "-f", "talk", "--tail=1")
    assert process.stdout is not None
    first = {process.stdout.readline() for _ in range(2)}
    assert first == {"[pod/talk-0/c] talk-0 says 3\n", "[pod/talk-1/c] talk-1 says 3\n"}
    pods.run("delete", "pod", "talk-1")
    assert process.stdout.readline() == "[pod/talk-1/c] talk-1 says 1\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "")


def test_following_ends_when_nobody_reads_any_more(pods: House) -> None:
    process = begin(pods, "logs", "-f", "talk", "--tail=1")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    pods.run("delete", "pod", "talk-0")
    assert process.wait(timeout=10) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_terminal_gets_colours_and_nothing_else_that_acts(pods: House) -> None:
    say = "printf '\\033[31mred\\033[0m \\033]52;c;cHduZWQ=\\007 \\033[2J over\\rwritten \\342\\200\\256 end\\n'"
    pods.run("run", "odd", "--image=host", "--restart=Never", "--command", "--", "sh", "-c", say)
    until(lambda: "end" in pods.run("logs", "odd", check=False).stdout)
    assert "\x1b]52" in pods.run("logs", "odd").stdout
    _, shown = at_terminal(argv("logs", "odd"), environment(pods), [])
    assert "\x1b[31mred\x1b[0m \\x1b]52;c;cHduZWQ=\\x07 \\x1b[2J over\\x0dwritten \\x202e end" in shown
    _, shown = at_terminal(argv("logs", "talk", "--tail=1"), environment(pods), [])
    assert "\x1b[36m[pod/talk-0/c]\x1b[0m talk-0 says" in shown
    _, shown = at_terminal(argv("logs", "talk", "--tail=1"), environment(pods, NO_COLOR="1"), [])
    assert "\x1b" not in shown


def test_exec_by_pod_set_and_ordinal(pods: House) -> None:
    assert pods.run("exec", "talk/1", "--", "hostname").stdout == "talk-1\n"
    chosen = pods.run("exec", "sts/talk", "-c", "c", "--", "hostname").stdout
    assert chosen in {"talk-0\n", "talk-1\n"}, "as kubectl: the one that is Ready the longest, and both began at once"
    done = pods.run("exec", "-i", "web", "--", "sh", "-c", "cat; echo err >&2; exit 3", check=False, stdin="in\n")
    assert (done.returncode, done.stdout) == (3, "in\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    for words, text in (
        (["exec", "two", "-c", "zz", "--", "true"], "valid for pod two\nhint: its containers are: first, a, b"),
        (["exec", "wbe", "--", "true"], '(NotFound): pods "wbe" not found\nhint: did you mean "web"?'),
        (["exec", "two", "-c", "first", "--", "true"], 'container not found ("first")'),
        (["exec", "web"], "you must specify at least one command"),
    ):  # fmt: skip
        failed = pods.run(*words, check=False)
        assert (failed.returncode, text in failed.stderr) == (1, True), failed.stderr


def test_a_pod_that_does_not_run_says_why(pods: House) -> None:
    pods.run("run", "pend", "--image=nowhere/none")
    until(lambda: "ImagePull" in pods.run("get", "pod", "pend").stdout)
    for words in (["exec", "pend", "--", "true"], ["logs", "pend"], ["port-forward", "pend", "80"]):
        failed = pods.run(*words, check=False)
        assert failed.returncode == 1
        assert "\nhint: pod pend is not ready: " in failed.stderr
    pods.run("delete", "pod", "pend", "--now")


def test_a_shell_on_a_terminal_knows_its_size_and_its_end(pods: House) -> None:
    dialogue = [(PROMPT, "stty size\n"), ("33 111", "echo ans$((40 + 2))\n"), ("ans42", "exit 5\n")]
    code, shown = at_terminal(argv("exec", "-it", "web", "--", "sh"), environment(pods), dialogue)
    assert code == 5, shown


def test_a_shell_hears_of_a_new_size(pods: House) -> None:
    wait = "trap 'stty size; exit 6' WINCH; echo re''ady; while :; do sleep 0.05; done"
    words = argv("exec", "-it", "web", "--", "sh", "-c", wait)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, environment(pods))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 4096)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 41, 97, 0, 0))
    while b"41 97" not in shown:
        shown += os.read(terminal, 4096)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 6


def test_run_at_a_terminal_as_the_seed_has_it(pods: House) -> None:
    words = ["run", "-i", "--tty", "--image", "busybox", "dns-test", "--restart=Never", "--rm", "/bin/sh"]
    dialogue = [(PROMPT, "stty size\n"), ("33 111", "echo ans$((40 + 2))\n"), ("ans42", "exit 4\n")]
    code, shown = at_terminal(argv(*words), environment(pods), dialogue)
    assert code == 4, shown
    assert "If you don't see a command prompt, try pressing enter." in shown
    assert 'pod "dns-test" deleted' in shown
    assert pods.pod("dns-test") is None or pods.pod("dns-test")["metadata"].get("deletionTimestamp")  # type: ignore[index]


def test_run_loses_nothing_of_what_was_said_before_it_attached(pods: House) -> None:
    text = "".join(f"line {n}\n" for n in range(2000))
    words = ["run", "-i", "-q", "--rm", "--restart=Never", "--image=host", "pipe", "--command", "--"]
    done = pods.run(*words, "sh", "-c", "echo early; cat; exit 6", check=False, stdin=text)
    assert done.returncode == 6, done.stderr
    assert done.stdout == f'early\n{text}pod "pipe" deleted\n'
    assert done.stderr == "pod default/pipe terminated (Error)\n"
    quick = pods.run(*words[:-3], "quick", "--command", "--", "echo", "hi", stdin="")
    assert quick.stdout == 'hi\npod "quick" deleted\n'
    shown = pods.run(
        "run", "x", "--image=i", "--dry-run=client", "-o", "json", "--env=A=b", "--port=80", "--labels=k=v"
    )
    assert '"env"' in shown.stdout
    wrong = pods.run("run", "x", "--image=i", "--rm", check=False)
    assert "--rm should only be used for attached containers" in wrong.stderr


def test_attach_gives_the_output_of_the_process_itself(pods: House) -> None:
    pods.run("run", "tick", "--image=host", "--command", "--", "sh", "-c", "while sleep 0.1; do echo tick; done")
    until(lambda: ((pods.pod("tick") or {}).get("status") or {}).get("phase") == "Running")
    process = begin(pods, "attach", "tick", "-q")
    assert process.stdout is not None
    assert process.stdout.readline() == "tick\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    pods.run("delete", "pod", "tick", "--now")


def test_files_are_copied_both_ways_byte_for_byte(pods: House, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "large").write_bytes(os.urandom(700_000))
    (tree / "link").symlink_to("deep")
    place = f"/tmp/{tmp_path.name}-cli"
    pods.run("cp", str(tree), f"web:{place}")
    pods.run("cp", str(tree / "deep" / "large"), f"default/web:{place}/")
    assert sorted(pods.run("exec", "web", "--", "ls", place).stdout.split()) == ["deep", "large", "link"]
    done = pods.run("cp", f"web:{place}", str(tmp_path / "back"))
    assert "warning: skipping symlink" in done.stderr
    assert (tmp_path / "back" / "deep" / "large").read_bytes() == (tree / "deep" / "large").read_bytes()
    assert not (tmp_path / "back" / "link").exists()
    pods.run("exec", "web", "--", "rm", "-r", place)
    missing = pods.run("cp", f"web:{place}", str(tmp_path / "none"), check=False)
    assert (missing.returncode, "No such file" in missing.stderr) == (2, True)
    assert "doesn't exist in local filesystem" in pods.run("cp", "/nowhere", "web:/x", check=False).stderr


def test_ports_are_forwarded_and_an_end_is_passed_on(pods: House) -> None:
    process = begin(pods, "port-forward", "svc/web", ":80")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("Forwarding from 127.0.0.1:")
    port = int(first.split(":")[1].split()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.status == 200
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(15).startswith(b"HTTP/1.0 200")
    taken = pods.run("port-forward", "web", f"{port}:8080", check=False)
    assert (taken.returncode, taken.stdout) == (1, "")
    assert taken.stderr.startswith(f"error: unable to listen on port {port}: 127.0.0.1: address already in use\nhint: ")
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "")
    assert f"Handling connection for {port}\n" in told
    wrong = pods.run("port-forward", "web", "http", check=False)
    assert wrong.stderr.startswith("error: Pod 'web' does not have a named port 'http'")
    assert "does not have a service port 81" in pods.run("port-forward", "svc/web", "81", check=False).stderr


def test_a_client_that_ends_leaves_no_command_behind(pods: House) -> None:
    process = begin(pods, "exec", "web", "--", "sh", "-c", "echo in; exec sleep 98765")
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    begun = time.monotonic()
    until(
        lambda: "98765" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    )
    assert time.monotonic() - begun < 10
