"""What every installation has from the start: namespaces and storage classes.

Called by the daemon once the registry stands, before the controllers start. Idempotent: what exists, however a user has
changed it, is left alone. ServiceAccounts are the namespace controller's.
"""

from localset.client.client import Client
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object

PROVISIONER = "localset.dev/directory"
NAMESPACES = ("default", "kube-system", "kube-public")


def _storage_class(name: str, reclaim_policy: str, annotations: dict[str, str]) -> Object:
    metadata: Object = {"name": name}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": PROVISIONER,
        "reclaimPolicy": reclaim_policy,
        "volumeBindingMode": "Immediate",
    }


STORAGE_CLASSES = (
    _storage_class("standard", "Delete", {"storageclass.kubernetes.io/is-default-class": "true"}),
    _storage_class("retain", "Retain", {}),
)


async def bootstrap(client: Client) -> None:
    """Create what is missing."""
    for name in NAMESPACES:
        await _ensure(client, "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # NB: only beside a fresh set of classes. A user who has deleted or replaced the default must not get it back.
    if not (await client.list("storageclasses.storage.k8s.io")).items:
        for storage_class in STORAGE_CLASSES:
            await _ensure(client, "storageclasses.storage.k8s.io", storage_class)


async def _ensure(client: Client, resource: str, obj: Object) -> None:
    try:
        await client.create(resource, obj)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
