"""The zone: Services, Endpoints, Pods and Namespaces as DNS records, kept up one object at a time.

Pure: `server` feeds it objects, `responder` asks it names. Every `put_…`/`remove_…` touches only its object's names
and returns them, so that whoever prepared answers knows which to forget; the cost never depends on how many other names
there are. Answer codes follow CoreDNS (semantics 4.2); negative answers carry TTL 0, so that no cache holds a name's
absence. One Zone is one view (design 3.6): PODS shows podIP and clusterIP, HOST `localset.dev/host-address` instead.
"""

from enum import StrEnum
from typing import NamedTuple

from localset.apis.views import HOST_ADDRESS
from localset.dns.records import (
    POSITIVE_TTL_SECONDS,
    SCHEMA_TTL_SECONDS,
    SCHEMA_VERSION,
    Code,
    Node,
    Nodes,
    Record,
    RecordType,
    ServiceRecords,
    Soa,
    address_record,
    dashed,
    is_usable_name,
    node_of,
    normalised_address,
    object_id,
    pod_address,
    reverse_name,
    service_records,
)
from localset.machinery.metadata import Object, annotations_of, name_of

LOOPBACK_REVERSE = "127.in-addr.arpa"
MAXIMUM_ALIASES = 8

ObjectId = tuple[str, str]


class View(StrEnum):
    """Whose eyes a zone is for."""

    PODS = "pods"
    HOST = "host"


class Answer(NamedTuple):
    """What the zone says.

    `outside_alias`: where the last CNAME leads out of the zone. `is_fixed`: only the owner of this name can change it.
    """

    code: Code
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    outside_alias: str | None = None
    is_fixed: bool = True


