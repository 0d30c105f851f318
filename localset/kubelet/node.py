"""The Node object: this machine, as the scheduler and people see it.

Registered once at start; nothing is written while idle (P5), because one machine that answers at all is Ready.
"""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from localset.base.clock import Clock, rfc3339, rfc3339_micro
from localset.base.machine import architecture, operating_system
from localset.client.client import Client
from localset.kubelet.settings import KubeletSettings
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, condition_of, copy_of, name_of, uid_of

LEASES = "kube-node-lease"
_LABEL_DOMAINS = ("kubernetes.io", "beta.kubernetes.io")
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("NetworkUnavailable", "False", "RouteCreated", "Pods share this machine's loopback addresses"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def boot_id() -> str:
    """Return what tells this boot from another: the kernel's boot id, elsewhere the boot time."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"boot-{int(psutil.boot_time())}"


def capacity_of_machine(settings: KubeletSettings) -> dict[str, str]:
    """Return cpu, memory, ephemeral-storage and pods as quantities."""
    disk = shutil.disk_usage(settings.data_directory).total
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 1024}Ki",
        "ephemeral-storage": f"{disk // 1024}Ki",
        "pods": str(settings.max_processes),
    }


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def node_status(settings: KubeletSettings, stored: Object, now: str, capacity: dict[str, str]) -> Object:
    """Return the Node's status; transition times are kept from `stored` where nothing flipped."""
    conditions: list[Object] = []
    for kind, value, reason, message in _CONDITIONS:
        old = condition_of(stored, kind)
        since = old["lastTransitionTime"] if old and old.get("status") == value else now
        entry = {"type": kind, "status": value, "reason": reason, "message": message}
        conditions.append({**entry, "lastHeartbeatTime": now, "lastTransitionTime": since})
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": settings.node_address},
            {"type": "Hostname", "address": settings.node_name},
        ],
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": _machine_id(),
            "systemUUID": _machine_id(),
            "bootID": boot_id(),
            "kernelVersion": platform.release(),
            "osImage": f"{platform.system()} {platform.release()}",
            "containerRuntimeVersion": f"localset://{settings.version.partition('+localset.')[2]}",
            "kubeletVersion": settings.version,
            "kubeProxyVersion": settings.version,
            "operatingSystem": operating_system(),
            "architecture": architecture(),
        },
    }


async def register_node(client: Client, clock: Clock, settings: KubeletSettings, capacity: dict[str, str]) -> str:
    """Create or refresh the Node; return the boot id that was stored before (empty for a new Node)."""
    name = settings.node_name
    try:
        node = await client.get("nodes", "", name)
    except StatusError as error:
        if error.code != 404:
            raise
        node = await client.create("nodes", _new_node(settings))
    stored_boot = str(((node.get("status") or {}).get("nodeInfo") or {}).get("bootID") or "")
    changed: dict[str, Any] = copy_of(node)
    changed["status"] = node_status(settings, node, rfc3339(clock.now()), capacity)
    await client.update_status("nodes", changed)
    await _write_lease(client, clock, node)
    return stored_boot


async def _write_lease(client: Client, clock: Clock, node: Object) -> None:
    """Write the Node's Lease, which `kubectl describe node` shows: once a start, as the Node itself."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node)}
    metadata = {"name": name_of(node), "namespace": LEASES, "ownerReferences": [owner]}
    spec = {"holderIdentity": name_of(node), "leaseDurationSeconds": 40, "renewTime": rfc3339_micro(clock.now())}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    try:
        await client.create("leases.coordination.k8s.io", lease)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        stored = await client.get("leases.coordination.k8s.io", LEASES, name_of(node))
        await client.update("leases.coordination.k8s.io", {**copy_of(stored), "spec": spec})


def _new_node(settings: KubeletSettings) -> Object:
    platform = {"os": operating_system(), "arch": architecture()}
    # A kubelet still sets the beta labels too: the nodeSelectors of many a tutorial name them.
    labels = {f"{domain}/{key}": value for domain in _LABEL_DOMAINS for key, value in platform.items()}
    labels["kubernetes.io/hostname"] = settings.node_name
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": settings.node_name, "labels": labels}, "spec": {}}
