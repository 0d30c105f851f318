"""Node selectors, affinity, taints: does a Pod want this Node, and does the Node take it. Pure.

Called by the scheduler's plan. Only the *required* rules count: preferences choose between Nodes, and there is one.
Source: component-helpers/scheduling/corev1.
"""

from collections.abc import Iterable

from localset.machinery.labels import selector_of
from localset.machinery.metadata import Object, labels_of, name_of, namespace_of

NODE_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
POD_AFFINITY = "node(s) didn't match pod affinity rules"
POD_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
_READINESS = {True: (), False: ({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},)}
"""What readiness means for new Pods: upstream writes it as a taint. Nobody serves a Node that was made by hand."""
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def taint_refusal(pod: Object, node: Object) -> str:
    """Return why a taint or a cordon of the Node keeps the Pod away, or the empty text."""
    spec = node.get("spec") or {}
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    if spec.get("unschedulable"):
        cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if not any(_tolerates(toleration, cordon) for toleration in tolerations):
            return "node(s) were unschedulable"
    for taint in (*_READINESS[_is_ready(node)], *(spec.get("taints") or ())):
        is_hard = taint.get("effect") in {"NoSchedule", "NoExecute"}
        if is_hard and not any(_tolerates(toleration, taint) for toleration in tolerations):
            return f"node(s) had untolerated taint {{{taint.get('key', '')}: {taint.get('value', '')}}}"
    return ""


def _is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in {None, "", taint.get("effect")}:
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def wants_node(pod: Object, node: Object) -> bool:
    """Tell whether nodeSelector and required node affinity accept the Node."""
    spec, labels = pod.get("spec") or {}, labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED)
    if not required:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or [])


def _term_matches(term: Object, node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    known_fields = {"metadata.name": name_of(node)}
    return all(_requirement_holds(r, labels_of(node)) for r in expressions) and all(
        _requirement_holds(r, known_fields) for r in fields
    )


def _requirement_holds(requirement: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(requirement.get("key", "")), requirement.get("values") or []
    operator = requirement.get("operator")
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    try:
        have, limit = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return have > limit if operator == "Gt" else have < limit


def has_rules_about_pods(pod: Object) -> bool:
    """Tell whether other Pods decide about this one's Node."""
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    return bool(affinity.get("podAffinity") or affinity.get("podAntiAffinity"))


def pod_affinity_refusals(pod: Object, node: Object, placed: Iterable[Object]) -> list[str]:
    """Return which of the Pod's required rules about other Pods the Node breaks; `placed` are the Node's Pods.

    NB: with one machine every topology key that the Node carries names the same domain: the Node.
    """
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    others = [other for other in placed if other is not pod]
    refusals: list[str] = []
    for term in (affinity.get("podAffinity") or {}).get(_REQUIRED) or []:
        is_first = _term_selects(term, pod, pod)
        if not is_first and not (_has_topology(term, node) and _any_selected(term, pod, others)):
            refusals.append(POD_AFFINITY)
            break
    for term in (affinity.get("podAntiAffinity") or {}).get(_REQUIRED) or []:
        if _has_topology(term, node) and _any_selected(term, pod, others):
            refusals.append(POD_ANTI_AFFINITY)
            break
    return refusals


def _has_topology(term: Object, node: Object) -> bool:
    return term.get("topologyKey", "") in labels_of(node)


def _any_selected(term: Object, pod: Object, others: list[Object]) -> bool:
    return any(_term_selects(term, pod, other) for other in others)


def _term_selects(term: Object, pod: Object, other: Object) -> bool:
    namespaces = term.get("namespaces") or []
    if not namespaces and term.get("namespaceSelector") is None:
        namespaces = [namespace_of(pod)]
    if namespaces and namespace_of(other) not in namespaces:
        return False
    return selector_of(term.get("labelSelector")).matches(labels_of(other))
