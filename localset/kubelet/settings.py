"""What the daemon decides for the kubelet, in one frozen value.

Made once by daemon (or a test); nothing in the room reads the process's own environment or configuration elsewhere.
"""

import ipaddress
from enum import StrEnum
from pathlib import Path

from localset.base.frozen import frozen
from localset.kubelet.runtime import Isolation


class ProbeTiming(StrEnum):
    """When readiness is asked: design 3.9, or exactly as Kubernetes does."""

    EAGER = "eager"
    STRICT = "strict"


class HostPathPolicy(StrEnum):
    """Whether hostPath volumes are mounted."""

    ALLOW = "allow"
    DENY = "deny"


RESERVED_ADDRESSES = 10
"""block.0 to block.9 are not for Pods: .1 is the node, others are the daemon's listeners."""


@frozen
class KubeletSettings:
    """The kubelet's configuration. `dns_address` is a name server on port 53 that Pods can ask; None: hosts files.

    `pod_subnet` (`10.x.0.0/16`) is the Pods' own network at level *namespaces*, empty at the others.
    """

    data_directory: Path
    node_name: str
    isolation: Isolation
    address_block: str
    cluster_domain: str = "cluster.local"
    dns_address: str | None = None
    probe_timing: ProbeTiming = ProbeTiming.EAGER
    host_path: HostPathPolicy = HostPathPolicy.ALLOW
    is_root: bool = False
    max_processes: int = 200
    search_path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    home: str = "/"
    language: str = "C.UTF-8"
    time_zone: str = "UTC"
    version: str = "v1.0.0+localset"
    user_id: int = 0
    pod_subnet: str = ""
    isolation_reasons: tuple[str, ...] = ()

    @property
    def pods_directory(self) -> Path:
        """Return the directory that holds one directory per Pod uid."""
        return self.data_directory / "pods"

    @property
    def volumes_directory(self) -> Path:
        """Return where provisioned volumes live."""
        return self.data_directory / "volumes"

    @property
    def node_address(self) -> str:
        """Return block.1 as Pods see it: `status.hostIP` and the Node's InternalIP."""
        return self.pod_ip(str(ipaddress.ip_network(self.address_block).network_address + 1))

    def pod_ip(self, host_address: str) -> str:
        """Return the address that Pods see for a sticky 127.x one, "" for none."""
        if not self.pod_subnet or not host_address:
            return host_address
        from localset.kubelet.pod_network import inner_address

        return inner_address(self.pod_subnet, host_address)

    @property
    def has_own_mounts(self) -> bool:
        """Tell whether containers see mounts of their own."""
        return self.isolation is not Isolation.PLAIN

    @property
    def carries_names_in_hosts(self) -> bool:
        """Tell whether Pods find each other by hosts file: no DNS on port 53, or no resolv.conf of their own."""
        return self.dns_address is None or not self.has_own_mounts

    @property
    def directory_mode(self) -> int:
        """Return the mode of directories on the way to a Pod's files: passable for other uids only as root."""
        return 0o711 if self.is_root else 0o700
