"""Performing a plan's steps: writes through the Client and the events that tell of them (semantics 6).

Called by controller. It decides nothing: OrderedReady steps are performed one after the other, those of Parallel in
batches that double from 1, and the first error ends the pass as the plan's later steps rest on the earlier ones.
"""

import asyncio
from collections.abc import Awaitable, Callable

from localset.client.client import Client, DeleteOptions
from localset.client.events import EventRecorder
from localset.controllers.statefulset.identity import pod_name
from localset.controllers.statefulset.own_writes import OwnWrites
from localset.controllers.statefulset.plan import (
    UPDATE_REASON,
    CreateClaim,
    CreatePod,
    DeletePod,
    Plan,
    Refuse,
    ReportConflict,
    Step,
    UpdateClaim,
    UpdatePod,
)
from localset.controllers.statefulset.resting import RestingNames
from localset.machinery.errors import StatusError, conflict
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of

PODS = "pods"
CLAIMS = "persistentvolumeclaims"
LARGEST_BATCH = 500


class Actor:
    """Performs steps for one set during one sync."""

    def __init__(
        self, client: Client, events: EventRecorder, own: OwnWrites, owner: Object, resting: RestingNames
    ) -> None:
        """Act for `owner`; the events are about it, and `resting` is told of what is deleted."""
        self._client = client
        self._events = events
        self._own = own
        self._owner = owner
        self._resting = resting
        self._replaced = 0

    async def perform(self, plan: Plan) -> Exception | None:
        """Perform the steps; return the first error instead of raising it, because the status is written even then.

        `plan.status` is corrected: it counts update deletions ahead, and those that did not happen are taken back.
        """
        intended = sum(isinstance(step, DeletePod) and step.reason == UPDATE_REASON for step in plan.steps)
        if self._owner["spec"].get("podManagementPolicy") == "Parallel":
            error = await self._in_batches(plan.steps)
        else:
            error = await self._in_order(plan.steps)
        status = plan.status
        if "currentReplicas" in status and intended > self._replaced:
            status["currentReplicas"] = min(status["replicas"], status["currentReplicas"] + intended - self._replaced)
        return error

    async def _in_order(self, steps: list[Step]) -> Exception | None:
        for step in steps:
            try:
                await self._perform_one(step)
            except (StatusError, OSError) as error:
                return error
        return None

    async def _in_batches(self, steps: list[Step]) -> Exception | None:
        # A Pod's claims come before it, and the owners of a condemned Pod's claims are written before it is deleted.
        deletions: list[list[Step]] = [[step] for step in steps if isinstance(step, DeletePod)]
        for groups in (_by_ordinal([step for step in steps if not isinstance(step, DeletePod)]), deletions):
            done, size = 0, 1
            while done < len(groups):
                outcomes = await asyncio.gather(*(self._in_order(group) for group in groups[done : done + size]))
                error = next((outcome for outcome in outcomes if outcome is not None), None)
                if error is not None:
                    return error
                done += size
                size = min(size * 2, LARGEST_BATCH)
        return None

    async def _perform_one(self, step: Step) -> None:
        match step:
            case CreateClaim():
                await self._create_claim(step)
            case UpdateClaim():
                self._own.note(CLAIMS, await self._client.update(CLAIMS, step.claim))
            case CreatePod():
                await self._tell("create", step.pod, lambda: self._client.create(PODS, step.pod))
            case UpdatePod():
                await self._tell("update", step.pod, lambda: self._client.update(PODS, step.pod))
            case DeletePod():
                await self._delete_pod(step)
            case Refuse():
                error = conflict(CLAIMS, "", step.message)
                self._report("create", pod_name(name_of(self._owner), step.ordinal), step.message)
                raise error
            case ReportConflict():
                text = f"Claim {name_of(step.claim)} has another controller: the retention policy does not apply to it"
                self._events.event(self._owner, "Warning", "ConflictingController", text)

    async def _create_claim(self, step: CreateClaim) -> None:
        claim, set_name = name_of(step.claim), name_of(self._owner)
        pod = pod_name(set_name, step.ordinal)
        try:
            self._own.note(CLAIMS, await self._client.create(CLAIMS, step.claim))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                text = f"create Claim {claim} for Pod {pod} in StatefulSet {set_name} failed error: {error}"
                self._events.event(self._owner, "Warning", "FailedCreate", text)
                self._report("create", pod, str(error))
            raise
        text = f"create Claim {claim} Pod {pod} in StatefulSet {set_name} success"
        self._events.event(self._owner, "Normal", "SuccessfulCreate", text)

    async def _delete_pod(self, step: DeletePod) -> None:
        # The uid keeps a stale plan from killing the successor of the Pod it was made for.
        options = DeleteOptions(uid=uid_of(step.pod))
        namespace, name = namespace_of(step.pod), name_of(step.pod)
        self._resting.note_own_deletion(uid_of(step.pod))
        await self._tell("delete", step.pod, lambda: self._client.delete(PODS, namespace, name, options))
        self._replaced += step.reason == UPDATE_REASON

    async def _tell(self, verb: str, pod: Object, write: Callable[[], Awaitable[Object]]) -> None:
        try:
            self._own.note(PODS, await write())
        except StatusError as error:
            if verb == "delete" and error.code in {404, 409}:
                return  # Already gone, or another Pod of that name: the next sync sees which.
            # NB: a taken name is silent: a released Pod may hold it for long, and every retry would be an event. So is
            # a namespace that is going.
            if error.reason != "AlreadyExists" and "NamespaceTerminating" not in str(error.details):
                self._report(verb, name_of(pod), str(error))
            raise
        self._report(verb, name_of(pod), "")

    def _report(self, verb: str, pod: str, error: str) -> None:
        outcome = f"failed error: {error}" if error else "successful"
        reason = f"{'Failed' if error else 'Successful'}{verb.capitalize()}"
        text = f"{verb} Pod {pod} in StatefulSet {name_of(self._owner)} {outcome}"
        self._events.event(self._owner, "Warning" if error else "Normal", reason, text)


def _by_ordinal(steps: list[Step]) -> list[list[Step]]:
    """Return runs of steps of one ordinal; a step without ordinal belongs to the run that it stands in."""
    groups: list[list[Step]] = []
    last: int | None = None
    for step in steps:
        ordinal = getattr(step, "ordinal", last)
        if not groups or ordinal != last:
            groups.append([])
        groups[-1].append(step)
        last = ordinal
    return groups
