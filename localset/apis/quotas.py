"""ResourceQuota, LimitRange, PodTemplate and HorizontalPodAutoscaler: stored and checked, never acted on. Pure."""

from typing import Any

from localset.apis.poddefaults import default_pod_template
from localset.apis.podspec import template_causes
from localset.apis.quantities import canonical_quantity
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, duplicate, not_allowed, not_supported, required
from localset.machinery.metadata import Object, copy_of
from localset.machinery.names import path_segment, qualified_name
from localset.machinery.quantity import parse_quantity

_SCOPES = [
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
]  # fmt: skip
_METRICS = ["ContainerResource", "External", "Object", "Pods", "Resource"]


def _quantities(amounts: Object | None, path: str) -> list[Cause]:
    """Return complaints about a map from resource names to amounts."""
    causes: list[Cause] = []
    for name, amount in (amounts or {}).items():
        at = f"{path}[{name}]"
        causes += [bad_value(at, name, why) for why in qualified_name(name)]
        if parse_quantity(str(amount)) < 0:
            causes.append(bad_value(at, amount, "must be greater than or equal to 0"))
    return causes


class ResourceQuotaStrategy(Strategy):
    """ResourceQuotas: the status stays empty, since nothing is counted."""

    def prepare_create(self, obj: Object) -> None:
        """The status is always serialized."""
        super().prepare_create(obj)
        obj["status"] = {}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check amounts and scopes. Source: ValidateResourceQuotaSpec."""
        spec = obj.get("spec") or {}
        causes = _quantities(spec.get("hard"), "spec.hard")
        wrong = [scope for scope in spec.get("scopes") or [] if scope not in _SCOPES]
        if wrong:
            causes.append(bad_value("spec.scopes", spec["scopes"], "unsupported scope"))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Scopes are fixed."""
        before, after = ((obj.get("spec") or {}).get("scopes") or [] for obj in (old, new))
        return [] if set(before) == set(after) else [bad_value("spec.scopes", after, "field is immutable")]


def default_resource_quota(quota: Object) -> None:
    """Spec and status are always serialized."""
    quota.setdefault("spec", {})
    quota.setdefault("status", {})


def default_limit_range(limits: Object) -> None:
    """Fill in what a container limit implies. Source: core/v1/defaults.go SetDefaults_LimitRangeItem."""
    for item in limits.setdefault("spec", {}).get("limits") or []:
        if item.get("type") != "Container":
            continue
        limit, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
        for source, target in ((item.get("max"), limit), (limit, request), (item.get("min"), request)):
            for name, amount in (source or {}).items():
                target.setdefault(name, amount)
        for field, amounts in (("default", limit), ("defaultRequest", request)):
            if amounts:
                item[field] = amounts


class LimitRangeStrategy(Strategy):
    """LimitRanges."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check types and that the amounts agree. Source: ValidateLimitRange."""
        causes: list[Cause] = []
        seen: set[str] = set()
        for i, item in enumerate((obj.get("spec") or {}).get("limits") or []):
            path, kind = f"spec.limits[{i}]", item.get("type") or ""
            causes += [bad_value(f"{path}.type", kind, why) for why in qualified_name(kind)]
            if kind in seen:
                causes.append(duplicate(f"{path}.type", kind))
            seen.add(kind)
            for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
                if kind == "Pod" and field.startswith("default") and item.get(field):
                    causes.append(not_allowed(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
                causes += _quantities(item.get(field), f"{path}.{field}")
            if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(f) or {}) for f in ("min", "max")):
                why = "either minimum or maximum storage value is required, but neither was provided"
                causes.append(required(f"{path}.limits", why))
            causes += _order_causes(item, path)
        return causes


_ORDER = (
    ("min", "min", "max", "max"),
    ("min", "min", "defaultRequest", "default request"),
    ("defaultRequest", "default request", "max", "max"),
    ("defaultRequest", "default request", "default", "default limit"),
    ("min", "min", "default", "default"),
    ("default", "default", "max", "max"),
)
"""Which amount may not exceed which, with upstream's words for both."""


def _order_causes(item: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for low, low_word, high, high_word in _ORDER:
        for name, amount in (item.get(low) or {}).items():
            other = (item.get(high) or {}).get(name)
            if other is not None and parse_quantity(str(amount)) > parse_quantity(str(other)):
                shown = canonical_quantity(str(amount)), canonical_quantity(str(other))
                at = low if low_word != "min" or high_word == "max" else high
                value = (item.get(at) or {})[name]
                why = f"{low_word} value {shown[0]} is greater than {high_word} value {shown[1]}"
                causes.append(bad_value(f"{path}.{at}[{name}]", value, why))
    return causes


def default_template(obj: Object) -> None:
    """Fill in a PodTemplate's template."""
    default_pod_template(obj.setdefault("template", {}))


class PodTemplateStrategy(Strategy):
    """PodTemplates: nothing makes Pods from them, here as anywhere."""

    counts_generation = True

    def content(self, obj: Object) -> Any:
        """The template counts."""
        return obj.get("template")

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the template."""
        return template_causes(obj.get("template") or {}, "template", set())


def default_autoscaler(autoscaler: Object) -> None:
    """One replica at least, 80 % of the CPU. Source: autoscaling/v2/defaults.go."""
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    for field, value in (("currentMetrics", None), ("desiredReplicas", 0)):
        autoscaler.setdefault("status", {}).setdefault(field, value)


class AutoscalerStrategy(Strategy):
    """HorizontalPodAutoscalers."""

    def prepare_create(self, obj: Object) -> None:
        """The status is always serialized."""
        obj["status"] = {"currentMetrics": None, "desiredReplicas": 0}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check replicas, target and metrics. Source: validateHorizontalPodAutoscalerSpec."""
        spec = obj.get("spec") or {}
        least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
        causes: list[Cause] = []
        if least is not None and least < 1:
            causes.append(bad_value("spec.minReplicas", least, "must be greater than or equal to 1"))
        if most < 1:
            causes.append(bad_value("spec.maxReplicas", most, "must be greater than 0"))
        if least is not None and most < least:
            causes.append(bad_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
        target = spec.get("scaleTargetRef") or {}
        for field in ("kind", "name"):
            value, path = str(target.get(field) or ""), f"spec.scaleTargetRef.{field}"
            causes += [bad_value(path, value, why) for why in path_segment(value)] if value else [required(path)]
        for i, metric in enumerate(spec.get("metrics") or []):
            if metric.get("type") not in _METRICS:
                causes.append(not_supported(f"spec.metrics[{i}].type", metric.get("type", ""), _METRICS))
        return causes

    def prepare_update(self, new: Object, old: Object) -> None:
        """Keep the stored status."""
        new["status"] = copy_of(old.get("status") or {})
