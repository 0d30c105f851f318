"""Sticky addresses: each namespace/name keeps its 127.x for as long as it could come back (design 3.6).

The book is a ConfigMap, `localset-addresses` in kube-system, written before an address is first used; one key per
`namespace.name`. Allocation hashes the name into the block's lower half and probes on; block.0 to block.9 are reserved.
Only kubelet allocates; dns and endpoints read `status.podIP`.
"""

import asyncio
import hashlib
import ipaddress
import logging

from localset.base.tasks import Tasks
from localset.client.client import Client, PatchType
from localset.kubelet.settings import RESERVED_ADDRESSES
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, controller_of, name_of, namespace_of

log = logging.getLogger(__name__)

BOOK_NAMESPACE = "kube-system"
BOOK_NAME = "localset-addresses"


class BlockFullError(Exception):
    """No address of the block is free."""


class AddressBook:
    """All addresses of this data directory. `load` before use."""

    def __init__(self, client: Client, block: str) -> None:
        """Make the book of `block` (`127.64.16.0/20`)."""
        self._client = client
        self._network = ipaddress.ip_network(block)
        self._by_key: dict[str, str] = {}
        self._taken: set[str] = set()
        self._durable: set[str] = set()
        self._unwritten: dict[str, str | None] = {}
        self._write: asyncio.Task[None] | None = None
        self._tasks = Tasks("kubelet addresses")

    async def load(self) -> None:
        """Read the stored book, or make an empty one; then give back what can no longer be claimed."""
        try:
            book = await self._client.get("configmaps", BOOK_NAMESPACE, BOOK_NAME)
        except StatusError as error:
            if error.code != 404:
                raise
            book = await self._create()
        for key, address in (book.get("data") or {}).items():
            if address not in self._taken and ipaddress.ip_address(address) in self._network:
                self._by_key[key] = address
                self._taken.add(address)
                self._durable.add(key)
        await self.release_unused()

    async def _create(self) -> Object:
        metadata = {"name": BOOK_NAME, "namespace": BOOK_NAMESPACE}
        book = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}
        try:
            return await self._client.create("configmaps", book)
        except StatusError as error:
            if error.code != 409:
                raise
            return await self._client.get("configmaps", BOOK_NAMESPACE, BOOK_NAME)

    def known(self, namespace: str, name: str) -> str | None:
        """Return the address of a Pod when it has one that is stored."""
        key = f"{namespace}.{name}"
        return self._by_key.get(key) if key in self._durable else None

    async def allocate(self, namespace: str, name: str) -> str:
        """Return the Pod's address; a new one is stored durably before this returns. Raises BlockFullError."""
        key = f"{namespace}.{name}"
        if key not in self._by_key:
            if len(self._by_key) * 2 > self._network.num_addresses:
                await self.release_unused()
            address = self._pick(key)
            self._by_key[key] = address
            self._taken.add(address)
            self._unwritten[key] = address
        while key not in self._durable:
            if key not in self._by_key:
                return await self.allocate(namespace, name)
            self._unwritten.setdefault(key, self._by_key[key])
            await self._flush()
        return self._by_key[key]

    async def release(self, namespace: str, name: str) -> None:
        """Give the address of a Pod back; it may go to another name at once."""
        key = f"{namespace}.{name}"
        address = self._by_key.pop(key, None)
        if address is None:
            return
        self._taken.discard(address)
        self._durable.discard(key)
        self._unwritten[key] = None
        await self._flush()

    async def release_unused(self) -> None:
        """Give back what no Pod, set or claim could bring back; O(everything), so only at start and when half full."""
        pods = await self._client.list("pods")
        sets = await self._client.list("statefulsets.apps")
        claims = await self._client.list("persistentvolumeclaims")
        held = {f"{namespace_of(p)}.{name_of(p)}" for p in pods.items}
        parents = {f"{namespace_of(s)}.{name_of(s)}" for s in sets.items}
        suffixes = {(namespace_of(c), part) for c in claims.items for part in _tails(name_of(c))}
        for key in list(self._by_key):
            namespace, _, name = key.partition(".")
            parent = name.rpartition("-")[0]
            if key in held or f"{namespace}.{parent}" in parents or (namespace, name) in suffixes:
                continue
            await self.release(namespace, name)

    async def release_bare(self, pod: Object) -> None:
        """Give the address of a deleted Pod back when no controller could bring its name back."""
        if controller_of(pod) is None:
            await self.release(namespace_of(pod), name_of(pod))

    async def aclose(self) -> None:
        """End a write that is under way."""
        await self._tasks.aclose()

    def _pick(self, key: str) -> str:
        """Return a free address of the lower half, which Services leave alone; of the upper one when it is full."""
        base, half = int(self._network.network_address), self._network.num_addresses // 2
        start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        for first, size in ((RESERVED_ADDRESSES, half - RESERVED_ADDRESSES), (half + 1, half - 2)):
            for offset in range(size):
                address = str(ipaddress.ip_address(base + first + (start + offset) % size))
                if address not in self._taken:
                    return address
        raise BlockFullError(f"no free address in {self._network}: {len(self._taken)} are taken")

    async def _flush(self) -> None:
        """Store what is unwritten; callers that come meanwhile share the next write (group commit)."""
        if self._write is not None:
            await asyncio.shield(self._write)
            if not self._unwritten:
                return
        if self._write is None:
            self._write = self._tasks.spawn(self._store(), "store")
        await asyncio.shield(self._write)

    async def _store(self) -> None:
        batch, self._unwritten = self._unwritten, {}
        try:
            await self._client.patch("configmaps", BOOK_NAMESPACE, BOOK_NAME, {"data": batch}, PatchType.MERGE)
        except StatusError as error:
            if error.code == 404:
                log.warning("the address book %s/%s was deleted; writing it again", BOOK_NAMESPACE, BOOK_NAME)
                await self._create()
                self._unwritten = {**dict(self._by_key), **self._unwritten}
                return
            self._unwritten = {**batch, **self._unwritten}
            raise
        else:
            self._durable.update(key for key, address in batch.items() if self._by_key.get(key) == address)
        finally:
            self._write = None


def _tails(name: str) -> list[str]:
    """Return every `-`-separated tail of a claim's name: `data-zk-0` could belong to Pod `zk-0` or `0`."""
    parts = name.split("-")
    return ["-".join(parts[i:]) for i in range(1, len(parts))]
