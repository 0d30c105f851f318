"""From the route table to operations, before either version of OpenAPI spells them.

Pure: rows in, `PathItem`s out, one per path that the table matches, with the methods that it answers. The deprecated
`…/watch/…` paths are served and not described. Source of names and texts: apiserver/pkg/endpoints/installer.go.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from localset.apis.resources import Resource
from localset.apiserver.discovery import subresource_kind
from localset.apiserver.openapi.definitions import DELETE_OPTIONS, PATCH, RESOURCE_LIST, STATUS, Definitions, Kind
from localset.apiserver.routes import RouteTable
from localset.client.client import PatchType

JSON = "application/json"
YAML = "application/yaml"
WATCH = "application/json;stream=watch"
TEXT = "text/plain"
ANY = "*/*"
APPLY = "application/apply-patch+yaml"

_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_STREAMS = {
    "exec": ("command", "container", "stderr", "stdin", "stdout", "tty"),
    "attach": ("container", "stderr", "stdin", "stdout", "tty"),
    "portforward": ("ports",),
}
_LOG = (
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "stream",
    "tailLines",
    "timestamps",
)
_ANSWERED_BY_STATUS = frozenset({"binding", "eviction"})
_METHODS = ("get", "put", "post", "delete", "patch")
_VERBS = {"get": "read", "put": "replace", "post": "create", "delete": "delete", "patch": "patch"}
_TEXTS = {
    "get": "read the specified",
    "put": "replace the specified",
    "post": "create a",
    "delete": "delete a",
    "patch": "partially update the specified",
}


@dataclass(frozen=True)
class Operation:
    """One method of a path. `body` and `returns` are names of definitions; several may be returned, none is text."""

    method: str
    action: str
    identifier: str
    text: str
    kind: Kind | None = None
    query: tuple[str, ...] = ()
    body: str = ""
    body_types: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)
    produces: tuple[str, ...] = (JSON, YAML)


@dataclass(frozen=True)
class PathItem:
    """A path in OpenAPI's spelling, its variables, what every method takes in the query, and the methods."""

    path: str
    variables: tuple[str, ...]
    query: tuple[str, ...]
    tag: str
    operations: tuple[Operation, ...]


def camel_group(group: str) -> str:
    """Return `Core`, `Apps`, `RbacAuthorization`, `StableExampleCom`."""
    short = group.removesuffix(".k8s.io") or "core"
    return "".join(part[:1].upper() + part[1:] for part in short.replace("-", ".").split("."))


