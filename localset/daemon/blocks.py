"""The address block of a data directory: a /20 of 127.64.0.0/10, recorded once, claimed while daemon or keeper lives.

Claims (runtime.md 1.1): flock on `<runtime directory>/blocks/<block>` between one user's data directories; a UDP
socket on
`block.1` and a fixed port counts against other users, because the kernel refuses another uid's bind.
"""

import errno
import fcntl
import hashlib
import ipaddress
import os
import socket
from pathlib import Path

from localset.base.directories import runtime_directory
from localset.base.files import make_private_directory
from localset.daemon.directory import DataDirectory
from localset.daemon.settings import StartError

RANGE = ipaddress.ip_network("127.64.0.0/10")
PREFIX = 20
CLAIM_PORT = 47_819
_COUNT = 2 ** (PREFIX - RANGE.prefixlen)


def block_at(index: int) -> str:
    """Return the index-th /20 of the range."""
    base = int(RANGE.network_address) + (index % _COUNT) * 2 ** (32 - PREFIX)
    return f"{ipaddress.ip_address(base)}/{PREFIX}"


def first_index(data_directory: Path) -> int:
    """Return where probing begins for this directory: the same at every start."""
    digest = hashlib.sha256(os.fsencode(data_directory)).digest()
    return int(int.from_bytes(digest[:4], "big") % _COUNT)


def address(block: str, number: int) -> str:
    """Return the number-th address of the block as text."""
    return str(ipaddress.ip_network(block).network_address + number)


class BlockClaim:
    """A block that is ours until `release`."""

    def __init__(self, block: str, lock: int, guard: socket.socket) -> None:
        """Keep the lock's descriptor and the guarding socket."""
        self.block = block
        self._lock = lock
        self._guard = guard

    def release(self) -> None:
        """Give the block up."""
        os.close(self._lock)
        self._guard.close()


class _TakenError(Exception):
    """Somebody else has the block; the text says who."""


def _claim(block: str, owner: Path) -> BlockClaim:
    directory = make_private_directory(runtime_directory() / "blocks")
    lock = os.open(directory / block.replace("/", "_"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 4096).decode(errors="replace").strip()
        os.close(lock)
        raise _TakenError(f"the data directory {holder or 'of another daemon'}") from error
    guard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # NB: no SO_REUSEADDR: reliability.md M2
    try:
        guard.bind((address(block, 1), CLAIM_PORT))
    except OSError as error:
        guard.close()
        os.close(lock)
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(
                f"this machine has no address {address(block, 1)}\n"
                f"hint (macOS): sudo ifconfig lo0 alias {address(block, 1)}"
            ) from error
        raise _TakenError("another user's localset") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, os.fsencode(owner), 0)
    return BlockClaim(block, lock, guard)


def claim_block(directory: DataDirectory) -> BlockClaim:
    """Claim the recorded block, or find and record a free one. Raises StartError naming the holder."""
    recorded = directory.facts.get("addressBlock")
    if recorded is not None:
        try:
            return _claim(str(recorded), directory.path)
        except _TakenError as error:
            raise StartError(
                f"the address block {recorded} of {directory.path} is held by {error}\n"
                "hint: end that one first; a data directory keeps its block, so that its Pods keep their addresses"
            ) from error
    start = first_index(directory.path)
    for step in range(_COUNT):
        try:
            claim = _claim(block_at(start + step), directory.path)
        except _TakenError:
            continue
        directory.facts["addressBlock"] = claim.block
        directory.save()
        return claim
    raise StartError("all address blocks of 127.64.0.0/10 are taken")
