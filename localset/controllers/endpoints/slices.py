"""The endpoint slice controller: EndpointSlices beside the Endpoints of every Service.

Started by `controllers.start`. Nothing in the house waits for slices (name service and Service addresses follow
Endpoints), so changes are gathered for half a second: a set that starts costs a few writes, not one per Pod. Slices of
a Service that is gone are the garbage collector's.
"""

import asyncio

from localset.apis.coordination import MANAGED_BY, SERVICE_NAME
from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions
from localset.client.informer import InformerFactory
from localset.controllers.endpoints.plan import seen_of, selects
from localset.controllers.endpoints.slicing import (
    FROM_ENDPOINTS,
    FROM_PODS,
    RESOURCE,
    Create,
    Delete,
    Step,
    Update,
    groups_from_endpoints,
    groups_from_pods,
    plan_slices,
)
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    is_being_deleted,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
)

SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
"""Whoever makes Endpoints with this label makes their slices too: the API does, for its own Service."""
WORKERS = 2
GATHER_SECONDS = 0.5


class EndpointSliceController:
    """Follows Services, Pods and the Endpoints of Services without a selector."""

    def __init__(self, client: Client, clock: Clock, informers: InformerFactory) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._services = informers.of("services")
        self._pods = informers.of("pods")
        self._endpoints = informers.of("endpoints")
        self._slices = informers.of(RESOURCE)
        self._slices.add_index("service", _index_by_service)
        self._queue: WorkQueue[Key] = WorkQueue("endpointslices", clock)
        self._tasks = Tasks("endpoint slice controller")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        informers = (self._services, self._pods, self._endpoints, self._slices)
        await asyncio.gather(*(informer.start() for informer in informers))
        self._services.add_handler(self._on_named)
        self._pods.add_handler(self._on_pod)
        self._endpoints.add_handler(self._on_endpoints)
        self._slices.add_handler(self._on_slice)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop."""
        await self._tasks.aclose()
        await self._queue.aclose()

    def _on_named(self, old: Object | None, new: Object | None) -> None:
        self._queue.add_after(key_of(new or old or {}), GATHER_SECONDS)

    def _on_endpoints(self, old: Object | None, new: Object | None) -> None:
        service = self._services.get(*split_key(key_of(new or old or {})))
        if service is not None and not _selector_of(service):
            self._on_named(old, new)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and seen_of(old) == seen_of(new):
            return
        changed = [labels_of(pod) for pod in (old, new) if pod is not None]
        for service in self._services.list(namespace_of(new or old or {})):
            selector = _selector_of(service)
            if selector and any(selects(selector, labels) for labels in changed):
                self._on_named(None, service)

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        # A user's change of what is ours is undone; our own write finds nothing left to do.
        for found in (old, new):
            for service_key in _index_by_service(found) if found is not None else ():
                self._queue.add_after(Key(service_key), GATHER_SECONDS)

    async def _sync(self, key: Key) -> None:
        namespace, name = split_key(key)
        service = self._services.get(namespace, name)
        if service is None or is_being_deleted(service) or (service.get("spec") or {}).get("type") == "ExternalName":
            return
        stored = self._slices.by_index("service", key)
        selector = _selector_of(service)
        if selector:
            manager = FROM_PODS
            pods = [pod for pod in self._pods.list(namespace) if selects(selector, labels_of(pod))]
            groups = groups_from_pods(service, pods)
        else:
            endpoints = self._endpoints.get(namespace, name) or {}
            is_mirrored = labels_of(endpoints).get(SKIP_MIRROR) != "true"
            manager, groups = FROM_ENDPOINTS, groups_from_endpoints(endpoints if is_mirrored else {})
        mine = [found for found in stored if labels_of(found).get(MANAGED_BY) == manager]
        for step in plan_slices(service, manager, groups, mine):
            await self._perform(step)

    async def _perform(self, step: Step) -> None:
        try:
            match step:
                case Create(wanted):
                    written = await self._client.create(RESOURCE, wanted)
                case Update(wanted):
                    written = await self._client.update(RESOURCE, wanted)
                case Delete(unwanted):
                    options = DeleteOptions(uid=uid_of(unwanted))
                    written = await self._client.delete(RESOURCE, namespace_of(unwanted), name_of(unwanted), options)
        except StatusError as error:
            if error.code == 404 or "NamespaceTerminating" in str(error.details):
                return  # The namespace or the slice is going; its end is reported by the informers.
            raise
        await self._slices.wait_until_seen(version_of(written))


def _selector_of(service: Object) -> dict[str, str]:
    return (service.get("spec") or {}).get("selector") or {}


def _index_by_service(endpoint_slice: Object) -> list[str]:
    labels = labels_of(endpoint_slice)
    if labels.get(MANAGED_BY) not in {FROM_PODS, FROM_ENDPOINTS} or not labels.get(SERVICE_NAME):
        return []
    return [f"{namespace_of(endpoint_slice)}/{labels[SERVICE_NAME]}"]
