"""The store: durable, versioned, watched."""

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from localset.base.clock import ManualClock, SystemClock
from localset.store import ballast, history
from localset.store.records import (
    ChangeKind,
    ExpiredError,
    Key,
    KeyTakenError,
    StaleError,
    StoreFailedError,
    StoreFullError,
    StoreRefusedError,
)
from localset.store.store import SCHEMA_VERSION, Store


def body(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def key(name, resource="configmaps"):
    return Key(resource, "default", name)


@pytest.fixture(params=["memory", "file"])
async def any_store(request, tmp_path):
    store = Store.open(tmp_path / "state.db" if request.param == "file" else None, SystemClock())
    yield store
    await store.aclose()


async def take(changes, count):
    return [await asyncio.wait_for(anext(changes), 5) for _ in range(count)]


async def test_a_created_object_is_read_back_with_its_version(any_store):
    record = await any_store.create(key("a"), body("a"))
    assert any_store.get(key("a")).object["metadata"]["resourceVersion"] == str(record.revision)
    assert any_store.revision == record.revision
    with pytest.raises(KeyTakenError):
        await any_store.create(key("a"), body("a"))


async def test_a_stale_replace_or_remove_is_refused(any_store):
    first = await any_store.create(key("a"), body("a"))
    await any_store.replace(key("a"), body("a", data={"x": "1"}), first.revision)
    with pytest.raises(StaleError):
        await any_store.replace(key("a"), body("a"), first.revision)
    with pytest.raises(StaleError):
        await any_store.remove(key("a"), body("a"), first.revision)


async def test_records_are_sorted_by_namespace_then_name(any_store):
    for namespace, name in [("b", "x"), ("a", "z"), ("a", "c")]:
        await any_store.create(Key("pods", namespace, name), body(name))
    assert [k[1:] for k, _ in any_store.records("pods")] == [("a", "c"), ("a", "z"), ("b", "x")]
    assert [k.name for k, _ in any_store.records("pods", "a")] == ["c", "z"]


async def test_a_watch_misses_nothing_across_concurrent_writes(any_store):
    start = any_store.revision
    changes = any_store.changes("configmaps", start)
    await asyncio.gather(*(any_store.create(key(f"n{i}"), body(f"n{i}")) for i in range(200)))
    seen = await take(changes, 200)
    await changes.aclose()
    revisions = [c.record.revision for c in seen]
    assert revisions == sorted(set(revisions))
    assert {c.key.name for c in seen} == {f"n{i}" for i in range(200)}


async def test_a_watch_can_resume_in_the_middle_and_sees_a_removal_with_its_own_version(any_store):
    first = await any_store.create(key("a"), body("a"))
    second = await any_store.replace(key("a"), body("a", data={"x": "1"}), first.revision)
    gone = await any_store.remove(key("a"), body("a", data={"x": "1"}), second.revision)
    changes = any_store.changes("configmaps", first.revision)
    seen = await take(changes, 2)
    await changes.aclose()
    assert [c.kind for c in seen] == [ChangeKind.MODIFIED, ChangeKind.DELETED]
    assert seen[1].record.object["metadata"]["resourceVersion"] == str(gone.revision)
    assert gone.revision > second.revision


async def test_concurrent_writes_share_commits(tmp_path):
    store = Store.open(tmp_path / "state.db", SystemClock())
    await asyncio.gather(*(store.create(key(f"n{i}"), body(f"n{i}")) for i in range(300)))
    assert store.commits <= 30
    await store.aclose()


async def test_a_restart_keeps_everything_and_versions_go_on_growing(tmp_path):
    path = tmp_path / "state.db"
    store = Store.open(path, SystemClock())
    await store.create(key("a"), body("a", data={"x": "1"}))
    await store.create(key("b"), body("b"))
    gone = await store.remove(key("b"), body("b"), store.get(key("b")).revision)
    await store.aclose()
    again = Store.open(path, ManualClock(datetime(2001, 1, 1, tzinfo=UTC)))
    assert [k.name for k, _ in again.records("configmaps")] == ["a"]
    assert again.get(key("a")).object["data"] == {"x": "1"}
    assert again.revision > gone.revision
    changes = again.changes("configmaps", gone.revision)
    later = await again.create(key("c"), body("c"))
    assert [c.key.name for c in await take(changes, 1)] == ["c"]
    assert later.revision > again.revision - 1
    await changes.aclose()
    await again.aclose()


async def test_an_older_file_put_back_gets_a_new_epoch(tmp_path):
    path = tmp_path / "state.db"
    store = Store.open(path, SystemClock())
    await store.aclose()
    backup = path.read_bytes()
    store = Store.open(path, SystemClock())
    lost = await store.create(key("a"), body("a"))
    await store.aclose()
    path.write_bytes(backup)
    restored = Store.open(path, SystemClock())
    assert restored.revision >= lost.revision
    if restored.revision > lost.revision:
        with pytest.raises(ExpiredError):
            restored.changes("configmaps", lost.revision)
    await restored.aclose()


async def test_the_first_version_of_a_new_store_comes_from_wall_time():
    store = Store.open(None, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    assert store.revision == 1767225600000
    await store.aclose()


async def test_versions_of_the_future_and_of_long_ago_are_expired(any_store):
    for version in (1, any_store.revision + 1_000_000):
        with pytest.raises(ExpiredError):
            any_store.changes("configmaps", version)


async def test_a_slow_watcher_is_cut_and_old_versions_expire_when_the_window_moves_on(monkeypatch):
    store = Store.open(None, SystemClock())
    store.history_limit = 100
    start = store.revision
    changes = store.changes("configmaps", start)
    await store.create(key("first"), body("first"))
    assert (await take(changes, 1))[0].key.name == "first"
    for i in range(300):
        await store.create(key(f"n{i}"), body(f"n{i}"))
    with pytest.raises(ExpiredError):
        await take(changes, 1)
    with pytest.raises(ExpiredError):
        store.changes("configmaps", start)
    await store.aclose()


async def test_the_window_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(history, "PARSED_CHANGES", 4)
    window = history.History(0, max_bytes=1000)
    store = Store.open(None, SystemClock())
    store._histories["configmaps"] = window
    for i in range(50):
        await store.create(key(f"n{i}"), body(f"n{i}"))
    assert window._bytes <= 1200
    await store.aclose()


async def test_compacted_changes_are_parsed_again_for_late_watchers(any_store):
    start = any_store.revision
    record = await any_store.create(key("a"), body("a", data={"n": "0"}))
    for i in range(1, 150):
        record = await any_store.replace(key("a"), body("a", data={"n": str(i)}), record.revision)
    changes = any_store.changes("configmaps", start)
    seen = await take(changes, 150)
    await changes.aclose()
    assert [c.record.object["data"]["n"] for c in seen] == [str(i) for i in range(150)]


async def test_a_cancelled_writer_does_not_let_the_next_one_overtake_its_write(any_store):
    record = await any_store.create(key("a"), body("a"))

    async def write():
        async with any_store.locked(key("a")):
            await any_store.replace(key("a"), body("a", data={"by": "first"}), record.revision)

    task = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with any_store.locked(key("a")):
        assert any_store.get(key("a")).object["data"] == {"by": "first"}


async def test_fifty_writers_of_one_version_have_one_winner(any_store):
    record = await any_store.create(key("a"), body("a"))

    async def write(number):
        async with any_store.locked(key("a")):
            await any_store.replace(key("a"), body("a", data={"n": str(number)}), record.revision)

    results = await asyncio.gather(*(write(i) for i in range(50)), return_exceptions=True)
    assert sum(r is None for r in results) == 1
    assert sum(isinstance(r, StaleError) for r in results) == 49


async def test_a_newer_database_is_refused_and_its_bytes_stay(tmp_path):
    path = tmp_path / "state.db"
    store = Store.open(path, SystemClock())
    await store.create(key("a"), body("a"))
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(StoreRefusedError, match="newer localset"):
        Store.open(path, SystemClock())
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("content", [b"hello, I am a text file", b"SQLite format 3\x00" + b"x" * 5000])
def test_what_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreRefusedError):
        Store.open(path, SystemClock())
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path):
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreRefusedError, match="not a localset database"):
        Store.open(path, SystemClock())


