"""`start`, `stop` and `restart` of a set or of one ordinal, in the terms that StatefulSets have.

To stop a set is to scale it to 0; an annotation remembers how many there were, and `start` scales back. A StatefulSet
has every ordinal between its first and its last, so of single ordinals only those two can be stopped: the last by one
replica less, the first by `spec.ordinals.start` one higher. To restart an ordinal is to delete its Pod. Claims, and so
data, are never touched: where a set's own policy would delete them at a scale-down, `stop` refuses.
"""

import time
from typing import Any

import click

from localset.apis.pods import is_running_and_ready
from localset.apis.statefulsets import pod_name, start_ordinal
from localset.apis.views import host_address_of
from localset.cli.board import Board
from localset.cli.context import Context
from localset.cli.durations import DURATION
from localset.cli.output import fail, put
from localset.cli.picture import REPLICAS_WHEN_STARTED
from localset.cli.pods import PODS
from localset.cli.sets import Meant, meant
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

START_WHEN_STARTED = "localset.dev/start-when-started"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"

_target = click.argument("target", metavar="SET[/ORDINAL]")
_namespace = click.option("-n", "--namespace", default="default", help="Namespace.")
_wait = click.option("--wait/--no-wait", "is_waiting", default=True, help="Wait until it is done.")
_timeout = click.option("--timeout", type=DURATION, default="5m", show_default=True, help="How long to wait at most.")


@click.command()
@_target
@_namespace
@_wait
@_timeout
@click.pass_obj
def stop(context: Context, target: str, namespace: str, timeout: float, *, is_waiting: bool) -> int:
    """End a set's Pods, or its first or last one; `start` brings them back, with their data."""
    this = meant(context, target, namespace)
    _refuse_to_lose_claims(this)
    ordinals = this.wanted
    if not ordinals or (this.ordinal is not None and this.ordinal not in ordinals):
        put(f"{this.label if this.ordinal is None else f'pod/{this.pod}'} is already stopped")
        return 0
    spec, told = _less(this)
    span = _span(this)
    remembered = {REPLICAS_WHEN_STARTED: str(len(span)), START_WHEN_STARTED: str(span[0])}
    this = this.patch(context, {"metadata": {"annotations": remembered}, "spec": spec})
    put(told)
    gone = [pod_name(this.name, n) for n in ordinals if n not in this.wanted]
    return _wait_until_gone(context, this, gone, timeout) if is_waiting else 0


