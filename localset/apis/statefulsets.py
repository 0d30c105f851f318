"""StatefulSets: names and ordinals, defaults per version, validation. Pure.

Source: statefulset-semantics.md 1; the message texts are interface.
"""

import re
from typing import Any

from localset.apis.poddefaults import default_pod_template
from localset.apis.podspec import template_causes, template_warnings
from localset.apis.selectors import selector_causes
from localset.apis.storage import default_claim
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, duplicate, not_allowed, not_supported, required
from localset.machinery.labels import selector_of
from localset.machinery.metadata import Object, copy_of, name_of
from localset.machinery.names import dns1123_label

_PARENT = re.compile(r"(.*)-([0-9]+)$", re.DOTALL)
_MAX_ORDINAL = 2**31 - 1
_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_FORBIDDEN_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def pod_name(set_name: str, ordinal: int) -> str:
    """Return `web-0`."""
    return f"{set_name}-{ordinal}"


def claim_name(template_name: str, set_name: str, ordinal: int) -> str:
    """Return `www-web-0`."""
    return f"{template_name}-{set_name}-{ordinal}"


def parent_and_ordinal(name: str) -> tuple[str, int]:
    """Return (`foo-1`, 0) for `foo-1-0`; ordinal -1 where the name has none or it overflows int32 (I15)."""
    match = _PARENT.fullmatch(name)
    if match is None:
        return "", -1
    ordinal = int(match.group(2)) if len(match.group(2)) <= 10 else _MAX_ORDINAL + 1
    return (match.group(1), ordinal) if ordinal <= _MAX_ORDINAL else (match.group(1), -1)


def start_ordinal(statefulset: Object) -> int:
    """Return spec.ordinals.start, 0 by default."""
    return int((statefulset["spec"].get("ordinals") or {}).get("start") or 0)


def replicas_of(statefulset: Object) -> int:
    """Return spec.replicas, 1 by default."""
    value = statefulset["spec"].get("replicas")
    return 1 if value is None else int(value)


def default_statefulset(obj: Object, version: str) -> None:
    """Fill in the defaults of `version` in place (semantics 1.2, 1.3)."""
    spec = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template_labels = (template.get("metadata") or {}).get("labels") or {}
    if version == "v1beta1":
        if spec.get("selector") is None and template_labels:
            spec["selector"] = {"matchLabels": copy_of(template_labels)}
        if not obj["metadata"].get("labels") and template_labels:
            obj["metadata"]["labels"] = copy_of(template_labels)
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "OnDelete" if version == "v1beta1" else "RollingUpdate"
        if version != "v1beta1" and strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {"partition": 0}
    if strategy.get("rollingUpdate") is not None and strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"].setdefault("partition", 0)
    spec.setdefault("serviceName", "")
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    policy.setdefault("whenDeleted", "Retain")
    policy.setdefault("whenScaled", "Retain")
    default_pod_template(template)
    for claim in spec.get("volumeClaimTemplates") or []:
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
        default_claim(claim)


