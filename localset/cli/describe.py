"""`describe`: what a person asks of an object, then its events, as kubectl prints both."""

from collections.abc import Callable
from typing import Any

from localset.apis.resources import BY_NAME
from localset.cli.ages import age_of
from localset.cli.context import Context
from localset.cli.describing.lines import Lines, moment
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, put, say, write
from localset.cli.selection import ALL_NAMESPACES, FILENAME, KUSTOMIZE, RECURSIVE, SELECTOR, Found, Place, live, places
from localset.cli.targets import Kinds, parse_words
from localset.machinery.errors import StatusError
from localset.machinery.tabwriter import aligned

FLAGS = Flags(
    "describe",
    "describe (-f FILE | TYPE [NAME_PREFIX | -l label] | TYPE/NAME) [flags]",
    "Show objects in detail, with their events: `describe pod zk-0`, `describe sts/zk`.",
    *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR, ALL_NAMESPACES),
    Flag("show-events", "bool", True, "Show the events."),
    Flag("chunk-size", "int", 500, "Accepted for kubectl's sake."),
)
_WITHOUT_EVENTS = {"Secret", "Namespace", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "NetworkPolicy"}
_WITHOUT_EVENTS |= {"ResourceQuota", "LimitRange"}


def main(context: Context, arguments: list[str]) -> int:
    """Run `describe ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    if not given.words and not given["filename"]:
        raise CommandError(
            'You must specify the type of resource to describe. Use "localset api-resources" for a complete list of '
            "supported resources."
        )
    return _Describe(context, given).run()


class _Describe:
    def __init__(self, context: Context, given: Given) -> None:
        self._context, self._given = context, given
        self._count = 0

    def run(self) -> int:
        errors: list[StatusError | CommandError] = []
        for place in self._places():
            try:
                for found in list(live(self._context, self._given, place)):
                    write(("\n\n" if self._count else "") + self._text(found))
                    self._count += 1
            except StatusError as error:
                if error.code != 404 or not self._described_by_prefix(place):
                    errors.append(error)
        if errors:
            from localset.cli.failures import tell_refusals

            return tell_refusals(self._context, errors)
        if not self._count:
            where = self._given["namespace"] or self._context.namespace
            say("No resources found" + ("" if self._given["all-namespaces"] else f" in {where} namespace."))
        return 0

    def _places(self) -> list[Place]:
        given = self._given
        if given["filename"] or given["selector"]:
            return places(self._context, given, verb="describe")
        targets = parse_words(Kinds(self._context), given.words)
        if given["all-namespaces"] and any(target.name is not None for target in targets):
            raise CommandError("a resource cannot be retrieved by name across all namespaces")
        where = "" if given["all-namespaces"] else given["namespace"] or self._context.namespace
        return [Place(t.kind, where if t.kind.resource.namespaced else "", t.name) for t in targets]

    def _described_by_prefix(self, place: Place) -> bool:
        """Describe what begins with a name that is not there; tell whether anything does."""
        if place.name is None or any("/" in word for word in self._given.words):
            return False
        everything = live(self._context, self._given, place._replace(name=None))
        matching = [found for found in everything if found.name.startswith(place.name)]
        for found in matching:
            write(self._text(found) + "\n")
            self._count += 1
        return bool(matching)

    def _ask(self, name: str, namespace: str, **query: str) -> list[dict[str, Any]]:
        return self._context.items(BY_NAME[name], namespace, **query)

    def _text(self, found: Found) -> str:
        obj, kind = found.obj, found.kind.resource.kind
        special = _special(kind) if found.kind.resource.is_built_in else None
        if kind == "Node":
            from localset.cli.describing.nodes import node_lines

            lines = node_lines(obj, self._ask, self._lease(found.name))
        elif special is not None:
            lines = special(obj, self._ask)
        else:
            from localset.cli.describing.generic import generic_lines

            lines = generic_lines(obj)
        if not self._given["show-events"] or kind in _WITHOUT_EVENTS:
            return aligned("\n".join(lines)) + "\n"
        events = self._events(found)
        if not events:
            return aligned("\n".join([*lines, "Events:\t<none>"])) + "\n"
        return aligned("\n".join(lines)) + "\n" + aligned("\n".join(_event_lines(events))) + "\n"

    def _events(self, found: Found) -> list[dict[str, Any]]:
        uid = found.obj["metadata"].get("uid", "")
        selector = f"involvedObject.name={found.name},involvedObject.kind={found.kind.resource.kind}"
        events = self._ask("events", found.namespace, fieldSelector=selector)
        own = [e for e in events if e["involvedObject"].get("uid") in {uid, found.name}]
        return sorted(own, key=lambda e: e.get("lastTimestamp") or "")

    def _lease(self, name: str) -> Lines:
        try:
            spec = self._context.get(BY_NAME["leases.coordination.k8s.io"], "kube-node-lease", name)["spec"]
        except StatusError as error:
            return [f"Lease:\tFailed to get lease: {error.message}"]
        holder = spec.get("holderIdentity") or "<unset>"
        times = [moment(spec[f]) if spec.get(f) else "<unset>" for f in ("acquireTime", "renewTime")]
        return ["Lease:", f"  HolderIdentity:\t{holder}", f"  AcquireTime:\t{times[0]}", f"  RenewTime:\t{times[1]}"]


def _special(kind: str) -> Callable[..., Lines] | None:
    """Return what describes a built-in kind, or None for those that are shown field by field."""
    from localset.cli.describing import kinds

    if kind == "Pod":
        from localset.cli.describing.pods import pod_lines

        return lambda obj, _: pod_lines(obj)
    return {
        "StatefulSet": kinds.statefulset_lines,
        "Service": kinds.service_lines,
        "PersistentVolumeClaim": kinds.claim_lines,
        "PersistentVolume": kinds.volume_lines,
        "StorageClass": kinds.class_lines,
        "PodDisruptionBudget": kinds.budget_lines,
        "ConfigMap": kinds.map_lines,
        "Secret": kinds.secret_lines,
        "ServiceAccount": kinds.account_lines,
        "Namespace": kinds.namespace_lines,
    }.get(kind) or _minor(kind)


def _minor(kind: str) -> Callable[..., Lines] | None:
    from localset.cli.describing.minor import MINOR

    return MINOR.get(kind)


def _event_lines(events: list[dict[str, Any]]) -> Lines:
    lines = ["Events:", "  Type\tReason\tAge\tFrom\tMessage", "  ----\t------\t----\t----\t-------"]
    for event in events:
        first = age_of(event.get("eventTime") or event.get("firstTimestamp") or "")
        series, count = event.get("series"), event.get("count") or 1
        if series:
            first = f"{age_of(series.get('lastObservedTime', ''))} (x{series['count']} over {first})"
        elif count > 1:
            first = f"{age_of(event.get('lastTimestamp') or '')} (x{count} over {first})"
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent", "")
        message = event.get("message", "").strip()
        lines.append(f"  {event.get('type', '')}\t{event.get('reason', '')}\t{first}\t{source}\t{message}")
    return lines
