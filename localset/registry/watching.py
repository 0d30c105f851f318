"""Changes of the store as watch events: initial state, selector edges, expiry.

Used by the registry's `watch`. Never buffers: it reads from the store's window at the watcher's own pace.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from localset.client.client import WatchEvent, WatchType
from localset.machinery.errors import gone
from localset.machinery.metadata import Object
from localset.registry.selection import Selection, parse_version
from localset.store.records import Change, ChangeKind, ExpiredError
from localset.store.store import Store


async def watch_events(store: Store, selection: Selection, resource_version: str) -> AsyncGenerator[WatchEvent, None]:
    """Yield the selected changes after `resource_version`, for ever.

    With "" or "0" an ADDED for everything that exists comes first. StatusError 410 when the changes are no longer held.
    """
    try:
        if resource_version in {"", "0"}:
            # Snapshot and position are taken without waiting in between: nothing can slip through.
            after = store.revision
            initial = [record for _, record in store.records(selection.resource, selection.namespace)]
            changes = store.changes(selection.resource, after)
        else:
            initial = []
            changes = store.changes(selection.resource, parse_version(resource_version))
        async with aclosing(changes):
            for record in initial:
                if selection.matches(record.object):
                    yield WatchEvent(WatchType.ADDED, record.object)
            async for change in changes:
                event = _event(change, selection)
                if event is not None:
                    yield event
    except ExpiredError as error:
        raise gone(str(error)) from error


def _event(change: Change, selection: Selection) -> WatchEvent | None:
    if selection.namespace and change.key.namespace != selection.namespace:
        return None
    current = change.record.object
    if selection.is_everything:
        return WatchEvent(WatchType(change.kind.value), current)
    was_selected = change.previous is not None and selection.matches(change.previous.object)
    if change.kind is ChangeKind.DELETED:
        return WatchEvent(WatchType.DELETED, current) if was_selected else None
    is_selected = selection.matches(current)
    if is_selected:
        return WatchEvent(WatchType.MODIFIED if was_selected else WatchType.ADDED, current)
    if was_selected and change.previous is not None:
        return WatchEvent(WatchType.DELETED, _at_version(change.previous.object, change.record.revision))
    return None


def _at_version(obj: Object, revision: int) -> Object:
    """Return `obj` as it was, carrying `revision`: what a watcher sees when it leaves the selection."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
