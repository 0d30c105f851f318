"""What the daemon decides for the registry.

Made by daemon (and tests), read everywhere in this room. Values only: nothing here may act.
"""

import ipaddress
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

ServiceAddresses = Callable[[str, str, Collection[str]], str]
"""(namespace, name, addresses taken) -> the Service's address; ValueError when none is left."""


def service_addresses(block: str) -> ServiceAddresses:
    """Return an allocator over the CIDR `block`: the same name gets the same address wherever that is free."""
    network = ipaddress.ip_network(block)
    size = network.num_addresses - 2

    def allocate(namespace: str, name: str, taken: Collection[str]) -> str:
        start = zlib.crc32(f"{namespace}/{name}".encode())
        for step in range(size):
            address = str(network[1 + (start + step) % size])
            if address not in taken:
                return address
        raise ValueError(f"no address is left in {block}")

    return allocate


@dataclass(frozen=True)
class RegistrySettings:
    """Limits and allocators. `max_processes` counts Pods that have not ended.

    `host_address` tells where the host reaches a clusterIP: there itself, unless Pods have a network of their own.
    """

    max_processes: int = 200
    service_address: ServiceAddresses = field(default_factory=lambda: service_addresses("127.96.128.0/17"))
    host_address: Callable[[str], str] = lambda address: address
    event_ttl_seconds: float = 3600.0
    max_events: int = 5000
