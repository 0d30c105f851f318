"""`down`: end the Pods in order without changing any spec (design 3.13).

Controllers are paused before. A set's Pods are deleted from the highest ordinal, one after the other, sets side by
side, and those of a Parallel set at once, as when it is scaled: the next `up` brings them back in order. A Pod without
a controller keeps its object; only its processes end.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from localset.apis.statefulsets import parent_and_ordinal
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.client.client import Client, WatchType
from localset.kubelet.runtime import Runtime
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    controller_of,
    is_being_deleted,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)

log = logging.getLogger(__name__)

_BARE_POD_GRACE_SECONDS = 30.0


def plan_ending(pods: Iterable[Object], sets: Iterable[Object] = ()) -> list[list[Object]]:
    """Return groups to be ended side by side; within a group one after the other, highest ordinal first.

    `sets` are the StatefulSets, of which Parallel ones have no order.
    """
    unordered = {uid_of(s) for s in sets if s["spec"].get("podManagementPolicy") == "Parallel"}
    groups: dict[tuple[str, str, str], list[Object]] = {}
    for pod in pods:
        owner = controller_of(pod)
        if owner is not None:
            alone = name_of(pod) if owner.get("uid") in unordered else ""
            groups.setdefault((namespace_of(pod), str(owner.get("uid")), alone), []).append(pod)
    return [sorted(group, key=_ordinal, reverse=True) for _, group in sorted(groups.items())]


def _ordinal(pod: Object) -> int:
    return parent_and_ordinal(name_of(pod))[1]


class Ending:
    """Performs one `down`."""

    def __init__(self, client: Client, runtime: Runtime, clock: Clock) -> None:
        """Take the doors; `run` does the work."""
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._gone: dict[Key, asyncio.Event] = {}
        self._tasks = Tasks("ending")

    async def run(self, timeout_seconds: float | None) -> bool:
        """End everything; after `timeout_seconds` kill what is left. Return whether all ended in time."""
        is_in_time = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._end_sets()
                await self._end_processes(_BARE_POD_GRACE_SECONDS)
        except TimeoutError:
            is_in_time = False
            log.warning("down: not everything ended within %s s; killing the rest", timeout_seconds)
            await self._end_processes(0.0)
        finally:
            await self._tasks.aclose()
        return is_in_time

    async def _end_sets(self) -> None:
        listed = await self._client.list("pods")
        groups = plan_ending(listed.items, (await self._client.list("statefulsets.apps")).items)
        self._gone = {key_of(pod): asyncio.Event() for group in groups for pod in group}
        self._tasks.spawn(self._follow(listed.resource_version), "pods")
        await asyncio.gather(*(self._end_group(group) for group in groups))

    async def _follow(self, resource_version: str) -> None:
        async for event in self._client.watch("pods", resource_version=resource_version):
            if event.type is WatchType.DELETED and (gone := self._gone.get(key_of(event.object))):
                gone.set()

    async def _end_group(self, group: list[Object]) -> None:
        for pod in group:
            if not is_being_deleted(pod):
                try:
                    await self._client.delete("pods", namespace_of(pod), name_of(pod))
                except StatusError as error:
                    if error.code != 404:
                        raise
                    continue
            await self._gone[key_of(pod)].wait()

    async def _end_processes(self, grace_seconds: float) -> None:
        """Stop every process that is left and wait until no set has a member."""
        events = self._runtime.events()
        changed = asyncio.Event()

        async def follow() -> None:
            async for _ in events:
                changed.set()

        follower = self._tasks.spawn(follow(), "runtime events")
        await asyncio.sleep(0)  # NB: subscribed before the first list
        asked: set[str] = set()
        try:
            while alive := [report for report in await self._runtime.list() if not report.state.is_over]:
                changed.clear()
                for report in alive:
                    if report.run_id not in asked:
                        asked.add(report.run_id)
                        await self._runtime.stop(report.run_id, grace_seconds)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await changed.wait()
        finally:
            follower.cancel()
