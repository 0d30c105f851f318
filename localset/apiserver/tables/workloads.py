"""Rows of StatefulSet, ControllerRevision and PodDisruptionBudget."""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import AGE, NAME, NONE, Column, Printer, age, items, name, part, wide
from localset.machinery.metadata import Object, controller_of


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")
    containers = items(part(part(spec, "template"), "spec"), "containers")
    return [
        name(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        age(obj, now),
        ",".join(str(c.get("name", "")) for c in containers),
        ",".join(str(c.get("image", "")) for c in containers),
    ]


def _controller_revision(obj: Object, now: datetime) -> list[Any]:
    owner = controller_of(obj)
    controller = NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        kind = owner["kind"].lower()
        controller = f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return [name(obj), controller, obj.get("revision") or 0, age(obj, now)]


def _budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = part(obj, "spec"), part(obj, "status")

    def bound(key: str) -> str:
        return "N/A" if spec.get(key) is None else str(spec[key])

    return [
        name(obj),
        bound("minAvailable"),
        bound("maxUnavailable"),
        status.get("disruptionsAllowed") or 0,
        age(obj, now),
    ]


PRINTERS = {
    "statefulsets.apps": Printer(
        (NAME, Column("Ready", description="Ready replicas, of all wanted."), AGE, wide("Containers"), wide("Images")),
        _stateful_set,
    ),
    "controllerrevisions.apps": Printer((NAME, Column("Controller"), Column("Revision"), AGE), _controller_revision),
    "poddisruptionbudgets.policy": Printer(
        (
            NAME,
            Column("Min Available"),
            Column("Max Unavailable"),
            Column("Allowed Disruptions", "integer", description="Pods that may be evicted now."),
            AGE,
        ),
        _budget,
    ),
}