async def test_a_second_opener_is_refused(tmp_path):
    store = Store.open(tmp_path / "state.db", SystemClock())
    await store.create(key("a"), body("a"))
    with pytest.raises(StoreRefusedError, match="in use"):
        Store.open(tmp_path / "state.db", SystemClock())
    await store.aclose()


def no_space():
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


async def test_on_a_full_disk_removals_work_by_the_ballast_and_creates_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    store = Store.open(path, SystemClock())
    record = await store.create(key("a"), body("a"))
    held = path.with_name("state.db.ballast")
    assert held.stat().st_size == ballast.SIZE_BYTES
    really_write = store._database._write

    def write(operations):
        if held.exists():
            raise no_space()
        really_write(operations)

    monkeypatch.setattr(store._database, "_write", write)
    monkeypatch.setattr(ballast.Ballast, "_has_room", lambda self: False)
    with pytest.raises(StoreFullError):
        await store.create(key("b"), body("b"))
    assert not held.exists()
    await store.remove(key("a"), body("a"), record.revision)
    assert store.get(key("a")) is None
    with pytest.raises(StoreFullError):
        await store.create(key("c"), body("c"))
    monkeypatch.undo()
    await store.create(key("d"), body("d"))
    assert held.exists()
    await store.aclose()


async def test_a_failed_device_ends_all_writing_and_is_told_once(tmp_path, monkeypatch):
    told = []
    store = Store.open(tmp_path / "state.db", SystemClock(), on_failure=told.append)
    record = await store.create(key("a"), body("a"))

    def write(operations):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store._database, "_write", write)
    with pytest.raises(StoreFailedError):
        await store.replace(key("a"), body("a"), record.revision)
    monkeypatch.undo()
    with pytest.raises(StoreFailedError):
        await store.replace(key("a"), body("a"), record.revision)
    assert len(told) == 1
    assert store.get(key("a")).revision == record.revision
    await store.aclose()


async def test_a_closed_store_refuses_writes_and_closes_twice(any_store):
    await any_store.aclose()
    with pytest.raises(StoreFailedError):
        await any_store.create(key("a"), body("a"))
    await any_store.aclose()
