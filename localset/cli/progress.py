"""`apply --wait`: the progress of each ordinal, and why each waits; event-driven by watches, one line per change."""

import time

from localset.apis.pods import is_running_and_ready
from localset.apis.statefulsets import replicas_of
from localset.apis.views import HOST_ADDRESS
from localset.cli.board import Board
from localset.cli.context import Context
from localset.cli.output import put_painted, say
from localset.cli.reasons import ordinals
from localset.cli.transport import DaemonNotRunningError
from localset.machinery.errors import StatusError
from localset.machinery.metadata import annotations_of


def wait_until_ready(context: Context, sets: list[tuple[str, str]], timeout: float) -> int:
    """Print each change of each ordinal until every set is wholly Ready; return 0, or 1 after `timeout` seconds."""
    started = time.monotonic()
    for namespace in sorted({namespace for namespace, _ in sets}):
        names = [name for where, name in sets if where == namespace]
        board = Board(context, namespace)
        shown: dict[str, str] = {}
        while not _show(board, (namespace, names), shown, started):
            left = timeout - (time.monotonic() - started)
            try:
                if left <= 0 or not board.wait(left):
                    return _give_up(board, (namespace, names), timeout)
            except (StatusError, OSError, DaemonNotRunningError) as error:
                say(f"error: lost the daemon while waiting: {error}")
                return 1
    return 0


def _show(board: Board, wanted: tuple[str, list[str]], shown: dict[str, str], started: float) -> bool:
    """Print what is new; tell whether all sets are Ready at their present generation."""
    is_done = True
    namespace, names = wanted
    for name in names:
        statefulset = board.find_set(namespace, name)
        if statefulset is None:
            continue
        rows = ordinals(statefulset, board.pods, board.events)
        for pod_name, pod, reason in rows:
            address = annotations_of(pod).get(HOST_ADDRESS) if pod else None
            if not reason and not address:  # the kubelet tells it right after readiness, off the path to it
                is_done = False
                continue
            text = reason or f"Ready  {address}"
            if shown.get(pod_name) != text:
                shown[pod_name] = text
                elapsed = f"{time.monotonic() - started:5.1f}s"
                put_painted((f"{elapsed}  {pod_name}  ", ""), (text, "32" if text.startswith("Ready") else "33"))
        status = statefulset.get("status") or {}
        count = replicas_of(statefulset)
        ready = [p for _, p, reason in rows if p is not None and not reason and is_running_and_ready(p)]
        is_observed = status.get("observedGeneration", 0) >= statefulset["metadata"].get("generation", 1)
        is_done &= is_observed and len(ready) == count == len(rows) and status.get("readyReplicas", 0) == count
    return is_done


def _give_up(board: Board, wanted: tuple[str, list[str]], timeout: float) -> int:
    say(f"error: not all Pods were Ready within {timeout:g} s")
    namespace, names = wanted
    for name in names:
        statefulset = board.find_set(namespace, name)
        if statefulset is not None:
            rows = ordinals(statefulset, board.pods, board.events)
            for pod_name, _, reason in rows:
                if reason:
                    say(f"  {pod_name}: {reason}")
    say("hint: `localset describe pod NAME` and `localset logs NAME` say more")
    return 1
