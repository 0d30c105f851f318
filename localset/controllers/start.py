"""All controllers of the daemon, started and ended together.

Made by the daemon. The one module of this floor that knows every controller. `pause` is the first step of `down`:
nothing new is begun while Pods end, but names and claims still follow what happens.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from localset.base.clock import Clock
from localset.client.client import Client
from localset.client.informer import InformerFactory
from localset.controllers.disruption.controller import DisruptionController
from localset.controllers.endpoints.controller import EndpointsController
from localset.controllers.garbagecollector.controller import GarbageCollectorController
from localset.controllers.namespace.controller import NamespaceController
from localset.controllers.scheduler.controller import SchedulerController
from localset.controllers.statefulset.controller import StatefulSetController
from localset.controllers.volumeclaim.controller import VolumeClaimController
from localset.controllers.volumeclaim.directories import VolumeDirectories


@dataclass(frozen=True)
class ControllerSettings:
    """`scheduling` is relaxed or strict; `root_ca` is the PEM text that each namespace publishes."""

    volumes_directory: Path
    scheduling: str = "relaxed"
    root_ca: str = ""


class Controllers:
    """The controllers over one Client. The informers stay the caller's to close, after `aclose`."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        informers: InformerFactory,
        settings: ControllerSettings,
        directories: VolumeDirectories,
    ) -> None:
        """Make them all; nothing runs before `start`. ValueError for an unknown scheduling."""
        self._following = (
            EndpointsController(client, clock, informers),
            VolumeClaimController(client, clock, informers, settings.volumes_directory, directories),
            NamespaceController(client, clock, informers, settings.root_ca),
        )
        self._beginning = (
            SchedulerController(client, clock, informers, settings.scheduling),
            GarbageCollectorController(client, clock, informers),
            DisruptionController(client, clock, informers),
            StatefulSetController(client, clock, informers),
        )

    async def start(self) -> None:
        """Return when each has filled its caches and works."""
        await asyncio.gather(*(controller.start() for controller in (*self._following, *self._beginning)))

    async def pause(self) -> None:
        """Stop what begins new work (sets, scheduling, garbage, budgets); the others go on. Idempotent."""
        await asyncio.gather(*(controller.aclose() for controller in self._beginning))

    async def aclose(self) -> None:
        """Stop all. Idempotent."""
        await self.pause()
        await asyncio.gather(*(controller.aclose() for controller in self._following))
