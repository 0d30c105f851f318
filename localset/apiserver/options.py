"""Query parameters and DeleteOptions bodies, read as upstream reads them.

Pure functions of a query mapping. Unknown parameters are ignored; booleans are true unless `0` or `false`
(kube-api.md 4.1).
"""

from collections.abc import Mapping
from typing import Any

from localset.apis.scheme import FieldValidation
from localset.base.frozen import frozen, replace
from localset.client.client import DeleteOptions, Propagation
from localset.client.streams import LogOptions
from localset.machinery.errors import (
    Cause,
    bad_request,
    bad_value,
    invalid,
    not_allowed,
    not_supported,
    raise_if,
    too_long,
)
from localset.registry.registry import WriteOptions

META_GROUP = "meta.k8s.io"
MAX_MANAGER_BYTES = 128
Query = Mapping[str, str]


@frozen
class ListOptions:
    """metav1.ListOptions; texts are empty and numbers None when absent."""

    label_selector: str
    field_selector: str
    limit: int
    continue_token: str
    resource_version: str
    resource_version_match: str
    watch: bool
    bookmarks: bool
    timeout_seconds: int | None
    send_initial_events: bool | None


def demanded_version(query: Query) -> int:
    """Return the resourceVersion that a GET asks for at least, 0 for any; 422 when it is no number."""
    version = query.get("resourceVersion", "")
    raise_if("GetOptions", META_GROUP, "", _version_causes(version))
    return int(version or 0)


def _version_causes(version: str) -> list[Cause]:
    if not version or (version.isdecimal() and version.isascii() and len(version) <= 20):
        return []
    why = f'strconv.ParseUint: parsing "{version[:64]}": invalid syntax'
    return [bad_value("resourceVersion", version, why)]


def boolean(query: Query, key: str) -> bool:
    """Return the truth of a parameter; absent is false."""
    value = query.get(key)
    return value is not None and value.lower() not in {"0", "false"}


def number(query: Query, key: str) -> int | None:
    """Return an integer parameter, None when absent or empty; 400 when it is no 64-bit integer."""
    value = query.get(key)
    if not value:
        return None
    if not value.lstrip("+-").isdecimal() or not value.isascii() or len(value) > 20:
        raise bad_request(f'strconv.ParseInt: parsing "{value[:64]}": invalid syntax')
    parsed = int(value)
    if not -(2**63) <= parsed < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": value out of range')
    return parsed


def list_options(query: Query) -> ListOptions:
    """Return the options of a LIST or WATCH; 422 for combinations that upstream forbids."""
    options = ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        limit=max(number(query, "limit") or 0, 0),
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        watch=boolean(query, "watch"),
        bookmarks=boolean(query, "allowWatchBookmarks"),
        timeout_seconds=number(query, "timeoutSeconds"),
        send_initial_events=boolean(query, "sendInitialEvents") if "sendInitialEvents" in query else None,
    )
    causes = _watch_causes(options) if options.watch else _list_causes(options)
    causes += _version_causes(options.resource_version)
    raise_if("ListOptions", META_GROUP, "", causes)
    # A cache answered what may be of any age, and it knew no pages (cacher.go, GetList).
    return replace(options, limit=0) if options.resource_version == "0" else options


def _watch_causes(options: ListOptions) -> list[Cause]:
    match, initial = options.resource_version_match, options.send_initial_events
    causes = []
    if match and initial is None:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(not_allowed("resourceVersionMatch", why))
    if initial is not None and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(not_allowed("resourceVersionMatch", why))
    return causes


