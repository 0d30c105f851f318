"""Which live objects a changing command is about: by name, by label, all of a kind, or those that files name.

`run_each` does something to each and goes on when one fails, as kubectl: what went wrong is told at the end.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from localset.cli.context import Context
from localset.cli.flags import Flag, Given
from localset.cli.output import CommandError
from localset.cli.targets import Kind, Kinds, parse_words
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

FILENAME = Flag("filename", "array", [], "File, directory, or - for standard input.", "f")
RECURSIVE = Flag("recursive", "bool", False, "With -f: look into subdirectories too.", "R")
KUSTOMIZE = Flag("kustomize", help="Not done here: `localset kubectl` does it.", short="k")
SELECTOR = Flag("selector", help="Label selector: app=zk, tier!=a, env in (a,b).", short="l")
FIELD_SELECTOR = Flag("field-selector", help="Field selector: status.phase=Running.")
ALL = Flag("all", "bool", False, "Every object of the kind in the namespace.")
ALL_NAMESPACES = Flag("all-namespaces", "bool", False, "Every namespace.", "A")

NOTHING_NAMED = """You must provide one or more resources by argument or filename.
Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'
   '<resource> <name>'
   '<resource>'"""


class Found(NamedTuple):
    """A live object. `source` is the file that named it, empty for none."""

    kind: Kind
    namespace: str
    name: str
    obj: dict[str, Any]
    source: str = ""

    @property
    def label(self) -> str:
        """Return `statefulset.apps/zk`."""
        return f"{self.kind.label}/{self.name}"

    def path(self, sub: str = "") -> str:
        """Return its URL path."""
        return path_of(self.kind.resource, self.namespace, self.name, version=self.kind.version, sub=sub)


class Place(NamedTuple):
    """Where an object would be; `name` is None for all that the selectors let through."""

    kind: Kind
    namespace: str
    name: str | None
    source: str = ""
    manifest: dict[str, Any] | None = None


def places(context: Context, given: Given, *, words: list[str] | None = None, verb: str = "apply") -> list[Place]:
    """Return where the objects of a command line are. `words` stands for other arguments than `given.words`."""
    words = given.words if words is None else words
    selector = given.get("selector", "")
    if given.get("kustomize"):
        raise CommandError("-k is not done here", hint="`localset kubectl` does it with your kubectl")
    if given.get("filename"):
        if words:
            raise CommandError(
                "when paths, URLs, or stdin is provided as resource input, you may not specify resource arguments "
                "as well"
            )
        from localset.cli.manifests import read_manifests

        recursive = given.get("recursive", False)
        found = read_manifests(context, given["filename"], given["namespace"], recursive=recursive, verb=verb)
        return [Place(m.kind, m.namespace, m.name, m.source, m.obj) for m in found]
    if not words:
        raise CommandError(NOTHING_NAMED)
    if given.get("all") and selector:
        raise CommandError("setting 'all' parameter but found a non empty selector. ")
    if (selector or given.get("all")) and (len(words) > 1 or "/" in words[0]):
        raise CommandError("name cannot be provided when a selector is specified")
    targets = parse_words(Kinds(context), words)
    is_everywhere = given.get("all-namespaces", False)
    if any(t.name is None for t in targets) and not (selector or given.get("all") or given.get("field-selector")):
        raise CommandError("resource(s) were provided, but no name was specified")
    if is_everywhere and any(t.name is not None for t in targets):
        raise CommandError("a resource cannot be retrieved by name across all namespaces")
    namespace = given["namespace"] or context.namespace
    return [
        Place(t.kind, "" if is_everywhere or not t.kind.resource.namespaced else namespace, t.name) for t in targets
    ]


def live(context: Context, given: Given, place: Place) -> Iterator[Found]:
    """Yield the live objects of one place; StatusError when the named one is not there."""
    path = path_of(place.kind.resource, place.namespace, place.name or "", version=place.kind.version)
    if place.name is not None:
        body = context.api.request("GET", path).body
        yield Found(place.kind, place.namespace, place.name, body, place.source)
        return
    query = {"labelSelector": given.get("selector", ""), "fieldSelector": given.get("field-selector", "")}
    head = {"apiVersion": place.kind.api_version, "kind": place.kind.resource.kind}
    for item in context.api.request("GET", path, query=query).body["items"]:
        metadata = item["metadata"]
        yield Found(place.kind, metadata.get("namespace", ""), metadata["name"], {**head, **item})


def run_each(
    context: Context,
    given: Given,
    act: Callable[[Found], None],
    *,
    words: list[str] | None = None,
    verb: str = "apply",
    empty: str = "",
) -> int:
    """Do `act` to every live object of the command line; return the exit code. `empty` is the error for no object."""
    errors: list[StatusError | CommandError] = []
    count = 0
    for place in places(context, given, words=words, verb=verb):
        try:
            for found in live(context, given, place):
                count += 1
                act(found)
        except (StatusError, CommandError) as error:
            errors.append(error)
    if empty and not count:
        raise CommandError(f"{empty} {errors[0]}" if len(errors) == 1 else empty)
    if errors:
        from localset.cli.failures import tell_refusals

        return tell_refusals(context, errors)
    return 0
