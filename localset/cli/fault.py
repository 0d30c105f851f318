"""`fault`: what goes wrong on purpose. Puts annotations on Pods (`apis.faults`); the daemon does the rest.

Each command waits for the event by which the daemon answers; it never acts on a process itself.
"""

import time
from datetime import timedelta
from typing import Any

import click

from localset.apis.faults import (
    CUT,
    DELAY,
    FILL,
    FREEZE,
    KILL,
    LOSS,
    NETWORK,
    PREFIX,
    Fault,
    FaultError,
    annotated,
    parse,
)
from localset.cli.board import Board
from localset.cli.context import Context
from localset.cli.durations import DURATION
from localset.cli.output import fail, print_rows, put, to_json
from localset.cli.pods import PODS, parse_target, pod_meant
from localset.cli.transport import path_of
from localset.machinery.durations import human_duration

_MERGE = "application/merge-patch+json"
_ANSWER_SECONDS = 10.0

_target = click.argument("targets", metavar="TARGET…", nargs=-1, required=True)
_namespace = click.option("-n", "--namespace", default="default", help="Namespace.")
_for = click.option("--for", "seconds", type=DURATION, default=None, help="Heal by itself after this time.")


@click.group()
@click.pass_context
def fault(ctx: click.Context) -> None:
    """Let something go wrong on purpose, see what is wrong, and heal it.

    TARGET is a Pod's name or SET/ORDINAL. The Pod's events tell each fault; it ends with the Pod at the latest.
    """
    # click looks for a command's defaults one floor deeper in each group: the remembered namespace is for all of these.
    ctx.default_map = (
        dict.fromkeys(ctx.command.commands, ctx.default_map) if isinstance(ctx.command, click.Group) else None
    )


@fault.command()
@_target
@_namespace
@click.option("-c", "--container", default="", help="Only this container.")
@click.pass_obj
def kill(context: Context, targets: tuple[str, ...], namespace: str, container: str) -> int:
    """Kill the containers' processes with SIGKILL, as an accident would."""
    return _put_on(context, targets, namespace, KILL, {"container": container})


@fault.command()
@_target
@_namespace
@_for
@click.pass_obj
def freeze(context: Context, targets: tuple[str, ...], namespace: str, seconds: float | None) -> int:
    """Stop every process of a Pod where it stands (SIGSTOP), as a long pause of a virtual machine does."""
    return _put_on(context, targets, namespace, FREEZE, {}, seconds)


@fault.command()
@_target
@_namespace
@click.option("--volume", default="", help="Only this volume.")
@click.pass_obj
def fill(context: Context, targets: tuple[str, ...], namespace: str, volume: str) -> int:
    """Fill a Pod's size-limited emptyDir beyond its limit; the Pod is evicted, as in Kubernetes."""
    return _put_on(context, targets, namespace, FILL, {"volume": volume})


@fault.command()
@_target
@_namespace
@_for
@click.option("--from", "peers", default="", metavar="POD,…", help="The Pods to be cut from. Default: all.")
@click.pass_obj
def cut(context: Context, targets: tuple[str, ...], namespace: str, peers: str, seconds: float | None) -> int:
    """Cut a Pod from other Pods, both ways, in silence. The host, its probes and DNS still reach it."""
    names = [parse_target(word)[1] for word in peers.split(",") if word]
    for name in names:
        context.get(PODS, namespace, name)
    return _put_on(context, targets, namespace, CUT, {"from": ",".join(names)}, seconds)


@fault.command()
@click.argument("target")
@click.argument("percent", type=click.FloatRange(0, 100, min_open=True))
@_namespace
@_for
@click.pass_obj
def loss(context: Context, target: str, percent: float, namespace: str, seconds: float | None) -> int:
    """Lose PERCENT of the packets that a Pod sends."""
    return _put_on(context, (target,), namespace, LOSS, {"percent": f"{percent:g}"}, seconds)


@fault.command()
@click.argument("target")
@click.argument("delay", metavar="TIME")
@click.option("--jitter", default="", help="Vary it by as much.")
@_namespace
@_for
@click.pass_obj
def delay(context: Context, target: str, delay: str, jitter: str, namespace: str, seconds: float | None) -> int:
    """Delay the packets that a Pod sends by TIME, for example 100ms."""
    return _put_on(context, (target,), namespace, DELAY, {"time": delay, "jitter": jitter}, seconds)


