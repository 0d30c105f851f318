"""`top`: what Pods and Nodes use now, as the daemon measures it when asked. Columns are kubectl's."""

from typing import Any

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.output import fail, put_padded, say
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError
from localset.machinery.quantity import parse_quantity

_METRICS = "/apis/metrics.k8s.io/v1beta1"
_SORTS = click.Choice(["cpu", "memory"])


@click.group()
def top() -> None:
    """Show what Pods and Nodes use: `top pod`, `top node`."""


@click.command()
@click.argument("name", required=False)
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--field-selector", default="", help="Field selector.")
@click.option("--containers", "has_containers", is_flag=True, help="A row for each container.")
@click.option("--sort-by", type=_SORTS, help="Greatest first.")
@click.option("--sum", "has_sum", is_flag=True, help="A last row with the sum.")
@click.option("--no-headers", is_flag=True, help="Rows only.")
@click.pass_obj
def pod(context: Context, /, name: str | None, **options: Any) -> int:
    """Show what Pods use: `top pod`, `top pod -l app=zk --containers`."""
    if name and (options["selector"] or options["field_selector"]):
        fail("only one of NAME or selector can be provided")
    namespace = "" if options["all_namespaces"] else options["namespace"]
    items = _measured(context, "pods", namespace, name, options)
    if not items:
        say("No resources found" + (f" in {namespace} namespace." if namespace else ""))
        return 0
    rows = _pod_rows(items, has_containers=options["has_containers"])
    _sort(rows, options["sort_by"])
    header = [*(["NAMESPACE"] if options["all_namespaces"] else []), *(["POD"] if options["has_containers"] else [])]
    header += ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    lines = [
        [*(cells if options["all_namespaces"] else cells[1:]), *_amounts(cpu, memory)] for cells, cpu, memory in rows
    ]
    if options["has_sum"]:
        blank = [""] * (len(header) - 3)
        lines.append([*blank, "", "________", "________"])
        lines.append([*blank, "", *_amounts(sum(r[1] for r in rows), sum(r[2] for r in rows))])
    put_padded(None if options["no_headers"] else header, lines)
    return 0


@click.command()
@click.argument("name", required=False)
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--sort-by", type=_SORTS, help="Greatest first.")
@click.option("--show-capacity", is_flag=True, help="Percent of the capacity, not of what Pods may have.")
@click.option("--no-headers", is_flag=True, help="Rows only.")
@click.pass_obj
def node(context: Context, /, name: str | None, **options: Any) -> int:
    """Show what Nodes use."""
    if name and options["selector"]:
        fail("only one of NAME or selector can be provided")
    items = _measured(context, "nodes", "", name, options)
    of = "capacity" if options["show_capacity"] else "allocatable"
    sizes = {n["metadata"]["name"]: n["status"].get(of) or {} for n in context.items(BY_NAME["nodes"], "")}
    rows = [([m["metadata"]["name"]], *_used(m["usage"])) for m in items]
    _sort(rows, options["sort_by"])
    lines = []
    for cells, cpu, memory in rows:
        size = sizes.get(cells[0], {})
        cores, bytes_ = _amounts(cpu, memory)
        lines.append([*cells, cores, _percent(cpu, size.get("cpu")), bytes_, _percent(memory, size.get("memory"))])
    put_padded(None if options["no_headers"] else ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], lines)
    return 0


def _measured(
    context: Context, plural: str, namespace: str, name: str | None, options: dict[str, Any]
) -> list[dict[str, Any]]:
    path = path_of(BY_NAME[plural], namespace, name or "")
    path = f"{_METRICS}/{path.removeprefix('/api/v1/')}"
    query = {"labelSelector": options["selector"], "fieldSelector": options.get("field_selector", "")}
    try:
        body = context.api.request("GET", path, query=query).body
    except StatusError as error:
        if error.code != 404 or not name:
            raise
        raise StatusError(404, "NotFound", f'{plural} "{name}" not found', {"kind": plural, "name": name}) from error
    return [body] if name else list(body["items"])


_Row = tuple[list[str], float, float]


def _pod_rows(items: list[dict[str, Any]], *, has_containers: bool) -> list[_Row]:
    rows: list[_Row] = []
    for item in sorted(items, key=lambda i: (i["metadata"].get("namespace", ""), i["metadata"]["name"])):
        place = [item["metadata"].get("namespace", ""), item["metadata"]["name"]]
        used = [(c["name"], *_used(c["usage"])) for c in item["containers"]]
        if has_containers:
            rows += [([*place, container], cpu, memory) for container, cpu, memory in used]
        else:
            rows.append((place, sum(u[1] for u in used), sum(u[2] for u in used)))
    return rows


def _used(usage: dict[str, str]) -> tuple[float, float]:
    return float(parse_quantity(usage["cpu"])), float(parse_quantity(usage["memory"]))


def _sort(rows: list[_Row], key: str | None) -> None:
    if key:
        rows.sort(key=lambda row: row[1] if key == "cpu" else row[2], reverse=True)


def _amounts(cpu: float, memory: float) -> list[str]:
    return [f"{round(cpu * 1000)}m", f"{int(memory / (1024 * 1024))}Mi"]


def _percent(used: float, of: str | None) -> str:
    size = float(parse_quantity(of)) if of else 0.0
    return f"{int(used / size * 100)}%" if size else "<unknown>"


for _command, _names in ((pod, ("pod", "pods", "po")), (node, ("node", "nodes", "no"))):
    for _name in _names:
        top.add_command(_command, _name)
