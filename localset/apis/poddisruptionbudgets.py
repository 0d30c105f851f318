"""PodDisruptionBudgets: conversion of the old empty selector, validation. Pure."""

import re

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value
from localset.machinery.metadata import Object, copy_of

# policy/v1beta1 `{}` matches nothing, policy/v1 `{}` everything: upstream stores the old form as this expression.
_OLD_EMPTY = {
    "matchExpressions": [{"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}]
}


def to_storage(obj: Object, version: str) -> None:
    """Convert from `version` in place."""
    spec = obj.setdefault("spec", {})
    selector = spec.get("selector")
    if version == "v1beta1" and selector is not None and not any(selector.values()):
        spec["selector"] = copy_of(_OLD_EMPTY)


def from_storage(obj: Object, version: str) -> None:
    """Convert to `version` in place."""
    spec = obj.get("spec") or {}
    if version == "v1beta1" and spec.get("selector") == _OLD_EMPTY:
        spec["selector"] = {}


class BudgetStrategy(Strategy):
    """PodDisruptionBudgets."""

    counts_generation = True
    allows_unconditional_update = False

    def prepare_create(self, obj: Object) -> None:
        """The counters are always serialized."""
        super().prepare_create(obj)
        obj["status"] = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Exactly one of the two numbers, in range."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            causes.append(bad_value("spec", "", "minAvailable and maxUnavailable cannot be both set"))
        for field in ("minAvailable", "maxUnavailable"):
            value = spec.get(field)
            if isinstance(value, int) and value < 0:
                causes.append(bad_value(f"spec.{field}", value, "must be greater than or equal to 0"))
            elif isinstance(value, str):
                match = re.fullmatch(r"([0-9]+)%", value)
                if match is None:
                    why = "a valid percent string must be a numeric string followed by an ending '%'"
                    causes.append(bad_value(f"spec.{field}", value, why))
                elif int(match.group(1)) > 100:
                    causes.append(bad_value(f"spec.{field}", value, "must not be greater than 100%"))
        return causes