@fault.command(name="list")
@_namespace
@click.option("-A", "--all-namespaces", "is_all", is_flag=True, help="Of every namespace.")
@click.option("-o", "--output", default="", help="json.")
@click.pass_obj
def list_(context: Context, namespace: str, output: str, *, is_all: bool) -> int:
    """List the faults that are in force or asked for."""
    found = _faults(context, "" if is_all else namespace)
    if output == "json":
        rows = [{"namespace": n, "pod": p, "kind": f.kind, **f.words} for n, p, f in found]
        put(to_json(rows))
        return 0
    if output:
        fail(f'unknown output format "{output}"', hint="json")
    if not found:
        put("No faults")
        return 0
    header: list[str] = ["NAME", "POD", "FAULT", "STATE", "ENDS"]
    table = [
        [f"{pod}.{f.kind}", pod, f.about, "in force" if f.is_in_force else "asked for", _ends(f)] for _, pod, f in found
    ]
    if is_all:
        header.insert(0, "NAMESPACE")
        table = [[home, *row] for (home, _, _), row in zip(found, table, strict=True)]
    print_rows(header, table)
    return 0


def _ends(fault: Fault) -> str:
    end = fault.ends_at()
    if end is None:
        return f"after {fault.words['for']}" if "for" in fault.words else "at heal"
    from localset.base.clock import SystemClock

    return f"in {human_duration(max(end - SystemClock().now(), timedelta(0)))}"


def _faults(context: Context, namespace: str) -> list[tuple[str, str, Fault]]:
    found = []
    for pod in context.items(PODS, namespace):
        for kind, text in sorted(annotated(pod).items()):
            try:
                found.append((pod["metadata"]["namespace"], pod["metadata"]["name"], parse(kind, text)))
            except FaultError:
                continue
    return found


@fault.command()
@click.argument("targets", metavar="[TARGET|NAME]…", nargs=-1)
@_namespace
@click.pass_obj
def heal(context: Context, targets: tuple[str, ...], namespace: str) -> int:
    """End the faults of a Pod, one by its NAME as `fault list` shows it (zk-0.freeze), or all of the namespace."""
    found = _faults(context, namespace)
    chosen = found if not targets else []
    for word in targets:
        name = parse_target(word)[1]
        these = [entry for entry in found if name in {entry[1], f"{entry[1]}.{entry[2].kind}"}]
        if not these:
            fail(f"{word} has no fault", hint="`localset fault list` shows what is wrong")
        chosen += [entry for entry in these if entry not in chosen]
    if not chosen:
        put("No faults")
    answers = Answers(context, namespace)
    for home, pod, this in chosen:
        change = {"metadata": {"annotations": {PREFIX + this.kind: None}}}
        written = context.api.request("PATCH", path_of(PODS, home, pod), change, content_type=_MERGE).body
        put(f"pod/{pod}: {answers.wait(written) or 'no longer asked for'}")
    return 0


def _put_on(
    context: Context,
    targets: tuple[str, ...],
    namespace: str,
    kind: str,
    words: dict[str, str],
    seconds: float | None = None,
) -> int:
    text = " ".join(f"{key}={value}" for key, value in words.items() if value)
    if seconds is not None:
        text += f" for={seconds:g}s"
    try:
        asked = parse(kind, text)
    except FaultError as error:
        fail(str(error))
    if kind in NETWORK:
        _refuse_without_network(context, kind)
    answers = Answers(context, namespace)
    for word in targets:
        pod = pod_meant(context, word, namespace, is_told=True)
        name, home = pod["metadata"]["name"], pod["metadata"]["namespace"]
        change = {"metadata": {"uid": pod["metadata"]["uid"], "annotations": {PREFIX + kind: asked.text}}}
        context.api.request("PATCH", path_of(PODS, home, name), change, content_type=_MERGE)
        put(f"pod/{name}: {answers.wait(pod) or 'asked for; in force once a process of it runs'}")
    return 0


def _refuse_without_network(context: Context, kind: str) -> None:
    level = context.api.request("GET", "/localset/v1/status").body["isolation"]
    if level != "namespaces":
        fail(
            f"{kind} needs Pods with a network of their own, and this data directory runs at level {level}",
            hint="`localset doctor` says whether this machine allows it; then `localset down` and "
            "`localset up --isolation=namespaces`. freeze, kill and fill work at every level",
        )


class Answers:
    """What the daemon tells of faults from now on, by events."""

    def __init__(self, context: Context, namespace: str) -> None:
        """Know what has been told before."""
        self._board = Board(context, namespace)
        self._seen = {_told(event) for event in self._board.events}

    def wait(self, pod: dict[str, Any]) -> str:
        """Return the next word on the Pod, "" if none comes in time; fails when it is a refusal."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            for event in self._board.events:
                is_its = event["involvedObject"].get("uid") == pod["metadata"]["uid"]
                if is_its and event.get("reason", "").startswith("Fault") and _told(event) not in self._seen:
                    self._seen.add(_told(event))
                    if event["reason"] == "FaultRefused":
                        fail(event["message"], hint="`localset doctor` says what this machine allows")
                    return str(event["message"])
            if not self._board.wait(deadline - time.monotonic()):
                return ""


def _told(event: dict[str, Any]) -> tuple[str, int]:
    return event["metadata"]["uid"], event.get("count") or 1
