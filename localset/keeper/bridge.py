"""The Pods' bridge namespace as the network holder sees it: one thread that lives in it and works on request.

The holder's main thread stays in the host's network namespace, where it listens on 127.x; a socket for the Pods' side
is made here. A thread and not a second process, because a socket then needs no passing. At the levels without own
networks `Host` takes the place of `Bridge`.
"""

import _thread
import os
import socket
from collections.abc import Callable
from typing import Any

from localset.keeper import linux
from localset.keeper.netlink import Netlink, hardware_address

LINK = "pods0"


def _set(name: str, value: str) -> None:
    with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
        file.write(value)


def free_low_ports() -> None:
    """Let every user of the network namespace that we are in bind any port."""
    _set("ip_unprivileged_port_start", "0")


def gateway_of(subnet: str) -> str:
    """Return the bridge's own address: the first of the network `a.b.0.0/16`."""
    return subnet.partition("/")[0].rpartition(".")[0] + ".1"


class Host:
    """No network of the Pods' own: sockets are the host's."""

    namespaces: tuple[int, ...] = ()

    def socket(self, kind: int, protocol: int = 0) -> socket.socket:
        """Return a new non-blocking IPv4 socket."""
        made = socket.socket(socket.AF_INET, kind, protocol)
        made.setblocking(False)
        return made

    def add_address(self, address: str) -> None:
        """Do nothing: 127.x needs no set-up."""

    def remove_address(self, address: str) -> None:
        """Do nothing."""


class Bridge:
    """The bridge namespace, new or taken up again. To be made before any other thread exists."""

    def __init__(self, subnet: str, given: list[int]) -> None:
        """Make namespace and bridge for `subnet`; or with `given` (net and, rootless, user) enter what is there.

        OSError says what this machine refuses.
        """
        self._subnet = subnet
        users = given[1:] if given else self._new_user_namespace()
        for descriptor in users:
            if given:
                linux.setns(descriptor, linux.CLONE_NEWUSER)
        self._work: tuple[Callable[[], Any]] | None = None
        self._result: Any = None
        self._error: OSError | None = None
        self._asked, self._answered = _thread.allocate_lock(), _thread.allocate_lock()
        self._asked.acquire()
        self._answered.acquire()
        _thread.start_new_thread(self._live, ())
        network = self._do(lambda: self._enter(given))
        self.namespaces: tuple[int, ...] = (network, *users)

    @staticmethod
    def _new_user_namespace() -> list[int]:
        if linux.may_mount():
            return []
        uid, gid = os.geteuid(), os.getegid()
        linux.new_user_namespace(0, f"0 {uid} 1", f"0 {gid} 1")
        return [os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)]

    def _enter(self, given: list[int]) -> int:
        if given:
            linux.setns(given[0], linux.CLONE_NEWNET)
            os.close(given[0])
        else:
            linux.unshare(linux.CLONE_NEWNET)
            self._furnish()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _furnish(self) -> None:
        gateway = gateway_of(self._subnet)
        link = Netlink()
        link.set_up("lo")
        link.add_bridge(LINK, hardware_address(gateway))
        link.add_address(LINK, gateway, 16)
        link.close()
        free_low_ports()
        # Where no way leads out, a Pod is told so at once and each time: else its DNS queries wait for their timeouts.
        _set("ip_forward", "1")
        _set("icmp_ratemask", "0")

    # --- the thread -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            self._asked.acquire()
            work = self._work
            assert work is not None
            try:
                self._result = work[0]()
            except OSError as error:
                self._error = error
            self._answered.release()

    def _do(self, work: Callable[[], Any]) -> Any:
        """Let the thread do `work`, which must not wait for anything, and return its result."""
        self._work, self._error = (work,), None
        self._asked.release()
        self._answered.acquire()
        if self._error is not None:
            raise self._error
        return self._result

    def socket(self, kind: int, protocol: int = 0) -> socket.socket:
        """Return a new non-blocking IPv4 socket of the bridge namespace."""
        made: socket.socket = self._do(lambda: socket.socket(socket.AF_INET, kind, protocol))
        made.setblocking(False)
        return made

    def add_address(self, address: str) -> None:
        """Let the bridge answer for one more address, such as a Service's."""
        self._do(lambda: self._with_netlink(lambda link: link.add_address(LINK, address, 32)))

    def remove_address(self, address: str) -> None:
        """Take the address away."""
        self._do(lambda: self._with_netlink(lambda link: link.remove_address(LINK, address, 32)))

    def answer_for_pods(self, link: str) -> None:
        """Answer ARP for Pods' addresses on `link`, by which they reach the outside."""
        self._do(lambda: self._proxy_arp(link))

    def take_uplink(self, link: str, address: str, prefix: int, gateway: str) -> None:
        """Bring a link up with an address, and send everything else to `gateway`."""

        def take(netlink: Netlink) -> None:
            netlink.set_up(link)
            netlink.add_address(link, address, prefix)
            netlink.add_default_route(link, gateway)

        self._do(lambda: self._with_netlink(take))

    @staticmethod
    def _proxy_arp(link: str) -> None:
        _set(f"conf/{link}/proxy_arp", "1")
        _set(f"neigh/{link}/proxy_delay", "0")

    @staticmethod
    def _with_netlink(work: Callable[[Netlink], None]) -> None:
        link = Netlink()
        try:
            work(link)
        finally:
            link.close()
