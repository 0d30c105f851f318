"""Columns of the kinds that localset refuses: their lists are always empty, but still Tables."""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import AGE, NAME, Column, Printer, age, name, wide
from localset.machinery.metadata import Object

_TEMPLATE = (wide("Containers"), wide("Images"), wide("Selector"))


def _number(title: str) -> Column:
    return Column(title, "integer")


def _printer(*columns: Column) -> Printer:
    def cells(obj: Object, now: datetime) -> list[Any]:
        """Fill what every kind has; no object of these kinds is ever stored."""
        return [name(obj) if c is NAME else age(obj, now) if c is AGE else "" for c in columns]

    return Printer(columns, cells)


_REPLICAS = _printer(NAME, _number("Desired"), _number("Current"), _number("Ready"), AGE, *_TEMPLATE)
_WEBHOOKS = _printer(NAME, _number("Webhooks"), AGE)
PRINTERS = {
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "deployments.apps": _printer(NAME, Column("Ready"), Column("Up-to-date"), Column("Available"), AGE, *_TEMPLATE),
    "replicasets.apps": _REPLICAS,
    "replicationcontrollers": _REPLICAS,
    "daemonsets.apps": _printer(
        NAME,
        _number("Desired"),
        _number("Current"),
        _number("Ready"),
        _number("Up-to-date"),
        _number("Available"),
        Column("Node Selector"),
        AGE,
        *_TEMPLATE,
    ),
    "jobs.batch": _printer(NAME, Column("Status"), Column("Completions"), Column("Duration"), AGE, *_TEMPLATE),
    "cronjobs.batch": _printer(
        NAME,
        Column("Schedule"),
        Column("Timezone"),
        Column("Suspend", "boolean"),
        _number("Active"),
        Column("Last Schedule"),
        AGE,
        *_TEMPLATE,
    ),
}
