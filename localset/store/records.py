"""What the store holds and says: keys, records, changes, and the ways in which it refuses.

Used by the store's own modules and by the registry. Kind-blind: nothing here knows a Kubernetes noun beyond
`metadata.resourceVersion`, and nothing here touches a file or the event loop.
"""

import asyncio
import sys
import zlib
from enum import StrEnum
from typing import NamedTuple

import orjson

from localset.machinery.metadata import Object, sharing

_WORTH_PACKING = 256
_OWN_REFERENCES = 2  # the record's, and the one that asking makes


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

    __slots__ = ("_bytes", "_dictionary", "_object", "revision")

    def __init__(self, revision: int, data: bytes, obj: Object | None = None) -> None:
        """Hold `data`; `obj` is its parsed form when the caller has it already."""
        self.revision = revision
        self._bytes = data
        self._dictionary: bytes | None = None  # of packed bytes
        self._object = obj

    @property
    def data(self) -> bytes:
        """Return the encoded object."""
        if self._dictionary is None:
            return self._bytes
        return zlib.decompressobj(zdict=self._dictionary).decompress(self._bytes)

    @property
    def size(self) -> int:
        """Return how many bytes its encoded form takes now."""
        return len(self._bytes)

    @property
    def object(self) -> Object:
        """Return the parsed object."""
        if self._object is None:
            if self._dictionary is not None:
                unpacked: Object = orjson.loads(self.data)
                return unpacked  # the past is read once at most: nothing is gained by keeping it
            self._object = orjson.loads(self._bytes)
        return self._object

    def share_with(self, obj: Object) -> None:
        """Let `obj`, which nobody has seen yet, take the parts that are equal from this state."""
        if self._object is not None:
            sharing(obj, self._object)

    def rest(self, dictionary: bytes) -> None:
        """Drop the parsed form, several times the size of the bytes, unless somebody shares it (an informer's cache).

        What nobody shares is seldom read (events above all), so its bytes are packed as well.
        """
        if sys.getrefcount(self._object) <= _OWN_REFERENCES:
            self.pack(dictionary)

    def pack(self, dictionary: bytes) -> None:
        """Keep a state that is hardly read any more in a fraction of its room; it is unpacked on demand.

        `dictionary` is another object of its kind, which it is likely to resemble.
        """
        self._object = None
        if self._dictionary is None and len(self._bytes) > _WORTH_PACKING:
            packer = zlib.compressobj(zdict=dictionary)
            self._bytes = packer.compress(self._bytes) + packer.flush()
            self._dictionary = dictionary

    @staticmethod
    def of(revision: int, obj: Object, like: "Record | None" = None) -> "Record":
        """Return the record of `obj`, which from now on belongs to the store; sets its resourceVersion.

        `like`: its previous state, or a sibling; what is equal in both is kept once.
        """
        obj["metadata"]["resourceVersion"] = str(revision)
        if like is not None:
            like.share_with(obj)
        # NB: copied, because orjson leaves its result in the buffer it wrote into: 8 kB for a Pod of 2.5 kB.
        return Record(revision, bytes(memoryview(orjson.dumps(obj))), obj)


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