def _refuse_to_lose_claims(this: Meant) -> None:
    policy = this.statefulset["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    if policy.get("whenScaled") == "Delete" and this.statefulset["spec"].get("volumeClaimTemplates"):
        fail(
            f"{this.label} says persistentVolumeClaimRetentionPolicy.whenScaled: Delete: to stop it would delete data",
            hint=f"set it to Retain first, or, if the data may go, `localset scale sts {this.name} --replicas=0`",
        )


def _span(this: Meant) -> range:
    """Return the ordinals of the set as it is when nothing is stopped: what an annotation remembers, if it still fits.

    It does not where somebody has scaled the set since.
    """
    known = this.statefulset["metadata"].get("annotations") or {}
    count, first = known.get(REPLICAS_WHEN_STARTED, ""), known.get(START_WHEN_STARTED, "0")
    now = this.wanted
    if not count.isdecimal() or not first.isdecimal():
        return now
    span = range(int(first), int(first) + int(count))
    return span if not now or (now[0] in span and now[-1] in span) else now


def _less(this: Meant) -> tuple[dict[str, Any], str]:
    """Return the change of the spec that stops what is meant, and what is said of it."""
    ordinals, label = this.wanted, this.label
    if this.ordinal is None:
        all_of_them = _replicas(len(_span(this)))
        return {"replicas": 0}, f"{label} stopped; `localset start {this.name}` runs {all_of_them} again"
    if this.ordinal not in {ordinals[0], ordinals[-1]}:
        fail(
            f"{this.pod} cannot be stopped alone: a StatefulSet has every ordinal between its first ({ordinals[0]}) "
            f"and its last ({ordinals[-1]})",
            hint=f"`localset restart {this.name}/{this.ordinal}` runs it anew, `localset stop {this.name}` stops all, "
            f"and `localset stop {this.name}/{ordinals[-1]}` the last one",
        )
    count = len(ordinals) - 1
    if this.ordinal == ordinals[-1]:
        return {"replicas": count}, f"{label} scaled to {count}: {this.pod} was the last ordinal; its claims stay"
    told = f"{label} begins with ordinal {this.ordinal + 1}: {this.pod} was the first; its claims stay"
    return {"replicas": count, "ordinals": {"start": this.ordinal + 1}}, told


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


@click.command()
@_target
@_namespace
@_wait
@_timeout
@click.pass_obj
def start(context: Context, target: str, namespace: str, timeout: float, *, is_waiting: bool) -> int:
    """Bring a stopped set back, or those of its ordinals up to the one that is named."""
    this = meant(context, target, namespace)
    span, wanted = _span(this), this.wanted
    if not span:
        fail(
            f"{this.label} was not stopped by localset, so nobody knows how many replicas to start",
            hint=f"`localset scale sts {this.name} --replicas=N`",
        )
    first, last = span[0], span[-1]
    if this.ordinal is not None:
        if this.ordinal not in span:
            fail(
                f"{this.pod} is none of the {_replicas(len(span))} that {this.label} has when it is started",
                hint=f"`localset scale sts {this.name} --replicas={this.ordinal + 1 - first}` makes more",
            )
        first = min(this.ordinal, wanted[0] if wanted else first)
        last = max(this.ordinal, wanted[-1] if wanted else this.ordinal)
    if wanted and (first, last) == (wanted[0], wanted[-1]):
        put(f"{this.label if this.ordinal is None else f'pod/{this.pod}'} is already started")
        return 0
    is_whole = (first, last) == (span[0], span[-1])
    forgotten = dict.fromkeys((REPLICAS_WHEN_STARTED, START_WHEN_STARTED)) if is_whole else {}
    spec: dict[str, Any] = {"replicas": last + 1 - first}
    if first != start_ordinal(this.statefulset):
        spec["ordinals"] = {"start": first} if first else None
    this = this.patch(context, {"metadata": {"annotations": forgotten}, "spec": spec})
    put(f"{this.label} started with {_replicas(last + 1 - first)}")
    if not is_waiting:
        return 0
    from localset.cli.progress import wait_until_ready

    return wait_until_ready(context, [(this.namespace, this.name)], timeout)


@click.command()
@_target
@_namespace
@_wait
@_timeout
@click.pass_obj
def restart(context: Context, target: str, namespace: str, timeout: float, *, is_waiting: bool) -> int:
    """Run a set's Pods anew, one after another from the last, or one ordinal's; data stays."""
    this = meant(context, target, namespace)
    if not this.wanted or (this.ordinal is not None and this.ordinal not in this.wanted):
        fail(f"{this.label if this.ordinal is None else f'pod/{this.pod}'} is stopped", hint=f"localset start {target}")
    deadline = time.monotonic() + timeout
    if this.ordinal is not None:
        _renew(context, this, this.pod, deadline, is_waiting=is_waiting)
        return 0
    strategy = this.statefulset["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        put(f"{this.label} updates its Pods when they are deleted (OnDelete): each is deleted, from the last")
        for ordinal in reversed(this.wanted):
            _renew(context, this, pod_name(this.name, ordinal), deadline, is_waiting=True)
        return 0
    from localset.base.clock import SystemClock, rfc3339

    now = {"metadata": {"annotations": {RESTARTED_AT: rfc3339(SystemClock().now())}}}
    this = this.patch(context, {"spec": {"template": now}})
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    less = f"; its partition spares the ordinals below {partition}" if partition > this.wanted[0] else ""
    put(f"{this.label} restarted, one Pod after another from the last{less}")
    return _wait_until_rolled(context, this, partition, deadline) if is_waiting else 0


def _renew(context: Context, this: Meant, pod: str, deadline: float, *, is_waiting: bool) -> None:
    """Delete a Pod; its set makes it again. Wait until that one is Ready."""
    board = Board(context, this.namespace)
    old = board.find_pod(this.namespace, pod)
    uid = old["metadata"]["uid"] if old else ""
    if old is not None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        try:
            context.api.request("DELETE", path_of(PODS, this.namespace, pod), body)
        except StatusError as error:
            if error.code not in {404, 409}:
                raise
    put(f'pod "{pod}" deleted; {this.label} makes it again')
    if is_waiting:
        wait_until_renewed(board, this, pod, uid, deadline)


def wait_until_renewed(board: Board, this: Meant, pod: str, uid: str, deadline: float) -> None:
    """Wait until a Pod of another uid is Ready under this name, and say so; fails at `deadline` with the reason."""
    while True:
        found = board.find_pod(this.namespace, pod)
        if found is not None and found["metadata"]["uid"] != uid and is_running_and_ready(found):
            put(f"pod/{pod} is ready, {host_address_of(found)}")
            return
        if not board.wait(deadline - time.monotonic()):
            _fail_late(board, this, [pod])


def _wait_until_gone(context: Context, this: Meant, pods: list[str], timeout: float) -> int:
    board = Board(context, this.namespace)
    deadline = time.monotonic() + timeout
    left = list(pods)
    while True:
        for pod in [pod for pod in reversed(left) if board.find_pod(this.namespace, pod) is None]:
            left.remove(pod)
            put(f"pod/{pod} has ended")
        if not left:
            return 0
        if not board.wait(deadline - time.monotonic()):
            fail(f"not within the time given: {', '.join(left)} still there", hint="--timeout=10m waits longer")


def _wait_until_rolled(context: Context, this: Meant, partition: int, deadline: float) -> int:
    board = Board(context, this.namespace)
    shown: set[str] = set()
    while True:
        live = board.find_set(this.namespace, this.name) or this.statefulset
        newest = (live.get("status") or {}).get("updateRevision")
        is_seen = (live.get("status") or {}).get("observedGeneration", 0) >= this.statefulset["metadata"]["generation"]
        waiting = []
        for ordinal in reversed(this.wanted):
            if ordinal < partition:
                continue
            pod = board.find_pod(this.namespace, pod_name(this.name, ordinal))
            labels = (pod["metadata"].get("labels") or {}) if pod else {}
            name = pod_name(this.name, ordinal)
            if pod is None or labels.get("controller-revision-hash") != newest or not is_running_and_ready(pod):
                waiting.append(name)
            elif is_seen and name not in shown:
                shown.add(name)
                put(f"pod/{name} is ready, {host_address_of(pod)}")
        if is_seen and not waiting:
            return 0
        if not board.wait(deadline - time.monotonic()):
            _fail_late(board, this, waiting)


def _fail_late(board: Board, this: Meant, pods: list[str]) -> None:
    from localset.cli.reasons import reason_of

    for name in pods:
        pod = board.find_pod(this.namespace, name)
        why = reason_of(pod, board.events) if pod else "not there"
        fail(f"{name} is not ready within the time given: {why or 'its update has not begun'}", hint="--timeout=10m")
