"""The store on real disks: killed, counted by strace, filled up."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys

import pytest

from localset.base.clock import SystemClock
from localset.store.records import Key, StoreFullError
from localset.store.store import Store

WRITER = """
import asyncio, sys
from pathlib import Path
from localset.base.clock import SystemClock
from localset.store.records import Key
from localset.store.store import Store

async def main():
    store = Store.open(Path(sys.argv[1]), SystemClock())
    print("open", flush=True)
    for i in range(int(sys.argv[2])):
        await store.create(Key("configmaps", "default", f"n{i}"), {"metadata": {"name": f"n{i}"}})
        print(i, flush=True)
    await store.aclose()

asyncio.run(main())
"""


def body(name, size=10):
    return {"metadata": {"name": name}, "data": {"x": "x" * size}}


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path):
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", WRITER, str(path), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = -1
        for line in process.stdout:
            if line.strip() == "200":
                process.send_signal(signal.SIGKILL)
            if line.endswith("\n") and line.strip().isdigit():
                acknowledged = int(line)
    assert acknowledged >= 200

    async def read():
        store = Store.open(path, SystemClock())
        assert all(store.get(Key("configmaps", "default", f"n{i}")) for i in range(acknowledged + 1))
        await store.aclose()

    asyncio.run(read())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_acknowledged_commit_was_synced(tmp_path):
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    command += [sys.executable, "-c", WRITER, str(tmp_path / "state.db"), "100"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 and b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert trace.read_text().count("sync(") >= 100


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small file system needs root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def fill(store):
    """Create until it is refused; return the keys that are stored."""
    stored = []
    for i in range(2000):
        key = Key("configmaps", "default", f"n{i}")
        try:
            await store.create(key, body(key.name, 20_000))
        except StoreFullError:
            return stored
        stored.append(key)
    raise AssertionError("the disk never filled up")


async def test_a_full_disk_refuses_creates_and_still_changes_and_deletes(small_disk):
    store = Store.open(small_disk / "state.db", SystemClock())
    try:
        stored = await fill(store)
        for key in stored:  # as the stop of each would: a mark, then the removal
            await store.replace(key, body(key.name, 20_010), store.get(key).revision)
            await store.remove(key, body(key.name), store.get(key).revision)
        assert len(store) == 0
    finally:
        await store.aclose()
    again = Store.open(small_disk / "state.db", SystemClock())
    assert len(again) == 0
    await again.create(Key("configmaps", "default", "new"), body("new"))
    await again.aclose()
