"""The few route-netlink requests that a Pod's network needs: links, a bridge, veth pairs, addresses, routes.

Called by `keeper.bridge` and by the children that make a Pod's namespaces (`keeper.sandbox`). A socket belongs to the
network namespace in which it was made, wherever its process goes afterwards. Raises OSError with the kernel's errno.
"""

import os
import socket
import struct

_IFF_UP = 1
_NLMSG_ERROR = 2
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 1, 4, 0x100, 0x200, 0x400
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE = 16, 17, 20, 21, 24, 25
_NEWQDISC, _DELQDISC, _ROOT = 36, 37, 0xFFFFFFFF
_TCA_KIND, _TCA_OPTIONS, _NETEM_LATENCY, _NETEM_JITTER, _NETEM_LIMIT = 1, 2, 10, 11, 10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD = 1, 3, 10, 18, 20, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_GATEWAY, _RTA_OIF = 1, 5, 4


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _link(index: int = 0, *, is_up: bool = False) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP if is_up else 0, _IFF_UP if is_up else 0)


def hardware_address(address: str) -> bytes:
    """Return the MAC that belongs to an IPv4 address: locally administered, and the same for each life of a Pod."""
    return b"\x0a\x58" + socket.inet_aton(address)


class Netlink:
    """A netlink socket of the network namespace that its maker is in."""

    def __init__(self) -> None:
        """Open it."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._number = 0

    def close(self) -> None:
        """Close it: an open one keeps its namespace alive."""
        self._socket.close()

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._number += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._number, 0)
        self._socket.send(header + body)
        while True:
            answer = self._socket.recv(65536)
            _, answered, _, number, _ = struct.unpack_from("=IHHII", answer)
            if number == self._number and answered == _NLMSG_ERROR:
                break
        (code,) = struct.unpack_from("=i", answer, 16)
        if code:
            raise OSError(-code, f"netlink: {os.strerror(-code)}")

    def set_up(self, name: str) -> None:
        """Bring a link up."""
        self._ask(_NEWLINK, 0, _link(socket.if_nametoindex(name), is_up=True))

    def add_bridge(self, name: str, hardware: bytes) -> None:
        """Make a bridge with a MAC of its own: else it takes the lowest of its ports', which changes with each Pod."""
        info = _attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "bridge"))
        body = _link(is_up=True) + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_ADDRESS, hardware) + info
        self._ask(_NEWLINK, _CREATE | _EXCLUSIVE, body)

    def add_pair(self, name: str, master: int, peer: str, namespace: int, hardware: bytes, alias: str) -> None:
        """Make a veth pair: `name` here, up, a port of the bridge `master`; `peer` down in the namespace of a file."""
        there = _link() + _text(_IFLA_IFNAME, peer) + _number(_IFLA_NET_NS_FD, namespace)
        there += _attribute(_IFLA_ADDRESS, hardware)
        data = _attribute(_INFO_DATA, _attribute(_VETH_PEER, there))
        info = _attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "veth") + data)
        body = _link(is_up=True) + _text(_IFLA_IFNAME, name) + _number(_IFLA_MASTER, master) + info
        self._ask(_NEWLINK, _CREATE | _EXCLUSIVE, body + _text(_IFLA_IFALIAS, alias[:255]))

    def delete(self, name: str) -> None:
        """Remove a link, and a pair's other end with it; OSError ENODEV when there is none."""
        self._ask(_DELLINK, 0, _link() + _text(_IFLA_IFNAME, name))

    def add_address(self, link: str, address: str, prefix: int) -> None:
        """Give a link an IPv4 address; one that it has is fine."""
        self._ask(_NEWADDR, _CREATE | _REPLACE, self._address(link, address, prefix))

    def remove_address(self, link: str, address: str, prefix: int) -> None:
        """Take an address from a link; OSError EADDRNOTAVAIL when it has none such."""
        self._ask(_DELADDR, 0, self._address(link, address, prefix))

    def _address(self, link: str, address: str, prefix: int) -> bytes:
        raw = socket.inet_aton(address)
        header = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, socket.if_nametoindex(link))
        return header + _attribute(_IFA_LOCAL, raw) + _attribute(_IFA_ADDRESS, raw)

    def add_default_route(self, link: str, gateway: str) -> None:
        """Send everything else to `gateway`."""
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0)  # main table, static, unicast
        body = _attribute(_RTA_GATEWAY, socket.inet_aton(gateway)) + _number(_RTA_OIF, socket.if_nametoindex(link))
        self._ask(_NEWROUTE, _CREATE | _REPLACE, header + body)

    def add_route(self, network: str, link: str) -> None:
        """Lead what goes to `network` (`10.1.2.3/32`) to a link."""
        self._ask(_NEWROUTE, _CREATE | _REPLACE, self._route(network, link))

    def remove_route(self, network: str, link: str) -> None:
        """Undo `add_route`; OSError ESRCH when there is none such."""
        self._ask(_DELROUTE, 0, self._route(network, link))

    @staticmethod
    def _route(network: str, link: str) -> bytes:
        address, _, length = network.partition("/")
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, 254, 4, 253, 1, 0)  # static, scope link
        destination = _attribute(_RTA_DST, socket.inet_aton(address))
        return header + destination + _number(_RTA_OIF, socket.if_nametoindex(link))

    def emulate(self, link: str, loss_percent: float, delay_seconds: float, jitter_seconds: float) -> None:
        """Lose and delay what leaves by a link; OSError ENOENT where the kernel has no netem."""
        lost = min(int(loss_percent / 100 * 0xFFFFFFFF), 0xFFFFFFFF)
        options = struct.pack("=IIIIII", 0, _NETEM_LIMIT, lost, 0, 0, 0)
        options += _attribute(_NETEM_LATENCY, struct.pack("=q", int(delay_seconds * 1e9)))
        options += _attribute(_NETEM_JITTER, struct.pack("=q", int(jitter_seconds * 1e9)))
        body = self._queue(link) + _text(_TCA_KIND, "netem") + _attribute(_TCA_OPTIONS, options)
        self._ask(_NEWQDISC, _CREATE | _REPLACE, body)

    def remove_emulation(self, link: str) -> None:
        """Undo `emulate`; OSError when there is nothing to undo."""
        self._ask(_DELQDISC, 0, self._queue(link))

    @staticmethod
    def _queue(link: str) -> bytes:
        return struct.pack("=BxxxiIII", socket.AF_UNSPEC, socket.if_nametoindex(link), 0, _ROOT, 0)
