"""LIST answers: pages, continue tokens, and bodies joined from encoded bytes.

Used by the registry's reading half. A page is cut from the newest state and carries the first page's version: a watch
from there sees all that changed between the pages.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from localset.apis.resources import Resource
from localset.machinery.errors import bad_request
from localset.registry.selection import Selection
from localset.store.records import Key, Record
from localset.store.store import Store


class Page(NamedTuple):
    """One page: records in order, the version, the token of the next page ("" at the end), how many remain."""

    records: list[Record]
    resource_version: str
    continue_token: str
    remaining: int | None


def page_of(store: Store, selection: Selection, limit: int, continue_token: str) -> Page:
    """Cut one page; StatusError 400 for a token that is none of ours."""
    version, start = _parse_token(continue_token) if continue_token else (str(store.revision), None)
    if selection.is_everything and not limit and start is None:
        return Page(store.all_of(selection.resource, selection.namespace), version, "", None)
    found = [
        (key, record)
        for key, record in _candidates(store, selection)
        if (start is None or key[1:] > start) and (selection.is_everything or selection.matches(record.object))
    ]
    if limit <= 0 or len(found) <= limit:
        return Page([record for _, record in found], version, "", None)
    page = found[:limit]
    remaining = len(found) - limit if selection.is_everything else None
    return Page([record for _, record in page], version, _make_token(version, page[-1][0]), remaining)


def _candidates(store: Store, selection: Selection) -> list[tuple[Key, Record]]:
    name = selection.name
    if name is not None and selection.namespace:
        key = Key(selection.resource, selection.namespace, name)
        record = store.get(key)
        return [] if record is None else [(key, record)]
    return list(store.records(selection.resource, selection.namespace))


def _make_token(version: str, last: Key) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([version, last.namespace, last.name])).decode().rstrip("=")


def _parse_token(token: str) -> tuple[str, tuple[str, str]]:
    refusal = "invalid continue token: continue key is not valid: "
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"{refusal}{error}") from error
    if not (isinstance(parts, list) and len(parts) == 3 and str(parts[0]).isdecimal()):
        raise bad_request(f'{refusal}server does not recognize this encoded version ""')
    version, namespace, name = parts
    return str(version), (str(namespace), str(name))


def list_metadata(page: Page) -> dict[str, object]:
    """Return ListMeta."""
    metadata: dict[str, object] = {"resourceVersion": page.resource_version}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    return metadata


PIECE_BYTES = 256 * 1024
"""How much of a list is in hand at a time. Much larger buffers come from the kernel anew each time, page by page, which
costs more than everything else about them."""


class EncodedList(NamedTuple):
    """The body of a LIST: how many bytes it has, and its pieces, each made when it is asked for."""

    length: int
    pieces: Iterator[bytes]


def encoded_list(resource: Resource, page: Page) -> EncodedList:
    """Return the LIST body in the storage version, joined from the items' stored bytes without parsing any.

    It ends as an answer does, with a newline.
    """
    head = orjson.dumps({"kind": resource.kind_of_list, "apiVersion": resource.api_version()})[:-1]
    first = b"".join((head, b',"metadata":', orjson.dumps(list_metadata(page)), b',"items":['))
    prefix = orjson.dumps({"apiVersion": resource.api_version(), "kind": resource.kind})[:-1] + b","
    items = [record.data for record in page.records]
    # An item of a list does not say what it is, as every stored object does first of all (`writing.ordered`).
    repeated = len(prefix) - 1
    length = len(first) + sum(map(len, items)) + max(len(items) - 1, 0) + len(_LAST)
    return EncodedList(length - repeated * len(items), _pieces(first, items, repeated))


_LAST = b"]}\n"


def _pieces(first: bytes, items: list[bytes], repeated: int) -> Iterator[bytes]:
    """Yield `first`, the items without their repeated beginnings, and the end, in pieces of about PIECE_BYTES."""
    parts: list[bytes | memoryview] = [first]
    size = len(first)
    opening = b"{"
    for item in items:
        parts += (opening, memoryview(item)[repeated + 1 :])
        opening = b",{"
        size += len(item)
        if size >= PIECE_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(_LAST)
    yield b"".join(parts)
