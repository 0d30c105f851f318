"""What every part of the kubelet shares: the doors outwards and the caches. Made once by `Kubelet`.

Also the two exceptions that turn a not-yet into a waiting reason. No logic lives here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from localset.base.clock import Clock
from localset.client.client import Client
from localset.client.events import EventRecorder
from localset.client.informer import Informer
from localset.kubelet.addresses import AddressBook
from localset.kubelet.dialling import Dialler
from localset.kubelet.environment import Sources
from localset.kubelet.hosts import HostsFiles
from localset.kubelet.runtime import Runtime
from localset.kubelet.settings import KubeletSettings
from localset.kubelet.tokens import PodTokens
from localset.machinery.metadata import Object, namespace_of


class NotYetError(Exception):
    """A container or Pod must wait. `reason` is the waiting reason, `event_reason` the Warning's, if one is due."""

    def __init__(self, reason: str, message: str, *, event_reason: str = "", retry_seconds: float | None = 1.0) -> None:
        """`retry_seconds` None: only a change of some object makes another try worth while."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.event_reason = event_reason
        self.retry_seconds = retry_seconds


class ImageLike(Protocol):
    """What the kubelet reads of an image; `images.catalogue.Image` fits."""

    @property
    def name(self) -> str: ...
    @property
    def directory(self) -> Path: ...
    @property
    def entrypoint(self) -> tuple[str, ...]: ...
    @property
    def command(self) -> tuple[str, ...]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def working_directory(self) -> str: ...
    @property
    def user(self) -> int | None: ...
    @property
    def user_name(self) -> str: ...
    @property
    def group(self) -> int | None: ...
    @property
    def users(self) -> Mapping[str, int]: ...
    @property
    def stop_signal(self) -> str: ...
    @property
    def mounts(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def scratch(self) -> tuple[str, ...]: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def notice(self) -> str: ...
    @property
    def is_host(self) -> bool: ...


class ImageSource(Protocol):
    """What the kubelet asks of the catalogue; `images.catalogue.Catalogue` fits."""

    def find(self, reference: str) -> ImageLike | None:
        """Return the image that serves `reference`."""
        ...

    def explain(self, reference: str) -> str:
        """Return what to tell a user whose reference was not found."""
        ...

    def missing(self, image: Any) -> Sequence[Any]:
        """Return the image's requirements that the host does not meet; str() of each is one sentence with its cure."""
        ...


@dataclass
class Caches:
    """Informers that the kubelet reads; each key in them is `namespace/name`."""

    pods: Informer
    endpoints: Informer
    config_maps: Informer
    secrets: Informer
    services: Informer
    claims: Informer


@dataclass
class KubeletContext:
    """Everything shared. `allocatable` is the Node's, for resourceFieldRef; without `tokens` volumes have none."""

    client: Client
    runtime: Runtime
    images: ImageSource
    clock: Clock
    settings: KubeletSettings
    recorder: EventRecorder
    addresses: AddressBook
    hosts: HostsFiles
    caches: Caches
    tokens: PodTokens | None = None
    dialler: Dialler = field(default_factory=Dialler)
    allocatable: dict[str, str] = field(default_factory=dict)

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return a cached configmap or secret, or None."""
        cache = self.caches.config_maps if kind == "configmaps" else self.caches.secrets
        return cache.get(namespace, name)

    def sources_for(self, pod: Object, pod_ip: str) -> Sources:
        """Return what the Pod's references may look at."""
        namespace = namespace_of(pod)
        services = list(self.caches.services.list(namespace))
        if namespace != "default":
            kubernetes = self.caches.services.get("default", "kubernetes")
            services += [kubernetes] if kubernetes is not None else []
        return Sources(
            find_config_map=lambda name: self.find("configmaps", namespace, name),
            find_secret=lambda name: self.find("secrets", namespace, name),
            services=services,
            host_ip=self.settings.node_address,
            pod_ip=pod_ip,
            allocatable=self.allocatable,
        )
