"""What a `Runtime` does at every level of isolation, as functions of (directory, level).

`test_keeper_levels` runs them as who runs the tests, and, by `python runtime_contract.py DIR LEVEL…`, as an ordinary
user: so this file imports nothing but localset and the standard library.
"""

# ruff: noqa: ASYNC240 - small files on a local disk; these are tests

import asyncio
import os
import re
import secrets
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from localset.base.clock import SystemClock
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import ExecSpec, Isolation, Mount, ProcessReport, ProcessSpec, ProcessState

PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
SUBNET = "10.77.0.0/16"
PYTHON = "/usr/bin/python3"


class Bench:
    """A runtime in a directory, at a level; run ids of its own."""

    def __init__(self, directory: Path, level: Isolation, runtime: KeeperRuntime) -> None:
        self.directory = directory
        self.level = level
        self.runtime = runtime
        self.key = secrets.token_hex(4)

    def run_id(self, name: str) -> str:
        return f"{self.key}-{name}"

    async def spawn(self, name: str, *argv: str, pod: int = 2, **more) -> ProcessReport:
        is_own = self.level is Isolation.NAMESPACES
        fields = {"working_directory": "/", "hostname": f"zk-{pod}", "environment": PATH, **more}
        if is_own:
            fields["address"] = f"10.77.0.{pod}"
        spec = ProcessSpec(
            run_id=self.run_id(name),
            pod=f"zk-{pod}",
            pod_uid=f"{self.key}-{pod}",
            container=name,
            argv=argv,
            log_path=str(self.directory / f"{name}.log"),
            private_directory=str(self.directory / f"private-{name}"),
            isolation=self.level,
            **fields,
        )
        return await self.runtime.spawn(spec)

    async def execute(self, name: str, *argv: str, seconds: float = 5.0, **more):
        return await self.runtime.execute(ExecSpec(self.run_id(name), argv, PATH, "/", **more), seconds)

    async def stop(self, name: str, seconds: float) -> ProcessReport:
        await self.runtime.stop(self.run_id(name), seconds)
        return await self.over(name)

    async def report(self, name: str) -> ProcessReport | None:
        return next((r for r in await self.runtime.list() if r.run_id == self.run_id(name)), None)

    async def over(self, name: str) -> ProcessReport:
        async def end():
            found = await self.report(name)
            return found if found is not None and found.state.is_over else None

        return await until(end, f"{name} over")

    def lines(self, name: str) -> list[str]:
        log = self.directory / f"{name}.log"
        whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
        return [line.split(" ", 3)[3] for line in whole.splitlines()]

    async def said(self, name: str, count: int) -> list[str]:
        return await until(lambda: self.lines(name) if len(self.lines(name)) >= count else None, f"{count} lines")

    async def new_keeper(self) -> None:
        """Kill the keeper and wait for the next."""
        before = self.runtime.keeper_pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: self.runtime.keeper_pid != before and self.runtime._connected.is_set(), "a new keeper")


async def until(condition, what: str, seconds: float = 10.0):
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.005)
    raise AssertionError(what)


@asynccontextmanager
async def bench(directory: Path, level: Isolation):
    runtime = KeeperRuntime(directory, SystemClock())
    await runtime.start()
    if level is Isolation.NAMESPACES:
        await runtime.network(SUBNET)
    try:
        yield Bench(directory, level, runtime)
    finally:
        for report in await runtime.list():
            await runtime.stop(report.run_id, 0)

        async def all_over():
            return all(report.state.is_over for report in await runtime.list())

        await until(all_over, "all over")
        for report in await runtime.list():
            await runtime.forget(report.run_id)
        await runtime.shutdown_keeper(force=True)
        await runtime.aclose()


def assert_none_lost(lines: list[str], first: int) -> None:
    """Assert that counted lines are all there and in order.

    Those that a keeper killed between writing and consuming had copied stand twice (reliability M6, G5).
    """
    numbers = list(dict.fromkeys(int(line) for line in lines))
    assert numbers == list(range(first, first + len(numbers)))


