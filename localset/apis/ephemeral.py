"""Ephemeral containers: what may stand in one, and that a live Pod only ever gains them. Pure.

`podstrategy` refuses them where a Pod or a template is made; the registry asks the rest for the subresource
`ephemeralcontainers`. Source: core/validation validateEphemeralContainers, ValidatePodEphemeralContainersUpdate.
"""

from localset.apis.containers import container_causes
from localset.machinery.errors import Cause
from localset.machinery.metadata import Object, copy_of

_FIELD = "ephemeralContainers"
_REFUSED = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "ports", "resources", "restartPolicy")


def refused_causes(spec: Object, path: str, why: str) -> list[Cause]:
    """Return the cause against a new PodSpec that has ephemeral containers."""
    return [Cause("FieldValueForbidden", f"Forbidden: {why}", f"{path}.{_FIELD}")] if spec.get(_FIELD) else []


def take_containers_only(new: Object, old: Object) -> None:
    """Make `new`, in place, the stored Pod with nothing but its ephemeral containers as asked for."""
    asked, version = (new.get("spec") or {}).get(_FIELD), new["metadata"].get("resourceVersion")
    new.clear()
    new.update(copy_of(old))
    if version:
        new["metadata"]["resourceVersion"] = version
    if asked:
        new["spec"][_FIELD] = asked


def change_causes(new: Object, old: Object) -> list[Cause]:
    """Return what is wrong with the ephemeral containers of `new`, and with what became of those of `old`."""
    spec = new["spec"]
    path = f"spec.{_FIELD}"
    before = {container["name"]: container for container in old["spec"].get(_FIELD) or []}
    after = {container.get("name"): container for container in spec.get(_FIELD) or []}
    names = {c["name"] for field in ("containers", "initContainers") for c in spec.get(field) or []}
    volumes = {volume["name"] for volume in spec.get("volumes") or []}
    targets = {container["name"] for container in spec.get("containers") or []}
    causes: list[Cause] = []
    for i, container in enumerate(spec.get(_FIELD) or []):
        causes += container_causes(container, f"{path}[{i}]", volumes, names)
        for field in _REFUSED:
            if container.get(field):
                why = "Forbidden: cannot be set for an Ephemeral Container"
                causes.append(Cause("FieldValueForbidden", why, f"{path}[{i}].{field}"))
        target = container.get("targetContainerName")
        if target and target not in targets:
            causes.append(Cause("FieldValueNotFound", f'Not found: "{target}"', f"{path}[{i}].targetContainerName"))
    for name, container in before.items():
        what = "removed" if name not in after else "changed" if after[name] != container else ""
        if what:
            why = f'Forbidden: existing ephemeral containers "{name}" may not be {what}'
            causes.append(Cause("FieldValueForbidden", why, path))
    return causes
