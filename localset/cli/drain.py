"""`drain`: cordon a Node and evict its Pods, as budgets allow. The order, the refusals and the words are kubectl's.

Sources: kubectl pkg/drain (filters and texts) and cmd/drain. An eviction that a budget refuses is tried again when the
Pods of its namespace change, and at the latest after kubectl's own five seconds.
"""

import queue
import threading
import time
from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.durations import DURATION
from localset.cli.nodes import nodes_meant, set_unschedulable
from localset.cli.output import CommandError, fail, put, say
from localset.cli.transport import Api, path_of
from localset.machinery.errors import StatusError
from localset.machinery.metadata import controller_of

_PODS = BY_NAME["pods"]
RETRY_SECONDS = 5.0
_FORCED = "Pods that declare no controller"
_LOCAL = "Pods with local storage"
_DAEMON = "DaemonSet-managed Pods"


@click.command()
@click.argument("names", nargs=-1)
@click.option("-l", "--selector", default="", help="Label selector of Nodes.")
@click.option("--pod-selector", default="", help="Only these Pods.")
@click.option("--force", is_flag=True, help="Pods too that nothing makes again.")
@click.option("--ignore-daemonsets", is_flag=True, help="Leave Pods of DaemonSets alone.")
@click.option("--delete-emptydir-data", is_flag=True, help="Pods too whose emptyDir volumes go with them.")
@click.option("--disable-eviction", is_flag=True, help="Delete; budgets are not asked.")
@click.option("--grace-period", type=int, default=-1, help="Seconds before SIGKILL; -1: the Pod's own.")
@click.option("--timeout", type=DURATION, default="0s", help="How long at most, as 90s or 5m; 0s: as long as it takes.")
@click.option(
    "--skip-wait-for-delete-timeout", type=int, default=0, help="Do not wait for Pods ending longer than this."
)
@click.option("--dry-run", type=click.Choice(["none", "client", "server"]), default="none")
@click.pass_obj
def drain(context: Context, /, names: tuple[str, ...], **options: Any) -> int:
    """Move every Pod off a Node: `drain NODE`; Pods of a set come back when it is uncordoned."""
    trial = {"client": " (dry run)", "server": " (server dry run)"}.get(options["dry_run"], "")
    for node in nodes_meant(context, names, options["selector"], "drain"):
        name = node["metadata"]["name"]
        set_unschedulable(context, node, is_wanted=True, dry_run=options["dry_run"])
        pods, warning = _pods_to_move(context, name, options)
        if warning:
            say(f"Warning: {warning}")
        if not trial:
            _Drain(context, name, options).run(pods)
        else:
            for pod in pods:
                place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                put(f"evicting pod {place}{trial}")
        put(f"node/{name} drained{trial}")
    return 0


