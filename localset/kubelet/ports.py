"""Ports that are already taken: the check before a container starts, and who holds them.

On the host's network one program on 0.0.0.0:2181 blocks that port for every Pod (runtime.md 1.2); the event must name
it. Called by `starter`. Binding is the only test that counts; /proc is read only to find the culprit's name.
"""

import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path

from localset.base.frozen import frozen
from localset.machinery.metadata import Object

_LISTEN = "0A"


@frozen
class PortProblem:
    """Why a declared port cannot be bound; `is_fatal` means that starting is pointless."""

    port: int
    message: str
    is_fatal: bool


def port_problem(address: str, container: Object) -> PortProblem | None:
    """Return the first declared TCP port of `container` that cannot be bound on `address`, or None."""
    problem: PortProblem | None = None
    for entry in container.get("ports") or []:
        if (entry.get("protocol") or "TCP") != "TCP":
            continue
        found = _try_port(address, int(entry["containerPort"]))
        if found is not None and found.is_fatal:
            return found
        problem = problem or found
    return problem


def _try_port(address: str, port: int) -> PortProblem | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return _explain(address, port, error)
    return None


def _explain(address: str, port: int, error: OSError) -> PortProblem:
    if error.errno == errno.EADDRINUSE:
        return PortProblem(
            port, f"port {port} on {address} is already taken by {holder_of(address, port)}", is_fatal=True
        )
    if error.errno == errno.EACCES:
        hint = f"sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
        return PortProblem(port, f"port {port} needs a right that this user lacks; once: {hint}", is_fatal=False)
    if error.errno == errno.EADDRNOTAVAIL:
        hint = f"sudo ifconfig lo0 alias {address}"
        return PortProblem(port, f"address {address} is not up on this machine; once: {hint}", is_fatal=True)
    return PortProblem(port, f"cannot bind {address}:{port}: {error.strerror}", is_fatal=False)


def holder_of(address: str, port: int) -> str:
    """Return words for who listens on `port` where it collides with `address`: pid and name, else uid, else unknown."""
    if sys.platform != "linux":
        return "another process"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for inode, uid in _listeners(table, address, port):
            process = _owner_of_inode(inode)
            if process:
                return process
            return f"a process of user id {uid} (not readable by this user)"
    return "another process"


def _listeners(table: str, address: str, port: int) -> list[tuple[str, str]]:
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        local, state, uid, inode = fields[1], fields[3], fields[7], fields[9]
        raw, _, hex_port = local.partition(":")
        if state == _LISTEN and int(hex_port, 16) == port and _collides(raw, address):
            found.append((inode, uid))
    return found


def _collides(raw: str, address: str) -> bool:
    words = [bytes.fromhex(raw[i : i + 8])[:: -1 if sys.byteorder == "little" else 1] for i in range(0, len(raw), 8)]
    listening = ipaddress.ip_address(b"".join(words))
    if listening.is_unspecified:
        return True
    mapped = getattr(listening, "ipv4_mapped", None) or listening
    return str(mapped) == address


def _owner_of_inode(inode: str) -> str:
    target = f"socket:[{inode}]"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            for descriptor in (entry / "fd").iterdir():
                if os.readlink(descriptor) == target:  # noqa: PTH115 - the link's text, not a path
                    name = (entry / "comm").read_text().strip()
                    return f"process {entry.name} ({name})"
        except OSError:
            continue
    return ""
