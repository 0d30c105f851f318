"""What localset does not do, workloads above all: readable and empty kinds whose writes say what to use instead. Pure.

Listed in discovery so that clients that ask for all kinds (`get all`, dashboards, helm) find what they expect. The
registry asks before it looks at anything else of a write.
"""

from localset.apis.resources import Resource
from localset.machinery.errors import Cause, StatusError, invalid

_SETS = "write it as a StatefulSet (apps/v1) with the same selector and template and a serviceName"
INSTEAD: dict[str, str] = {
    "Deployment": _SETS,
    "ReplicaSet": _SETS,
    "ReplicationController": _SETS,
    "DaemonSet": "write it as a StatefulSet (apps/v1) with one replica, since there is one machine",
    "Job": "write its template as a Pod with restartPolicy Never or OnFailure",
    "CronJob": "let cron or a systemd timer of this machine create a Pod with restartPolicy Never",
}
_NO_WEBHOOKS = "localset calls no webhooks: leave the configuration out, or call the program that it names yourself"
REASONS: dict[str, str] = {
    "ValidatingWebhookConfiguration": _NO_WEBHOOKS,
    "MutatingWebhookConfiguration": _NO_WEBHOOKS,
    **{kind: f"localset runs StatefulSets and Pods: {instead}" for kind, instead in INSTEAD.items()},
}


def refusal_of(resource: Resource, name: str) -> StatusError:
    """Return the 422 for a write of a refused kind."""
    why = f'Unsupported value: "{resource.kind}": {REASONS[resource.kind]}'
    return invalid(resource.kind, resource.group, name, [Cause("FieldValueNotSupported", why, "kind")])
