"""The Pods' network as the daemon has it: their subnet, both views of an address, and the door to the network holder.

Made by `daemon`. At level *namespaces* the holder runs from the start; at the others it starts with the first Service
that needs a forwarder. What it forwards goes on when the daemon dies.
"""

import errno
import ipaddress
import logging
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.controllers.proxy.controller import Failure, ProxyController
from localset.daemon.blocks import address
from localset.daemon.directory import DataDirectory
from localset.dns.settings import find_holder
from localset.kubelet.dialling import Dialler
from localset.kubelet.keeper_launch import KeeperError
from localset.kubelet.keeper_runtime import KeeperRuntime

if TYPE_CHECKING:
    from localset.kubelet.holder_client import HolderClient

log = logging.getLogger(__name__)

SUBNET_FACT = "podSubnet"
DNS_PORT = 53
FIRST_SERVICE = 2049
"""The first address of the block's upper half, which is the Services'."""
_OFFSET_MASK = 0xFFF
_EGRESS_PROGRAMS = {"auto": ("slirp4netns", "slirp4netns"), "nat": ("nat", "nft"), "off": ("off", "")}
"""How, and by which program."""


class PodNetwork:
    """`subnet` and `gateway` are empty where Pods are in the host's network."""

    def __init__(self, runtime: KeeperRuntime, directory: DataDirectory, clock: Clock, block: str, egress: str) -> None:
        """Know the block of sticky addresses, and whether Pods may reach the outside; nothing is started."""
        self._runtime = runtime
        self._directory = directory
        self._clock = clock
        self._block = block
        self.subnet = self.gateway = ""
        self._holder: HolderClient | None = None
        self._proxy: ProxyController | None = None
        self._wanted_egress = egress
        self.egress: dict[str, str] | None = None
        """How Pods reach the outside, and why not: {"how", "reason"}. None where they have the host's network."""
        self._tasks = Tasks("pod network")

    async def start_own(self) -> None:
        """Have a network of the Pods' own, the same for this data directory's life. Raises KeeperError."""
        from localset.kubelet.pod_network import choose_subnet, host_networks

        facts = self._directory.facts
        if not facts.get(SUBNET_FACT):
            facts[SUBNET_FACT] = choose_subnet(self._block, host_networks())
            self._directory.save()
        await self._start_holder(str(facts[SUBNET_FACT]))

    def undo_nat(self) -> None:
        """Take back what a crashed holder has left on the host, where no other will: for Pods in the host's network."""
        record = self._directory.path / "keeper" / "nat.json"
        if record.exists():
            from localset.keeper.nat import undo_nat

            undo_nat(str(record))

    async def _start_holder(self, subnet: str) -> "HolderClient":
        from localset.kubelet.holder_client import HolderClient

        network = await self._runtime.network(subnet)
        self.subnet, self.gateway = network.subnet, network.gateway
        holder = self._holder = HolderClient(self._directory.path, self._clock)
        holder.on_connect, holder.on_event = self._on_connect, self._on_event
        holder.start()
        return holder

    async def aclose(self) -> None:
        """Let go of the holder, which stays."""
        await self._tasks.aclose()
        if self._holder is not None:
            await self._holder.aclose()

    # --- addresses --------------------------------------------------------------------------------------------------

    @property
    def services(self) -> str:
        """Return the network of clusterIPs."""
        return f"{self.pods_view(address(self._block, FIRST_SERVICE - 1))}/21"

    def pods_view(self, sticky: str) -> str:
        """Return the address that Pods see for a sticky 127.x one."""
        if not self.subnet:
            return sticky
        from localset.kubelet.pod_network import inner_address

        return inner_address(self.subnet, sticky)

    def host_view(self, cluster_ip: str) -> str:
        """Return where the host reaches a Service: the sticky address behind its clusterIP."""
        inside = ipaddress.ip_address(cluster_ip)
        if not self.subnet or inside not in ipaddress.ip_network(self.services):
            return cluster_ip
        return address(self._block, int(inside) & _OFFSET_MASK)

    def is_of_another_level(self, cluster_ip: str) -> bool:
        """Tell whether a clusterIP was given while this data directory had another level of isolation."""
        found = ipaddress.ip_address(cluster_ip)
        is_ours = found in ipaddress.ip_network(self._block) or cluster_ip.startswith("10.")
        return is_ours and found not in ipaddress.ip_network(self.services)

    # --- doors ------------------------------------------------------------------------------------------------------

    def dialler(self) -> Dialler:
        """Return what connects the daemon to Pods."""
        if self._holder is None or not self.subnet:
            return Dialler()
        return Dialler(self.subnet, partial(self._holder.make_socket, "tcp"), self._runtime.pod_socket)

    async def dns_sockets(self) -> tuple[socket.socket, socket.socket] | None:
        """Return (UDP, TCP) at the gateway's port 53, as a former daemon had them; None without own network."""
        if self._holder is None or not self.subnet:
            return None
        at = [self.gateway, DNS_PORT]
        udp = await self._holder.make_socket("udp", bind=at, name="dns-udp")
        return udp, await self._holder.make_socket("tcp", bind=at, listen=128, name="dns-tcp")

    def follow(self, proxy: ProxyController) -> None:
        """Let `proxy` know of a forwarder that knows nothing, and of what it cannot bind."""
        self._proxy = proxy

    async def _on_connect(self) -> None:
        """The holder may be a new one, which knows nothing."""
        if self._proxy is not None:
            self._proxy.tell_again()
        if self.subnet:
            self._tasks.spawn(self._open_way_out(), "egress")

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "egress":
            self._take_egress(event["state"])
        elif self._proxy is not None:
            self._proxy.take_failures(_named(event["failures"]))

    async def _open_way_out(self) -> None:
        assert self._holder is not None
        how, wanted = _EGRESS_PROGRAMS[self._wanted_egress]
        program = _find(wanted) if wanted else ""
        try:
            state, _ = await self._holder.request({"do": "egress", "how": how, "program": program})
        except OSError as error:
            log.warning("the network holder was not asked for a way out: %s", error)
            return
        if not program:
            state["reason"] = f"{wanted} is not installed" if wanted else "--egress=off"
        self._take_egress(state)

    def _take_egress(self, state: dict[str, str]) -> None:
        if state != self.egress and state["how"] == "off":
            log.warning("Pods do not reach the outside: %s", state["reason"])
        self.egress = state

    async def forward(self, table: list[dict[str, Any]]) -> list[Failure]:
        """Give the forwarder its table, and return what it cannot bind; OSError when there is none just now."""
        if self._holder is None:
            if not table:
                return []
            try:
                await self._start_holder("")
            except KeeperError as error:
                raise OSError(str(error)) from error
        assert self._holder is not None
        answer, _ = await self._holder.request({"do": "forward", "table": table})
        return _named(answer["failures"])


def _find(program: str) -> str:
    """Return where an executable is, on PATH or where those for administrators are; "" when it is nowhere."""
    for directory in (*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/sbin"):
        path = f"{directory}/{program}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    return ""


def _named(failures: list[Failure]) -> list[Failure]:
    """Add the process that has the address of each failure, where it can be seen."""
    for failure in failures:
        if failure["errno"] == errno.EADDRINUSE and failure["side"] == "host":
            failure["holder"] = find_holder(failure["address"], failure["port"], failure["protocol"].upper())
    return failures