def _pods_to_move(context: Context, node: str, options: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Return the Pods to move and what to warn of; fails when one may not be moved without more flags."""
    pods = context.items(
        _PODS, "", fieldSelector=f"spec.nodeName={node}", labelSelector=options["pod_selector"]
    )  # fmt: skip
    allowed, refused, warned = [], _Reasons(), _Reasons()
    for pod in pods:
        owner = controller_of(pod) or {}
        is_over = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if owner.get("kind") == "DaemonSet" and not is_over:
            if options["ignore_daemonsets"]:
                warned.add(f"ignoring {_DAEMON}", place)
            else:
                refused.add(f"cannot delete {_DAEMON} (use --ignore-daemonsets to ignore)", place)
            continue
        is_refused = False
        if any("emptyDir" in volume for volume in pod["spec"].get("volumes") or []) and not is_over:
            if options["delete_emptydir_data"]:
                warned.add(f"deleting {_LOCAL}", place)
            else:
                refused.add(f"cannot delete {_LOCAL} (use --delete-emptydir-data to override)", place)
                is_refused = True
        if not owner and not is_over and not is_refused:
            if options["force"]:
                warned.add(f"deleting {_FORCED}", place)
            else:
                refused.add(f"cannot delete {_FORCED} (use --force to override)", place)
                is_refused = True
        if not is_refused:
            allowed.append(pod)
    if refused.places:
        raise CommandError(
            f'unable to drain node "{node}" due to error: {refused.text()}',
            hint=f"no Pod was touched; `localset uncordon {node}` lets Pods come again",
        )
    return allowed, warned.text()


class _Reasons:
    """Places by reason, in kubectl's form."""

    def __init__(self) -> None:
        self.places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        self.places.setdefault(reason, []).append(place)

    def text(self) -> str:
        return "; ".join(f"{reason}: {', '.join(places)}" for reason, places in sorted(self.places.items()))


class _Drain:
    """Evicts Pods and waits until they have gone, told by a watch."""

    def __init__(self, context: Context, node: str, options: dict[str, Any]) -> None:
        self._context, self._node, self._options = context, node, options
        self._changes: queue.Queue[dict[str, Any] | Exception] = queue.Queue()
        self._deadline = time.monotonic() + options["timeout"] if options["timeout"] else None

    def run(self, pods: list[dict[str, Any]]) -> None:
        body = self._context.api.request("GET", path_of(_PODS, "")).body
        version = body["metadata"]["resourceVersion"]
        threading.Thread(target=self._follow, args=(version,), daemon=True).start()
        here = {item["metadata"]["uid"] for item in body["items"]}
        waiting = {pod["metadata"]["uid"]: pod for pod in pods if pod["metadata"]["uid"] in here}
        to_ask = {uid: pod for uid, pod in waiting.items() if not self._is_skipped(pod)}
        waiting = dict(to_ask)
        refusals: dict[str, str] = {}
        for pod in waiting.values():
            put(f"{self._verb()} pod {_place(pod)}")
        while waiting:
            to_ask = {uid: pod for uid, pod in to_ask.items() if uid in waiting and not self._ask(pod, refusals)}
            change = self._next(waiting, is_to_retry=bool(to_ask))
            if change is not None and change["type"] == "DELETED":
                gone = change["object"]["metadata"]
                if gone["uid"] in waiting:
                    del waiting[gone["uid"]]
                    put(f"pod/{gone['name']} {'deleted' if self._options['disable_eviction'] else 'evicted'}")

    def _verb(self) -> str:
        return "deleting" if self._options["disable_eviction"] else "evicting"

    def _is_skipped(self, pod: dict[str, Any]) -> bool:
        """Tell whether a Pod has been ending for longer than one is to wait for."""
        from datetime import timedelta

        from localset.base.clock import SystemClock, parse_rfc3339

        limit, ending = self._options["skip_wait_for_delete_timeout"], pod["metadata"].get("deletionTimestamp")
        return bool(limit and ending) and SystemClock().now() - parse_rfc3339(ending) > timedelta(seconds=limit)

    def _ask(self, pod: dict[str, Any], refusals: dict[str, str]) -> bool:
        """Evict one Pod; tell whether that is settled. A budget's refusal is said once."""
        metadata = pod["metadata"]
        options: dict[str, Any] = {"preconditions": {"uid": metadata["uid"]}}
        if self._options["grace_period"] >= 0:
            options["gracePeriodSeconds"] = self._options["grace_period"]
        path = path_of(_PODS, metadata["namespace"], metadata["name"])
        try:
            if self._options["disable_eviction"]:
                self._context.api.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})
            else:
                body = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
                    "deleteOptions": options,
                }
                self._context.api.request("POST", f"{path}/eviction", body)
        except StatusError as error:
            if error.code == 429:
                if refusals.get(metadata["uid"]) != error.message:
                    refusals[metadata["uid"]] = error.message
                    say(f"error when evicting pods/\"{metadata['name']}\" -n \"{metadata['namespace']}\" "
                        f"(will retry after {RETRY_SECONDS:.0f}s): {error.message}")  # fmt: skip
                return False
            if error.code not in {404, 409}:
                raise
        return True

    def _next(self, waiting: dict[str, Any], *, is_to_retry: bool) -> dict[str, Any] | None:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            names = ", ".join(sorted(_place(pod) for pod in waiting.values()))
            fail(
                f'unable to drain node "{self._node}" due to error: '
                f"global timeout reached: {self._options['timeout']:g}s",
                hint=f"still there: {names}",
            )
        limits = [t for t in (left, RETRY_SECONDS if is_to_retry else None) if t is not None]
        try:
            change = self._changes.get(timeout=min(limits) if limits else None)
        except queue.Empty:
            return None
        if isinstance(change, Exception):
            raise change
        return change

    def _follow(self, version: str) -> None:
        api = Api(self._context.api.socket_path)
        try:
            for event in api.watch(path_of(_PODS, ""), query={"resourceVersion": version}):
                self._changes.put(event)
            self._changes.put(ConnectionError("the watch ended"))
        except (StatusError, OSError) as error:
            self._changes.put(error)


def _place(pod: dict[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
