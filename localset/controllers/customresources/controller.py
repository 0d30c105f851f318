"""The shell for definitions: accepts their names, establishes them, and empties those that are being deleted.

Started by `controllers.start`. An established definition is served by the registry in the turn in which its condition
is stored; nothing here serves anything. A dying definition is looked at again whenever one of its objects goes.
"""

from localset.apis.resources import Resource
from localset.apis.scheme import DEFINITIONS
from localset.base.clock import Clock, rfc3339
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions, PatchType
from localset.client.informer import Informer, InformerFactory
from localset.controllers.customresources.plan import CLEANUP, group_of, plan_names, taken_names, with_condition
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Object,
    condition_of,
    is_being_deleted,
    name_of,
    namespace_of,
    uid_of,
    version_of,
)

WORKERS = 2


class DefinitionController:
    """Follows CustomResourceDefinitions and, while one is dying, its objects."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informer of definitions; nothing runs before `start`."""
        self._client = client
        self._clock = clock
        self._factory = informers
        self._definitions = informers.of(DEFINITIONS)
        self._dying: dict[str, Informer] = {}
        self._built_in: list[Resource] = []
        self._queue: WorkQueue[str] = WorkQueue("customresources", clock)
        self._tasks = Tasks("definition controller")

    async def start(self) -> None:
        """Return when the cache is filled and the workers run."""
        await self._definitions.start()
        names = {name_of(crd) for crd in self._definitions.list()}
        self._built_in = [row for row in await self._client.resources() if row.name not in names]
        self._definitions.add_handler(self._on_definition)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; a dying definition goes on dying after the next start."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _on_definition(self, old: Object | None, new: Object | None) -> None:
        changed = new or old or {}
        if new is not None:
            self._queue.add(name_of(new))
        if new is None or old is None or new.get("status") != old.get("status"):
            # The names that it gives up or takes may be what others wait for.
            for crd in self._definitions.list():
                accepted = condition_of(crd, "NamesAccepted")
                if group_of(crd) == group_of(changed) and (accepted or {}).get("status") != "True":
                    self._queue.add(name_of(crd))

    async def _sync(self, name: str) -> None:
        crd = self._definitions.get("", name)
        if crd is None:
            self._forget(name)
            return
        try:
            if is_being_deleted(crd):
                await self._end(crd)
            else:
                await self._accept(crd)
        except StatusError as error:
            if error.code != 404:  # gone meanwhile: the informer says so
                raise

    async def _accept(self, crd: Object) -> None:
        taken = taken_names(crd, self._definitions.list(), self._built_in)
        status = plan_names(crd, taken, rfc3339(self._clock.now()))
        if status is not None:
            written = await self._client.update_status(DEFINITIONS, {**crd, "status": status})
            await self._definitions.wait_until_seen(version_of(written))

    async def _end(self, crd: Object) -> None:
        """Delete all objects; once none is left, let the definition go."""
        finalizers = crd["metadata"].get("finalizers") or []
        if CLEANUP not in finalizers:
            return
        if (condition_of(crd, "Established") or {}).get("status") == "True" and await self._empty(crd):
            return
        self._forget(name_of(crd))
        message = "removed all instances"
        moment = rfc3339(self._clock.now())
        done = with_condition(crd, "Terminating", "False", "InstanceDeletionCompleted", message, moment)
        written = await self._client.update_status(DEFINITIONS, done)
        left = [f for f in finalizers if f != CLEANUP]
        patch = {"metadata": {"resourceVersion": version_of(written), "finalizers": left or None}}
        await self._client.patch(DEFINITIONS, "", name_of(crd), patch, PatchType.MERGE)

    async def _empty(self, crd: Object) -> int:
        """Delete the definition's objects; return how many are still there, held by finalizers."""
        resource = name_of(crd)
        for obj in (await self._client.list(resource)).items:
            if is_being_deleted(obj):
                continue
            try:
                await self._client.delete(resource, namespace_of(obj), name_of(obj), DeleteOptions(uid=uid_of(obj)))
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise
        left = len((await self._client.list(resource)).items)
        if left and resource not in self._dying:
            # NB: another look comes from here, so the last object may go before it is followed only if it is reported.
            self._dying[resource] = self._factory.of(resource)
            self._dying[resource].add_handler(lambda _, new: self._queue.add(resource) if new is None else None)
            await self._dying[resource].start()
            self._queue.add(resource)
        return left

    def _forget(self, resource: str) -> None:
        self._dying.pop(resource, None)
