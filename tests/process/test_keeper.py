"""The real keeper with real children and real SIGKILL."""

# ruff: noqa: ASYNC240 - small files on a local disk; scripts stand in one piece

import asyncio
import os
import secrets
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from localset.base.clock import SystemClock
from localset.kubelet.keeper_launch import KeeperError
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import ExecSpec, Isolation, ProcessReport, ProcessSpec, ProcessState

A, B = (f"{letter}-{secrets.token_hex(6)}" for letter in "ab")
"""Run ids of this process alone: a keeper takes up or ends whatever carries its run ids, on the whole machine."""
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@asynccontextmanager
async def running(directory: Path):
    runtime = KeeperRuntime(directory, SystemClock())
    await runtime.start()
    try:
        yield runtime
    finally:
        for report in await runtime.list():
            await runtime.stop(report.run_id, 0)
        await until(lambda: all_over(runtime), "all over")
        await runtime.shutdown_keeper(force=True)
        await runtime.aclose()


async def all_over(runtime):
    return all(report.state.is_over for report in await runtime.list())


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


def spec(directory: Path, run_id: str, *argv: str, **more) -> ProcessSpec:
    fields = {"working_directory": "/", "hostname": "zk-0", "isolation": Isolation.PLAIN, "environment": PATH, **more}
    return ProcessSpec(
        run_id=run_id, pod="zk-0", pod_uid="u", container="c", argv=argv, log_path=str(directory / f"{run_id}.log"),
        private_directory=str(directory / f"private-{run_id}"), **fields,
    )  # fmt: skip


async def over(runtime, run_id: str) -> ProcessReport:
    async def end():
        return next((r for r in await runtime.list() if r.run_id == run_id and r.state.is_over), None)

    return await until(end, f"{run_id} over")


def text(directory: Path, run_id: str, stream: str = "stdout") -> list[str]:
    lines: list[str] = []
    log = directory / f"{run_id}.log"
    for path in [*(log.with_name(f"{log.name}.{n}") for n in (4, 3, 2, 1)), log]:
        if path.exists():
            whole = path.read_text().rpartition("\n")[0]  # what follows the last newline is being written right now
            lines += [line.split(" ", 3)[3] for line in whole.splitlines() if line.split(" ")[1] == stream]
    return lines


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_a_program_runs_with_exactly_its_environment_and_its_exit_code_is_told(tmp_path):
    async with running(tmp_path) as runtime:
        report = await runtime.spawn(spec(tmp_path, A, "sh", "-c", "env; printf end; exit 7"))
        assert report.state in {ProcessState.RUNNING, ProcessState.DRAINING, ProcessState.EXITED}
        assert (await over(runtime, A)).exit_code == 7
        assert {line.split("=")[0] for line in text(tmp_path, A)} <= {
            "PATH",
            "LOCALSET_RUN_ID",
            "PWD",
            "_",
            "end",
            "SHLVL",
            "OLDPWD",
        }
        assert text(tmp_path, A)[-1] == "end"
        assert (await runtime.spawn(spec(tmp_path, A, "true"))).exit_code == 7
        await runtime.forget(A)
        assert await runtime.list() == []


async def test_a_missing_program_is_a_report_with_errno(tmp_path):
    async with running(tmp_path) as runtime:
        report = await runtime.spawn(spec(tmp_path, A, "nope"))
        assert (report.state, report.errno_name) == (ProcessState.FAILED, "ENOENT")
        assert "nope" in report.error
        assert report.exit_code is None


async def test_killing_the_keeper_under_output_loses_no_line_and_no_process(tmp_path):
    async with running(tmp_path) as runtime:
        script = "import sys\nfor i in range(400000): print(i)\nprint('last', flush=True)\nsys.exit(5)"
        report = await runtime.spawn(spec(tmp_path, A, "/usr/bin/python3", "-c", script))
        for _ in range(5):
            before = runtime.keeper_pid
            size = len(text(tmp_path, A))
            await until(lambda size=size: len(text(tmp_path, A)) > size + 1000 or not lives(report.pid), "more output")
            os.kill(before, signal.SIGKILL)
            await until(lambda before=before: runtime.keeper_pid != before, "a new keeper")
        end = await over(runtime, A)
        seen = text(tmp_path, A)
        assert set(seen) == {*map(str, range(400000)), "last"}
        assert len(seen) < 400001 + 5 * 64 * 1024 // 2
        assert end.exit_code in {5, None}


async def test_the_exit_code_of_an_adopted_process_is_true_or_unknown_never_zero(tmp_path):
    async with running(tmp_path) as runtime:
        report = await runtime.spawn(spec(tmp_path, A, "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"))
        before = runtime.keeper_pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: runtime.keeper_pid not in {before, None}, "a new keeper")
        assert [(r.state, r.pid) for r in await runtime.list()] == [(ProcessState.RUNNING, report.pid)]
        await runtime.stop(A, 5)
        assert (await over(runtime, A)).exit_code in ({9} if kernel() >= (6, 15) else {9, None})


async def test_strays_in_their_own_session_die_and_a_shell_that_stays_does_not_leave_its_child(tmp_path):
    async with running(tmp_path) as runtime:
        script = "setsid sh -c 'setsid sleep 1000 & echo $!; setsid sleep 1001 & echo $!' ; sleep 1002 && true"
        await runtime.spawn(spec(tmp_path, A, "dash", "-c", script))
        await until(lambda: len(text(tmp_path, A)) == 2, "two strays")
        strays = [int(line) for line in text(tmp_path, A)]
        assert all(lives(pid) for pid in strays)
        await runtime.stop(A, 5)
        assert (await over(runtime, A)).exit_code == 143
        assert not any(lives(pid) for pid in strays)


