"""A fresh localset for one file: the real application over a store in memory, with the controllers but no kubelet.

The recorded server had the controller manager and no scheduler; so has this one. It answers over TLS on a free port of
127.0.0.1, to an administrator, to bob who has no rights, to nobody, and to a wrong token.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from localset.base.clock import SystemClock
from localset.client.informer import InformerFactory
from localset.client.streams import LogOptions
from localset.controllers.start import Controllers, ControllerSettings
from localset.kubelet.streams import choose_container
from localset.machinery.metadata import Object
from localset.registry.registry import Registry
from tests.component.apiserver_house import TestStreams, open_registry
from tests.component.tls_house import TlsHouse, make_files, open_tls_house

ROOT_CA = "-----BEGIN CERTIFICATE-----\nfor the conformance tests\n-----END CERTIFICATE-----\n"
IDENTITIES = {"": ("admin", ""), "bob": ("bob", ""), "anonymous": ("", ""), "wrongtoken": ("", "wrong")}
"""The certificate and the token of each recorded identity; the empty one is the administrator."""
SETTLED = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")


class ChoosingStreams(TestStreams):
    """Streams that look for the container as the kubelet does; there is no process behind them."""

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Refuse a container that is not there or not named."""
        choose_container(pod, options.container)
        async for line in super().logs(pod, options):
            yield line


class NoDirectories:
    """VolumeDirectories where no volume is ever made."""

    async def remove(self, path: Path) -> None:
        """Have nothing to remove."""


class Server:
    """What a replay talks to."""

    def __init__(
        self, port: int, sessions: dict[str, aiohttp.ClientSession], registry: Registry, *, has_controllers: bool
    ) -> None:
        self._port = port
        self.sessions = sessions
        self.registry = registry
        self.has_controllers = has_controllers

    def url(self, path: str) -> URL:
        """Return the address of `path`, which stays as it is written."""
        return URL(f"https://127.0.0.1:{self._port}{path}", encoded=True)

    @property
    def version(self) -> int:
        """Return the newest resourceVersion."""
        return int(self.registry.resource_version)

    async def wait_for_namespace(self, name: str) -> None:
        """Wait until the controllers have furnished a new namespace."""
        if not self.has_controllers:
            return
        for _ in range(100):
            kinds = [
                await self.registry.list(path.split("/")[0], name, field_selector=f"metadata.name={path.split('/')[1]}")
                for path in SETTLED
            ]
            if all(kind.items for kind in kinds):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_server(
    directory: Path, left_out: frozenset[str] | None, streams: TestStreams | None = None
) -> AsyncGenerator[Server, None]:
    """Serve a new, empty installation with all controllers but those `left_out`; None is without any."""
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_registry())
        for storage_class in (await registry.list("storageclasses.storage.k8s.io")).items:
            await registry.delete("storageclasses.storage.k8s.io", "", storage_class["metadata"]["name"])
        if left_out is not None:
            await stack.enter_async_context(_controllers(registry, directory, left_out))
        files = make_files(directory)
        house = await stack.enter_async_context(
            open_tls_house(directory, files, registry, streams or ChoosingStreams())
        )
        sessions = {name: await stack.enter_async_context(_session(house, name)) for name in IDENTITIES}
        yield Server(house.port, sessions, registry, has_controllers=left_out is not None)


def _session(house: TlsHouse, identity: str) -> aiohttp.ClientSession:
    certificate, token = IDENTITIES[identity]
    context = ssl.create_default_context(cafile=str(house.files.ca))
    if certificate:
        context.load_cert_chain(house.files.directory / f"{certificate}.pem")
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


async def _leave_service_alone() -> None:
    """Do not make the Service default/kubernetes: the recorded server's is not part of any file."""


@asynccontextmanager
async def _controllers(registry: Registry, directory: Path, left_out: frozenset[str]) -> AsyncGenerator[None, None]:
    clock = SystemClock()
    informers = InformerFactory(registry, clock)
    settings = ControllerSettings(directory / "volumes", restore_api=_leave_service_alone, root_ca=ROOT_CA)
    controllers = Controllers(registry, clock, informers, settings, NoDirectories())
    for group in ("_pausing", "_going_on"):
        chosen = tuple(c for c in getattr(controllers, group) if type(c).__name__ not in left_out)
        setattr(controllers, group, chosen)
    await controllers.start()
    try:
        yield
    finally:
        await controllers.aclose()
        await informers.aclose()
