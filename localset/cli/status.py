"""`status`: the daemon, and a picture of every set."""

from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.ages import age_of
from localset.cli.context import Context
from localset.cli.output import fail, paint, print_rows, put, to_json
from localset.cli.reasons import ordinals


@click.command()
@click.option("-o", "--output", default="", help="json.")
@click.pass_obj
def status(context: Context, output: str) -> int:
    """Show the daemon, where it keeps its things, and every set with its ordinals."""
    facts = context.api.request("GET", "/localset/v1/status").body
    if output == "json":
        put(to_json(facts))
        return 0
    if output:
        fail(f'unknown output format "{output}"', hint="json")
    put(
        f"daemon          pid {facts['daemon']['pid']}, keeper pid {facts['keeper']['pid']}, version {facts['version']}"
    )
    put(f"data directory  {facts['dataDirectory']}")
    put(f"API socket      {facts['apiSocket']}")
    put(f"API server      {facts['apiServer']} (kubeconfig {facts['kubeconfig']})")
    put(f"isolation       {facts['isolation']}" + "".join(f" ({r})" for r in facts.get("isolationReasons") or []))
    dns = facts["dns"]
    put(f"DNS             {dns['address'] or dns.get('reason')}, zone {dns['zone']}")
    pods = context.items(BY_NAME["pods"], "")
    events = context.items(BY_NAME["events"], "")
    for statefulset in context.items(BY_NAME["statefulsets.apps"], ""):
        _picture(statefulset, pods, events)
    return 0


def _picture(statefulset: dict[str, Any], pods: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    metadata, spec = statefulset["metadata"], statefulset["spec"]
    counts = statefulset.get("status") or {}
    ready, wanted = counts.get("readyReplicas", 0), spec.get("replicas", 1)
    put("")
    title = f"{metadata['namespace']}/{metadata['name']}  {ready}/{wanted} ready"
    put(paint(title, "32" if ready == wanted else "33"))
    own = [pod for pod in pods if pod["metadata"]["namespace"] == metadata["namespace"]]
    rows = [_row(name, pod, reason) for name, pod, reason in ordinals(statefulset, own, events)]
    print_rows(["", "POD", "ADDRESS", "REVISION", "RESTARTS", "AGE", "WHY"], rows)


def _row(name: str, pod: dict[str, Any] | None, reason: str) -> list[str]:
    if pod is None:
        return ["○", name, "-", "-", "-", "-", reason]
    metadata, state = pod["metadata"], pod.get("status") or {}
    revision = (metadata.get("labels") or {}).get("controller-revision-hash", "-").rpartition("-")[2]
    restarts = sum(s.get("restartCount", 0) for s in state.get("containerStatuses") or [])
    mark = "◐" if reason else "●"
    return [
        mark,
        name,
        state.get("podIP") or "-",
        revision,
        str(restarts),
        age_of(metadata.get("creationTimestamp", "")),
        reason,
    ]