def paths_of(routes: RouteTable, definitions: Definitions, group: str, version: str) -> Iterator[PathItem]:
    """Yield the paths of a group version: its resource list first."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    camel = camel_group(group) + version[:1].upper() + version[1:]
    tag = f"{camel_group(group)[:1].lower()}{camel_group(group)[1:]}_{version}"
    own = Operation("get", "", f"get{camel}APIResources", "get available resources", returns=(RESOURCE_LIST,))
    yield PathItem(f"{root}/", (), (), tag, (own,))
    for resource in routes.of(group, version):
        yield from _Paths(routes, definitions, resource, version, root, camel, tag).items()


@dataclass(frozen=True)
class _Paths:
    """The paths of one resource in one version."""

    routes: RouteTable
    definitions: Definitions
    resource: Resource
    version: str
    root: str
    camel: str
    tag: str

    @property
    def kind(self) -> Kind:
        return Kind(self.resource.group, self.version, self.resource.kind)

    @property
    def own(self) -> tuple[str, ...]:
        return self._named(self.kind)

    def _named(self, kind: Kind) -> tuple[str, ...]:
        name = self.definitions.name_of(kind)
        return (name,) if name else ()

    @property
    def listed(self) -> tuple[str, ...]:
        name = self.definitions.name_of(self.kind, self.resource.kind_of_list)
        return (name,) if name else ()

    def items(self) -> Iterator[PathItem]:
        plural, namespaced = self.resource.plural, self.resource.namespaced
        base = f"{self.root}/namespaces/{{namespace}}/{plural}" if namespaced else f"{self.root}/{plural}"
        scope = ("namespace",) if namespaced else ()
        if namespaced:
            yield from self._item(f"{self.root}/{plural}", (), self._collection("ForAllNamespaces"))
        yield from self._item(base, scope, self._collection(""))
        yield from self._item(f"{base}/{{name}}", ("name", *scope), self._object("", self.kind))
        for subresource in self.resource.subresources:
            kind = Kind(*subresource_kind(self.resource, self.version, subresource))
            yield from self._item(
                f"{base}/{{name}}/{subresource}", ("name", *scope), self._subresource(subresource, kind)
            )

    def _item(self, path: str, variables: tuple[str, ...], described: dict[str, Operation]) -> Iterator[PathItem]:
        """Yield the path with the methods that the table answers; nothing when there are none."""
        match = self.routes.match(path.replace("{namespace}", "n").replace("{name}", "x"))
        methods = {m.lower() for m in match.methods} if match is not None else set()
        operations = tuple(described[m] for m in _METHODS if m in methods and m in described)
        if operations:
            yield PathItem(path, variables, ("pretty",), self.tag, operations)

    def _scoped(self, suffix: str = "") -> str:
        return f"{self.camel}{'Namespaced' if self.resource.namespaced else ''}{self.resource.kind}{suffix}"

    def _collection(self, suffix: str) -> dict[str, Operation]:
        name = self.resource.kind
        scoped = f"{self.camel}{name}{suffix}" if suffix else self._scoped()
        return {
            "get": Operation(
                "get",
                "list",
                f"list{scoped}",
                f"list or watch objects of kind {name}",
                self.kind,
                _LIST,
                returns=self.listed,
                produces=(JSON, YAML, WATCH),
            ),
            "post": Operation(
                "post",
                "post",
                f"create{scoped}",
                f"create a {name}",
                self.kind,
                _WRITE,
                *self._body(self.own),
                returns=self.own,
                codes=(200, 201, 202),
            ),
            "delete": Operation(
                "delete",
                "deletecollection",
                f"delete{self._scoped().replace(self.camel, f'{self.camel}Collection', 1)}",
                f"delete collection of {name}",
                self.kind,
                (*_DELETE, *(p for p in _LIST if p not in {"watch", "allowWatchBookmarks"})),
                DELETE_OPTIONS,
                (JSON, YAML),
                returns=(STATUS, *self.listed),
            ),
        }

    @staticmethod
    def _body(names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        return (names[0], (JSON, YAML)) if names else ("", ())

    def _patch_types(self) -> tuple[str, ...]:
        is_custom = self.resource in self.routes.served.custom
        left_out = {PatchType.STRATEGIC.value} if is_custom else set()
        return tuple(dict.fromkeys([*(t.value for t in PatchType if t.value not in left_out), APPLY]))

    def _object(self, suffix: str, kind: Kind) -> dict[str, Operation]:
        """Return the operations on one object, or on a part of it that is read and written like one."""
        returns = self._named(kind) or self.own
        of = f"{suffix.lower()} of the specified " if suffix else ""
        made = {}
        for method, query in (("get", ()), ("put", _WRITE), ("post", _WRITE), ("patch", (*_WRITE, "force"))):
            body, types = self._body(returns) if method in {"put", "post"} else ("", ())
            if method == "patch":
                body, types = PATCH, self._patch_types()
            text = _TEXTS[method] if not of else f"{_TEXTS[method].split()[0]} {of}".strip()
            made[method] = Operation(
                method,
                method,
                f"{_VERBS[method]}{self._scoped(suffix)}",
                f"{text} {self.resource.kind}",
                kind,
                query,
                body,
                types,
                returns,
                {"get": (200,), "post": (200, 201, 202)}.get(method, (200, 201)),
            )
        made["delete"] = Operation(
            "delete",
            "delete",
            f"delete{self._scoped(suffix)}",
            f"delete a {self.resource.kind}",
            kind,
            _DELETE,
            DELETE_OPTIONS,
            (JSON, YAML),
            (STATUS, *returns),
            (200, 202),
        )
        return made

    def _subresource(self, subresource: str, kind: Kind) -> dict[str, Operation]:
        suffix = subresource[:1].upper() + subresource[1:]
        if subresource == "log":
            return {
                "get": Operation(
                    "get",
                    "get",
                    f"read{self._scoped(suffix)}",
                    f"read log of the specified {self.resource.kind}",
                    self.kind,
                    _LOG,
                    produces=(TEXT, JSON, YAML),
                )
            }
        if subresource in _STREAMS:
            return {
                method: Operation(
                    method,
                    "connect",
                    f"connect{method.capitalize()}{self._scoped(suffix)}",
                    f"connect {method.upper()} requests to {subresource} of {self.resource.kind}",
                    kind,
                    _STREAMS[subresource],
                    produces=(ANY,),
                )
                for method in ("get", "post")
            }
        made = self._object(suffix, kind)
        if subresource in _ANSWERED_BY_STATUS:
            made["post"] = replace(made["post"], returns=(STATUS, *made["post"].returns))
        return made
