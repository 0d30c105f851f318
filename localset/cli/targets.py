"""Which objects the words of a command line mean: `pods`, `pod web-0 web-1`, `sts/web svc/nginx`, `pods,svc`, `all`.

Kinds come from the table of built-in resources; the daemon's discovery is asked only for a word that is not in it, and
for `all`, which custom resources may belong to. Refusals are kubectl's, with the nearest match as a hint.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from localset.apis.resources import RESOURCES, Resource
from localset.apis.words import match_word
from localset.cli.output import CommandError

if TYPE_CHECKING:
    from localset.cli.context import Context

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


class Kind(NamedTuple):
    """A resource in the version that was asked for."""

    resource: Resource
    version: str

    @property
    def label(self) -> str:
        """Return `pod` or `statefulset.apps`, as kubectl names what it has changed."""
        return f"{self.resource.singular}.{self.resource.group}" if self.resource.group else self.resource.singular

    @property
    def api_version(self) -> str:
        """Return `apps/v1`."""
        return self.resource.api_version(self.version)


class Target(NamedTuple):
    """One object, or all of a kind where `name` is None."""

    kind: Kind
    name: str | None


class Kinds:
    """All kinds that the daemon serves, by the words that people use for them."""

    def __init__(self, context: "Context | None") -> None:
        """Ask `context` for discovery, when it is needed; without one only the built-in kinds are known."""
        self._context = context
        self._discovered: list[Resource] | None = None
        self.made: list[Resource] = []  # what definitions in the same files will make

    def find(self, word: str) -> Kind | None:
        """Return what `word` means: plural, singular, short name or Kind, alone or as `sts.apps`, `sts.v1.apps`."""
        return _match(word, RESOURCES) or _match(word, self.discovered())

    def of(self, word: str) -> Kind:
        """Return what `word` means; CommandError in kubectl's words."""
        kind = self.find(word)
        if kind is None:
            raise CommandError(f'the server doesn\'t have a resource type "{word}"', hint=self._nearest(word))
        return kind

    def find_by_kind(self, api_version: str, kind: str) -> Kind | None:
        """Return what serves `kind` in exactly this `apiVersion`, or None."""
        group, _, version = api_version.rpartition("/")
        for known in (RESOURCES, self.made, self.discovered):
            for resource in known() if callable(known) else known:
                if (resource.group, resource.kind) == (group, kind) and version in resource.versions:
                    return Kind(resource, version)
        return None

    def category(self, name: str) -> list[Kind]:
        """Return the kinds of a category in the order of discovery; empty for a word that is none."""
        return [Kind(r, r.versions[0]) for r in self.discovered() if name in r.categories]

    def discovered(self) -> list[Resource]:
        """Return every kind that discovery names; asked once."""
        if self._context is None:
            return list(RESOURCES)
        if self._discovered is None:
            bodies = [self._context.api.request("GET", path, accept=AGGREGATED).body for path in ("/api", "/apis")]
            self._discovered = [r for body in bodies for group in body["items"] for r in _rows(group)]
        return self._discovered

    def _nearest(self, word: str) -> str:
        import difflib

        names = [n for r in self.discovered() for n in (r.plural, r.singular, *r.short_names)]
        near = difflib.get_close_matches(word.lower(), names, n=1)
        return f'did you mean "{near[0]}"?' if near else "`localset api-resources` lists what there is"


def _rows(group: dict[str, Any]) -> list[Resource]:
    """Return the resources of one group of an APIGroupDiscoveryList, each with the versions that serve it."""
    rows: dict[str, dict[str, Any]] = {}
    versions: dict[str, list[str]] = {}
    for version in group["versions"]:
        for found in version.get("resources") or []:
            plural = found["resource"]
            versions.setdefault(plural, []).append(version["version"])
            rows.setdefault(plural, found)
    return [
        Resource(
            plural,
            found.get("singularResource") or plural,
            found["responseKind"]["kind"],
            group["metadata"].get("name", ""),
            tuple(versions[plural]),
            found["scope"] == "Namespaced",
            tuple(found.get("shortNames") or ()),
            tuple(found.get("categories") or ()),
            tuple(sub["subresource"] for sub in found.get("subresources") or []),
            verbs=tuple(found.get("verbs") or ()),
        )
        for plural, found in rows.items()
    ]


def _match(word: str, resources: "tuple[Resource, ...] | list[Resource]") -> Kind | None:
    found = match_word(word, resources)
    return Kind(*found) if found else None


_SEPARATE = (
    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form "
    "(e.g. 'localset get resource/<resource_name>' instead of 'localset get resource resource/<resource_name>'"
)


def parse_words(kinds: Kinds, words: list[str]) -> list[Target]:
    """Return what `words` mean, in their order; at least one word. CommandError in kubectl's words."""
    if len(words) > 1 and "," in words[0]:
        words = [f"{kind.strip()}/{name.strip()}" for kind in words[0].split(",") for name in words[1:]]
    slashes = sum("/" in word for word in words)
    if slashes and slashes != len(words):
        raise CommandError(_SEPARATE)
    if slashes:
        return [_pair(kinds, word) for word in words]
    if len(words) == 1:
        return [Target(kind, None) for kind in _listed(kinds, words[0])]
    kind = kinds.of(words[0])
    return [Target(kind, name) for name in words[1:]]


def _pair(kinds: Kinds, word: str) -> Target:
    kind, _, name = word.partition("/")
    if "/" in name:
        raise CommandError("arguments in resource/name form may not have more than one slash")
    if not kind or not name or "," in kind:
        raise CommandError("arguments in resource/name form must have a single resource and name")
    return Target(kinds.of(kind), name)


def _listed(kinds: Kinds, word: str) -> list[Kind]:
    found: dict[str, Kind] = {}
    for part in word.split(","):
        for kind in _expanded(kinds, part):
            found.setdefault(kind.resource.name, kind)
    return list(found.values())


def _expanded(kinds: Kinds, word: str) -> list[Kind]:
    if word == "all" or (_match(word, RESOURCES) is None and _match(word, kinds.discovered()) is None):
        members = kinds.category(word)
        if members:
            return members
    return [kinds.of(word)]
