"""The DNS of one data directory: listeners for Pods and for the host, kept true by watching objects.

`daemon` makes, starts and closes it. A change of an Endpoints object is in the answers before its watch event's
handler returns; nothing is polled, nothing is delayed (runtime.md finding 1: 0.2 s decide whether an ensemble forms). A
listener that cannot be opened is reported and never stops the rest.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from localset.base.clock import Clock
from localset.client.client import Client
from localset.client.informer import Informer
from localset.dns.forward import Forwarder, Upstream
from localset.dns.listener import Listener
from localset.dns.records import Record, RecordType, Soa, Srv, is_usable_name
from localset.dns.responder import Responder
from localset.dns.settings import BindFailure, DnsBindError, DnsSettings
from localset.dns.zone import Answer, View, Zone
from localset.machinery.errors import bad_request
from localset.machinery.metadata import Object, name_of, namespace_of

__all__ = ["BindFailure", "DnsAddress", "DnsBindError", "DnsServer", "DnsSettings"]

log = logging.getLogger(__name__)


class DnsAddress(NamedTuple):
    """Where a listener answers. `serves` is `pods`, `host` or `pods and host`."""

    serves: str
    address: str
    port: int


class DnsServer:
    """The embedded resolver of one zone."""

    def __init__(self, client: Client, clock: Clock, settings: DnsSettings) -> None:
        """Make a server that listens nowhere yet."""
        serial = int(clock.now().timestamp()) & 0xFFFFFFFF
        is_shared = settings.pods_address is None or (
            (settings.pods_address, settings.pods_port) == (settings.host_address, settings.host_port)
        )
        self._forwarder = Forwarder(settings.upstreams, self._is_own_address) if settings.forward else None
        host_zone = Zone(settings.zone, View.HOST, settings.host_address, serial)
        self._zones = [host_zone]
        forwarding = self._forwarder is not None
        host = Responder(host_zone, is_forwarding=forwarding and is_shared, is_for_pods=is_shared)
        host_forwarder = self._forwarder if is_shared else None
        self._listeners = [Listener(settings.host_address, settings.host_port, host, host_forwarder)]
        self._serves = ["pods and host" if is_shared else "host"]
        if not is_shared:
            assert settings.pods_address is not None
            pods_zone = Zone(settings.zone, View.PODS, settings.pods_address, serial)
            pods = Responder(pods_zone, is_forwarding=forwarding, is_for_pods=True)
            self._zones.append(pods_zone)
            inside = settings.pods_sockets
            self._listeners.append(Listener(settings.pods_address, settings.pods_port, pods, self._forwarder, inside))
            self._serves.append("pods")
        self._open: list[int] = []
        self._is_synced = False
        self._informers = {
            resource: Informer(client, resource, clock) for resource in ("namespaces", "services", "endpoints", "pods")
        }
        for resource, informer in self._informers.items():
            informer.add_handler(self._handler_of(resource))

    @property
    def addresses(self) -> list[DnsAddress]:
        """Return where it answers now; empty before `start` or when nothing could be bound."""
        return [DnsAddress(self._serves[i], self._listeners[i].address, self._listeners[i].port) for i in self._open]

    @property
    def is_synced(self) -> bool:
        """Tell whether all objects have been read once; before that, names of the zone are SERVFAIL."""
        return self._is_synced

    async def start(self) -> None:
        """Listen, read all objects, and follow them; return when answers are true.

        Raises DnsBindError *after* everything else has been started: the other listener serves and `query` works. Such
        a server is ended by `aclose` like any other.
        """
        failures: list[BindFailure] = []
        for index, listener in enumerate(self._listeners):
            failure = listener.open()
            if failure is None:
                self._open.append(index)
            else:
                log.warning("%s", failure)
                failures.append(failure)
        for informer in self._informers.values():
            await informer.start()
        self._is_synced = True
        for listener in self._listeners:
            listener.responder.is_synced = True
        if failures:
            raise DnsBindError(failures)

    async def aclose(self) -> None:
        """Stop following and listening. Idempotent."""
        for listener in self._listeners:
            await listener.aclose()
        self._open.clear()
        if self._forwarder is not None:
            await self._forwarder.aclose()
        for informer in self._informers.values():
            await informer.aclose()

    def _handler_of(self, resource: str) -> Callable[[Object | None, Object | None], None]:
        def handle(old: Object | None, new: Object | None) -> None:
            for zone, listener in zip(self._zones, self._listeners, strict=True):
                listener.responder.forget(_take_in(zone, resource, old, new))

        return handle

    def _is_own_address(self, upstream: Upstream) -> bool:
        return any((listener.address, listener.port) == upstream for listener in self._listeners)

    async def query(self, name: str, qtype: str = "A") -> dict[str, Any]:
        """Return the host's view of a name as JSON: name, type, status, answers, authority, additional.

        Names outside the zone are REFUSED here, and names before the first LIST SERVFAIL, as on the host's listener.
        Raises StatusError 400 for something that is no name or an unknown type.
        """
        lowered = name.lower().removesuffix(".")
        kind = RecordType.__members__.get(qtype.upper())
        if kind is None or kind in {RecordType.AXFR, RecordType.IXFR}:
            raise bad_request(f'unknown DNS record type "{qtype}"')
        if not is_usable_name(lowered):
            raise bad_request(f'"{name}" is not a DNS name')
        zone = self._zones[0]
        answer: Answer | None = None
        status = "REFUSED"
        if zone.holds(lowered):
            answer = zone.lookup(lowered, kind) if self._is_synced else None
            status = answer.code.name if answer else "SERVFAIL"
        return {
            "name": lowered,
            "type": kind.name,
            "status": status,
            "answers": [_to_json(record) for record in answer.answers] if answer else [],
            "authority": [_to_json(record) for record in answer.authority] if answer else [],
            "additional": [_to_json(record) for record in answer.additional] if answer else [],
        }


def _take_in(zone: Zone, resource: str, old: Object | None, new: Object | None) -> set[str]:
    """Tell `zone` of a change; return the names whose answers may differ."""
    put: dict[str, Callable[[Object], set[str]]] = {
        "namespaces": zone.put_namespace,
        "services": zone.put_service,
        "endpoints": zone.put_endpoints,
        "pods": zone.put_pod,
    }
    if new is not None:
        return put[resource](new)
    assert old is not None
    namespace, name = namespace_of(old), name_of(old)
    if resource == "namespaces":
        return zone.remove_namespace(name)
    remove: dict[str, Callable[[str, str], set[str]]] = {
        "services": zone.remove_service,
        "endpoints": zone.remove_endpoints,
        "pods": zone.remove_pod,
    }
    return remove[resource](namespace, name)


def _to_json(record: Record) -> dict[str, Any]:
    data: Any = record.data
    if isinstance(data, Srv):
        data = f"{data.priority} {data.weight} {data.port} {data.target}."
    elif isinstance(data, Soa):
        numbers = " ".join(str(number) for number in data[2:])
        data = f"{data.name_server}. {data.mailbox}. {numbers}"
    elif record.type in {RecordType.CNAME, RecordType.PTR, RecordType.NS}:
        data = f"{data}."
    return {"name": record.name, "type": record.type.name, "ttl": record.ttl, "data": data}
