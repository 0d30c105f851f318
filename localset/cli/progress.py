"""`apply --wait`: the progress of each ordinal, and why each waits; event-driven by watches, one line per change."""

import queue
import threading
import time
from typing import Any

from localset.apis.pods import is_running_and_ready
from localset.apis.resources import BY_NAME
from localset.apis.statefulsets import replicas_of
from localset.cli.context import Context
from localset.cli.output import paint, put, say
from localset.cli.reasons import ordinals
from localset.cli.transport import Api, path_of
from localset.machinery.errors import StatusError

_WATCHED = ("statefulsets.apps", "pods", "events")


class _Board:
    """What is known of one namespace, kept up to date by three watching threads."""

    def __init__(self, context: Context, namespace: str) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _WATCHED}
        self.changes: queue.Queue[tuple[str, dict[str, Any]] | Exception] = queue.Queue()
        for name in _WATCHED:
            resource = BY_NAME[name]
            body = context.api.request("GET", path_of(resource, namespace)).body
            self.objects[name] = {item["metadata"]["name"]: item for item in body["items"]}
            arguments = (context, namespace, name, body["metadata"]["resourceVersion"])
            threading.Thread(target=self._follow, args=arguments, daemon=True).start()

    def _follow(self, context: Context, namespace: str, name: str, version: str) -> None:
        api = Api(context.api.socket_path)
        try:
            for event in api.watch(path_of(BY_NAME[name], namespace), query={"resourceVersion": version}):
                self.changes.put((name, event))
        except (StatusError, OSError) as error:
            self.changes.put(error)

    def take(self, name: str, event: dict[str, Any]) -> None:
        """Apply one watch event."""
        obj = event["object"]
        if event["type"] == "DELETED":
            self.objects[name].pop(obj["metadata"]["name"], None)
        else:
            self.objects[name][obj["metadata"]["name"]] = obj


def wait_until_ready(context: Context, sets: list[tuple[str, str]], timeout: float) -> int:
    """Print each change of each ordinal until every set is wholly Ready; return 0, or 1 after `timeout` seconds."""
    started = time.monotonic()
    for namespace in sorted({namespace for namespace, _ in sets}):
        names = [name for where, name in sets if where == namespace]
        board = _Board(context, namespace)
        shown: dict[str, str] = {}
        while not _show(board, names, shown, started):
            left = timeout - (time.monotonic() - started)
            if left <= 0:
                return _give_up(board, names, timeout)
            try:
                change = board.changes.get(timeout=left)
            except queue.Empty:
                return _give_up(board, names, timeout)
            if isinstance(change, Exception):
                say(f"error: lost the daemon while waiting: {change}")
                return 1
            board.take(*change)
    return 0


def _show(board: _Board, names: list[str], shown: dict[str, str], started: float) -> bool:
    """Print what is new; tell whether all sets are Ready at their present generation."""
    is_done = True
    for name in names:
        statefulset = board.objects["statefulsets.apps"].get(name)
        if statefulset is None:
            continue
        rows = ordinals(statefulset, list(board.objects["pods"].values()), list(board.objects["events"].values()))
        for pod_name, pod, reason in rows:
            text = f"Ready  {(pod.get('status') or {}).get('podIP', '')}" if pod and not reason else reason
            if shown.get(pod_name) != text:
                shown[pod_name] = text
                elapsed = f"{time.monotonic() - started:5.1f}s"
                put(f"{elapsed}  {pod_name}  {paint(text, '32' if text.startswith('Ready') else '33')}")
        status = statefulset.get("status") or {}
        wanted = replicas_of(statefulset)
        ready = [p for _, p, reason in rows if p is not None and not reason and is_running_and_ready(p)]
        is_observed = status.get("observedGeneration", 0) >= statefulset["metadata"].get("generation", 1)
        is_done &= is_observed and len(ready) == wanted == len(rows) and status.get("readyReplicas", 0) == wanted
    return is_done


def _give_up(board: _Board, names: list[str], timeout: float) -> int:
    say(f"error: not all Pods were Ready within {timeout:g} s")
    for name in names:
        statefulset = board.objects["statefulsets.apps"].get(name)
        if statefulset is not None:
            rows = ordinals(statefulset, list(board.objects["pods"].values()), list(board.objects["events"].values()))
            for pod_name, _, reason in rows:
                if reason:
                    say(f"  {pod_name}: {reason}")
    say("hint: `localset describe pod NAME` and `localset logs NAME` say more")
    return 1
