"""A fresh localset for one file: the real application over a store in memory, with the controllers but no kubelet.

The recorded server had the controller manager and no scheduler; so has this one. It answers on a Unix socket in a
directory of the caller.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from localset.base.clock import SystemClock
from localset.client.informer import InformerFactory
from localset.controllers.scheduler.controller import SchedulerController
from localset.controllers.start import Controllers, ControllerSettings
from localset.registry.registry import Registry
from tests.component.apiserver_house import open_house, open_registry

ROOT_CA = "-----BEGIN CERTIFICATE-----\nfor the conformance tests\n-----END CERTIFICATE-----\n"
SETTLED = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")


class NoDirectories:
    """VolumeDirectories where no volume is ever made."""

    async def remove(self, path: Path) -> None:
        """Have nothing to remove."""


class Server:
    """What a replay talks to."""

    def __init__(self, session: aiohttp.ClientSession, registry: Registry, *, has_controllers: bool) -> None:
        self.session = session
        self.registry = registry
        self.has_controllers = has_controllers

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
async def open_server(directory: Path, *, has_controllers: bool) -> AsyncGenerator[Server, None]:
    """Serve a new, empty installation."""
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_registry())
        for storage_class in (await registry.list("storageclasses.storage.k8s.io")).items:
            await registry.delete("storageclasses.storage.k8s.io", "", storage_class["metadata"]["name"])
        if has_controllers:
            await stack.enter_async_context(_controllers(registry, directory))
        house = await stack.enter_async_context(open_house(directory, registry))
        yield Server(house.session, registry, has_controllers=has_controllers)


@asynccontextmanager
async def _controllers(registry: Registry, directory: Path) -> AsyncGenerator[None, None]:
    clock = SystemClock()
    informers = InformerFactory(registry, clock)
    settings = ControllerSettings(directory / "volumes", "relaxed", ROOT_CA)
    controllers = Controllers(registry, clock, informers, settings, NoDirectories())
    # The recorded server had no scheduler: its Pods stay Pending unless a record binds them.
    controllers._pausing = tuple(c for c in controllers._pausing if not isinstance(c, SchedulerController))  # type: ignore[assignment]
    await controllers.start()
    try:
        yield
    finally:
        await controllers.aclose()
        await informers.aclose()
