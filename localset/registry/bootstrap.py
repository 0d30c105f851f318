"""What every installation has from the start: namespaces, storage classes, and the Service of the API itself.

Called by the daemon once the registry stands, before the controllers start. Idempotent: what exists, however a user has
changed it, is left alone. ServiceAccounts are the namespace controller's.
"""

from collections.abc import Callable

from localset.apis.views import HOST_ADDRESS
from localset.client.client import Client
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, copy_of

PROVISIONER = "localset.dev/directory"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


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


async def kubernetes_address(client: Client, preferred: str) -> str:
    """Return the address of the Service default/kubernetes: its own, else `preferred` unless another Service has it."""
    services = (await client.list("services")).items
    for service in services:
        if (service["metadata"]["namespace"], service["metadata"]["name"]) == ("default", "kubernetes"):
            return str(service["spec"]["clusterIP"])
    if any((service.get("spec") or {}).get("clusterIP") == preferred for service in services):
        raise StatusError(409, "Conflict", f"another Service has the address {preferred}")
    return preferred


async def renumber_services(client: Client, is_of_another_level: Callable[[str], bool]) -> None:
    """Make anew the Services whose clusterIP belongs to another level of isolation than the data directory has now.

    A clusterIP cannot be changed, so they become new objects of the same name with addresses that lead somewhere.
    """
    for service in (await client.list("services")).items:
        spec = service.get("spec") or {}
        if spec.get("clusterIP", "None") == "None" or not is_of_another_level(str(spec["clusterIP"])):
            continue
        metadata = service["metadata"]
        kept = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != HOST_ADDRESS}
        fresh = {k: metadata[k] for k in ("name", "namespace", "labels") if k in metadata} | {"annotations": kept}
        wanted = {k: v for k, v in spec.items() if k not in {"clusterIP", "clusterIPs"}}
        await client.delete("services", metadata["namespace"], metadata["name"])
        await _ensure(client, "services", {"apiVersion": "v1", "kind": "Service", "metadata": fresh, "spec": wanted})


async def ensure_kubernetes(client: Client, address: str, port: int, target: tuple[str, int]) -> None:
    """Make the Service default/kubernetes lead to the API at `target` (address, port) and Pods ask for it at `port`.

    As upstream's reconciler, this undoes what somebody changed.
    """
    metadata: Object = {"name": "kubernetes", "namespace": "default"}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "https", "protocol": "TCP", "port": port, "targetPort": target[1]}]
    spec = {"clusterIP": address, "type": "ClusterIP", "sessionAffinity": "None", "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, "labels": labels}, "spec": spec}
    await _make_so(client, "services", service, lambda old: {**old, "spec": {**old["spec"], "ports": ports}})
    subsets = [{"addresses": [{"ip": target[0]}], "ports": [{"name": "https", "port": target[1], "protocol": "TCP"}]}]
    skipped = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {**metadata, "labels": skipped}}
    await _make_so(client, "endpoints", {**endpoints, "subsets": subsets}, lambda old: {**old, "subsets": subsets})
    backing = {
        "endpoints": [{"addresses": [target[0]], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": target[1], "protocol": "TCP"}],
    }
    named = {"kubernetes.io/service-name": "kubernetes"}
    endpoint_slice = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", **backing}
    await _make_so(
        client,
        "endpointslices.discovery.k8s.io",
        {**endpoint_slice, "metadata": {**metadata, "labels": named}},
        lambda old: {**old, **backing},
    )


async def _make_so(client: Client, resource: str, wanted: Object, change: Callable[[Object], Object]) -> None:
    try:
        await client.create(resource, wanted)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        old = await client.get(resource, "default", "kubernetes")
        await client.update(resource, change(copy_of(old)))
