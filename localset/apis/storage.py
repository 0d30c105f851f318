"""Claims, volumes and storage classes: defaults and validation. Pure."""

from localset.apis.selectors import selector_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_allowed, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_subdomain
from localset.machinery.quantity import parse_quantity

_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
VOLUME_SOURCES = (
    "hostPath", "local", "nfs", "csi", "iscsi", "fc", "rbd", "cephfs", "glusterfs", "cinder", "flocker", "flexVolume",
    "azureDisk", "azureFile", "gcePersistentDisk", "awsElasticBlockStore", "photonPersistentDisk", "portworxVolume",
    "quobyte", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip
_BINDING_MODES = ["Immediate", "WaitForFirstConsumer"]
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


def _positive_causes(text: object, path: str) -> list[Cause]:
    try:
        value = parse_quantity(str(text))
    except ValueError as error:
        return [bad_value(path, text, str(error))]
    return [] if value > 0 else [bad_value(path, text, "must be greater than zero")]


def _mode_causes(spec: Object) -> list[Cause]:
    mode = spec.get("volumeMode")
    supported = ["Block", "Filesystem"]
    return [] if mode is None or mode in supported else [not_supported("spec.volumeMode", mode, supported)]


def _requested(spec: Object) -> object:
    return ((spec.get("resources") or {}).get("requests") or {}).get("storage")


class ClaimStrategy(Strategy):
    """PersistentVolumeClaims."""

    def prepare_create(self, obj: Object) -> None:
        """A new claim is Pending."""
        obj["status"] = {"phase": "Pending"}

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check access modes, the requested size and the mode. Source: ValidatePersistentVolumeClaimSpec."""
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        modes = spec.get("accessModes") or []
        if not modes:
            causes.append(required("spec.accessModes", "at least 1 access mode is required"))
        causes += [not_supported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
        if "ReadWriteOncePod" in modes and len(modes) > 1:
            why = "may not use ReadWriteOncePod with other access modes"
            causes.append(not_allowed("spec.accessModes", why))
        if spec.get("selector") is not None:
            causes += selector_causes(spec["selector"], "spec.selector")
        storage = _requested(spec)
        path = "spec.resources[storage]"
        causes += [required(path)] if storage is None else _positive_causes(storage, path)
        if spec.get("storageClassName"):
            name = spec["storageClassName"]
            causes += [bad_value("spec.storageClassName", name, why) for why in dns1123_subdomain(name)]
        return [*causes, *_mode_causes(spec)]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The spec is fixed, but for the volume's name and the class once, and a bound claim's size, which may grow."""
        before, after = _fixed(old["spec"], old), _fixed(new["spec"], old)
        causes = [] if before == after else [not_allowed("spec", _IMMUTABLE)]
        return [*causes, *self._shrink_causes(new, old)]

    def _shrink_causes(self, new: Object, old: Object) -> list[Cause]:
        try:
            is_smaller = parse_quantity(str(_requested(new["spec"]))) < parse_quantity(str(_requested(old["spec"])))
        except ValueError:
            return []  # said by validate_spec
        why = "field can not be less than previous value"
        return [not_allowed("spec.resources.requests.storage", why)] if is_smaller else []


_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _fixed(spec: Object, old: Object) -> Object:
    """Return the part of `spec` that an update of the claim `old` may not touch."""
    kept = {key: value for key, value in spec.items() if key != "volumeAttributesClassName"}
    if (old.get("status") or {}).get("phase") == "Bound":
        resources = kept.get("resources") or {}
        kept["resources"] = {**resources, "requests": {**(resources.get("requests") or {}), "storage": None}}
    for field in ("volumeName", "storageClassName"):
        if not old["spec"].get(field):
            kept.pop(field, None)
    return kept


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
            [required("spec.capacity")] if storage is None else _positive_causes(storage, "spec.capacity[storage]")
        )
        if spec.get("persistentVolumeReclaimPolicy") not in _RECLAIM:
            path = "spec.persistentVolumeReclaimPolicy"
            causes.append(not_supported(path, spec.get("persistentVolumeReclaimPolicy", ""), _RECLAIM))
        return [*causes, *_source_causes(spec), *_mode_causes(spec)]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """What the volume is made of is fixed once."""
        before = {source: old["spec"].get(source) for source in VOLUME_SOURCES}
        after = {source: new["spec"].get(source) for source in VOLUME_SOURCES}
        causes = []
        if before != after:
            why = "spec.persistentvolumesource is immutable after creation"
            causes.append(not_allowed("spec.persistentvolumesource", why))
        if old["spec"].get("volumeMode") != new["spec"].get("volumeMode"):
            causes.append(bad_value("spec.volumeMode", new["spec"].get("volumeMode"), "field is immutable"))
        return causes


def _source_causes(spec: Object) -> list[Cause]:
    given = [source for source in VOLUME_SOURCES if spec.get(source) is not None]
    if not given:
        return [required("spec", "must specify a volume type")]
    causes = [not_allowed(f"spec.{source}", "may not specify more than 1 volume type") for source in given[1:]]
    for source in ("hostPath", "local"):
        if spec.get(source) is None:
            continue
        path = str(spec[source].get("path") or "")
        if not path:
            causes.append(required(f"spec.{source}.path"))
        if ".." in path.split("/"):
            causes.append(bad_value(f"spec.{source}.path", path, "must not contain '..'"))
    return causes


class StorageClassStrategy(Strategy):
    """StorageClasses."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check provisioner and the two policies."""
        causes: list[Cause] = [] if obj.get("provisioner") else [required("provisioner")]
        if obj.get("reclaimPolicy") not in {"Delete", "Retain"}:
            causes.append(not_supported("reclaimPolicy", obj.get("reclaimPolicy", ""), ["Delete", "Retain"]))
        mode = obj.get("volumeBindingMode", "")
        if mode not in _BINDING_MODES:
            causes.append(not_supported("volumeBindingMode", mode, _BINDING_MODES))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Provisioner, parameters and policies are fixed. Source: ValidateStorageClassUpdate."""
        causes = [
            not_allowed(field, f"updates to {field} are forbidden.")
            for field in ("parameters", "provisioner", "reclaimPolicy")
            if (new.get(field) or None) != (old.get(field) or None)
        ]
        if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
            causes.append(bad_value("volumeBindingMode", new.get("volumeBindingMode"), "field is immutable"))
        return causes
