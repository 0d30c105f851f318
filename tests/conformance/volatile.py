"""The one list of what differs from run to run, and of what newer servers add. Used by comparing alone. Pure.

A value here is compared by kind or by equality within a file, never by itself; everything else must be the same.
"""

import re
from typing import Any

PAIRED_KEYS = {
    "uid": "uid",
    "clusterIP": "address",
    "podIP": "address",
    "hostIP": "address",
    "ip": "address",
    "nodePort": "port",
    "healthCheckNodePort": "port",
    "storageVersionHash": "hash",
    "currentRevision": "revision",
    "updateRevision": "revision",
    "controller-revision-hash": "revision",
    "pod-template-hash": "hash",
    "controller.kubernetes.io/hash": "hash",
}
"""Keys whose values stand for others: a recorded value must always meet the same live value within a file."""

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
AGE = re.compile(r"(\d+[smhdy](\d+[smhd])?|<invalid>)\Z")
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

_IN_TEXT = (
    (UUID, "<uid>"),
    (re.compile(r"too old resource version: \d+ \(\d+\)"), "too old resource version: <rv> (<rv>)"),
    (re.compile(r"resource version: \d+, current: \d+"), "resource version: <rv>, current: <rv>"),
    (re.compile(r"ResourceVersion in record \(\d+\)"), "ResourceVersion in record (<rv>)"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "<server>"),
    (re.compile(r"0xc0[0-9a-f]+"), "<address>"),
    (re.compile(r"\[\]uint8\{[^}]*\}"), "<bytes>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC|Z)"), "<time>"),
)

GO_INTERNALS = re.compile(
    r"(\[\])*[&*]*\b(\w+\.)?[A-Za-z]\w*\.[A-Z]\w*\{|\(\*?\w+\.\w+\)\(|\bread[A-Z]\w+: "
    r"|, error found in #\d+ byte|0xc0[0-9a-f]+"
    r"|\[\]uint8\{|struct \{|map\[string\]|\bv1\w*\.\w+\.\w+:|json: cannot unmarshal|invalid character "
    r"|\[\]\w+\{|: &?\w+\{| in scheme |cannot restore map from |unrecognized type: |\n"
)
"""Where a message begins to show Go's inside: it is compared up to here only."""

ANSWER_HEADERS = ("Content-Type", "Cache-Control", "Retry-After", "Vary", "Content-Encoding")
"""Headers that are compared where they were recorded; Warning is compared always, the rest never."""

NEWER_FIELDS = (
    re.compile(r"\.status\.availableReplicas$"),
    re.compile(r"\.spec\.persistentVolumeClaimRetentionPolicy$"),
    re.compile(r"\.spec\.(internalTrafficPolicy|ipFamilies|ipFamilyPolicy|trafficDistribution)$"),
    re.compile(r"\.spec\.allocateLoadBalancerNodePorts$"),
    re.compile(r"\.singularName$"),
    re.compile(r"\.metadata\.labels\.kubernetes\.io/metadata\.name$"),
    re.compile(r"\.metadata\.labels\.(apps\.kubernetes\.io/pod-index|statefulset\.kubernetes\.io/pod-name)$"),
    re.compile(r"managedFields\[.*\]\.subresource$"),
)
"""Paths of fields that servers newer than the recorded one add (fixtures' README, Comparing 6)."""

NEWER_OWNED = frozenset(
    f"f:{field}"
    for field in (
        "persistentVolumeClaimRetentionPolicy", "internalTrafficPolicy", "allocateLoadBalancerNodePorts",
        "availableReplicas",
    )
)  # fmt: skip
"""The same among the fields of managedFields."""

NEWER_ATOMIC = re.compile(
    r"(\.(?:fieldRef|configMapKeyRef|secretKeyRef|resourceFieldRef|involvedObject|regarding|roleRef|service\.port)"
    r"|^\S+/v1 \.spec\.selector)\..*"
)
"""What newer servers own as one: the recorded one owned the parts."""

NEWER_LABELS = frozenset({"kubernetes.io/metadata.name"})
"""The same among labels."""

PUT_IN = ("(certificate)", "(token)")
"""What stands in the recordings for secrets: any text will do."""

CONTROLLERS = ("kube-controller-manager/", "kube-scheduler/")
"""Managers of fields that the recorded server's own controllers wrote."""

ACCOUNT_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_ACCOUNT_FIELDS = re.compile(r"\.spec\.(serviceAccount|serviceAccountName)$")


def _is_account_part(item: Any) -> bool:
    """Tell whether a volume or mount is what the ServiceAccount admission adds: the recorded server ran without it."""
    if not isinstance(item, dict):
        return False
    return item.get("mountPath") == ACCOUNT_MOUNT or str(item.get("name", "")).startswith("kube-api-access-")


