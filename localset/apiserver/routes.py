"""Which resource, object and subresource a path names.

Asks the table of served resources (`apis.served`), so that what is served, what discovery shows and what the security
tests walk through is one table. Pure: a dict look-up per request, whatever the number of kinds. NB: matching never
decides about rights or methods.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from localset.apis.metrics import METRICS
from localset.apis.resources import Resource
from localset.apis.reviews import REVIEWS
from localset.apis.served import ServedResources
from localset.base.frozen import frozen, replace

_BEFORE_TAIL = 8  # "", api, v1, namespaces, N, pods, NAME, proxy
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 512, 256
"""So many paths, of so many bytes at most, are remembered with what they name: clients ask for the same ones again."""

SUBRESOURCE_METHODS: dict[str, frozenset[str]] = {
    "status": frozenset({"GET", "PUT", "PATCH"}),
    "scale": frozenset({"GET", "PUT", "PATCH"}),
    "finalize": frozenset({"PUT"}),
    "ephemeralcontainers": frozenset({"GET", "PUT", "PATCH"}),
    "log": frozenset({"GET"}),
    "exec": frozenset({"GET", "POST"}),
    "attach": frozenset({"GET", "POST"}),
    "portforward": frozenset({"GET", "POST"}),
    "proxy": frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"}),
    "binding": frozenset({"POST"}),
    "eviction": frozenset({"POST"}),
    "token": frozenset({"POST"}),
}


@frozen
class Match:
    """What a path names; `name` empty is the collection, `namespace` empty all of them or a cluster-scoped resource."""

    resource: Resource
    version: str
    namespace: str
    name: str
    subresource: str
    is_legacy_watch: bool = False
    tail: str = ""
    """What follows `proxy`, as it was sent."""

    @property
    def methods(self) -> frozenset[str]:
        """Return the HTTP methods that the path answers; all others are 405."""
        if self.resource.verbs and not self.subresource:
            return _methods_of(self.resource, has_name=bool(self.name))
        if self.subresource:
            return SUBRESOURCE_METHODS.get(self.subresource, frozenset())
        if self.is_legacy_watch:
            return frozenset({"GET"})
        if self.name:
            return frozenset({"GET", "PUT", "PATCH", "DELETE"})
        if self.resource.namespaced and not self.namespace:
            return frozenset({"GET"})
        if self.resource.name == "namespaces":
            return frozenset({"GET", "POST"})
        return frozenset({"GET", "POST", "DELETE"})


_COLLECTION_VERBS = {"list": "GET", "watch": "GET", "create": "POST", "deletecollection": "DELETE"}
_ITEM_VERBS = {"get": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


def _methods_of(resource: Resource, *, has_name: bool) -> frozenset[str]:
    methods = _ITEM_VERBS if has_name else _COLLECTION_VERBS
    return frozenset(methods[verb] for verb in resource.verbs if verb in methods)


class RouteTable:
    """All resource paths of what is served now, and of what is only asked (`virtual`: reviews, metrics)."""

    def __init__(self, served: ServedResources, virtual: Iterable[Resource] = (*REVIEWS, *METRICS)) -> None:
        """Follow `served`: custom resources come and go. The groups of `virtual` are no others'."""
        self.served = served
        self.virtual = {(r.group, version, r.plural): r for r in virtual for version in r.versions}
        self._virtual_versions: dict[str, list[str]] = {}
        self._matches: dict[str, Match] = {}
        served.add_listener(self._matches.clear)
        for group, version, _ in self.virtual:
            known = self._virtual_versions.setdefault(group, [])
            known += [] if version in known else [version]

    @property
    def versions(self) -> dict[str, list[str]]:
        """Return the served versions of each group, the preferred first."""
        return {**self.served.versions, **self._virtual_versions}

    def of(self, group: str, version: str) -> list[Resource]:
        """Return the resources of a group version, in table order."""
        found = [r for (g, v, _), r in self.virtual.items() if (g, v) == (group, version)]
        return found or self.served.of(group, version)

    def match(self, raw_path: str) -> Match | None:
        """Return what `raw_path` (still percent-encoded) names, or None when no served resource does."""
        found = self._matches.get(raw_path)
        if found is None and (found := self._match(raw_path)) is not None and len(raw_path) <= _LONGEST_REMEMBERED:
            if len(self._matches) >= _MOST_REMEMBERED:
                self._matches.clear()
            self._matches[raw_path] = found
        return found

    def _match(self, raw_path: str) -> Match | None:
        segments = raw_path.split("/", _BEFORE_TAIL)
        if len(segments) > _BEFORE_TAIL and segments[_BEFORE_TAIL - 1] == "proxy":
            match = self.match("/".join(segments[:_BEFORE_TAIL]))
            return replace(match, tail=f"/{segments[_BEFORE_TAIL]}") if match is not None else None
        split = split_path(raw_path)
        if split is None or not split[2]:
            return None
        group, version, rest = split
        is_watch = rest[0] == "watch" and len(rest) > 1
        if is_watch:
            rest = rest[1:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
            namespace, rest = rest[1], rest[2:]
        key = (group, version, rest[0])
        resource = self.served.by_path.get(key) or self.virtual.get(key)
        if resource is None or len(rest) > 3:
            return None
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
        if resource.namespaced != bool(namespace) and (name or not resource.namespaced):
            return None
        if subresource and subresource not in resource.subresources_of(version):
            return None
        match = Match(resource, version, namespace, name, subresource, is_watch)
        is_of_no_namespace = resource.namespaced != bool(namespace) and "list" not in resource.verbs
        if key in self.virtual and (is_watch or not match.methods or is_of_no_namespace):
            return None
        return match

    def sample_paths(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield one path of each form with its methods, for tests that must reach every route."""
        for resource in (*self.served, *self.virtual.values()):
            for version in resource.versions:
                root = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
                base = f"{root}/namespaces/n" if resource.namespaced else root
                paths = [f"{root}/{resource.plural}", f"{base}/{resource.plural}", f"{base}/{resource.plural}/x"]
                paths += [f"{base}/{resource.plural}/x/{sub}" for sub in resource.subresources_of(version)]
                for path in dict.fromkeys(paths):
                    match = self.match(path)
                    if match is not None:
                        yield path, match.methods


def split_path(raw_path: str) -> tuple[str, str, list[str]] | None:
    """Return (group, version, further segments, decoded) of an API path, None for any other or one with `//`."""
    segments = raw_path.removesuffix("/").split("/")[1:]
    if not segments or "" in segments:
        return None
    decoded = [unquote(segment) for segment in segments]
    if any("/" in segment or "\0" in segment for segment in decoded):
        return None
    if decoded[0] == "api" and len(decoded) >= 2:
        return "", decoded[1], decoded[2:]
    if decoded[0] == "apis" and len(decoded) >= 3:
        return decoded[1], decoded[2], decoded[3:]
    return None