class Zone:
    """Records of one zone in one view. Names given to it are lower case without the trailing dot."""

    def __init__(self, domain: str, view: View, server_address: str | None = None, serial: int = 1) -> None:
        """Make a zone with its apex only. `server_address` is what `ns.dns.<zone>` resolves to."""
        self.domain = domain.lower().strip(".")
        self.view = view
        self._suffix = f".{self.domain}"
        self._nodes: Nodes = {}
        self._services: dict[ObjectId, Object] = {}
        self._endpoints: dict[ObjectId, Object] = {}
        self._made: dict[ObjectId, ServiceRecords] = {}
        self._host_addresses: dict[ObjectId, str] = {}
        self._services_of_pod: dict[ObjectId, set[ObjectId]] = {}
        self._reverse: dict[str, dict[ObjectId, tuple[bool, list[str]]]] = {}
        self._pod_addresses: dict[ObjectId, tuple[str, str]] = {}
        self._pods_of_name: dict[str, dict[ObjectId, str]] = {}
        self._name_server = f"ns.dns{self._suffix}"
        self._soa = Soa(self._name_server, f"hostmaster{self._suffix}", serial, 7200, 1800, 86400, 0)
        self._put_apex(server_address)

    def _put_apex(self, server_address: str | None) -> None:
        apex, ttl = self.domain, POSITIVE_TTL_SECONDS
        self._nodes[apex] = node_of(
            [
                Record(apex, RecordType.SOA, ttl, self._soa),
                Record(apex, RecordType.NS, ttl, self._name_server),
            ]
        )
        version = f"dns-version{self._suffix}"
        self._nodes[version] = node_of([Record(version, RecordType.TXT, SCHEMA_TTL_SECONDS, SCHEMA_VERSION)])
        for name in ("svc", "pod", "dns"):
            self._nodes[f"{name}{self._suffix}"] = {}
        address = normalised_address(server_address) if server_address else None
        self._nodes[self._name_server] = node_of([address_record(self._name_server, address)] if address else [])

    def __len__(self) -> int:
        """Return how many names exist, reverse names included."""
        return len(self._nodes)

    # -- asking ---------------------------------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Tell whether `name` lies in the zone, or is a reverse name that has an answer here."""
        return name == self.domain or name.endswith(self._suffix) or name in self._nodes

    def lookup(self, name: str, kind: int) -> Answer:
        """Return the answer for a name that the zone holds (or a loopback reverse name). Never raises."""
        node = self._nodes.get(name)
        if node is None:
            return Answer(Code.NXDOMAIN, authority=self._authority(name))
        found = node.get(RecordType.CNAME) if kind != RecordType.CNAME else None
        if found is not None and kind != RecordType.ANY:
            return self._follow_alias(found, kind)
        records = next(iter(node.values()), ())[:1] if kind == RecordType.ANY else _of_type(node, kind)
        if not records:
            return Answer(Code.NOERROR, authority=self._authority(name))
        return Answer(Code.NOERROR, records, additional=self._additional(records))

    def _follow_alias(self, found: tuple[Record, ...], kind: int) -> Answer:
        chain = list(found)
        for _ in range(MAXIMUM_ALIASES):
            target = str(chain[-1].data)
            if not self.holds(target):
                return Answer(Code.NOERROR, tuple(chain), outside_alias=target, is_fixed=False)
            node = self._nodes.get(target)
            if node is None:
                return Answer(Code.NXDOMAIN, tuple(chain), self._authority(target), is_fixed=False)
            if RecordType.CNAME in node:
                chain.extend(node[RecordType.CNAME])
                continue
            records = _of_type(node, kind)
            authority = () if records else self._authority(target)
            return Answer(Code.NOERROR, (*chain, *records), authority, self._additional(records), is_fixed=False)
        return Answer(Code.SERVFAIL, is_fixed=False)

    def _additional(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        found: dict[Record, None] = {}
        for record in records:
            if record.type is RecordType.NS:
                target = str(record.data)
            elif record.type is RecordType.SRV:
                target = record.data.target  # type: ignore[union-attr]  # SRV data is Srv
            else:
                return ()
            node = self._nodes.get(target, {})
            for kind in (RecordType.A, RecordType.AAAA):
                found.update(dict.fromkeys(node.get(kind, ())))
        return tuple(found)

    def _authority(self, name: str) -> tuple[Record, ...]:
        owner = self.domain
        if not (name == owner or name.endswith(self._suffix)):
            owner = LOOPBACK_REVERSE if name.endswith(LOOPBACK_REVERSE) else name
        return (Record(owner, RecordType.SOA, 0, self._soa),)

    # -- Services and Endpoints -----------------------------------------------------------------------------------

    def put_service(self, service: Object) -> set[str]:
        """Take in a new or changed Service; return the names whose answers may differ now."""
        self._services[object_id(service)] = service
        return self._remake(object_id(service))

    def remove_service(self, namespace: str, name: str) -> set[str]:
        """Forget a Service and all its names."""
        self._services.pop((namespace, name), None)
        return self._remake((namespace, name))

    def put_endpoints(self, endpoints: Object) -> set[str]:
        """Take in new or changed Endpoints; they count only while a Service of that name exists."""
        key = object_id(endpoints)
        self._index_pods(key, self._endpoints.get(key), endpoints)
        self._endpoints[key] = endpoints
        return self._remake(key)

    def remove_endpoints(self, namespace: str, name: str) -> set[str]:
        """Forget Endpoints."""
        self._index_pods((namespace, name), self._endpoints.pop((namespace, name), None), None)
        return self._remake((namespace, name))

    def _index_pods(self, key: ObjectId, old: Object | None, new: Object | None) -> None:
        if self.view is not View.HOST:
            return
        before, after = _pods_named_by(old), _pods_named_by(new)
        for pod in before - after:
            services = self._services_of_pod.get(pod, set())
            services.discard(key)
            if not services:
                self._services_of_pod.pop(pod, None)
        for pod in after - before:
            self._services_of_pod.setdefault(pod, set()).add(key)

    def _shown_address(self, entry: Object) -> str | None:
        pod = _target_pod(entry)
        if self.view is View.HOST and pod in self._host_addresses:
            return self._host_addresses[pod]
        return entry.get("ip")

    def _remake(self, key: ObjectId) -> set[str]:
        namespace, name = key
        service = self._services.get(key)
        service_name = f"{name.lower()}.{namespace.lower()}.svc{self._suffix}"
        made = ServiceRecords({}, {}, frozenset())
        if service is not None and is_usable_name(service_name):
            host = annotations_of(service).get(HOST_ADDRESS) if self.view is View.HOST else None
            endpoints = self._endpoints.get(key)
            made = service_records(service_name, service, endpoints, host, self._shown_address)
        old = self._made.get(key, ServiceRecords({}, {}, frozenset()))
        if made == old:
            return set()
        if made.nodes:
            self._made[key] = made
        else:
            self._made.pop(key, None)
        for gone in old.nodes.keys() - made.nodes.keys():
            del self._nodes[gone]
        self._nodes.update(made.nodes)
        return set(old.nodes) | set(made.nodes) | self._remake_reverse(key, old, made)

    def _remake_reverse(self, key: ObjectId, old: ServiceRecords, made: ServiceRecords) -> set[str]:
        changed: set[str] = set()
        for address in old.reverse.keys() | made.reverse.keys():
            names = made.reverse.get(address)
            entry = (address not in made.named_addresses, names) if names else None
            owners = self._reverse.setdefault(address, {})
            if owners.get(key) == entry:
                continue
            if entry is None:
                owners.pop(key, None)
            else:
                owners[key] = entry
            changed.add(self._put_reverse(address, owners))
        return changed

    def _put_reverse(self, address: str, owners: dict[ObjectId, tuple[bool, list[str]]]) -> str:
        """Write one reverse node: names with a hostname of their own first, as programs believe the first one."""
        name = reverse_name(address)
        if not owners:
            self._reverse.pop(address, None)
            self._nodes.pop(name, None)
            return name
        ordered = sorted((is_system_name, key, names) for key, (is_system_name, names) in owners.items())
        self._nodes[name] = node_of(
            [Record(name, RecordType.PTR, POSITIVE_TTL_SECONDS, n) for _, _, names in ordered for n in names]
        )
        return name

    # -- Pods and Namespaces --------------------------------------------------------------------------------------

    def put_pod(self, pod: Object) -> set[str]:
        """Take in a new or changed Pod: its `a-b-c-d.<ns>.pod` name and, for the host, the address it is reached at."""
        key = object_id(pod)
        address = pod_address(pod)
        host = annotations_of(pod).get(HOST_ADDRESS) if self.view is View.HOST else None
        changed = self._put_host_address(key, host)
        shown = normalised_address(host) if host else address
        entry = None
        if address and shown:
            name = f"{dashed(address)}.{key[0].lower()}.pod{self._suffix}"
            entry = (name, shown) if is_usable_name(name) else None
        return changed | self._put_pod_name(key, entry)

    def remove_pod(self, namespace: str, name: str) -> set[str]:
        """Forget a Pod."""
        return self._put_host_address((namespace, name), None) | self._put_pod_name((namespace, name), None)

    def _put_host_address(self, key: ObjectId, host: str | None) -> set[str]:
        if self._host_addresses.get(key) == host:
            return set()
        if host is None:
            del self._host_addresses[key]
        else:
            self._host_addresses[key] = host
        changed: set[str] = set()
        for service in self._services_of_pod.get(key, ()):
            changed |= self._remake(service)
        return changed

    def _put_pod_name(self, key: ObjectId, entry: tuple[str, str] | None) -> set[str]:
        old = self._pod_addresses.get(key)
        if old == entry:
            return set()
        changed: set[str] = set()
        if old is not None:
            del self._pod_addresses[key]
            self._pods_of_name[old[0]].pop(key)
            changed.add(old[0])
        if entry is not None:
            self._pod_addresses[key] = entry
            self._pods_of_name.setdefault(entry[0], {})[key] = entry[1]
            changed.add(entry[0])
        for name in changed:
            self._put_pod_node(name)
        return changed

    def _put_pod_node(self, name: str) -> None:
        pods = self._pods_of_name[name]
        if pods:
            node: Node = node_of([address_record(name, address) for _, address in sorted(pods.items())])
            self._nodes[name] = node
        else:
            del self._pods_of_name[name]
            self._nodes.pop(name, None)

    def put_namespace(self, namespace: Object) -> set[str]:
        """Let `<ns>.svc` and `<ns>.pod` exist, without records."""
        names = self._namespace_names(name_of(namespace))
        changed = {name for name in names if name not in self._nodes}
        self._nodes.update({name: {} for name in changed})
        return changed

    def remove_namespace(self, name: str) -> set[str]:
        """Let `<ns>.svc` and `<ns>.pod` be unknown again."""
        return {n for n in self._namespace_names(name) if self._nodes.pop(n, None) is not None}

    def _namespace_names(self, namespace: str) -> list[str]:
        names = [f"{namespace.lower()}.{kind}{self._suffix}" for kind in ("svc", "pod")]
        return [name for name in names if is_usable_name(name)]


def _of_type(node: Node, kind: int) -> tuple[Record, ...]:
    return node.get(kind, ())  # type: ignore[call-overload,no-any-return]  # any number may be asked


def _target_pod(entry: Object) -> ObjectId:
    target = entry.get("targetRef") or {}
    if target.get("kind") != "Pod":
        return "", ""
    return str(target.get("namespace") or ""), str(target.get("name") or "")


def _pods_named_by(endpoints: Object | None) -> set[ObjectId]:
    subsets = (endpoints or {}).get("subsets") or []
    return {_target_pod(entry) for subset in subsets for entry in subset.get("addresses") or []} - {("", "")}
