"""Which volume a claim gets, and what a provisioned one looks like: pure.

Called by the volumeclaim controller. Objects are read, never changed. Source: controller/volume/persistentvolume and
component-helpers/storage/volume FindMatchingVolume.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import PurePath

from localset.machinery.labels import selector_of
from localset.machinery.metadata import (
    Object,
    annotations_of,
    copy_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from localset.machinery.quantity import parse_quantity

PROVISIONER = "localset.dev/directory"
PROVISIONED = "localset.dev/provisioned"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"


def class_of(obj: Object) -> str:
    """Return the storage class a claim or volume names; empty for none."""
    beta = annotations_of(obj).get(BETA_CLASS)
    return beta if beta is not None else str((obj.get("spec") or {}).get("storageClassName") or "")


def request_of(claim: Object) -> Fraction:
    """Return how many bytes the claim asks for; 0 when it does not say."""
    resources = (claim.get("spec") or {}).get("resources") or {}
    return _amount((resources.get("requests") or {}).get("storage"))


def _amount(text: object) -> Fraction:
    try:
        return parse_quantity(str(text)) if text is not None else Fraction(0)
    except ValueError:
        return Fraction(0)


def capacity_of(volume: Object) -> Fraction:
    """Return a volume's size in bytes."""
    return _amount(((volume.get("spec") or {}).get("capacity") or {}).get("storage"))


def belongs_to(volume: Object, claim: Object) -> bool:
    """Tell whether the volume is this claim's (by uid where the volume names one)."""
    reference = (volume.get("spec") or {}).get("claimRef")
    if not reference:
        return False
    if (reference.get("namespace"), reference.get("name")) != (namespace_of(claim), name_of(claim)):
        return False
    return reference.get("uid") in {None, "", uid_of(claim)}


def find_volume(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """Return the volume to bind: the one that names the claim, else the smallest that fits, or None."""
    fitting: list[Object] = []
    for volume in volumes:
        if is_being_deleted(volume):
            continue
        if belongs_to(volume, claim) and fits(claim, volume):
            return volume
        if not (volume.get("spec") or {}).get("claimRef") and _is_free(volume) and fits(claim, volume):
            fitting.append(volume)
    return min(fitting, key=lambda volume: (capacity_of(volume), name_of(volume)), default=None)


def _is_free(volume: Object) -> bool:
    return (volume.get("status") or {}).get("phase", "Available") in {"Available", "Pending", ""}


def fits(claim: Object, volume: Object) -> bool:
    """Tell whether size, access modes, class, volume mode and selector agree."""
    spec, offered = claim.get("spec") or {}, volume.get("spec") or {}
    if class_of(claim) != class_of(volume) or request_of(claim) > capacity_of(volume):
        return False
    if not set(spec.get("accessModes") or []) <= set(offered.get("accessModes") or []):
        return False
    if (spec.get("volumeMode") or "Filesystem") != (offered.get("volumeMode") or "Filesystem"):
        return False
    return spec.get("selector") is None or selector_of(spec["selector"]).matches(labels_of(volume))


def claim_reference(claim: Object) -> Object:
    """Return spec.claimRef of a volume bound to `claim`."""
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
    }


def provisioned_volume(claim: Object, storage_class: Object, volumes_directory: PurePath) -> Object:
    """Return the volume that a claim without one gets: a directory of its own."""
    spec = claim.get("spec") or {}
    directory = volumes_directory / namespace_of(claim) / f"{name_of(claim)}-{uid_of(claim)[:8]}"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{uid_of(claim)}",
            "annotations": {PROVISIONED: "true", PROVISIONED_BY: PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")},
            "accessModes": list(spec.get("accessModes") or []),
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "hostPath": {"path": str(directory)},
            "claimRef": claim_reference(claim),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": name_of(storage_class),
        },
    }


def bound_volume(volume: Object, claim: Object) -> Object:
    """Return the volume with its claimRef complete."""
    new: Object = copy_of(volume)
    reference = {**((new.get("spec") or {}).get("claimRef") or {}), **claim_reference(claim)}
    if new["spec"].get("claimRef") != reference and not annotations_of(new).get(PROVISIONED):
        new["metadata"].setdefault("annotations", {}).setdefault(BOUND_BY_CONTROLLER, "yes")
    new["spec"]["claimRef"] = reference
    return new


def bound_claim(claim: Object, volume: Object) -> Object:
    """Return the claim naming its volume, and saying that the binding is complete."""
    new: Object = copy_of(claim)
    annotations = new["metadata"].setdefault("annotations", {})
    if not new["spec"].get("volumeName"):
        annotations[BOUND_BY_CONTROLLER] = "yes"
    annotations[BIND_COMPLETED] = "yes"
    if annotations_of(volume).get(PROVISIONED):
        annotations["volume.kubernetes.io/storage-provisioner"] = PROVISIONER
    new["spec"]["volumeName"] = name_of(volume)
    return new


def bound_status(volume: Object) -> Object:
    """Return the status of a claim bound to `volume`."""
    spec = volume.get("spec") or {}
    return {
        "phase": "Bound",
        "accessModes": list(spec.get("accessModes") or []),
        "capacity": dict(spec.get("capacity") or {}),
    }


def claims_used_by(pod: Object) -> list[str]:
    """Return `namespace/name` of the claims that a Pod holds; nothing once it has ended."""
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return []
    namespace = namespace_of(pod)
    names = (
        (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in (pod.get("spec") or {}).get("volumes") or []
    )
    return [f"{namespace}/{name}" for name in names if name]


def without_finalizer(obj: Object, finalizer: str) -> Object | None:
    """Return a copy without that finalizer, or None when it has none."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        return None
    new: Object = copy_of(obj)
    new["metadata"]["finalizers"] = [f for f in finalizers if f != finalizer]
    return new