def left_behind(directory: Path, key: str) -> list[str]:
    """Return what keeps something of a runtime alive: its processes, its mounts, namespaces that we hold open.

    A namespace lives by a process in it, by a descriptor or by a mount; others' on this machine are not ours.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            place = str((process / "cwd").readlink())
            if key.encode() in told or (str(directory) in f"{told!r} {place}" and process.name != str(os.getpid())):
                found.append(f"{process.name}: {(process / 'cmdline').read_bytes()!r} in {place}")
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(entry.readlink()).partition(":")[0] in {"net", "ipc", "uts", "pid", "mnt", "user"}:
                found.append(str(entry.readlink()))
    return found + [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]


# --- the contract -----------------------------------------------------------------------------------------------------


async def environment_exit_code_and_output_are_exact(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        await b.spawn("a", "sh", "-c", "env; echo end; exit 7")
        assert (await b.over("a")).exit_code == 7
        names = {line.split("=")[0] for line in b.lines("a")}
        assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LOCALSET_RUN_ID", "end"}
        assert (await b.spawn("a", "true")).exit_code == 7
        missing = await b.spawn("m", "nope")
        assert (missing.state, missing.errno_name, missing.exit_code) == (ProcessState.FAILED, "ENOENT", None)
        assert "nope" in missing.error


async def a_stop_ends_everything_and_tells_how(directory: Path, level: Isolation) -> None:
    is_first = level is Isolation.NAMESPACES
    async with bench(directory, level) as b:
        await b.spawn("heard", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done", pod=2)
        await b.spawn("deaf", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done", pod=3)
        await b.spawn("shell", "dash", "-c", "echo up; setsid sleep 1000 & sleep 1002 && true", pod=4)
        await b.spawn("alone", "sleep", "1000", pod=5)
        await b.spawn("strict", "sleep", "1000", pod=6, strict_stop=True)
        for name in ("heard", "deaf", "shell"):
            await b.said(name, 1)
        ends = await asyncio.gather(
            b.stop("heard", 20), b.stop("deaf", 0.3), b.stop("shell", 20), b.stop("alone", 20), b.stop("strict", 0.3)
        )
        codes = [end.exit_code for end in ends]
        assert codes == ([9, 137, 143, 137, 137] if is_first else [9, 137, 143, 143, 143])
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                assert b.key.encode() not in (process / "environ").read_bytes(), "nothing of the sets is left"


async def commands_run_inside_and_end_with_their_time(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        await b.spawn("a", "sleep", "1000")
        result = await b.execute("a", "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (result.exit_code, sorted(result.output.split())) == (3, [b"err", b"out"])
        assert (await b.execute("a", "nope")).exit_code == 127
        slow = await b.execute("a", "sh", "-c", "sleep 1003 & sleep 1003", seconds=0.2)
        assert slow.timed_out
        for tty in (False, True):
            words = ("sh", "-c", "read x; echo got $x; exit 3")
            session = await b.runtime.open_exec(ExecSpec(b.run_id("a"), words, PATH, "/", tty=tty), stdin=True)
            await session.write(b"hello\n")
            output = b"".join([data async for _, data in session.output()])
            assert b"got hello" in output
            assert await session.wait() == 3
            await session.aclose()


async def a_killed_keeper_loses_no_process_no_line_and_no_exit_code(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        script = "trap 'exit 9' TERM; n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"
        report = await b.spawn("a", "sh", "-c", script)
        await b.said("a", 3)
        await b.new_keeper()
        found = await b.report("a")
        assert found is not None
        assert (found.state, found.pid) == (ProcessState.RUNNING, report.pid)
        await b.said("a", len(b.lines("a")) + 3)
        assert (await b.execute("a", "true")).exit_code == 0
        assert (await b.stop("a", 5)).exit_code in ({9} if _kernel() >= (6, 15) else {9, None})
        assert_none_lost(b.lines("a"), 1)


async def a_terminal_has_a_name_where_the_program_looks_for_it(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        await b.spawn("a", "sh", "-c", "tty; test -c $(tty) && echo there; exec sleep 1000", tty=True)
        name, there = await b.said("a", 2)
        assert re.fullmatch(r"/dev/pts/\d+", name.rstrip())
        assert there.rstrip() == "there"
        session = await b.runtime.open_exec(ExecSpec(b.run_id("a"), ("tty",), PATH, "/", tty=True), stdin=True)
        output = b"".join([data async for _, data in session.output()])
        assert re.fullmatch(rb"/dev/pts/\d+\s*", output)
        assert await session.wait() == 0
        await session.aclose()
        await b.spawn("quick", "sh", "-c", "echo said; exit 5", pod=3, tty=True)
        assert (await b.over("quick")).exit_code == 5
        assert [line.rstrip() for line in b.lines("quick")] == ["said"]


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


async def volumes_lie_at_their_paths_for_the_manifests_user(directory: Path, level: Isolation) -> None:
    volume = directory / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    mounts = (Mount(str(volume), "/var/lib/foo-x/data"), Mount(str(volume), "/data-x", read_only=True))
    script = (
        "hostname; id -u; pwd; echo hi > /var/lib/foo-x/data/f; cat /data-x/f; touch /data-x/g || echo ro;"
        "ls -d /var/lib/dpkg; exec sleep 1000"
    )
    async with bench(directory, level) as b:
        report = await b.spawn("a", "sh", "-c", script, mounts=mounts, user=1000, working_directory="/opt-x/w")
        assert report.state is ProcessState.RUNNING, report.error
        lines = [line for line in await b.said("a", 7) if not line.startswith("touch")]
        assert lines == ["zk-2", "1000", "/opt-x/w", "hi", "ro", "/var/lib/dpkg"]
        result = await b.execute("a", "sh", "-c", "hostname; cat /data-x/f; id -u", user=1000)
        assert result.output.split() == [b"zk-2", b"hi", b"1000"]
        await b.stop("a", 5)
        await b.runtime.forget(b.run_id("a"))
        assert not (directory / "private-a").exists()
    assert (volume / "f").read_text() == "hi\n"


# --- what only level namespaces has -----------------------------------------------------------------------------------

# Not `http.server`'s own main: it asks the DNS for a name, which nobody answers here.
_SERVE = """
import http.server, socketserver
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(('', 80), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
_GET = "import sys, urllib.request as u; print(u.urlopen(f'http://{sys.argv[1]}:80/etc/hostname', timeout=5).status)"


async def unmodified_servers_share_a_port_and_see_themselves_only(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        for pod in (2, 3):
            await b.spawn(f"s{pod}", PYTHON, "-c", _SERVE, pod=pod)
        await b.spawn("side", "sleep", "1000", pod=2)

        async def answers(at: str) -> bool:
            return (await b.execute("side", PYTHON, "-c", _GET, at)).output == b"200\n"

        for at in ("127.0.0.1", "10.77.0.2", "10.77.0.3"):
            await until(lambda at=at: answers(at), f"{at}:80 answers", 20)
        shown = (
            await b.execute("s3", "sh", "-c", "ps -e -o pid= -o comm=; hostname; ls -A /tmp /dev/shm")
        ).output.split()
        assert shown[:2] == [b"1", b"python3"]
        assert b"sleep" not in shown
        assert b"zk-3" in shown
        # The network of a Pod outlives each of its containers.
        await b.stop("s2", 0)
        await b.spawn("again", PYTHON, "-c", _SERVE, pod=2)
        await until(lambda: answers("10.77.0.2"), "the restarted one answers", 20)


async def a_private_layer_takes_what_is_written_and_is_fresh_after_a_restart(directory: Path, level: Isolation) -> None:
    files = directory / "files"
    files.mkdir()
    (files / "probe.sh").write_text("#!/bin/sh\n")
    script = (
        "rm /opt-x/probe.sh; ls /opt-x; echo x > /tmp/f; ls /tmp; rm -f /usr/bin/awk;"
        "echo x > /usr/localset-x && ls /usr/localset-x"
    )
    async with bench(directory, level) as b:
        for name in ("a", "b"):
            copy = directory / f"copy-{name}"
            copy.mkdir()
            (copy / "probe.sh").write_bytes((files / "probe.sh").read_bytes())
            await b.spawn(name, "sh", "-c", script, mounts=(Mount(str(copy), "/opt-x"),))
            assert (await b.over(name)).exit_code == 0
            assert [line for line in b.lines(name) if "cannot" not in line] == ["f", "/usr/localset-x"]
    assert not Path("/usr/localset-x").exists()
    assert not Path("/tmp/f").exists()
    assert Path("/usr/bin/awk").exists()


async def containers_share_a_process_table_where_the_pod_asks_for_it(directory: Path, level: Isolation) -> None:
    async with bench(directory, level) as b:
        await b.spawn("one", "sleep", "1001", shares_processes=True)
        await b.spawn("two", "sh", "-c", "trap 'exit 4' TERM; sleep 1002 & wait", shares_processes=True)

        async def seen() -> bytes:
            return (await b.execute("two", "ps", "-e", "-o", "pid=", "-o", "args=")).output

        async def both() -> bool:
            return b"sleep 1001" in await seen() and b"sleep 1002" in await seen()

        await until(both, "each sees the other")
        assert (await seen()).split()[0] == b"1"
        await b.new_keeper()
        assert (await b.stop("one", 5)).exit_code in {143, None}
        assert b"sleep 1002" in await seen()
        assert (await b.stop("two", 5)).exit_code in {4, None}
        for name in ("one", "two"):
            await b.runtime.forget(b.run_id(name))
    await until(lambda: not left_behind(directory, b.key), "nothing is left")


async def what_lives_goes_on_whoever_is_killed(directory: Path, level: Isolation) -> None:
    """Kill the holder, then keeper and holder: a connection between two Pods stays, and new Pods have the network."""
    echo = "import socket; s=socket.create_server(('',80)); c,_=s.accept()\nwhile d:=c.recv(9): c.sendall(d)"
    ask = (
        "import socket,time; c=socket.create_connection(('10.77.0.2',80), 5); n=0\n"
        "while True: n+=1; c.sendall(b'%d' % n); print(c.recv(9).decode(), flush=True); time.sleep(.02)"
    )
    async with bench(directory, level) as b:
        await b.spawn("echo", PYTHON, "-c", echo, pod=2)
        socket = Path("/proc/net/tcp")

        async def listens() -> bool:
            return b": 00000000:0050" in (await b.execute("echo", "cat", str(socket))).output

        await until(listens, "the server listens", 20)
        await b.spawn("ask", PYTHON, "-c", ask, pod=3)
        await b.said("ask", 2)
        for who in ("holder", "both"):
            network = await b.runtime.network(SUBNET)
            os.kill(network.holder_pid, signal.SIGKILL)
            if who == "both":
                await b.new_keeper()
            await b.said("ask", len(b.lines("ask")) + 5)

            async def is_new(old: int = network.holder_pid) -> bool:
                with suppress(Exception):
                    return (await b.runtime.network(SUBNET)).holder_pid != old
                return False

            await until(is_new, f"a holder after {who}")
            await b.spawn(f"new-{who}", "sh", "-c", "cat /sys/class/net/eth0/operstate; exec sleep 1000", pod=4)
            assert await b.said(f"new-{who}", 1) == ["up"]
        await b.stop("ask", 0)
        assert_none_lost(b.lines("ask"), 1)


async def when_all_are_killed_the_pods_are_gone_and_nothing_is_left(directory: Path, level: Isolation) -> None:
    for _ in range(2):  # the second time everything is there from the first: no file was left in the way
        runtime = KeeperRuntime(directory, SystemClock())
        await runtime.start()
        network = await runtime.network(SUBNET)
        b = Bench(directory, level, runtime)
        for pod in (2, 3):
            report = await b.spawn(f"p{pod}", "sh", "-c", "sleep 1000 & sleep 1000", pod=pod)
            assert report.state is ProcessState.RUNNING, report.error
        runtime._is_ending = True  # as a killed daemon: it starts no keeper and lets go of what it held
        os.kill(runtime.keeper_pid or 0, signal.SIGKILL)
        os.kill(network.holder_pid, signal.SIGKILL)
        await runtime.aclose()
        async with bench(directory, level) as after:
            after.key = b.key
            for pod in (2, 3):
                end = await after.over(f"p{pod}")
                assert end.exit_code in {137, None}
                await after.runtime.forget(after.run_id(f"p{pod}"))
            await after.spawn("next", "sleep", "1000", pod=2)
        await until(lambda key=b.key: not left_behind(directory, key), "nothing is left")
    left = {path.name for path in (directory / "keeper").iterdir()}
    assert left == {"journal", "keeper.log", "lock", "streams"}
    assert not list((directory / "keeper" / "streams").iterdir())
    assert not list(directory.glob("private-*"))


NEEDS_MOUNTS = (volumes_lie_at_their_paths_for_the_manifests_user,)
NEEDS_NAMESPACES = (
    unmodified_servers_share_a_port_and_see_themselves_only,
    a_private_layer_takes_what_is_written_and_is_fresh_after_a_restart,
    containers_share_a_process_table_where_the_pod_asks_for_it,
    what_lives_goes_on_whoever_is_killed,
    when_all_are_killed_the_pods_are_gone_and_nothing_is_left,
)
CONTRACT = (
    environment_exit_code_and_output_are_exact,
    a_stop_ends_everything_and_tells_how,
    commands_run_inside_and_end_with_their_time,
    a_killed_keeper_loses_no_process_no_line_and_no_exit_code,
    a_terminal_has_a_name_where_the_program_looks_for_it,
    *NEEDS_MOUNTS,
    *NEEDS_NAMESPACES,
)


def main() -> None:
    """Run the whole contract in fresh directories beneath argv[1] at the levels named after it."""
    for level in map(Isolation, sys.argv[2:]):
        for part in CONTRACT:
            if part in NEEDS_NAMESPACES and level is not Isolation.NAMESPACES:
                continue
            directory = Path(sys.argv[1]) / f"{level}-{part.__name__[:20]}"
            directory.mkdir()
            begun = time.monotonic()
            asyncio.run(part(directory, level))
            sys.stdout.write(f"{level} {part.__name__} {time.monotonic() - begun:.1f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