def _list_causes(options: ListOptions) -> list[Cause]:
    match = options.resource_version_match
    causes = []
    if options.send_initial_events is not None:
        causes.append(not_allowed("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not match:
        return causes
    if not options.resource_version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(not_allowed("resourceVersionMatch", why))
    if options.continue_token:
        causes.append(
            not_allowed("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
        )
    if match not in {"Exact", "NotOlderThan"}:
        causes.append(not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]))
    elif match == "Exact" and options.resource_version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(not_allowed("resourceVersionMatch", why))
    return causes


def is_dry_run(values: list[str], kind: str) -> bool:
    """Return whether `dryRun` asks for a dry run; 422 for any other value than All."""
    if not values:
        return False
    if set(values) != {"All"}:
        shown = "[]string{" + ", ".join(f'"{v}"' for v in values) + "}"
        cause = Cause("FieldValueNotSupported", f'Unsupported value: {shown}: supported values: "All"', "dryRun")
        raise invalid(kind, META_GROUP, "", [cause])
    return True


def write_options(query: Query, dry_run: list[str], user_agent: str, kind: str) -> WriteOptions:
    """Return the options of a write; `kind` (CreateOptions …) names the refusal. The default manager is the agent."""
    causes = []
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > MAX_MANAGER_BYTES:
        causes.append(too_long("fieldManager", MAX_MANAGER_BYTES))
    causes += [
        bad_value("fieldManager", manager, f"invalid character U+{ord(character):04X} (at position {position})")
        for position, character in enumerate(manager)
        if not character.isprintable()
    ]
    validation = query.get("fieldValidation") or FieldValidation.WARN.value
    known = [v.value for v in FieldValidation]
    if validation not in known:
        causes.append(not_supported("fieldValidation", validation, ["", *known]))
    raise_if(kind, META_GROUP, "", causes)
    name = manager or user_agent.partition("/")[0][:MAX_MANAGER_BYTES] or "unknown"
    return WriteOptions(
        field_validation=FieldValidation(validation),
        field_manager=name,
        dry_run=is_dry_run(dry_run, kind),
        force=boolean(query, "force"),
    )


_DELETE_OPTIONS: dict[str, type] = {
    "propagationPolicy": str,
    "orphanDependents": bool,
    "gracePeriodSeconds": int,
    "preconditions": dict,
    "dryRun": list,
}
_PRECONDITIONS: dict[str, type] = {"uid": str, "resourceVersion": str}
_SAID = {str: "a text", bool: "true or false", int: "a whole number", dict: "an object", list: "a list"}


def _check_types(kind: str, given: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Refuse a field of another JSON type: 400. Null is absent; integers have 64 bits."""
    for key, wanted in types.items():
        value = given.get(key)
        is_wrong = value is not None and type(value) is not wanted
        if is_wrong or (wanted is int and value is not None and not -(2**63) <= value < 2**63):
            raise bad_request(f"{kind}: {key} must be {_SAID[wanted]}")


def delete_options(body: dict[str, Any] | None, query: Query, dry_run: list[str]) -> DeleteOptions:
    """Return the options of a DELETE; the query counts only when there is no body."""
    given = body if body is not None else _from_query(query, dry_run)
    _check_types("DeleteOptions", given, _DELETE_OPTIONS)
    policy = given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    causes = []
    if policy is not None and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(bad_value("propagationPolicy", policy, why))
    elif policy is not None and policy not in {p.value for p in Propagation}:
        causes.append(not_supported("propagationPolicy", policy, ["Foreground", "Background", "Orphan", "nil"]))
    raise_if("DeleteOptions", META_GROUP, "", causes)
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    preconditions = given.get("preconditions") or {}
    _check_types("DeleteOptions", preconditions, _PRECONDITIONS)
    dry = given.get("dryRun") or []
    return DeleteOptions(
        grace_period_seconds=given.get("gracePeriodSeconds"),
        propagation=Propagation(policy) if policy else None,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=is_dry_run([str(v) for v in dry], "DeleteOptions"),
    )


def _from_query(query: Query, dry_run: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {"dryRun": dry_run, "gracePeriodSeconds": number(query, "gracePeriodSeconds")}
    if "propagationPolicy" in query:
        given["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        given["orphanDependents"] = boolean(query, "orphanDependents")
    return given


def log_options(query: Query, pod_name: str) -> LogOptions:
    """Return the options of the log subresource; 422 for values that upstream refuses."""
    since_seconds, since_time = number(query, "sinceSeconds"), query.get("sinceTime") or None
    tail, limit = number(query, "tailLines"), number(query, "limitBytes")
    causes = []
    if tail is not None and tail < 0:
        causes.append(bad_value("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        causes.append(bad_value("limitBytes", limit, "must be greater than 0"))
    if since_seconds is not None and since_time is not None:
        causes.append(not_allowed("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif since_seconds is not None and since_seconds < 1:
        causes.append(bad_value("sinceSeconds", since_seconds, "must be greater than 0"))
    raise_if("PodLogOptions", "", pod_name, causes)
    return LogOptions(
        container=query.get("container", ""),
        follow=boolean(query, "follow"),
        previous=boolean(query, "previous"),
        since_seconds=since_seconds,
        since_time=since_time,
        timestamps=boolean(query, "timestamps"),
        tail_lines=tail,
        limit_bytes=limit,
    )
