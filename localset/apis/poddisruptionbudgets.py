"""PodDisruptionBudgets: conversion of the old empty selector, validation. Pure."""

import re
from typing import Any

from localset.apis.selectors import selector_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_supported
from localset.machinery.metadata import Object

# policy/v1beta1 `{}` matches nothing, policy/v1 `{}` everything. Upstream says each in the other's words by a label
# that no Pod has (pkg/apis/policy/v1beta1/conversion.go); kubectl shows the same texts.
_MARK = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
_PERCENT = re.compile(r"[0-9]+%\Z", re.ASCII)
_NO_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_POLICIES = ["AlwaysAllow", "IfHealthyBudget"]


def _marked(operator: str) -> Object:
    return {"matchExpressions": [{"key": _MARK, "operator": operator}]}


def _is_empty(selector: Any) -> bool:
    return isinstance(selector, dict) and not any(selector.values())


def to_storage(obj: Object, version: str) -> None:
    """Convert from `version` in place."""
    spec = obj.setdefault("spec", {})
    if version != "v1beta1":
        return
    if _is_empty(spec.get("selector")):
        spec["selector"] = _marked("Exists")
    elif spec.get("selector") == _marked("DoesNotExist"):
        spec["selector"] = {}


def from_storage(obj: Object, version: str) -> None:
    """Convert to `version` in place."""
    spec = obj.get("spec") or {}
    if version != "v1beta1":
        return
    if spec.get("selector") == _marked("Exists"):
        spec["selector"] = {}
    elif _is_empty(spec.get("selector")):
        spec["selector"] = _marked("DoesNotExist")


class BudgetStrategy(Strategy):
    """PodDisruptionBudgets."""

    counts_generation = True
    allows_unconditional_update = False

    def prepare_create(self, obj: Object) -> None:
        """The counters are always serialized."""
        super().prepare_create(obj)
        obj["status"] = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """At most one of the two numbers, in range. Source: ValidatePodDisruptionBudgetSpec."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            causes.append(bad_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
        for field in ("minAvailable", "maxUnavailable"):
            causes += _amount_causes(spec.get(field), f"spec.{field}")
        if spec.get("selector") is not None:
            causes += selector_causes(spec["selector"], "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None and policy not in _POLICIES:
            causes.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _POLICIES))
        return causes

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """No counter is negative."""
        del old
        status = new.get("status") or {}
        fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        return [
            bad_value(f"status.{field}", status[field], "must be greater than or equal to 0")
            for field in fields
            if (status.get(field) or 0) < 0
        ]


def _amount_causes(value: Any, path: str) -> list[Cause]:
    if isinstance(value, int):
        return [] if value >= 0 else [bad_value(path, value, "must be greater than or equal to 0")]
    if isinstance(value, str):
        if not _PERCENT.match(value):
            return [bad_value(path, value, _NO_PERCENT)]
        if len(value) > 10 or int(value[:-1]) > 100:
            return [bad_value(path, value, "must not be greater than 100%")]
    return []