class StatefulSetStrategy(Strategy):
    """How StatefulSets are written."""

    counts_generation = True

    def prepare_create(self, obj: Object) -> None:
        """Begin with an empty status; the counters are always serialized."""
        super().prepare_create(obj)
        obj["status"] = {"replicas": 0, "availableReplicas": 0}

    def validate_name(self, name: str) -> list[str]:
        """A set's name becomes part of host names: a DNS label."""
        return dns1123_label(name)

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check per semantics 1.1."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        causes += _enum_causes(spec)
        if spec.get("replicas", 1) < 0:
            causes.append(_not_negative("spec.replicas", spec["replicas"]))
        if (spec.get("minReadySeconds") or 0) < 0:
            causes.append(_not_negative("spec.minReadySeconds", spec["minReadySeconds"]))
        if ((spec.get("ordinals") or {}).get("start") or 0) < 0:
            causes.append(_not_negative("spec.ordinals.start", spec["ordinals"]["start"]))
        causes += _selector_causes(spec)
        template_spec = (spec.get("template") or {}).get("spec") or {}
        if template_spec.get("restartPolicy", "Always") != "Always":
            path = "spec.template.spec.restartPolicy"
            causes.append(not_supported(path, template_spec["restartPolicy"], ["Always"]))
        if template_spec.get("activeDeadlineSeconds") is not None:
            why = "activeDeadlineSeconds in StatefulSet is not Supported"
            causes.append(not_allowed("spec.template.spec.activeDeadlineSeconds", why))
        return causes

    def validate(self, obj: Object) -> list[Cause]:
        """Check a new set, and then what its Pods would be refused for.

        Upstream leaves the PodSpec to Pod creation (semantics 1.1.2), which tells nobody but the events. Here it is
        refused at once, but only after everything that upstream itself refuses: those answers are compared.
        """
        return super().validate(obj) or self._pod_causes(obj)

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """As `validate`; a stored template that could not be made today does not stand in the way of other changes."""
        causes = super().validate_update(new, old)
        is_new_template = new["spec"].get("template") != old["spec"].get("template")
        return causes or (self._pod_causes(new) if is_new_template else [])

    def _pod_causes(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes: list[Cause] = []
        claims: set[str] = set()
        for i, claim in enumerate(spec.get("volumeClaimTemplates") or []):
            path = f"spec.volumeClaimTemplates[{i}].metadata.name"
            name = name_of(claim)
            causes += [bad_value(path, name, why) for why in dns1123_label(name)] if name else [required(path)]
            if name in claims:
                causes.append(duplicate(path, name))
            claims.add(name)
        return [*causes, *template_causes(spec.get("template") or {}, "spec.template", claims)]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Everything but the seven mutable fields stays."""
        before = {k: v for k, v in old["spec"].items() if k not in _MUTABLE}
        after = {k: v for k, v in new["spec"].items() if k not in _MUTABLE}
        return [] if before == after else [not_allowed("spec", _FORBIDDEN_CHANGE)]

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """Check the counters per semantics 1.4."""
        status: dict[str, Any] = new.get("status") or {}
        causes: list[Cause] = []
        total = status.get("replicas") or 0
        counters = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        causes += [
            _not_negative(f"status.{field}", status[field])
            for field in ("replicas", *counters, "observedGeneration", "collisionCount")
            if (status.get(field) or 0) < 0
        ]
        for field in counters:
            value = status.get(field) or 0
            if value > total and not (field == "availableReplicas" and field not in status):
                causes.append(bad_value(f"status.{field}", value, "cannot be greater than status.replicas"))
        if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
            why = "cannot be greater than status.readyReplicas"
            causes.append(bad_value("status.availableReplicas", status["availableReplicas"], why))
        before = (old.get("status") or {}).get("collisionCount")
        after = status.get("collisionCount")
        if before is not None and (after is None or after < before):
            causes.append(bad_value("status.collisionCount", after, "cannot be decremented"))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        """Name the fields without effect on one machine."""
        found = template_warnings(obj["spec"].get("template") or {}, "spec.template")
        limit = obj["spec"].get("revisionHistoryLimit")
        if limit is not None and limit < 0:
            why = "a negative value retains all historical revisions; a value >= 0 is recommended"
            found.append(f"spec.revisionHistoryLimit: {why}")
        return found


def _not_negative(path: str, value: int) -> Cause:
    return bad_value(path, value, "must be greater than or equal to 0")


def _enum_causes(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    policy = spec.get("podManagementPolicy")
    if policy not in {"OrderedReady", "Parallel"}:
        causes.append(bad_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy = spec.get("updateStrategy") or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in {"RollingUpdate", "OnDelete"}:
        causes.append(bad_value("spec.updateStrategy", kind, "must be 'RollingUpdate' or 'OnDelete'"))
    elif kind == "OnDelete" and rolling is not None:
        why = "only allowed for updateStrategy 'RollingUpdate'"
        causes.append(bad_value("spec.updateStrategy.rollingUpdate", rolling, why))
    elif rolling is not None:
        if (rolling.get("partition") or 0) < 0:
            causes.append(_not_negative("spec.updateStrategy.rollingUpdate.partition", rolling["partition"]))
        causes += _max_unavailable_causes(rolling.get("maxUnavailable"))
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if retention.get(field, "Retain") not in {"Retain", "Delete"}:
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            causes.append(not_supported(path, retention[field], ["Retain", "Delete"]))
    return causes


def _max_unavailable_causes(value: Any) -> list[Cause]:
    path = "spec.updateStrategy.rollingUpdate.maxUnavailable"
    if value is None:
        return []
    if isinstance(value, int):
        return (
            []
            if value > 0
            else [bad_value(path, value, "cannot be 0" if value == 0 else "must be greater than or equal to 0")]
        )
    match = re.fullmatch(r"([0-9]+)%", str(value))
    if match is None:
        return [bad_value(path, value, "must be an integer or percentage (e.g '5%%')")]
    if int(match.group(1)) > 100:
        return [bad_value(path, value, "must not be greater than 100%")]
    return [bad_value(path, value, "cannot be 0")] if int(match.group(1)) == 0 else []


def _selector_causes(spec: Object) -> list[Cause]:
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += selector_causes(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(bad_value("spec.selector", selector, "empty selector is invalid for statefulset"))
        elif any(".matchExpressions" in cause.field for cause in causes):
            causes.append(bad_value("spec.selector", selector))
        if causes and any(cause.field != "spec.selector" for cause in causes):
            return causes
    if not selector_of(selector).matches(labels):
        why = "`selector` does not match template `labels`"
        causes.append(bad_value("spec.template.metadata.labels", labels, why))
    return causes
