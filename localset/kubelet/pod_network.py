"""The Pods' own network at level *namespaces*: which 10.x.0.0/16, and which address in it.

Pure but for `host_networks`.

An address of the data directory's block and the one that Pods see differ in their first bits only, so that each
follows from the other by arithmetic: sticky addresses stay sticky, and nothing more is stored.
"""

import ipaddress
from collections.abc import Iterable
from pathlib import Path

_OFFSET_MASK = 0xFFF
_CHOICES = 254


def choose_subnet(block: str, taken: Iterable[str]) -> str:
    """Return the network for the data directory that has `block`; one that `taken` networks leave alone if any does.

    Houses differ by their blocks; neighbours of 254 blocks may share one, which is invisible to both.
    """
    number = int(ipaddress.ip_network(block).network_address) >> 12
    others = [ipaddress.ip_network(network) for network in taken]
    candidates = [f"10.{(number + step) % _CHOICES + 1}.0.0/16" for step in range(_CHOICES)]
    for candidate in candidates:
        if not any(ipaddress.ip_network(candidate).overlaps(other) for other in others):
            return candidate
    return candidates[0]


def inner_address(subnet: str, host_address: str) -> str:
    """Return the address that Pods see for a sticky 127.x one."""
    offset = int(ipaddress.ip_address(host_address)) & _OFFSET_MASK
    return str(ipaddress.ip_network(subnet).network_address + offset)


def host_networks(table: Path = Path("/proc/net/route")) -> list[str]:
    """Return the IPv4 networks that the host has routes to, but for the default one; [] where it cannot be read."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        address, mask = (bytes.fromhex(fields[n])[::-1] for n in (1, 7))
        length = int.from_bytes(mask, "big").bit_count()
        if length:
            found.append(f"{ipaddress.ip_address(address)}/{length}")
    return found
