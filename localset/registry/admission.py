"""What a write gains and what it is refused for, beyond its own kind's rules.

Called by writing, under the object's lock, between the strategy's preparation and validation. Reads the store, never
writes it, and never waits: a check and the store's taking of the write happen in one turn of the loop.
"""

from typing import Any

from localset.apis.views import HOST_ADDRESS
from localset.machinery.errors import Cause, StatusError, duplicate, forbidden, invalid, not_found
from localset.machinery.metadata import Object, annotations_of, name_of, namespace_of
from localset.machinery.quantity import parse_quantity
from localset.registry.accounts import give_account
from localset.registry.settings import RegistrySettings
from localset.store.records import Key
from localset.store.store import Store

PROTECTION = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
NAME_LABEL = "kubernetes.io/metadata.name"
NODE_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
)
FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767

COMPLETED_ON_UPDATE = frozenset({"services", "namespaces"})
"""Whose updates are changed in place outside of metadata: the new state must share nothing with the stored one."""


class Admission:
    """The admission rules over one store."""

    def __init__(self, store: Store, settings: RegistrySettings) -> None:
        """Hold what the rules look at."""
        self._store = store
        self._settings = settings
        self._creating_pods = 0

    def check_namespace(self, resource: str, obj: Object) -> None:
        """Raise 404 for an absent, 403 for a dying namespace of a new object."""
        namespace = namespace_of(obj)
        record = self._store.get(Key("namespaces", "", namespace))
        if record is None:
            raise not_found("namespaces", namespace)
        if record.object["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
            raise forbidden(resource, name_of(obj), why, [cause])

    def admit_create(self, resource: str, obj: Object, *, is_dry_run: bool) -> None:
        """Complete a new private `obj` in place; StatusError when it may not be."""
        finalizer = PROTECTION.get(resource)
        if finalizer is not None and finalizer not in (obj["metadata"].get("finalizers") or []):
            obj["metadata"].setdefault("finalizers", []).append(finalizer)
        if resource == "pods":
            self._admit_pod(obj)
        elif resource == "services":
            self._admit_service(obj, None, is_dry_run=is_dry_run)
        elif resource == "persistentvolumeclaims":
            self._admit_claim(obj)
        elif resource == "namespaces":
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name_of(obj)
            obj["spec"] = {**(obj.get("spec") or {}), "finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}

    def admit_update(self, resource: str, new: Object, old: Object) -> None:
        """Complete an updated private `new` in place: only a resource of COMPLETED_ON_UPDATE."""
        if resource == "services":
            self._admit_service(new, old, is_dry_run=False)
        elif resource == "namespaces":
            # Only the finalize subresource may let a namespace go.
            new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers", [])}
            new["metadata"].setdefault("labels", {})[NAME_LABEL] = name_of(new)

    # Pods

    def _admit_pod(self, pod: Object) -> None:
        spec = pod.setdefault("spec", {})
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = account
        namespace = namespace_of(pod)
        record = self._store.get(Key("serviceaccounts", namespace, account))
        if account != "default" and record is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise forbidden("pods", name_of(pod), why)
        give_account(pod, record.object if record is not None else None)
        self._give_priority(spec)
        _give_tolerations(spec)
        pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
        self._check_quota(pod)

    def _give_priority(self, spec: Object) -> None:
        """Fill in what the class says. Nothing here follows it, so that a class that does not exist is no error."""
        name = spec.get("priorityClassName") or ""
        record = self._store.get(Key("priorityclasses.scheduling.k8s.io", "", name)) if name else None
        chosen = record.object if record is not None else {}
        spec["priority"] = chosen.get("value", 0)
        spec["preemptionPolicy"] = chosen.get("preemptionPolicy", "PreemptLowerPriority")

    def _check_quota(self, pod: Object) -> None:
        limit = self._settings.max_processes
        if self._store.count("pods") + self._creating_pods < limit:
            return
        used = self._creating_pods + sum(
            (record.object.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}
            for _, record in self._store.records("pods")
        )
        if used >= limit:
            why = f"exceeded quota: max-processes, requested: pods=1, used: pods={used}, limited: pods={limit}"
            raise forbidden("pods", name_of(pod), why)

    def pod_submitted(self, change: int) -> None:
        """Count Pods on their way to the disk, which the quota cannot see yet."""
        self._creating_pods += change

    # Services

    def _admit_service(self, service: Object, old: Object | None, *, is_dry_run: bool) -> None:
        spec = service.setdefault("spec", {})
        if spec.get("type") == "ExternalName":
            return
        old_spec = (old or {}).get("spec") or {}
        if not spec.get("clusterIP"):
            if old_spec.get("clusterIP"):
                _keep_addresses(spec, old_spec)
            elif not is_dry_run:
                spec["clusterIP"] = self._free_address(service)
        elif old is None and spec["clusterIP"] != "None" and spec["clusterIP"] in self._taken_addresses():
            raise invalid("Service", "", name_of(service), [duplicate("spec.clusterIPs", spec["clusterIP"])])
        address = spec.get("clusterIP")
        if address:
            spec["clusterIPs"] = [address]
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        if address and address != "None":
            outer = self._settings.host_address(address)
            service["metadata"].setdefault("annotations", {}).setdefault(HOST_ADDRESS, outer)
        if spec.get("type") in {"NodePort", "LoadBalancer"}:
            self._give_node_ports(spec, old_spec)

    def _taken_addresses(self) -> set[str]:
        return {(r.object.get("spec") or {}).get("clusterIP", "") for _, r in self._store.records("services")}

    def _free_address(self, service: Object) -> str:
        try:
            return self._settings.service_address(namespace_of(service), name_of(service), self._taken_addresses())
        except ValueError as error:
            raise StatusError(500, "InternalError", f"failed to allocate a service IP: {error}") from error

    def _give_node_ports(self, spec: Object, old_spec: Object) -> None:
        kept = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in old_spec.get("ports") or []}
        taken = {
            port.get("nodePort")
            for _, record in self._store.records("services")
            for port in (record.object.get("spec") or {}).get("ports") or []
        }
        for port in spec.get("ports") or []:
            if port.get("nodePort"):
                continue
            port["nodePort"] = kept.get((port.get("port"), port.get("protocol"))) or next(
                (n for n in range(FIRST_NODE_PORT, LAST_NODE_PORT + 1) if n not in taken), None
            )
            if port["nodePort"] is None:
                raise StatusError(500, "InternalError", "failed to allocate a nodePort: range is full")
            taken.add(port["nodePort"])

    # Claims

    def _admit_claim(self, claim: Object) -> None:
        spec = claim.setdefault("spec", {})
        claim["status"] = {"phase": "Pending"}
        if spec.get("storageClassName") is not None or BETA_CLASS in annotations_of(claim):
            return
        defaults = [
            record.object
            for _, record in self._store.records("storageclasses.storage.k8s.io")
            if annotations_of(record.object).get(DEFAULT_CLASS) == "true"
        ]
        if defaults:
            newest = max(defaults, key=lambda c: (c["metadata"].get("creationTimestamp", ""), name_of(c)))
            spec["storageClassName"] = name_of(newest)


def _give_tolerations(spec: Object) -> None:
    """Add what every Pod of a cluster tolerates. Source: plugin/pkg/admission/defaulttolerationseconds."""
    given = spec.get("tolerations") or []
    covered = {other.get("key") or "" for other in given if (other.get("effect") or "NoExecute") == "NoExecute"}
    missing = [t for t in NODE_TOLERATIONS if not covered & {"", t["key"]}]
    if missing:
        spec["tolerations"] = [*given, *missing]


def _keep_addresses(spec: Object, old_spec: Object) -> None:
    for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if field in old_spec:
            spec[field] = old_spec[field]


def qos_class(spec: Object) -> str:
    """Return Guaranteed, Burstable or BestEffort. Source: core/v1/helper/qos GetPodQOS."""
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    is_any, is_guaranteed = False, bool(containers)
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = _amounts(resources.get("requests")), _amounts(resources.get("limits"))
        is_any = is_any or bool(requests) or bool(limits)
        if set(limits) != {"cpu", "memory"} or any(requests.get(k, v) != v for k, v in limits.items()):
            is_guaranteed = False
    if not is_any:
        return "BestEffort"
    return "Guaranteed" if is_guaranteed else "Burstable"


def _amounts(resources: Any) -> dict[str, Any]:
    amounts = {}
    for name in ("cpu", "memory"):
        text = (resources or {}).get(name)
        if text is None:
            continue
        try:
            amount = parse_quantity(str(text))
        except ValueError:
            continue  # the kind's own validation says so
        if amount:
            amounts[name] = amount
    return amounts
