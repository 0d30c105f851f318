"""Sessions with kept processes, by the real keeper: stdin that ends or not, terminals, slow readers, shells."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from localset.kubelet.runtime import ExecSpec
from tests.process.test_keeper import PATH, A, B, over, running, spec, text, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def read_until(session, wanted: bytes) -> bytes:
    got = b""
    async with asyncio.timeout(5):
        async for _, data in session.output():
            got += data
            if wanted in got:
                break
    assert wanted in got
    return got


def log_size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob(f"{A}.log*"))


async def rest_of(session) -> bytes:
    async with asyncio.timeout(10):
        return b"".join([data async for _, data in session.output()])


@pytest.mark.parametrize("how", ["close_stdin", "aclose"])
async def test_stdin_that_is_given_once_ends_with_its_first_client(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as runtime:
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", "cat; echo over", stdin=True, stdin_once=True))
        session = await runtime.attach(A, stdin=True)
        await session.write(b"hello\n")
        await read_until(session, b"hello\n")
        await getattr(session, how)()
        if how == "close_stdin":
            assert await rest_of(session) == b"over\n"
            assert await session.wait() == 0
        report = await over(runtime, A)
        await session.aclose()
        assert report.exit_code == 0
        assert text(tmp_path, A) == ["hello", "over"]


async def test_other_stdin_stays_open_for_the_next_client(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.spawn(spec(tmp_path, A, "cat", stdin=True))
        for word in (b"one\n", b"two\n"):
            session = await runtime.attach(A, stdin=True)
            await session.write(word)
            await read_until(session, word)
            await session.close_stdin()
            await session.aclose()
        await until(lambda: text(tmp_path, A) == ["one", "two"], "both lines are in the log")


async def test_a_process_without_stdin_is_watched_and_not_written_to(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        script = "echo early; while [ ! -e go ]; do sleep 0.01; done; echo late; echo worse >&2"
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", script, working_directory=str(tmp_path)))
        await until(lambda: text(tmp_path, A) == ["early"], "the first line")
        session = await runtime.attach(A, stdin=True)
        await session.write(b"nobody reads this\n")
        (tmp_path / "go").touch()
        async with asyncio.timeout(5):
            got = [piece async for piece in session.output()]
        assert sorted(got) == [(1, b"late\n"), (2, b"worse\n")]
        await session.aclose()
        assert await runtime.attach(A, stdin=False) is None


async def test_a_terminal_shows_its_prompt_and_has_a_size(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        script = "printf 'name? '; read x; stty size; echo hello $x"
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", script, stdin=True, stdin_once=True, tty=True))
        await asyncio.sleep(0.1)
        watcher = await runtime.attach(A, stdin=False)
        session = await runtime.attach(A, stdin=True)
        await session.resize(120, 40)
        await read_until(session, b"name? ")
        await watcher.write(b"intruder\n")
        await session.write(b"kubectl\n")
        shown = await rest_of(session)
        assert b"40 120" in shown
        assert b"hello kubectl" in shown
        await watcher.aclose()
        await session.aclose()
        assert (await over(runtime, A)).exit_code == 0


async def test_a_client_that_does_not_read_holds_the_process_and_gets_everything(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        script = "read x; head -c 20000000 /dev/zero | tr '\\0' 'y' | fold -w 99; echo end"
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", script, stdin=True, stdin_once=True))
        session = await runtime.attach(A, stdin=True)
        await session.write(b"go\n")
        sizes = [0, 1]

        async def is_steady() -> bool:
            await asyncio.sleep(0.2)
            sizes.append(log_size(tmp_path))
            return sizes[-1] == sizes[-2] > 0

        await until(is_steady, "the log to grow no more")
        assert sizes[-1] < 15_000_000
        got = await rest_of(session)
        assert len(got) > 20_000_000
        assert got.endswith(b"end\n")
        await session.aclose()


@pytest.mark.parametrize("how", ["stop", "exit"])
async def test_a_shell_of_exec_does_not_outlive_the_container(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as runtime:
        leader = "exec sleep 1000" if how == "stop" else "while [ ! -e go ]; do sleep 0.01; done"
        await runtime.spawn(spec(tmp_path, A, "sh", "-c", leader, working_directory=str(tmp_path)))
        await runtime.spawn(spec(tmp_path, B, "sleep", "1000"))
        stubborn = "trap '' TERM HUP; setsid sleep 1000 & echo ready; while :; do sleep 1000; done"
        sessions = []
        for run_id in (A, B):
            session = await runtime.open_exec(ExecSpec(run_id, ("sh", "-c", stubborn), PATH, "/"), stdin=True)
            await read_until(session, b"ready")
            sessions.append(session)
        begun = time.monotonic()
        if how == "stop":
            await runtime.stop(A, 60)
        (tmp_path / "go").touch()
        await over(runtime, A)
        assert time.monotonic() - begun < 5
        async with asyncio.timeout(5):
            assert await sessions[0].wait() == 137
        assert not next(r for r in await runtime.list() if r.run_id == B).state.is_over
        for session in sessions:
            await session.aclose()
