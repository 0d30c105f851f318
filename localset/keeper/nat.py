"""The Pods' way out by the host's own routing (`--egress=nat`): a veth pair, a route, masquerading, ip_forward.

A part of the network holder, for root only. It is the one thing in localset that changes the host, so it is written
down in `nat.json` before it is done, and undone from there: when the holder ends, and at the next start after a crash
(by the next holder, or by the daemon where there is none). Runs `nft`, each time for some milliseconds.
"""

import contextlib
import json
import os
import socket
from typing import Any, Protocol

from localset.keeper.loop import say
from localset.keeper.netlink import Netlink, hardware_address

RECORD = "nat.json"
INNER_LINK = "uplink1"
_FORWARD = "/proc/sys/net/ipv4/ip_forward"
State = dict[str, Any]


class Bridge(Protocol):
    """What is needed of the bridge namespace."""

    namespaces: tuple[int, ...]

    def answer_for_pods(self, link: str) -> None:
        """Answer ARP for Pods' addresses on `link`."""
        ...

    def take_uplink(self, link: str, address: str, prefix: int, gateway: str) -> None:
        """Bring a link up with an address, and send everything else to `gateway`."""
        ...


def open_nat(bridge: Bridge, subnet: str, program: str) -> State:
    """Let `subnet` out with `nft` at `program`; return {how, reason}. What was there before is undone first."""
    undo_nat(RECORD)
    if len(bridge.namespaces) > 1:
        return {"how": "off", "reason": "--egress=nat changes the host and is for root"}
    number = int(subnet.split(".")[1])
    link, table = f"lsnat{number}", f"localset_{number}"
    outer, inner = f"198.19.{number}.1", f"198.19.{number}.2"
    try:
        with open(_FORWARD, encoding="ascii") as file:
            record = {"link": link, "table": table, "forward": file.read().strip(), "program": program}
        _write(record)
        _make_link(bridge, link, subnet, outer, inner)
        rule = f'ip saddr {subnet} oifname != "{link}" masquerade'
        _run_nft(
            program, f"table ip {table} {{ chain out {{ type nat hook postrouting priority 100; {rule}; }}; }}", table
        )
        _set_forward("1")
    except OSError as error:
        undo_nat(RECORD)
        return {"how": "off", "reason": f"--egress=nat: {error}"}
    return {"how": "nat", "reason": ""}


def _make_link(bridge: Bridge, link: str, subnet: str, outer: str, inner: str) -> None:
    netlink = Netlink()
    try:
        netlink.add_pair(link, 0, INNER_LINK, bridge.namespaces[0], hardware_address(inner), "localset: way out")
        netlink.add_address(link, outer, 30)
        bridge.take_uplink(INNER_LINK, inner, 30, outer)
        bridge.answer_for_pods(INNER_LINK)
        netlink.add_route(subnet, link)
    finally:
        netlink.close()


def undo_nat(path: str) -> None:
    """Take back what the record at `path` says was done. A part that is not there any more is fine."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return
    except ValueError as error:
        say(f"{path}: {error}")
        return
    netlink = Netlink()
    with contextlib.suppress(OSError):
        netlink.delete(record["link"])
    netlink.close()
    try:
        # Another data directory may still be on its way out.
        if record["forward"] == "0" and not any(name.startswith("lsnat") for _, name in socket.if_nameindex()):
            _set_forward("0")
        _run_nft(record["program"], "", record["table"])
    except OSError as error:
        say(f"the way out was not undone: {error}")
        return
    os.unlink(path)


def _write(record: State) -> None:
    with open(RECORD + ".new", "w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(RECORD + ".new", RECORD)


def _set_forward(value: str) -> None:
    with open(_FORWARD, "w", encoding="ascii") as file:
        file.write(value)


def _run_nft(program: str, text: str, table: str) -> None:
    """Make `table` what `text` says, or have none. Raises OSError with nft's own words."""
    heard, says = os.pipe()
    os.set_inheritable(says, True)
    # A table that is declared first can be deleted whether it was there or not.
    script = f"table ip {table}; delete table ip {table}; {text}"
    actions = [(os.POSIX_SPAWN_DUP2, says, 1), (os.POSIX_SPAWN_DUP2, says, 2)]
    try:
        pid = os.posix_spawn(program, [program, script], {"PATH": "/usr/sbin:/usr/bin"}, file_actions=actions)
    finally:
        os.close(says)
    with os.fdopen(heard, encoding="utf-8", errors="replace") as file:
        words = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise OSError(
            f"nft: {words.strip().partition(chr(10))[0] or f'it ended with {os.waitstatus_to_exitcode(status)}'}"
        )
