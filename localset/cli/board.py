"""Sets, Pods and events as they are now, kept up to date by watches: for `watch`, `apply --wait` and the life cycle.

One thread for each kind puts what it is told into one queue; only the command's own thread takes it out and changes
what is known. Nothing polls.
"""

import queue
import threading
from typing import Any

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.transport import Api, DaemonNotRunningError, path_of
from localset.machinery.errors import StatusError

WATCHED = ("statefulsets.apps", "pods", "events")
_Object = dict[str, Any]


class Board:
    """What is known of one namespace, or of all of them (an empty name)."""

    def __init__(self, context: Context, namespace: str) -> None:
        """List, then watch from there."""
        self._objects: dict[str, dict[tuple[str, str], _Object]] = {}
        self._changes: queue.SimpleQueue[tuple[str, _Object] | Exception | None] = queue.SimpleQueue()
        for name in WATCHED:
            resource = BY_NAME[name]
            body = context.api.request("GET", path_of(resource, namespace)).body
            self._objects[name] = {_key(item): item for item in body["items"]}
            arguments = (context, namespace, name, body["metadata"]["resourceVersion"])
            threading.Thread(target=self._follow, args=arguments, daemon=True).start()

    def _follow(self, context: Context, namespace: str, name: str, version: str) -> None:
        api = Api(context.api.socket_path)
        try:
            for event in api.watch(path_of(BY_NAME[name], namespace), query={"resourceVersion": version}):
                self._changes.put((name, event))
            self._changes.put(ConnectionError("the watch ended"))
        except (StatusError, OSError, DaemonNotRunningError) as error:
            self._changes.put(error)

    @property
    def sets(self) -> list[_Object]:
        """Return the StatefulSets by namespace and name."""
        return [obj for _, obj in sorted(self._objects["statefulsets.apps"].items())]

    @property
    def pods(self) -> list[_Object]:
        """Return the Pods."""
        return list(self._objects["pods"].values())

    @property
    def events(self) -> list[_Object]:
        """Return the events."""
        return list(self._objects["events"].values())

    def find_set(self, namespace: str, name: str) -> _Object | None:
        """Return a StatefulSet, None when it is not there."""
        return self._objects["statefulsets.apps"].get((namespace, name))

    def find_pod(self, namespace: str, name: str) -> _Object | None:
        """Return a Pod, None when it is not there."""
        return self._objects["pods"].get((namespace, name))

    def wake(self) -> None:
        """Let `wait` return as if something had changed; may be called by a signal's handler."""
        self._changes.put(None)

    def wait(self, seconds: float | None) -> bool:
        """Wait for a change and take it and all that have come with it; False after `seconds`.

        Raises what ended a watch: the daemon has gone, or refused.
        """
        try:
            change = self._changes.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            return False
        self._take(change)
        while not self._changes.empty():
            self._take(self._changes.get())
        return True

    def _take(self, change: tuple[str, _Object] | Exception | None) -> None:
        if isinstance(change, Exception):
            raise change
        if change is None:
            return
        name, event = change
        obj = event["object"]
        if event["type"] == "DELETED":
            self._objects[name].pop(_key(obj), None)
        else:
            self._objects[name][_key(obj)] = obj


def _key(obj: _Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
