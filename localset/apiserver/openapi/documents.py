"""The documents of one installation: their hashes, known at once, and their bytes, made when asked for and kept.

A hash covers what a document is made from (rows, custom schemas, the published types, this package's own code), so
that the index and a 304 cost no document. Finished documents are kept compressed; what they were made from is let go.
Made off the event loop, one at a time. `serving` is the only caller.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from localset.apis import schema as published
from localset.apis.served import ServedResources
from localset.apiserver.routes import SUBRESOURCE_METHODS, RouteTable
from localset.base.clock import Clock
from localset.client.client import PatchType

V2_JSON = "v2.json"
V2_PROTOBUF = "v2.pb"
Schemas = list[tuple[str, str, str, dict[str, Any]]]
"""Group, version, kind and structural schema of custom resources."""
_ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@cache
def _code_hash() -> bytes:
    """Return the digest of all that decides about a document beside what is served."""
    digest = hashlib.sha512()
    data = sorted(Path(path).parent for path in (published.__file__, __file__))
    for path in sorted(p for folder in data for p in folder.iterdir() if p.suffix in {".py", ".gz"}):
        digest.update(path.read_bytes())
    return digest.digest()


def custom_schemas(served: ServedResources) -> Schemas:
    """Return the schemas of the custom resources that are served, as their definitions publish them."""
    found: Schemas = []
    for row in served.custom:
        for version in row.versions if row.definition is not None else ():
            assert row.definition is not None
            schema = (row.definition.versions[version].source.get("schema") or {}).get("openAPIV3Schema")
            found.append((row.group, version, row.kind, schema or _ANYTHING))
    return found


def v3_names(routes: RouteTable) -> list[str]:
    """Return `api/v1`, `apis/apps/v1` and so on, as the v3 index names its documents."""
    return [
        f"apis/{group}/{version}" if group else f"api/{version}"
        for group, versions in routes.versions.items()
        for version in versions
    ]


class Documents:
    """Everything that can be asked for, by name: those of `v3_names`, `V2_JSON` and `V2_PROTOBUF`."""

    def __init__(self, routes: RouteTable, release: str, clock: Clock) -> None:
        """Describe `routes`; `release` stands in each document."""
        self._clock = clock
        self.changed = clock.now()
        self._routes = routes
        self._release = release
        self._revision = -1
        self._hashes: dict[str, str] = {}
        self._kept: dict[str, tuple[str, bytes]] = {}
        self._making = asyncio.Lock()

    def hashes(self) -> dict[str, str]:
        """Return the hash of every document, by name."""
        served = self._routes.served
        if self._revision != served.revision:
            self._hashes = self._hashed(custom_schemas(served))
            self._kept = {n: kept for n, kept in self._kept.items() if self._hashes.get(n) == kept[0]}
            self._revision = served.revision
            self.changed = self._clock.now()
        return self._hashes

    def _hashed(self, custom: Schemas) -> dict[str, str]:
        methods = sorted((name, sorted(found)) for name, found in SUBRESOURCE_METHODS.items())
        versions = self._routes.versions
        common = repr((self._release, methods, list(PatchType), versions)).encode() + _code_hash()
        found = {}
        everything = hashlib.sha512(common)
        for group, served in versions.items():
            for version in served:
                rows = repr(self._routes.of(group, version)).encode()
                schemas = orjson.dumps([one for one in custom if one[:2] == (group, version)])
                everything.update(rows + schemas)
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                found[name] = hashlib.sha512(common + rows + schemas).hexdigest().upper()
        for name in (V2_JSON, V2_PROTOBUF):
            found[name] = hashlib.sha512(everything.digest() + name.encode()).hexdigest().upper()
        return found

    async def compressed(self, name: str) -> bytes:
        """Return the document `name`, gzipped; KeyError when there is none."""
        wanted = self.hashes()[name]
        async with self._making:
            hash_of_kept, data = self._kept.get(name, ("", b""))
            if hash_of_kept == wanted:
                return data
            custom = custom_schemas(self._routes.served)
            data = await asyncio.to_thread(self._made, name, custom)
            self._kept[name] = (wanted, data)
        return data

    def _made(self, name: str, custom: Schemas) -> bytes:
        packer = zlib.compressobj(6, wbits=zlib.MAX_WBITS | 16)
        packed = [packer.compress(piece) for piece in self._pieces(name, custom)]
        return b"".join([*packed, packer.flush()])

    def _pieces(self, name: str, custom: Schemas) -> Iterator[bytes]:
        # Imported here: a daemon that nobody asks pays nothing for this.
        from localset.apiserver.openapi import version2, version3
        from localset.apiserver.openapi.definitions import Definitions

        versions = [(group, v) for group, served in self._routes.versions.items() for v in served]
        if name in {V2_JSON, V2_PROTOBUF}:
            definitions = Definitions(v3=False, versions=versions, custom=custom)
            write = version2.as_json if name == V2_JSON else version2.as_protobuf
            return write(self._routes, definitions, self._release)
        *_, group, version = ["", *name.split("/")[1:]]
        mine = [one for one in custom if one[:2] == (group, version)]
        definitions = Definitions(v3=True, versions=versions, custom=mine)
        return version3.document(self._routes, definitions, group, version, self._release)
