"""All controllers of the house, started together over shared informers.

Made by daemon. `pause` stops those that would undo a `down`; the others go on so that Pods can end and be told about.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from localset.base.clock import Clock
from localset.base.frozen import frozen
from localset.client.client import Client
from localset.client.informer import InformerFactory
from localset.controllers.apiservice.controller import ApiServiceController
from localset.controllers.customresources.controller import DefinitionController
from localset.controllers.disruption.controller import DisruptionController
from localset.controllers.endpoints.controller import EndpointsController
from localset.controllers.endpoints.slices import EndpointSliceController
from localset.controllers.garbagecollector.controller import GarbageCollector
from localset.controllers.namespace.controller import NamespaceController
from localset.controllers.proxy.controller import Forward, ProxyController, forward_nothing
from localset.controllers.scheduler.controller import SchedulerController
from localset.controllers.statefulset.controller import StatefulSetController
from localset.controllers.volumeclaim.controller import VolumeClaimController
from localset.controllers.volumeclaim.directories import VolumeDirectories


@frozen
class ControllerSettings:
    """`scheduling` is relaxed or strict; `root_ca` is the PEM text that each namespace publishes.

    `restore_api` makes the Service default/kubernetes what it should be; `forward` gives the forwarder its table.
    """

    volumes_directory: Path
    restore_api: Callable[[], Awaitable[None]]
    scheduling: str = "relaxed"
    root_ca: str = ""
    forward: Forward = forward_nothing
    has_pod_network: bool = False


class Controllers:
    """Every controller, with one life."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        informers: InformerFactory,
        settings: ControllerSettings,
        directories: VolumeDirectories,
    ) -> None:
        """Make them; nothing runs before `start`."""
        self._informers = informers
        forward, has_pod_network = settings.forward, settings.has_pod_network
        self.proxy = ProxyController(client, clock, informers, forward, has_pod_network=has_pod_network)
        self._going_on = (
            DefinitionController(client, clock, informers),
            NamespaceController(client, clock, informers, settings.root_ca),
            ApiServiceController(clock, informers, settings.restore_api),
            EndpointsController(client, clock, informers),
            EndpointSliceController(client, clock, informers),
            VolumeClaimController(client, clock, informers, settings.volumes_directory, directories),
            self.proxy,
        )
        self._pausing = (
            SchedulerController(client, clock, informers, settings.scheduling),
            GarbageCollector(client, clock, informers),
            DisruptionController(client, clock, informers),
            StatefulSetController(client, clock, informers),
        )

    async def start(self) -> None:
        """Start the informers, then every controller."""
        await self._informers.start()
        for controller in (*self._going_on, *self._pausing):
            await controller.start()

    async def pause(self) -> None:
        """Stop what creates, binds, deletes or counts. Idempotent."""
        for controller in reversed(self._pausing):
            await controller.aclose()

    async def aclose(self) -> None:
        """Stop all."""
        await self.pause()
        for controller in reversed(self._going_on):
            await controller.aclose()
