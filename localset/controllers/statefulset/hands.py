"""Performing the steps of a plan, with the events that tell of them (semantics 6).

Called by the controller of this room. It decides nothing: a step that fails ends the sync with its error, and the next
sync plans afresh. Parallel sets create their Pods in growing batches, so that a broken template costs few refused calls.
"""

import asyncio

from localset.client.client import Client, DeleteOptions
from localset.client.events import EventRecorder
from localset.client.informer import Informer
from localset.controllers.statefulset.identity import KIND
from localset.controllers.statefulset.plan import (
    CreateClaim,
    CreatePod,
    DeletePod,
    Refuse,
    ReportConflict,
    Step,
    UpdateClaim,
    UpdatePod,
    Wait,
)
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of, version_of

MAX_BATCH = 500


class Hands:
    """Writes Pods and claims, and waits until the caches have seen it."""

    def __init__(self, client: Client, pods: Informer, claims: Informer, events: EventRecorder) -> None:
        """Take the informers that must see the writes."""
        self._client = client
        self._pods = pods
        self._claims = claims
        self._events = events

    async def perform(self, owner: Object, steps: list[Step]) -> None:
        """Perform `steps` in order; creations of neighbouring ordinals in batches of 1, 2, 4, … at once."""
        batch_size = 1
        batch: list[list[Step]] = []
        for unit in _units(steps):
            if isinstance(unit[-1], CreatePod):
                batch.append(unit)
                if len(batch) < batch_size:
                    continue
            await self._perform_batch(owner, batch)
            if batch:
                batch_size = min(batch_size * 2, MAX_BATCH)
                batch = []
            if not isinstance(unit[-1], CreatePod):
                await self._perform_unit(owner, unit)
        await self._perform_batch(owner, batch)

    async def _perform_batch(self, owner: Object, batch: list[list[Step]]) -> None:
        if len(batch) == 1:
            await self._perform_unit(owner, batch[0])
        elif batch:
            results = await asyncio.gather(*(self._perform_unit(owner, unit) for unit in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _perform_unit(self, owner: Object, unit: list[Step]) -> None:
        for step in unit:
            await self._perform(owner, step)

    async def _perform(self, owner: Object, step: Step) -> None:
        match step:
            case CreateClaim():
                await self._create_claim(owner, step)
            case CreatePod():
                await self._create_pod(owner, step.pod)
            case DeletePod():
                await self._delete_pod(owner, step.pod)
            case UpdatePod():
                await self._update_pod(owner, step.pod)
            case UpdateClaim():
                written = await self._client.update("persistentvolumeclaims", step.claim)
                await self._claims.wait_until_seen(version_of(written))
            case Refuse():
                self._say(owner, "Warning", "FailedCreate", f"create Pod {name_of(owner)}-{step.ordinal}", step.message)
                raise StatusError(409, "Conflict", step.message)
            case ReportConflict():
                text = f"PersistentVolumeClaim {name_of(step.claim)} has another controller, retention policy ignored"
                self._events.event(owner, "Warning", "ConflictingController", text)
            case Wait():
                pass  # The reason is for people; it is recomputed from the Pods where it is shown.

    def _say(self, owner: Object, event_type: str, reason: str, what: str, error: str = "") -> None:
        outcome = f"failed error: {error}" if error else "successful"
        self._events.event(owner, event_type, reason, f"{what} in {KIND} {name_of(owner)} {outcome}")

    async def _create_claim(self, owner: Object, step: CreateClaim) -> None:
        claim, pod = name_of(step.claim), f"{name_of(owner)}-{step.ordinal}"
        try:
            created = await self._client.create("persistentvolumeclaims", step.claim)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return
            self._say(owner, "Warning", "FailedCreate", f"create Claim {claim} for Pod {pod}", str(error))
            raise
        text = f"create Claim {claim} Pod {pod} in {KIND} {name_of(owner)} success"
        self._events.event(owner, "Normal", "SuccessfulCreate", text)
        await self._claims.wait_until_seen(version_of(created))

    async def _create_pod(self, owner: Object, pod: Object) -> None:
        try:
            created = await self._client.create("pods", pod)
        except StatusError as error:
            # NB: a name that is taken is an error without an event, and so is a namespace that is going.
            if error.reason != "AlreadyExists" and "NamespaceTerminating" not in str(error.details):
                self._say(owner, "Warning", "FailedCreate", f"create Pod {name_of(pod)}", str(error))
            raise
        self._say(owner, "Normal", "SuccessfulCreate", f"create Pod {name_of(pod)}")
        await self._pods.wait_until_seen(version_of(created))

    async def _delete_pod(self, owner: Object, pod: Object) -> None:
        try:
            deleted = await self._client.delete("pods", namespace_of(pod), name_of(pod), DeleteOptions(uid=uid_of(pod)))
        except StatusError as error:
            if error.code in {404, 409}:
                return  # Already gone, or another Pod of that name: the next sync sees which.
            self._say(owner, "Warning", "FailedDelete", f"delete Pod {name_of(pod)}", str(error))
            raise
        self._say(owner, "Normal", "SuccessfulDelete", f"delete Pod {name_of(pod)}")
        await self._pods.wait_until_seen(version_of(deleted))

    async def _update_pod(self, owner: Object, pod: Object) -> None:
        try:
            written = await self._client.update("pods", pod)
        except StatusError as error:
            if error.code == 404:
                return
            self._say(owner, "Warning", "FailedUpdate", f"update Pod {name_of(pod)}", str(error))
            raise
        self._say(owner, "Normal", "SuccessfulUpdate", f"update Pod {name_of(pod)}")
        await self._pods.wait_until_seen(version_of(written))


def _units(steps: list[Step]) -> list[list[Step]]:
    """Group claims with the Pod that needs them; every other step stands alone."""
    units: list[list[Step]] = []
    claims: list[Step] = []
    for step in steps:
        if isinstance(step, CreateClaim | UpdateClaim):
            claims.append(step)
            continue
        if isinstance(step, CreatePod):
            units.append([*claims, step])
        else:
            units.extend([claim] for claim in claims)
            units.append([step])
        claims = []
    units.extend([claim] for claim in claims)
    return units
