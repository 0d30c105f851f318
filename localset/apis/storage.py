"""Claims, volumes and storage classes: defaults and validation. Pure."""

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_allowed, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.quantity import parse_quantity

_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
_RECLAIM = ["Delete", "Recycle", "Retain"]


def default_claim(claim: Object) -> None:
    """Fill in a claim's (or claim template's) defaults in place."""
    claim.setdefault("metadata", {})
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def default_volume(volume: Object) -> None:
    """Fill in a PersistentVolume's defaults in place."""
    spec = volume.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if spec.get("hostPath") is not None:
        spec["hostPath"].setdefault("type", "")
    volume.setdefault("status", {}).setdefault("phase", "Pending")


def default_class(storage_class: Object) -> None:
    """Fill in a StorageClass's defaults in place."""
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def _quantity_causes(text: object, path: str) -> list[Cause]:
    try:
        value = parse_quantity(str(text))
    except ValueError:
        return [
            bad_value(
                path,
                text,
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )
        ]
    return [] if value > 0 else [bad_value(path, text, "must be greater than zero")]


class ClaimStrategy(Strategy):
    """PersistentVolumeClaims."""

    def prepare_create(self, obj: Object) -> None:
        """A new claim is Pending."""
        obj["status"] = {"phase": "Pending"}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check access modes and the requested size."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        modes = spec.get("accessModes") or []
        if not modes:
            causes.append(required("spec.accessModes", "at least 1 access mode is required"))
        causes += [not_supported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
        storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        if storage is None:
            causes.append(required("spec.resources[storage]"))
        else:
            causes += _quantity_causes(storage, "spec.resources[storage]")
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The spec is fixed but for the size (larger) and the volume's name once."""

        def fixed(spec: Object, base: Object) -> Object:
            kept = {k: v for k, v in spec.items() if k not in {"resources", "volumeAttributesClassName"}}
            if not base.get("volumeName"):
                kept.pop("volumeName", None)
            if not base.get("storageClassName"):
                kept.pop("storageClassName", None)
            return kept

        if fixed(new["spec"], old["spec"]) == fixed(old["spec"], old["spec"]):
            return []
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [not_allowed("spec", why)]


class VolumeStrategy(Strategy):
    """PersistentVolumes."""

    def prepare_create(self, obj: Object) -> None:
        """A new volume is Pending until its controller has seen it."""
        obj["status"] = {"phase": "Pending"}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check capacity, access modes, reclaim policy and source."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        if not spec.get("accessModes"):
            causes.append(required("spec.accessModes"))
        storage = (spec.get("capacity") or {}).get("storage")
        causes += (
            [required("spec.capacity")] if storage is None else _quantity_causes(storage, "spec.capacity[storage]")
        )
        if spec.get("persistentVolumeReclaimPolicy") not in _RECLAIM:
            path = "spec.persistentVolumeReclaimPolicy"
            causes.append(not_supported(path, spec.get("persistentVolumeReclaimPolicy", ""), _RECLAIM))
        path = str((spec.get("hostPath") or spec.get("local") or {}).get("path", ""))
        if ".." in path.split("/"):
            causes.append(bad_value("spec.hostPath.path", path, "must not contain '..'"))
        return causes


class StorageClassStrategy(Strategy):
    """StorageClasses."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check provisioner and the two policies."""
        causes: list[Cause] = [] if obj.get("provisioner") else [required("provisioner")]
        if obj.get("reclaimPolicy") not in {"Delete", "Retain"}:
            causes.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy", ""), ["Delete", "Retain"]))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Provisioner, parameters and policies are fixed."""
        return [
            not_allowed(field, f"updates to {field} are forbidden.")
            for field in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
            if new.get(field) != old.get(field)
        ]
