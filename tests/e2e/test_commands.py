"""The nginx of the seed and the daily commands, as a person types them."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import CHECKOUT, EXAMPLES, SEED, House, host_address, surroundings, until


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with the example's nginx, both replicas Ready."""
    directory = tmp_path_factory.mktemp("web")
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    house = House(directory / "d")
    house.up()
    house.run("apply", "-f", str(EXAMPLES / "nginx" / "web.yaml"), "--wait", "--timeout", "30")
    yield house
    house.down()


def address_of(house: House, pod: str) -> str:
    found = house.pod(pod)
    assert found is not None
    return host_address(found)


def runs(pid: int) -> bool:
    """Tell whether a process lives; a zombie that init has not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def fetch(web: House, pod: str) -> str:
    """Return the Pod's page: from its address on the host, or from inside where a user may not have port 80 there."""
    if os.geteuid() != 0:
        return web.run("exec", pod, "--", "curl", "-sS", "http://localhost/").stdout
    with urllib.request.urlopen(f"http://{address_of(web, pod)}/", timeout=5) as answer:
        return answer.read().decode()


def test_a_page_written_through_exec_is_served_from_the_claim(web: House) -> None:
    for pod in ("web-0", "web-1"):
        web.run("exec", pod, "--", "sh", "-c", "echo I am $(hostname) > /usr/share/nginx/html/index.html")
    assert fetch(web, "web-0").strip() == "I am web-0"
    assert fetch(web, "web-1").strip() == "I am web-1"


def test_the_pod_knows_its_own_name(web: House) -> None:
    assert web.run("exec", "web-0", "--", "hostname").stdout.strip() == "web-0"
    assert web.run("exec", "web-0", "--", "hostname", "-f").stdout.strip() == "web-0.nginx.default.svc.cluster.local"


def test_names_resolve_inside_a_pod_by_search_path(web: House) -> None:
    found = web.run("exec", "web-0", "--", "getent", "hosts", "web-1.nginx").stdout.split()
    pod = web.pod("web-1")
    assert pod is not None
    assert found[0] == pod["status"]["podIP"]


def test_the_resolver_answers_the_host(web: House) -> None:
    name = "web-0.nginx.default.svc.cluster.local"
    assert web.run("dns", "query", name).stdout.split()[-1] == address_of(web, "web-0")
    assert web.run("dns", "query", "web-9.nginx.default.svc.cluster.local", check=False).returncode == 1
    server, _, port = web.status()["dns"]["address"].rpartition(":")
    dug = subprocess.run(
        ["dig", "+short", f"@{server}", "-p", port, name], capture_output=True, text=True, check=True, timeout=10
    )
    assert dug.stdout.strip() == address_of(web, "web-0")
    srv = web.run("dns", "query", "-t", "SRV", "_web._tcp.nginx.default.svc.cluster.local").stdout
    assert "web-0.nginx" in srv
    assert "web-1.nginx" in srv


def test_a_probes_first_success_is_in_dns_within_a_tenth_of_a_second(web: House, tmp_path: Path) -> None:
    """runtime.md finding 1: this budget decides between 1 s and 41 s for ZooKeeper."""
    flag = tmp_path / "ready"
    seen = tmp_path / "seen"
    manifest = f"""
apiVersion: v1
kind: Service
metadata: {{name: quick}}
spec: {{clusterIP: None, selector: {{app: quick}}, ports: [{{port: 1}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: quick}}
spec:
  serviceName: quick
  selector: {{matchLabels: {{app: quick}}}}
  template:
    metadata: {{labels: {{app: quick}}}}
    spec:
      containers:
      - name: c
        image: host
        command: [sleep, inf]
        readinessProbe: {{exec: {{command: [sh, -c, "test -e {flag} && date +%s.%N >> {seen}"]}}}}
        volumeMounts: [{{name: here, mountPath: {tmp_path}}}]
      volumes: [{{name: here, hostPath: {{path: {tmp_path}}}}}]
"""
    took: list[float] = []
    # One answer in time shows what localset needs; a late one may be this machine's doing, three are not.
    while len(took) < 3 and min(took, default=1) > 0.1:
        flag.unlink(missing_ok=True)
        seen.unlink(missing_ok=True)
        web.run("apply", "-f", "-", stdin=manifest)
        until(lambda: (web.pod("quick-0") or {}).get("status", {}).get("phase") == "Running")
        took.append(_seconds_from_success_to_answer(web, flag, seen))
        web.run("delete", "sts,svc", "quick")
        until(lambda: web.pod("quick-0") is None)
    assert min(took) <= 0.1, took