def is_addition(key: str, value: Any) -> bool:
    """Tell whether a list holds nothing but what the ServiceAccount admission adds, or labels but a new server's."""
    if key == "labels":
        return isinstance(value, dict) and NEWER_LABELS.issuperset(value)
    return isinstance(value, list) and bool(value) and all(_is_account_part(item) for item in value)


def add_account(pod: dict[str, Any], live: dict[str, Any]) -> None:
    """Give a Pod that was recorded without it the ServiceAccount of the live one, in place."""
    spec, account = pod.get("spec", {}), live.get("spec", {})
    for field in ("serviceAccountName", "serviceAccount"):
        if field in account:
            spec.setdefault(field, account[field])
    for here, there in ((spec, account), *zip(spec.get("containers", []), account.get("containers", []), strict=False)):
        for field in ("volumes", "volumeMounts"):
            added = [item for item in there.get(field) or [] if _is_account_part(item)]
            if added:
                here[field] = [*(here.get(field) or []), *added]


def without_additions(recorded: list[Any], live: list[Any]) -> list[Any]:
    """Return `live` without what the ServiceAccount admission adds, unless that was recorded."""
    return live if any(map(_is_account_part, recorded)) else [item for item in live if not _is_account_part(item)]


TERMINAL = re.compile(r"/dev/pts/\d+")
"""The name of a terminal inside a Pod."""
FREE_ORDER = re.compile(r"get-sort")
"""Commands whose order is by times of whole seconds: a rollout may or may not replace two Pods within one."""
RACING = (
    (
        re.compile(r"statefulset/(update|status)/"),
        re.compile(r"\.status\.(observedGeneration|\w*[rR]eplicas|\w+Revision)\b"),
    ),
    (re.compile(r"statefulset/(update|status)/"), re.compile(r"\.metadata\.resourceVersion ")),
    (re.compile(r"crud/event(-new)?/list"), re.compile(r"\.(items|rows): ")),
    (re.compile(r"crud/(statefulset|pdb)/"), re.compile(r"\.metadata\.resourceVersion |.*\.status\.")),
    (re.compile(r"dryrun/scale"), re.compile(r"\.status\.replicas: ")),
    (re.compile(r"tables/controllerrevisions"), re.compile(r"\.rows\[\d\]\.(object\.metadata\.name|cells): ")),
    (re.compile(r"statefulset/scale/put"), re.compile(r"\.metadata\.uid \(equal|\.status\.replicas: ")),
    (re.compile(r"crud/service-loadbalancer/list-table"), re.compile(r"\.rows\[0\]\.cells: ")),
    (re.compile(r"crud/namespace/get-after-delete"), re.compile(r"(status|body): ")),
    (re.compile(r"delete/owner/\w+/at-once"), re.compile(r"(status|body):")),
    (re.compile(r"delete/(sts|owner|namespace)/"), re.compile(r"\.metadata\.resourceVersion ")),
    (re.compile(r"kubectl-\d+/describe-"), re.compile(r"stdout: \w+   Normal  Successful(Create|Delete)  ")),
    (re.compile(r"kubectl-120/rollout-history-yaml"), re.compile(r"stdout: \w+ +f:")),
    (re.compile(r"kubectl-\d+/describe-cr"), re.compile(r"stdout: ")),
    (re.compile(r"kubectl-\d+/(rollout-status|run|wait|delete)"), re.compile(r"stdout: \w+ [Ww]aiting for ")),
)
"""(record, difference): what a controller writes at its own pace, allocated ports, objects recorded apart. For
commands: the order of what was made in one second or is named by a hash, and the makers that were not recorded."""


def is_racing(record_id: str, difference: str) -> bool:
    """Tell whether the difference only says that a controller was faster or slower."""
    return any(record.match(record_id) and line.match(difference) for record, line in RACING)


def in_text(text: str) -> str:
    """Return `text` with its volatile parts replaced by placeholders."""
    for pattern, placeholder in _IN_TEXT:
        text = pattern.sub(placeholder, text)
    return text


def is_time_key(key: str) -> bool:
    """Tell whether the values under `key` are moments."""
    return key.endswith(("Time", "Timestamp")) or key == "time"


def kind_of_moment(value: Any) -> Any:
    """Return the form of a moment (seconds, microseconds), or the value itself when it is none."""
    if isinstance(value, str):
        if TIME.match(value):
            return "<time>"
        if MICRO_TIME.match(value):
            return "<microtime>"
    return value


def is_newer_field(path: str) -> bool:
    """Tell whether a field that was not recorded may be there all the same."""
    return any(pattern.search(path) for pattern in (*NEWER_FIELDS, _ACCOUNT_FIELDS))
