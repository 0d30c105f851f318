"""How Pods are written: defaults of a bare Pod, what may change on a live one. Pure."""

from localset.apis.ephemeral import refused_causes
from localset.apis.poddefaults import default_container, default_pod_spec
from localset.apis.podspec import spec_causes, template_warnings
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, not_allowed
from localset.machinery.metadata import Object, copy_of

_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def default_pod(pod: Object) -> None:
    """Fill in a Pod's defaults in place: a template's, and those of Pods alone."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in spec.get("ephemeralContainers") or []:
        default_container(container)
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        resources = container["resources"]
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)


class PodStrategy(Strategy):
    """Pods: the spec is almost wholly fixed once made."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the spec."""
        return spec_causes(obj.get("spec") or {}, "spec", set())

    def validate(self, obj: Object) -> list[Cause]:
        """Check a new Pod, which can have no ephemeral containers yet."""
        return [*super().validate(obj), *refused_causes(obj.get("spec") or {}, "spec", "cannot be set on create")]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Allow images, activeDeadlineSeconds and added tolerations to change."""
        before, after = _fixed_part(old["spec"]), _fixed_part(new["spec"])
        kept = [t for t in old["spec"].get("tolerations") or [] if t not in (new["spec"].get("tolerations") or [])]
        return [not_allowed("spec", _IMMUTABLE)] if before != after or kept else []

    def prepare_status_update(self, new: Object, old: Object) -> None:
        """Keep everything but the status; a container's states are serialized even when there is nothing to say."""
        super().prepare_status_update(new, old)
        status = new.get("status")
        for field in _STATUSES:
            for container in (status.get(field) if isinstance(status, dict) else None) or []:
                container.setdefault("state", {})
                container.setdefault("lastState", {})

    def warnings(self, obj: Object) -> list[str]:
        """Name the fields without effect; a set's Pods were warned about with their set."""
        return [] if obj["metadata"].get("ownerReferences") else template_warnings(obj, "")


def _fixed_part(spec: Object) -> Object:
    fixed: Object = copy_of(spec)
    for field in ("activeDeadlineSeconds", "tolerations"):
        fixed.pop(field, None)
    for container in [*(fixed.get("initContainers") or []), *(fixed.get("containers") or [])]:
        container.pop("image", None)
    return fixed
