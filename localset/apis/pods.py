"""Predicates over Pods, which read as the controllers' sources do.

Called by every controller, kubelet and DNS. Pure; the rules of writing are in `podspec` and `podstrategy`.
"""

from datetime import datetime
from typing import Any

from localset.machinery.metadata import Object, condition_of, is_being_deleted

VOLUME_SOURCES = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "flocker", "downwardAPI", "fc", "configMap",
    "azureFile", "flexVolume", "vsphereVolume", "quobyte", "azureDisk", "storageos", "projected", "portworxVolume",
    "scaleIO", "csi", "ephemeral", "image", "photonPersistentDisk",
)  # fmt: skip
"""In the order in which Kubernetes looks at them."""


def phase_of(pod: Object) -> str:
    """Return status.phase, empty before the first status."""
    return str((pod.get("status") or {}).get("phase", ""))


def is_created(pod: Object) -> bool:
    """Tell whether the API has it: a phase is set. Source: stateful_set_utils.go isCreated."""
    return bool(phase_of(pod))


def is_terminal(pod: Object) -> bool:
    """Tell whether the phase is Failed or Succeeded."""
    return phase_of(pod) in {"Failed", "Succeeded"}


def is_ready(pod: Object) -> bool:
    """Tell whether condition Ready is True."""
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def is_running_and_ready(pod: Object) -> bool:
    """Tell whether the phase is Running and condition Ready is True."""
    return phase_of(pod) == "Running" and is_ready(pod)


def is_terminating(pod: Object) -> bool:
    """Tell whether deletionTimestamp is set."""
    return is_being_deleted(pod)


def ready_since(pod: Object) -> datetime | None:
    """Return when Ready last became True, or None while it is not."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition.get("status") != "True" or not condition.get("lastTransitionTime"):
        return None
    return datetime.fromisoformat(str(condition["lastTransitionTime"]))


def hostname_of(pod: Object) -> str:
    """Return what `hostname` says inside: spec.hostname, else the name, cut to 63 characters."""
    name: Any = pod.get("spec", {}).get("hostname") or pod["metadata"]["name"]
    return str(name)[:63]


def containers_of(spec: Object) -> list[Object]:
    """Return init containers, then main ones, of a PodSpec."""
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