def _seconds_from_success_to_answer(web: House, flag: Path, seen: Path) -> float:
    """Let the probe of quick-0 succeed, and ask until the DNS gives its address."""
    server, _, port = web.status()["dns"]["address"].rpartition(":")
    packet = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    for label in ["quick-0", "quick", "default", "svc", "cluster", "local"]:
        packet += bytes([len(label)]) + label.encode()
    packet += b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.connect((server, int(port)))

        def answers() -> bool:
            asking.send(packet)
            return asking.recv(512)[7] > 0

        assert not answers()
        flag.touch()
        deadline = time.monotonic() + 20
        while not answers():
            assert time.monotonic() < deadline
        answered = time.time()
    return answered - float(seen.read_text().splitlines()[0])


def test_exec_gives_the_commands_own_exit_code(web: House) -> None:
    done = web.run("exec", "web-0", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr
    piped = web.run("exec", "-i", "web-0", "--", "cat", stdin="through stdin")
    assert piped.stdout == "through stdin"


def test_exec_with_a_terminal_is_a_terminal(web: House) -> None:
    python, path = surroundings(None)
    pid, master = pty.fork()
    if pid == 0:
        environment = {**os.environ, "LOCALSET_DATA_DIR": str(web.data), "PYTHONPATH": path}
        os.execve(python, [python, "-m", "localset", "exec", "-it", "web-0", "--", "sh"], environment)
    output = b""

    def read_until(text: bytes) -> None:
        nonlocal output
        deadline = time.monotonic() + 20
        while text not in output:
            assert time.monotonic() < deadline, output
            if select.select([master], [], [], 0.5)[0]:
                output += os.read(master, 4096)

    os.write(master, b"tty && echo on-$(hostname)\n")
    read_until(b"on-web-0")
    assert b"/dev/pts/" in output
    os.write(master, b"exit 5\n")
    _, status = os.waitpid(pid, 0)
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 5


def test_logs_show_what_nginx_wrote_and_the_run_before(web: House) -> None:
    web.run("exec", "web-0", "--", "sh", "-c", "echo page > /usr/share/nginx/html/index.html")
    fetch(web, "web-0")
    until(lambda: '"GET / HTTP/1.1" 200' in web.run("logs", "web-0").stdout)
    assert len(web.run("logs", "web-0", "--tail", "1").stdout.splitlines()) == 1
    pod = web.pod("web-0")
    os.kill(web.leader(pod), signal.SIGKILL)
    until(lambda: web.pod("web-0")["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert '"GET / HTTP/1.1" 200' in web.run("logs", "--previous", "web-0").stdout
    until(lambda: web.json("sts", "web")["status"].get("readyReplicas") == 2)
    assert web.run("logs", "--previous", "web-1", check=False).returncode == 1


def test_scaling_goes_up_in_order_and_down_in_reverse(web: House) -> None:
    web.run("scale", "sts", "web", "--replicas=4")
    until(lambda: web.json("sts", "web")["status"].get("readyReplicas") == 4)
    started = [web.pod(f"web-{i}")["status"]["startTime"] for i in range(4)]
    assert started == sorted(started)
    web.run("scale", "sts", "web", "--replicas=2")
    until(lambda: len(web.json("pods", "-l", "app=nginx")["items"]) == 2)
    assert {c["metadata"]["name"] for c in web.json("pvc")["items"]} >= {"www-web-2", "www-web-3"}
    events = web.run("events", "--for", "sts/web").stdout
    assert events.index("delete Pod web-3") < events.index("delete Pod web-2")


def test_get_prints_kubectls_columns(web: House) -> None:
    header = web.run("get", "pods", "-l", "app=nginx").stdout.splitlines()[0]
    assert header.split() == [
        "NAME", "READY", "STATUS", "RESTARTS", "AGE",
    ]  # fmt: skip
    assert web.run("get", "sts", "web", "-o", "name").stdout.strip() == "statefulset.apps/web"
    assert json.loads(web.run("get", "svc", "nginx", "-o", "json").stdout)["spec"]["clusterIP"] == "None"
    assert "kind: Service" in web.run("get", "svc", "nginx", "-o", "yaml").stdout
    assert "Controlled By" in web.run("describe", "pod", "web-0").stdout
    done = web.run("get", "pod", "absent", check=False)
    assert done.returncode == 1
    assert 'pods "absent" not found' in done.stderr
    done = web.run("get", "podz", check=False)
    assert "hint: did you mean" in done.stderr


def test_applying_again_changes_nothing(web: House) -> None:
    before = web.json("sts", "web")["metadata"]["generation"]
    done = web.run("apply", "-f", str(EXAMPLES / "nginx" / "web.yaml"))
    assert web.json("sts", "web")["metadata"]["generation"] == before
    assert "service/nginx unchanged" in done.stdout


def test_a_new_template_rolls_from_the_highest_ordinal(web: House) -> None:
    manifest = (EXAMPLES / "nginx" / "web.yaml").read_text()
    uids = {name: web.pod(name)["metadata"]["uid"] for name in ("web-0", "web-1")}
    changed = manifest.replace(
        "      labels:\n        app: nginx", "      labels:\n        app: nginx\n        rolled: 'yes'"
    )
    assert changed != manifest
    web.run("apply", "-f", "-", stdin=changed)
    until(
        lambda: (
            all((web.pod(n) or {}).get("metadata", {}).get("labels", {}).get("rolled") == "yes" for n in uids)
            and web.json("sts", "web")["status"].get("readyReplicas") == 2
        )
    )
    assert all(web.pod(n)["metadata"]["uid"] != uid for n, uid in uids.items())


@pytest.mark.skipif(not SEED.is_dir(), reason="the seed's files are not beside the checkout")
def test_the_seeds_nginx_keeps_its_data_until_its_claims_go(house: House) -> None:
    house.up()
    house.run("create", "-f", str(SEED / "web.yaml"))
    until(lambda: house.json("sts", "web")["status"].get("readyReplicas") == 2)
    house.run("exec", "web-0", "--", "sh", "-c", "echo kept > /usr/share/nginx/html/index.html")
    house.run("delete", "statefulset", "web")
    house.run("delete", "service", "nginx")
    until(lambda: not house.json("pods")["items"])
    volumes = list((house.data / "volumes" / "default").glob("www-web-0-*"))
    assert (volumes[0] / "index.html").read_text() == "kept\n"
    house.run("delete", "pvc", "www-web-0", "www-web-1")
    until(lambda: not volumes[0].exists())
    until(lambda: house.json("pv")["items"] == [])


def test_images_are_listed_shown_and_added_without_a_daemon(house: House, tmp_path: Path) -> None:
    assert "k8szk" in house.run("image", "list").stdout
    assert "gcr.io/google_samples/k8szk" in house.run("image", "show", "gcr.io/google_samples/k8szk:v1").stdout
    done = house.run("image", "show", "example.com/none", check=False)
    assert done.returncode == 1
    assert "hint" in done.stderr
    image = tmp_path / "mine"
    image.mkdir()
    (image / "image.yaml").write_text("name: mine\npatterns: [example.com/mine]\ncommand: [sleep, inf]\n")
    house.run("image", "add", str(image))
    assert "sleep" in house.run("image", "show", "example.com/mine:3").stdout
    (image / "image.yaml").write_text("name: [no]\n")
    done = house.run("image", "add", str(image), check=False)
    assert done.returncode == 1
    assert "image.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_working_directory_never_counts(house: House, tmp_path: Path) -> None:
    python, path = surroundings(None)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": path}
    done = subprocess.run(
        [python, "-c", "from localset.base.directories import data_directory; print(data_directory(None))"],
        env=environment, cwd=tmp_path, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(CHECKOUT / "var")


def test_down_finds_an_nginx_that_daemon_and_keeper_left_behind(house: House) -> None:
    house.run("apply", "-f", str(EXAMPLES / "nginx" / "web.yaml"), "--wait", "--timeout", "30")
    leaders = [house.leader(pod) for pod in house.json("pods")["items"]]
    status = house.status()
    os.kill(status["daemon"]["pid"], signal.SIGTERM)  # replicas stay, and nobody starts the daemon again
    until(lambda: house.run("status", check=False).returncode == 1)
    os.kill(status["keeper"]["pid"], signal.SIGKILL)
    house.run("down")
    assert not [pid for pid in leaders if runs(pid)]
