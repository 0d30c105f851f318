"""The proxy: keeps the forwarder's table as Services, Endpoints and Pods want it (kube-proxy's part).

Started by `controllers.start`. The forwarder outlives the daemon: what it was told last goes on without us, and at
start it is told again. It is not loaded before there is something to forward.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.client.client import Client
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.proxy.plan import HOST_PORTS, Place, Row, host_ports, pod_facts, table_of
from localset.machinery.metadata import Object, annotations_of

log = logging.getLogger(__name__)

REST_SECONDS_PER_ROW = 0.0001
LONGEST_REST_SECONDS = 0.1
RETRY_SECONDS = 1.0

Failure = dict[str, Any]
"""side, protocol, address, port of a row that nobody can listen on, with `errno`, `error`, and `holder` if known."""
Forward = Callable[[list[dict[str, Any]]], Awaitable[list[Failure]]]
"""Makes the forwarder's table so, and returns what cannot be bound. OSError when there is no forwarder just now."""


async def forward_nothing(_table: list[dict[str, Any]]) -> list[Failure]:
    """Forward nothing: for houses without a forwarder."""
    return []


class ProxyController:
    """Follows Services, Endpoints and Pods."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        informers: InformerFactory,
        forward: Forward,
        *,
        has_pod_network: bool,
    ) -> None:
        """Take the shared informers. Nothing runs before `start`."""
        self._clock = clock
        self._services = informers.of("services")
        self._endpoints = informers.of("endpoints")
        self._pods = informers.of("pods")
        self._events = EventRecorder(client, clock, "kube-proxy")
        self._forward = forward
        self._has_pod_network = has_pod_network
        self._changed = asyncio.Event()
        self._sent: list[Row] | None = None
        self._told: set[Place] = set()
        self._tasks = Tasks("proxy controller")

    async def start(self) -> None:
        """Return when the caches are filled and the table is on its way."""
        await asyncio.gather(self._services.start(), self._endpoints.start(), self._pods.start())
        self._services.add_handler(self._on_change)
        self._endpoints.add_handler(self._on_change)
        if self._has_pod_network:
            self._pods.add_handler(self._on_pod)
        self._changed.set()
        self._tasks.spawn(self._run(), "table")

    async def aclose(self) -> None:
        """Stop; what was told stays."""
        await self._tasks.aclose()
        await self._events.aclose()

    def tell_again(self) -> None:
        """The forwarder is new and knows nothing."""
        self._sent = None
        self._changed.set()

    def take_failures(self, failures: list[Failure]) -> None:
        """Tell the owners of what cannot be bound, each once."""
        owners = {(row.side, row.protocol, row.address, row.port): row.owner for row in self._sent or []}
        places = {(f["side"], f["protocol"], f["address"], f["port"]): f for f in failures}
        for place, failure in places.items():
            if place not in self._told and place in owners:
                resource, namespace, name = owners[place]
                informer = self._pods if resource == "pods" else self._services
                obj = informer.get(namespace, name)
                if obj is not None:
                    self._events.event(obj, "Warning", "HostPortUnavailable", _sentence(failure))
        self._told = set(places)

    def _on_change(self, _old: Object | None, _new: Object | None) -> None:
        self._changed.set()

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or pod_facts(old) != pod_facts(new):
            self._changed.set()
            self._tell_of_wrong_words(old, new)

    def _tell_of_wrong_words(self, old: Object | None, new: Object | None) -> None:
        text = annotations_of(new).get(HOST_PORTS, "") if new is not None else ""
        if new is None or not text or (old is not None and annotations_of(old).get(HOST_PORTS) == text):
            return
        wrong = host_ports(text)[1]
        if wrong:
            message = f"{HOST_PORTS}: {', '.join(wrong)} is no port; say for example: 5432, 8125/udp"
            self._events.event(new, "Warning", "InvalidHostPorts", message)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            table = table_of(
                self._services.list(),
                self._endpoints.list(),
                self._pods.list() if self._has_pod_network else (),
                has_pod_network=self._has_pod_network,
            )
            if table == (self._sent or []) and (self._sent is not None or not table):
                continue
            self._sent = table
            try:
                self.take_failures(await self._forward([row.to_json() for row in table]))
            except OSError as error:
                log.warning("the forwarder was not told: %s", error)
                self._sent = None
                await self._clock.sleep(RETRY_SECONDS)
                self._changed.set()
            # A set that starts changes the table once for each Pod; all of them at once is cheaper.
            await self._clock.sleep(min(LONGEST_REST_SECONDS, REST_SECONDS_PER_ROW * len(table)))


def _sentence(failure: Failure) -> str:
    """Say why an address does not answer on the host, and what would change that."""
    address, port = failure["address"], failure["port"]
    if failure["side"] == "pods":
        return f"{address}:{port} does not answer in the Pods' network: {failure['error']}"
    text = f"{address}:{port} does not answer on the host: {failure['error']}"
    if failure["errno"] == errno.EACCES:
        return f"{text}; once: sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
    return f"{text}, held by {failure['holder']}" if failure.get("holder") else text
