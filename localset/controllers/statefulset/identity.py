"""What makes a Pod the n-th Pod of a set: its name, labels, volumes (semantics 1.5, 1.6).

Called by plan and controller of this room. Pure: it makes and compares objects and never stores one.
Follows Kubernetes' pkg/controller/statefulset/stateful_set_utils.go.
"""

import re
from typing import Any

from localset.base.frozen import frozen
from localset.machinery.metadata import (
    Object,
    annotations_of,
    condition_of,
    copy_of,
    is_being_deleted,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
REVISION_LABEL = "controller-revision-hash"
API_VERSION = "apps/v1"
KIND = "StatefulSet"

_NAME = re.compile(r"(.*)-([0-9]+)$", re.DOTALL)
_MAX_INT32 = 2**31 - 1


def parse_pod_name(name: str) -> tuple[str, int]:
    """Return (set name, ordinal), or ("", -1) when no set makes such a name. Greedy: `foo-1-0` is of `foo-1`."""
    match = _NAME.match(name)
    if match is None or int(match[2]) > _MAX_INT32:
        return "", -1
    return match[1], int(match[2])


def pod_name(set_name: str, ordinal: int) -> str:
    """Return `web-0`."""
    return f"{set_name}-{ordinal}"


def claim_name(template: Object, set_name: str, ordinal: int) -> str:
    """Return `data-web-0`."""
    return f"{name_of(template)}-{set_name}-{ordinal}"


def claim_templates(owner: Object) -> list[Object]:
    """Return the set's volumeClaimTemplates, empty when absent."""
    return owner["spec"].get("volumeClaimTemplates") or []


@frozen
class PodFacts:
    """What deciding needs to know of one Pod. Made once per version of a Pod: a sync looks at all Pods of a set."""

    pod: Object
    name: str
    ordinal: int
    is_created: bool
    is_pending: bool
    is_terminal: bool
    is_ready: bool
    is_terminating: bool
    ready_since: str
    revision: str
    is_identity_right: bool


def facts_of(pod: Object, owner: Object) -> PodFacts:
    """Return the facts of `pod`, claimed by the set `owner`."""
    phase = (pod.get("status") or {}).get("phase") or ""
    ready = condition_of(pod, "Ready")
    is_ready = phase == "Running" and ready is not None and ready.get("status") == "True"
    parent, ordinal = parse_pod_name(name_of(pod))
    return PodFacts(
        pod=pod,
        name=name_of(pod),
        ordinal=ordinal,
        is_created=bool(phase),
        is_pending=phase == "Pending",
        is_terminal=phase in {"Failed", "Succeeded"},
        is_ready=is_ready,
        is_terminating=is_being_deleted(pod),
        ready_since=(ready or {}).get("lastTransitionTime") or "" if is_ready else "",
        revision=labels_of(pod).get(REVISION_LABEL, ""),
        is_identity_right=(
            parent == name_of(owner)
            and labels_of(pod).get(POD_NAME_LABEL) == name_of(pod)
            and labels_of(pod).get(POD_INDEX_LABEL) == str(ordinal)
            and _has_claim_volumes(pod, owner, ordinal)
        ),
    )


def _has_claim_volumes(pod: Object, owner: Object, ordinal: int) -> bool:
    templates = claim_templates(owner)
    if not templates:
        return True
    claims = {
        volume.get("name"): (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in pod["spec"].get("volumes") or []
    }
    return all(claims.get(name_of(t)) == claim_name(t, name_of(owner), ordinal) for t in templates)


def new_pod(owner: Object, template: Object, revision: str, ordinal: int) -> Object:
    """Return the Pod that ordinal `ordinal` gets from `template`, labelled with the revision's name."""
    name = pod_name(name_of(owner), ordinal)
    given = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": name,
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "labels": {**(given.get("labels") or {}), REVISION_LABEL: revision},
        "ownerReferences": [owner_reference(owner, API_VERSION, KIND)],
    }
    if given.get("annotations"):
        metadata["annotations"] = dict(given["annotations"])
    if given.get("finalizers"):
        metadata["finalizers"] = list(given["finalizers"])
    spec = copy_of(template.get("spec") or {})
    spec["hostname"] = name
    subdomain = owner["spec"].get("serviceName")
    if subdomain:
        spec["subdomain"] = subdomain
    return with_identity(owner, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, ordinal)


def with_identity(owner: Object, pod: Object, ordinal: int) -> Object:
    """Return a copy of `pod` whose labels and claim volumes are those of the ordinal."""
    pod = copy_of(pod)
    metadata = pod["metadata"]
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        POD_NAME_LABEL: metadata["name"],
        POD_INDEX_LABEL: str(ordinal),
    }
    templates = claim_templates(owner)
    if templates:
        names = {name_of(t) for t in templates}
        volumes: list[Object] = [
            {"name": name_of(t), "persistentVolumeClaim": {"claimName": claim_name(t, name_of(owner), ordinal)}}
            for t in templates
        ]
        volumes += [v for v in pod["spec"].get("volumes") or [] if v.get("name") not in names]
        pod["spec"]["volumes"] = volumes
    return pod


def new_claim(owner: Object, template: Object, ordinal: int) -> Object:
    """Return the PersistentVolumeClaim of `template` for the ordinal; who owns it is `claims`' business."""
    metadata: dict[str, Any] = {
        "name": claim_name(template, name_of(owner), ordinal),
        "namespace": namespace_of(owner),
        "labels": {**labels_of(template), **((owner["spec"].get("selector") or {}).get("matchLabels") or {})},
    }
    if annotations_of(template):
        metadata["annotations"] = dict(annotations_of(template))
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": copy_of(template.get("spec") or {}),
    }


def is_member(pod: Object, owner: Object) -> bool:
    """Tell whether the Pod's name says that it is of this set (`web` does not claim `web-a-0`)."""
    return parse_pod_name(name_of(pod))[0] == name_of(owner)


def start_of(owner: Object) -> int:
    """Return spec.ordinals.start, 0 by default."""
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def replicas_of(owner: Object) -> int:
    """Return spec.replicas, 1 by default."""
    replicas = owner["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def is_owned_by(obj: Object, owner: Object) -> bool:
    """Tell whether an ownerReference of `obj` carries the set's uid."""
    return any(r.get("uid") == uid_of(owner) for r in obj["metadata"].get("ownerReferences") or [])
