"""The eviction subresource: a delete that asks the disruption budgets first.

Called by the registry for `pods/eviction`. Works through the registry's own reads and writes and holds no lock while it
decides: budget and Pod are guarded by their resource versions. Source: registry/core/pod/storage/eviction.go
(statefulset-semantics.md 5).
"""

from typing import Protocol

from localset.base.clock import Clock, rfc3339
from localset.base.frozen import replace
from localset.client.client import DeleteOptions, ObjectList
from localset.machinery.errors import StatusError, forbidden
from localset.machinery.labels import selector_of
from localset.machinery.metadata import (
    Object,
    condition_of,
    copy_of,
    is_being_deleted,
    labels_of,
    name_of,
    version_of,
)
from localset.registry.deletion import too_many_requests

BUDGETS = "poddisruptionbudgets.policy"
MAX_DISRUPTED_PODS = 2000
CONFLICT_RETRIES = 20
VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Reads(Protocol):
    """What eviction needs of the registry."""

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        """Return one object."""
        ...

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return all matching objects."""
        ...

    async def update_status(self, resource: str, obj: Object) -> Object:
        """Replace the status."""
        ...

    async def delete(self, resource: str, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        """Delete, or begin to."""
        ...


async def evict(registry: Reads, clock: Clock, pod: Object, options: DeleteOptions) -> Object:
    """Delete `pod` if its budget allows; return the Status. StatusError 429 when it does not, 500 for two budgets."""
    namespace, name = pod["metadata"]["namespace"], name_of(pod)
    budget = None
    if not is_being_deleted(pod) and (pod.get("status") or {}).get("phase") == "Running":
        budget = await _budget_of(registry, pod)
    if budget is not None:
        if _is_without_cost(pod, budget):
            options = replace(options, resource_version=options.resource_version or version_of(pod))
        else:
            await _take_from_budget(registry, clock, namespace, name, name_of(budget), is_dry_run=options.dry_run)
    try:
        await registry.delete("pods", namespace, name, options)
    except StatusError as error:
        if error.reason == "Conflict" and options.resource_version == version_of(pod):
            raise too_many_requests(VIOLATED, []) from error
        raise
    return copy_of(SUCCESS)  # type: ignore[no-any-return]


async def _budget_of(registry: Reads, pod: Object) -> Object | None:
    budgets = [
        budget
        for budget in (await registry.list(BUDGETS, pod["metadata"]["namespace"])).items
        if selector_of((budget.get("spec") or {}).get("selector")).matches(labels_of(pod))
    ]
    if len(budgets) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", why)
    return budgets[0] if budgets else None


def _is_without_cost(pod: Object, budget: Object) -> bool:
    """Tell whether evicting an unready Pod takes nothing away from what the budget protects."""
    if (condition_of(pod, "Ready") or {}).get("status") == "True":
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    return bool(desired > 0 and status.get("currentHealthy", 0) >= desired)


async def _take_from_budget(
    registry: Reads, clock: Clock, namespace: str, pod_name: str, budget_name: str, *, is_dry_run: bool
) -> None:
    """Use up one disruption of the budget; a lost race with its controller is tried again."""
    for attempt in range(CONFLICT_RETRIES):
        budget = await registry.get(BUDGETS, namespace, budget_name)
        _check_budget(budget)
        if is_dry_run:
            return
        new = copy_of(budget)
        status = new["status"]
        status["disruptionsAllowed"] -= 1
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod_name: rfc3339(clock.now())}
        try:
            await registry.update_status(BUDGETS, new)
        except StatusError as error:
            if error.reason != "Conflict" or attempt == CONFLICT_RETRIES - 1:
                raise
        else:
            return


def _check_budget(budget: Object) -> None:
    status, name = budget.get("status") or {}, name_of(budget)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        cause = {
            "reason": "DisruptionBudget",
            "message": f"The disruption budget {name} is still being processed by the server.",
        }
        raise too_many_requests(VIOLATED, [cause], 10)
    if status.get("disruptionsAllowed", 0) < 0:
        raise forbidden(BUDGETS, name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED_PODS:
        raise forbidden(BUDGETS, name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if status.get("disruptionsAllowed", 0) == 0:
        desired, current = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        message = f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        raise too_many_requests(VIOLATED, [{"reason": "DisruptionBudget", "message": message}])
