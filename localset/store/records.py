"""What the store holds and says: keys, records, changes, and the ways in which it refuses.

Used by the store's own modules and by the registry. Kind-blind: nothing here knows a Kubernetes noun beyond
`metadata.resourceVersion`, and nothing here touches a file or the event loop.
"""

import asyncio
from enum import StrEnum
from typing import NamedTuple

import orjson

from localset.machinery.metadata import Object


class StoreError(Exception):
    """The store did not do what it was asked; nothing was changed."""


class StoreRefusedError(StoreError):
    """The database cannot be opened: newer, foreign, damaged or held by another. The text is for people."""


class StoreFullError(StoreError):
    """No space left on the device. Reads, updates and removals still work while the ballast lasts; creates do not."""


class StoreFailedError(StoreError):
    """The device failed, or the store is closed: nothing is written any more. Whether the last write stuck is
    unknown.
    """


class KeyTakenError(StoreError):
    """A create found the key taken."""


class StaleError(StoreError):
    """The object has another revision than the caller thinks, or is gone."""


class ExpiredError(StoreError):
    """The history after that revision is no longer held (or never was): list anew."""


class Key(NamedTuple):
    """Where an object lies; `namespace` is empty for cluster-scoped ones."""

    resource: str
    namespace: str
    name: str


class ChangeKind(StrEnum):
    """What happened to a key."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Record:
    """One state of one object: its encoded bytes and, parsed on demand, the object. Shared: never change it."""

    __slots__ = ("_object", "data", "revision")

    def __init__(self, revision: int, data: bytes, obj: Object | None = None) -> None:
        """Hold `data`; `obj` is its parsed form when the caller has it already."""
        self.revision = revision
        self.data = data
        self._object = obj

    @property
    def object(self) -> Object:
        """Return the parsed object."""
        if self._object is None:
            self._object = orjson.loads(self.data)
        return self._object

    def forget_object(self) -> None:
        """Drop the parsed form, which is several times the size of the bytes; it is parsed again on demand."""
        self._object = None

    @staticmethod
    def of(revision: int, obj: Object) -> "Record":
        """Return the record of `obj`, which from now on belongs to the store; sets its resourceVersion."""
        obj["metadata"]["resourceVersion"] = str(revision)
        return Record(revision, orjson.dumps(obj), obj)


class Change(NamedTuple):
    """One committed change. `record` of DELETED is the last state with the deletion's own revision."""

    kind: ChangeKind
    key: Key
    record: Record
    previous: Record | None


class Operation(NamedTuple):
    """A change on its way to the disk; `future` is resolved with its record once it is durable."""

    change: Change
    future: "asyncio.Future[Record]"
