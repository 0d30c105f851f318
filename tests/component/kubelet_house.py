"""A kubelet with a fake runtime, virtual time and the real registry: what the kubelet's component tests share."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localset.base.clock import ManualClock
from localset.base.frozen import replace
from localset.client.client import Client
from localset.kubelet.kubelet import Kubelet
from localset.kubelet.runtime import Isolation
from localset.kubelet.settings import KubeletSettings
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, condition_of
from tests.component.fake_runtime import FakeRuntime
from tests.component.memory_client import open_client

ROUNDS = 2000


@dataclass(frozen=True)
class FakeImage:
    """An image with everything that the kubelet reads."""

    name: str
    directory: Path = Path("/nowhere")
    entrypoint: tuple[str, ...] = ("/opt/app/run",)
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    working_directory: str = ""
    user: int | None = None
    user_name: str = ""
    group: int | None = None
    users: dict[str, int] = field(default_factory=dict)
    stop_signal: str = ""
    mounts: tuple[tuple[str, str], ...] = ()
    scratch: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    notice: str = ""
    is_host: bool = False


class FakeCatalogue:
    """Finds images by exact name."""

    def __init__(self) -> None:
        self.images = {
            "app:1": FakeImage("app"),
            "app:2": FakeImage("app"),
            "host": FakeImage("host", entrypoint=(), is_host=True),
        }
        self.lacking: dict[str, list[str]] = {}

    def find(self, reference: str) -> FakeImage | None:
        return self.images.get(reference)

    def explain(self, reference: str) -> str:
        return f'no local image answers to "{reference}": localset image add'

    def missing(self, image: FakeImage) -> list[str]:
        return self.lacking.get(image.name, [])


@dataclass
class House:
    """Everything a test touches."""

    client: Client
    runtime: FakeRuntime
    catalogue: FakeCatalogue
    clock: ManualClock
    settings: KubeletSettings
    kubelet: Kubelet

    async def until(self, is_true: Callable[[], Any], what: str = "") -> None:
        """Let tasks run, without moving time, until `is_true()`; fails after many rounds."""
        for _ in range(ROUNDS):
            if is_true():
                return
            await asyncio.sleep(0.0005)
        raise AssertionError(f"never became true: {what or is_true}")

    async def until_pod(self, name: str, is_true: Callable[[Object], Any]) -> Object:
        """Wait until the stored Pod fulfils `is_true`; return it."""
        pod: Object = {}
        for _ in range(ROUNDS):
            pod = await self.pod(name)
            if is_true(pod):
                return pod
            await asyncio.sleep(0.0005)
        raise AssertionError(f"pod {name} never came there; it is {pod.get('status')}")

    async def pod(self, name: str) -> Object:
        """Return the stored Pod, or an empty object."""
        try:
            return await self.client.get("pods", "default", name)
        except StatusError:
            return {}

    async def advance(self, seconds: float) -> None:
        """Move time on, after everything that waits for time has begun to wait."""
        await self.settle()
        await self.clock.advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Let everything that can run without time run."""
        for _ in range(40):
            await asyncio.sleep(0)

    async def until_event(self, reason: str, text: str = "") -> str:
        """Wait for an event of that reason whose message begins with `text`; return the message."""
        for _ in range(ROUNDS):
            for event in (await self.client.list("events", "default")).items:
                if event["reason"] == reason and event["message"].startswith(text):
                    return str(event["message"])
            await asyncio.sleep(0.0005)
        raise AssertionError(f"no event {reason} {text}")

    async def restart_kubelet(self) -> None:
        """End the kubelet, leaving processes, and start another over the same world."""
        await self.kubelet.aclose()
        self.kubelet = Kubelet(self.client, self.runtime, self.catalogue, self.clock, self.settings)
        await self.kubelet.start()


@asynccontextmanager
async def opened_house(directory: Path, **changes: Any) -> AsyncGenerator[House, None]:
    """Yield a running house; its kubelet is closed at the end."""
    clock = ManualClock()
    settings = KubeletSettings(
        data_directory=directory,
        node_name="here",
        isolation=Isolation.LOOPBACK,
        address_block="127.99.16.0/20",
    )
    settings = replace(settings, **changes)
    runtime, catalogue = FakeRuntime(clock), FakeCatalogue()
    async with open_client(clock) as client:
        kubelet = Kubelet(client, runtime, catalogue, clock, settings)
        house = House(client, runtime, catalogue, clock, settings, kubelet)
        await kubelet.start()
        try:
            yield house
        finally:
            await house.kubelet.aclose()


def make_pod(name: str = "web-0", *, containers: list[Object] | None = None, **spec: Any) -> Object:
    """Return a Pod that is bound to the house's node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": "here",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": containers or [make_container()],
            **spec,
        },
    }


def make_container(name: str = "main", **more: Any) -> Object:
    """Return a container of the image `app:1`."""
    return {"name": name, "image": "app:1", **more}


def is_ready(pod: Object) -> bool:
    """Tell whether condition Ready is True."""
    condition = condition_of(pod, "Ready")
    return condition is not None and condition["status"] == "True"


def state_of(pod: Object, container: str = "main") -> Object:
    """Return the containerStatuses entry."""
    status = pod.get("status") or {}
    listed = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return next((entry for entry in listed if entry["name"] == container), {"state": {}})