async def test_who_ignores_term_is_killed_when_the_grace_is_over(tmp_path):
    async with running(tmp_path) as runtime:
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"))
        await until(lambda: text(tmp_path, A), "up")
        await runtime.stop(A, 0.2)
        assert (await over(runtime, A)).exit_code == 137


async def test_a_hundred_processes_start_and_end(tmp_path):
    async with running(tmp_path) as runtime:
        reports = await asyncio.gather(
            *(runtime.spawn(spec(tmp_path, f"r{n}-{A}", "sleep", "1000")) for n in range(100))
        )
        assert {report.state for report in reports} == {ProcessState.RUNNING}
        with pytest.raises(KeeperError, match="still run"):
            await runtime._request({"do": "shutdown"})


async def test_the_end_of_a_quick_process_is_told_with_its_start_or_after_it(tmp_path):
    known: dict[str, ProcessReport] = {}

    async def follow(runtime):
        async for report in runtime.events():
            if report.run_id in known:  # as the kubelet: what it does not know yet is not its own
                known[report.run_id] = report

    async def start(runtime, run_id):
        known[run_id] = await runtime.spawn(spec(tmp_path, run_id, "true"))

    async with running(tmp_path) as runtime, asyncio.TaskGroup() as group:
        follower = group.create_task(follow(runtime))
        await asyncio.gather(*(start(runtime, f"q{n}-{A}") for n in range(60)))
        await until(lambda: all(report.state.is_over for report in known.values()), "every end is known")
        follower.cancel()


async def test_closing_stdout_makes_no_spin_and_dev_stdout_can_be_opened_again(tmp_path):
    async with running(tmp_path) as runtime:
        user = 65534 if os.geteuid() == 0 else None
        script = "echo again > /dev/stdout; exec >&- 2>&-; exec sleep 1000"
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", script, user=user))
        await until(lambda: text(tmp_path, A) == ["again"], "again")
        ticks = sum(map(int, Path(f"/proc/{runtime.keeper_pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        await asyncio.sleep(0.3)
        after = sum(map(int, Path(f"/proc/{runtime.keeper_pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        assert after - ticks <= 3


@pytest.mark.parametrize("tty", [False, True])
async def test_exec_sessions_carry_bytes_both_ways_and_the_exit_code(tmp_path, tty):
    async with running(tmp_path) as runtime:
        await runtime.spawn(spec(tmp_path, A, "sleep", "1000"))
        session = await runtime.open_exec(
            ExecSpec(A, ("sh", "-c", "read x; echo got $x; exit 3"), PATH, "/", tty=tty), stdin=True
        )
        await session.write(b"hello\n")
        output = b"".join([data async for _, data in session.output()])
        assert b"got hello" in output
        assert await session.wait() == 3
        await session.aclose()


async def test_attach_reaches_stdin_and_sees_output(tmp_path):
    async with running(tmp_path) as runtime:
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", "while read x; do echo got $x; done", stdin=True))
        session = await runtime.attach(A, stdin=True)
        assert session is not None
        await session.write(b"one\n")
        async for _, data in session.output():
            assert data == b"got one\n"
            break
        await session.aclose()
        await until(lambda: text(tmp_path, A) == ["got one"], "the line in the log")


async def test_the_daemon_is_started_again_until_it_says_otherwise(tmp_path):
    async with running(tmp_path) as runtime:
        marker = tmp_path / "started"
        first = await asyncio.create_subprocess_exec("sleep", "1000")
        argv = ["/bin/sh", "-c", f"echo $$ >> {marker}; exec sleep 1000"]
        message = {"do": "daemon", "pid": first.pid, "argv": argv, "environment": PATH, "working_directory": "/"}
        await runtime._request({**message, "restart": True})
        first.kill()
        await first.wait()
        await until(lambda: marker.exists() and marker.read_text().strip(), "a new daemon")
        pid = int(marker.read_text())
        await runtime._request({**message, "pid": pid, "restart": False})
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not lives(pid), "dead")


@pytest.mark.parametrize("point", ["after-intent", "after-pid", "after-release", "log-before-consume"])
async def test_a_keeper_that_dies_at_a_failpoint_leaves_one_process_or_none(tmp_path, monkeypatch, point):
    monkeypatch.setenv("LOCALSET_FAILPOINT", point)
    runtime = KeeperRuntime(tmp_path, SystemClock())
    await runtime.start()
    monkeypatch.delenv("LOCALSET_FAILPOINT")
    report = await runtime.spawn(spec(tmp_path, A, "sh", "-c", "echo $$; exec sleep 1000"))
    if point in {"after-intent", "after-pid"}:
        assert report.state in {ProcessState.FAILED, ProcessState.UNKNOWN, ProcessState.RUNNING, ProcessState.DRAINING}
    else:
        await until(lambda: text(tmp_path, A), "its pid")
        assert set(text(tmp_path, A)) == {str(report.pid)}
    await runtime.stop(A, 0)
    await until(lambda: all_over(runtime), "over")
    await runtime.shutdown_keeper()
    await runtime.aclose()
