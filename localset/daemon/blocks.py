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
from typing import NamedTuple

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
    """A block that is ours until daemon and keeper have both gone."""

    def __init__(self, block: str, owner: Path, held: "_Held | None") -> None:
        """`held` None: the keeper of this data directory has kept the claim from a daemon before us."""
        self.block = block
        self._owner = owner
        self._held = held

    def descriptors(self) -> list[int]:
        """Return what a keeper started now must hold. A claim that went down with the last keeper is made again.

        Empty when another took the block in that moment: the next start of a daemon says who.
        """
        if self._held is None:
            try:
                self._held = _claim(self.block, self._owner)
            except (_TakenError, StartError):
                return []
        return [] if self._held is None else [self._held.lock, self._held.guard.fileno()]

    def release(self) -> None:
        """Let go; a living keeper still holds the block."""
        if self._held is not None:
            os.close(self._held.lock)
            self._held.guard.close()
            self._held = None


class _Held(NamedTuple):
    """The lock's descriptor and the guarding socket."""

    lock: int
    guard: socket.socket


class _TakenError(Exception):
    """Somebody else has the block; the text says who."""


def _claim(block: str, owner: Path) -> _Held | None:
    """Take a block; None when the keeper of `owner` holds it, as nobody else of that directory can be running."""
    directory = make_private_directory(runtime_directory() / "blocks")
    lock = os.open(directory / block.replace("/", "_"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 4096).decode(errors="replace").strip()
        os.close(lock)
        if holder == str(owner):
            return None
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
    return _Held(lock, guard)


def claim_block(directory: DataDirectory) -> BlockClaim:
    """Claim the recorded block, or find and record a free one. Raises StartError naming the holder."""
    recorded = directory.facts.get("addressBlock")
    if recorded is not None:
        try:
            return BlockClaim(str(recorded), directory.path, _claim(str(recorded), directory.path))
        except _TakenError as error:
            raise StartError(
                f"the address block {recorded} of {directory.path} is held by {error}\n"
                "hint: end that one first; a data directory keeps its block, so that its Pods keep their addresses"
            ) from error
    start = first_index(directory.path)
    for step in range(_COUNT):
        block = block_at(start + step)
        try:
            claim = BlockClaim(block, directory.path, _claim(block, directory.path))
        except _TakenError:
            continue
        directory.facts["addressBlock"] = claim.block
        directory.save()
        return claim
    raise StartError("all address blocks of 127.64.0.0/10 are taken")
