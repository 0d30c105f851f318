"""Versioned objects with watch on SQLite: the only place where anything of the API is durable.

The registry is the only caller. Exactly one connection exists per database, in WAL mode with `synchronous=FULL`, and
only the writer's thread uses it once the store is open; reads come from memory. A write is acknowledged and shown to
watchers only after its commit is synced. This module must never wait for the disk on the event loop after `open`, and
knows no Kubernetes noun beyond `metadata.resourceVersion`.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson

from localset.base.clock import Clock
from localset.machinery.metadata import Object
from localset.store.ballast import Ballast
from localset.store.history import MAX_CHANGES, History
from localset.store.index import Index
from localset.store.records import (
    Change,
    ChangeKind,
    ExpiredError,
    Key,
    KeyTakenError,
    Operation,
    Record,
    StaleError,
    StoreFailedError,
    StoreFullError,
    StoreRefusedError,
)
from localset.store.writer import InlineWriter, Outcomes, ThreadWriter, Writer

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6C73746F
_MAGIC = b"SQLite format 3\x00"
_SCHEMA = """
CREATE TABLE objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
);
CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0, 0);
"""
_PUT = "INSERT OR REPLACE INTO objects (resource, namespace, name, revision, data) VALUES (?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?"
_COUNT = "UPDATE counter SET revision = ?"


class Database:
    """The one connection. `commit` and `close` run in the writer's thread, everything before in the opener's."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the database; StoreRefusedError with a text for people, the file's bytes unchanged."""
        self._path = path
        self._is_new = path is None or not path.exists() or path.stat().st_size == 0
        self._ballast = Ballast(path.with_name(path.name + ".ballast")) if path is not None else None
        self._is_full = False
        self.commits = 0
        self.failure: Exception | None = None
        if path is not None and not self._is_new:
            _refuse_foreign(path)
        try:
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            self._prepare()
        except sqlite3.Error as error:
            raise _refusal(path, error) from error

    def _prepare(self) -> None:
        run = self._connection.execute
        # EXCLUSIVE: nobody else may write beside us, and the WAL index lives in memory instead of a file that can
        # fill up.
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        # NB: a short log. On a full disk the released ballast must hold all of it when it is moved into the database;
        # with the default of 1,000 pages the checkpoint itself eats the ballast and fails.
        run("PRAGMA wal_autocheckpoint=128")
        run("PRAGMA cache_size=-256")  # kB: all reads come from our own memory, pages would be kept a second time
        if not run("SELECT 1 FROM sqlite_master WHERE name = 'objects'").fetchone():
            self._connection.executescript(
                f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA application_id={APPLICATION_ID};"
                f"PRAGMA user_version={SCHEMA_VERSION};COMMIT"
            )
        if self._ballast is not None:
            self._ballast.ensure()

    def load(self) -> tuple[int, list[tuple[Key, Record]]]:
        """Return the last revision that was given out and all objects."""
        try:
            (revision,) = self._connection.execute("SELECT revision FROM counter").fetchone()
            rows = self._connection.execute("SELECT resource, namespace, name, revision, data FROM objects")
            return revision, [(Key(*row[:3]), Record(row[3], _checked(row[4]))) for row in rows]
        except (sqlite3.Error, orjson.JSONDecodeError, TypeError) as error:
            self._connection.close()
            raise _refusal(self._path, error) from error

    def count_from(self, revision: int) -> None:
        """Make durable that revisions below `revision` are used up."""
        try:
            self._connection.execute(_COUNT, (revision,))
        except sqlite3.Error as error:
            # NB: a full disk must not keep the daemon from starting: only deleting and stopping make room again.
            if not _is_no_space(error):
                self._connection.close()
                raise _refusal(self._path, error) from error

    def commit(self, operations: list[Operation]) -> Outcomes:
        """Write one batch in one transaction and sync it; return an exception or None for each operation."""
        if self.failure is not None:
            return [StoreFailedError(str(self.failure)) for _ in operations]
        if self._is_full and self._ballast is not None and self._ballast.ensure():
            self._is_full = False
        if not self._is_full:
            try:
                self._write(operations)
            except sqlite3.Error as error:
                if not _is_no_space(error):
                    return self._fail(error, operations)
                self._enter_full()
            else:
                return [None] * len(operations)
        return self._commit_full(operations)

    def _commit_full(self, operations: list[Operation]) -> Outcomes:
        """Write what may help to make room: everything but creates."""
        outcomes: Outcomes = [
            StoreFullError("no space left on the device") if op.change.kind is ChangeKind.ADDED else None
            for op in operations
        ]
        rest = [op for op, outcome in zip(operations, outcomes, strict=True) if outcome is None]
        if not rest:
            return outcomes
        try:
            self._write(rest)
        except sqlite3.Error as error:
            if not _is_no_space(error):
                return self._fail(error, operations)
            return [StoreFullError("no space left on the device") for _ in operations]
        return outcomes

    def _write(self, operations: list[Operation]) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for operation in operations:
                key, record = operation.change.key, operation.change.record
                if operation.change.kind is ChangeKind.DELETED:
                    run(_REMOVE, key)
                else:
                    run(_PUT, (*key, record.revision, record.data))
            run(_COUNT, (operations[-1].change.record.revision,))
            run("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise
        self.commits += 1

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.debug("rollback failed", exc_info=True)

    def _enter_full(self) -> None:
        log.warning("no space left for the database: releasing the ballast; creates are refused until there is room")
        self._is_full = True
        if self._ballast is not None:
            self._ballast.release()
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            log.debug("checkpoint on a full disk failed", exc_info=True)

    def _fail(self, error: Exception, operations: list[Operation]) -> Outcomes:
        # NB: never try again on this connection. After a failed fsync the kernel may have dropped the dirty pages and a
        # second fsync would succeed without having written them.
        self.failure = error
        return [StoreFailedError(f"the database failed: {error}") for _ in operations]

    def close(self) -> None:
        """Close the connection; a clean one checkpoints its log."""
        try:
            self._connection.close()
        except sqlite3.Error:
            log.warning("closing the database failed", exc_info=True)


def _checked(data: bytes) -> bytes:
    orjson.loads(data)  # a damaged row is found now and not at its first reader; few of them are read at once
    return data


def _is_no_space(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF == sqlite3.SQLITE_FULL


def _refusal(path: Path | None, error: Exception) -> StoreRefusedError:
    if "locked" in str(error):
        return StoreRefusedError(f"{path} is in use by another process")
    return StoreRefusedError(f"{path} cannot be used as database: {error}")


def _refuse_foreign(path: Path) -> None:
    """Refuse what is not ours or newer, before anything could write to it."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise StoreRefusedError(f"{path} is not a localset database")
        # Read-only, so that not even closing it (a checkpoint of a left-over log) changes a byte.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except (OSError, sqlite3.Error) as error:
        raise _refusal(path, error) from error
    if application != APPLICATION_ID and (tables or version):
        raise StoreRefusedError(f"{path} is not a localset database")
    if version > SCHEMA_VERSION:
        raise StoreRefusedError(
            f"{path} was written by a newer localset (schema {version}, this one knows {SCHEMA_VERSION}); "
            "nothing was changed"
        )


class Store:
    """All objects of one installation. Every method belongs to the event loop; reads never wait."""

    def __init__(self, database: Database, writer: type[ThreadWriter | InlineWriter], clock: Clock) -> None:
        """Use `open`."""
        self._database = database
        stored, rows = database.load()
        # A new epoch for every opening: versions that a lost tail or a replaced file once gave out are never met again
        # (reliability F36), and a new store's first version comes from wall time (kube-api.md 6). Milliseconds: growth
        # would need over 1,000 writes a second for ever to overtake them.
        self._revision = max(stored + 1, int(clock.now().timestamp() * 1000))
        database.count_from(self._revision)
        self._committed = self._epoch = self._revision
        self._stored = stored
        self._index = Index()
        for key, record in rows:
            self._index.put(key, record)
        self._histories: dict[str, History] = {}
        self._newest: dict[str, Record] = {}
        self._followers: dict[str, Callable[[], None]] = {}
        self._pending: dict[Key, asyncio.Future[Record]] = {}
        self._locks: dict[Key, tuple[asyncio.Lock, int]] = {}
        self._writer: Writer = writer(database.commit, self._deliver, database.close)
        self._is_closed = False
        self.history_limit = MAX_CHANGES
        self.on_failure: Callable[[Exception], None] | None = None

    @staticmethod
    def open(path: Path | None, clock: Clock, on_failure: Callable[[Exception], None] | None = None) -> "Store":
        """Open or make the database at `path` (None: in memory). Raises StoreRefusedError.

        `on_failure` is called once, on the loop, when the device has failed: from then on every write is refused and
        the daemon should end.
        """
        store = Store(Database(path), InlineWriter if path is None else ThreadWriter, clock)
        store.on_failure = on_failure
        return store

    async def aclose(self) -> None:
        """Commit what is queued and close. Idempotent; reads go on working."""
        self._is_closed = True
        await self._writer.aclose()

    @property
    def revision(self) -> int:
        """Return the newest committed revision: what a LIST answers and a watch can start from."""
        return self._committed

    @property
    def commits(self) -> int:
        """Return how many transactions were synced since opening."""
        return self._database.commits

    def __len__(self) -> int:
        """Return how many objects are stored."""
        return len(self._index)

    def get(self, key: Key) -> Record | None:
        """Return the newest committed state, or None."""
        return self._index.get(key)

    def records(self, resource: str, namespace: str = "") -> Iterator[tuple[Key, Record]]:
        """Yield all of `resource` (of one namespace unless empty) sorted by namespace, then name."""
        return self._index.records(resource, namespace)

    def all_of(self, resource: str, namespace: str = "") -> list[Record]:
        """Return what `records` yields, without the keys."""
        return self._index.all_of(resource, namespace)

    def count(self, resource: str) -> int:
        """Return how many objects of `resource` there are."""
        return self._index.count(resource)

    def has_namespace(self, namespace: str) -> bool:
        """Tell whether any object lies in `namespace`."""
        return self._index.has_namespace(namespace)

    @asynccontextmanager
    async def locked(self, key: Key) -> AsyncIterator[None]:
        """Hold the right to write `key`: inside, `get(key)` is its newest state and stays so."""
        lock, holders = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, holders + 1)
        try:
            async with lock:
                # A cancelled writer may have left with its operation still on the way to the disk.
                while (pending := self._pending.get(key)) is not None:
                    await asyncio.wait([pending])
                yield
        finally:
            lock, holders = self._locks.pop(key)
            if holders > 1:
                self._locks[key] = (lock, holders - 1)

    def follow(self, resource: str, follower: Callable[[], None]) -> None:
        """Call `follower()` whenever a change of `resource` has become visible, before its writer or a watcher runs."""
        self._followers[resource] = follower

    async def create(self, key: Key, obj: Object) -> Record:
        """Store a new object, which becomes the store's. Returns once durable; KeyTakenError."""
        if self._index.get(key) is not None:
            raise KeyTakenError(key)
        return await self._submit(ChangeKind.ADDED, key, obj, None)

    async def replace(self, key: Key, obj: Object, expected: int) -> Record:
        """Store a new state of an object whose revision is `expected`. Returns once durable; StaleError."""
        return await self._submit(ChangeKind.MODIFIED, key, obj, self._expect(key, expected))

    async def remove(self, key: Key, last: Object, expected: int) -> Record:
        """Remove an object; watchers see `last` with the removal's own revision. Returns once durable; StaleError."""
        return await self._submit(ChangeKind.DELETED, key, last, self._expect(key, expected))

    def _expect(self, key: Key, expected: int) -> Record:
        record = self._index.get(key)
        if record is None or record.revision != expected:
            raise StaleError(key)
        return record

    async def _submit(self, kind: ChangeKind, key: Key, obj: Object, previous: Record | None) -> Record:
        if self._is_closed:
            raise StoreFailedError("the store is closed")
        if self._database.failure is not None:
            raise StoreFailedError(f"the database failed: {self._database.failure}")
        if key in self._pending:
            raise StaleError(key)
        self._revision += 1
        record = Record.of(self._revision, obj, previous or self._newest.get(key.resource))
        self._newest[key.resource] = record
        change = Change(kind, key, record, previous)
        future: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._pending[key] = future
        self._writer.submit(Operation(change, future))
        # NB: not cancelled with the caller: what was handed over will be written whether or not anyone still listens.
        return await asyncio.shield(future)

    def _deliver(self, operations: list[Operation], outcomes: Outcomes) -> None:
        """Show one committed batch, in order. Called on the loop by the writer."""
        for (change, future), error in zip(operations, outcomes, strict=True):
            self._pending.pop(change.key, None)
            if error is None:
                self._committed = change.record.revision
                self._index.apply(change)
                self._history(change.key.resource).append(change)
                if change.key.resource in self._followers:
                    self._followers[change.key.resource]()
                _resolve(future, change.record)
            else:
                _refuse(future, error)
        if self._database.failure is not None and self.on_failure is not None:
            on_failure, self.on_failure = self.on_failure, None
            on_failure(self._database.failure)

    def _history(self, resource: str) -> History:
        history = self._histories.get(resource)
        if history is None:
            # NB: made by the first change or the first watcher of a resource, whichever comes first: nothing of this
            # resource has changed since the store was opened, so everything after the epoch is held.
            history = self._histories[resource] = History(self._epoch, self.history_limit)
        return history

    def changes(self, resource: str, after: int) -> AsyncGenerator[Change, None]:
        """Yield the changes of `resource` after revision `after`, for ever.

        ExpiredError at once when some of them are no longer held, when `after` lies in the future or in a lost epoch;
        later when the reader is so slow that it falls out of the window.
        """
        if after > self._committed or self._stored < after < self._epoch:
            raise ExpiredError(f"too old resource version: {after} ({self._committed})")
        history = self._history(resource)
        if after == self._stored and history.floor == self._epoch:
            after = self._epoch  # nothing happened between the last commit before the restart and the restart
        return history.changes_from(history.position_after(after))

    def statistics(self) -> dict[str, Any]:
        """Return figures for people: objects, revision, commits."""
        return {"objects": len(self), "revision": self.revision, "commits": self.commits}


def _resolve(future: "asyncio.Future[Record]", record: Record) -> None:
    if not future.done():
        future.set_result(record)


def _refuse(future: "asyncio.Future[Record]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: nobody may listen any more, which must not be reported as a lost error
