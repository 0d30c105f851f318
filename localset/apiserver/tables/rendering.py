"""From objects to the wire form of a Table or of PartialObjectMetadata.

Called by `presentation` for answers and watch events. Pure: `now` is handed in, objects are not changed.
"""

from datetime import datetime
from typing import Any

from localset.apis.resources import Resource
from localset.apiserver.tables import cluster, events, pods, policies, refused, services, storage, workloads
from localset.apiserver.tables.columns import AGE, NAME, Column, Printer, age, name
from localset.base.clock import parse_rfc3339
from localset.machinery.durations import human_duration
from localset.machinery.metadata import Object

PRINTERS: dict[str, Printer] = {
    **pods.PRINTERS,
    **workloads.PRINTERS,
    **services.PRINTERS,
    **storage.PRINTERS,
    **cluster.PRINTERS,
    **events.PRINTERS,
    **policies.PRINTERS,
    **refused.PRINTERS,
}
FALLBACK = Printer((NAME, AGE), lambda obj, now: [name(obj), age(obj, now)])
META_GROUP = "meta.k8s.io"


def printer_of(resource: Resource, api_version: str) -> Printer:
    """Return how the objects of a resource are shown in rows; custom resources say so themselves, for each version."""
    if resource.definition is None:
        return PRINTERS.get(resource.name, FALLBACK)
    own = resource.definition.version(api_version.rpartition("/")[2]).columns
    columns = tuple(Column(c.name, c.type, c.format, c.priority, c.description) for c in own)

    def cells(obj: Object, now: datetime) -> list[Any]:
        return [name(obj), *(column.cell(obj, lambda text: _age_of(text, now)) for column in own)]

    return Printer((NAME, *columns), cells)


def _age_of(text: str, now: datetime) -> str:
    try:
        return human_duration(now - parse_rfc3339(text))
    except ValueError:
        return "<invalid>"


def partial_metadata(obj: Object, version: str) -> Object:
    """Return the PartialObjectMetadata of `obj` in `meta.k8s.io/<version>`."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{META_GROUP}/{version}",
        "metadata": obj.get("metadata") or {},
    }


def row(printer: Printer, obj: Object, now: datetime, include: str, version: str) -> dict[str, Any]:
    """Return one row; `include` is `None`, `Metadata` or `Object`, as the query parameter says."""
    made: dict[str, Any] = {"cells": printer.cells(obj, now)}
    conditions = printer.conditions(obj) if printer.conditions else []
    if conditions:
        made["conditions"] = conditions
    if include == "Object":
        made["object"] = obj
    else:
        made["object"] = None if include == "None" else partial_metadata(obj, version)
    return made


def table(  # noqa: PLR0913 - a Table depends on all of these
    resource_name: str,
    objects: list[Object],
    metadata: dict[str, Any],
    now: datetime,
    *,
    include: str = "Metadata",
    version: str = "v1",
    with_columns: bool = True,
    printer: Printer | None = None,
) -> Object:
    """Return the Table of `objects`; columns are null when not wanted (all but the first event of a watch)."""
    printer = printer or PRINTERS.get(resource_name, FALLBACK)
    return {
        "kind": "Table",
        "apiVersion": f"{META_GROUP}/{version}",
        "metadata": metadata,
        "columnDefinitions": [column.to_json() for column in printer.columns] if with_columns else None,
        "rows": [row(printer, obj, now, include, version) for obj in objects],
    }
