"""Which set, and which ordinal of it, a person means: `web`, `sts/web`, `web/1`, `web-1`."""

from typing import Any, NamedTuple

from localset.apis.resources import find_by_word
from localset.apis.statefulsets import parent_and_ordinal, pod_name, replicas_of, start_ordinal
from localset.cli.context import Context, resource_of
from localset.cli.output import fail
from localset.cli.pods import SETS
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

MERGE = "application/merge-patch+json"
_IDENTITY = ("uid", "generation")
"""What differs when another set, or the same one with another spec, has taken the place of what was seen."""
_Object = dict[str, Any]


class Meant(NamedTuple):
    """A set, and one of its ordinals or None for all."""

    statefulset: _Object
    ordinal: int | None

    @property
    def namespace(self) -> str:
        """Return the set's namespace."""
        return str(self.statefulset["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Return the set's name."""
        return str(self.statefulset["metadata"]["name"])

    @property
    def pod(self) -> str:
        """Return the name of the ordinal's Pod."""
        assert self.ordinal is not None
        return pod_name(self.name, self.ordinal)

    @property
    def wanted(self) -> range:
        """Return the ordinals that the set's spec wants."""
        first = start_ordinal(self.statefulset)
        return range(first, first + replicas_of(self.statefulset))

    @property
    def label(self) -> str:
        """Return `statefulset.apps/web`."""
        return f"statefulset.apps/{self.name}"

    def patch(self, context: Context, change: _Object) -> "Meant":
        """Change the set as it was seen, by a merge patch; 409 when somebody has changed what it asks for since.

        A status that has moved on is no such change: the set is read again then.
        """
        path = path_of(SETS, self.namespace, self.name)
        seen = self.statefulset
        while True:
            metadata = {**change.get("metadata", {}), "resourceVersion": seen["metadata"]["resourceVersion"]}
            try:
                body = context.api.request("PATCH", path, {**change, "metadata": metadata}, content_type=MERGE).body
            except StatusError as error:
                if error.code != 409:
                    raise
                seen = context.api.request("GET", path).body
                if any(seen["metadata"].get(key) != self.statefulset["metadata"].get(key) for key in _IDENTITY):
                    raise
            else:
                return Meant(body, self.ordinal)


def meant(context: Context, word: str, namespace: str, *, is_one: bool = False) -> Meant:
    """Return what `word` means; with `is_one` it must name an ordinal."""
    kind, slash, rest = word.partition("/")
    ordinal: int | None = None
    if not slash:
        name = word
    elif rest.isdecimal() and find_by_word(kind) is None:
        name, ordinal = kind, int(rest)
    else:
        if resource_of(kind) != SETS:
            fail(f"{word} is no StatefulSet", hint="as web, sts/web, or web/0 for one ordinal")
        name = rest
    try:
        found = Meant(context.get(SETS, namespace, name), ordinal)
    except StatusError as error:
        parent, number = parent_and_ordinal(name)
        if error.code != 404 or ordinal is not None or number < 0:
            raise
        try:
            found = Meant(context.get(SETS, namespace, parent), number)
        except StatusError:
            raise error from None
    if is_one and found.ordinal is None:
        fail(f"which ordinal of {name}?", hint=f"as {name}/0")
    return found
