"""Which resources are served right now: the built-in rows, and those of established CustomResourceDefinitions.

The registry owns the one table of an installation and changes it (`set_custom`) in the same turn in which a definition
is stored; the API's routes, discovery and OpenAPI ask it on every request. Whatever is built from it and kept carries
the `revision` it was built from. Pure: dicts and no clock; look-ups cost one `dict.get`, however many rows there are.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from localset.apis.resources import RESOURCES, Resource

Listener = Callable[[], None]

_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?\Z", re.ASCII)
_STABILITY = {"alpha": 0, "beta": 1, None: 2}


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Return a sort key: v10, v2, v1, v2beta1, v1beta2, v1alpha1, then anything else by name.

    Source: apimachinery version.CompareKubeAwareVersionStrings, best first.
    """
    found = _VERSION.match(version)
    if found is None:
        return 1, 0, 0, version
    major, word, minor = found.groups()
    return -_STABILITY[word], -int(major), -int(minor or 0), ""


class ServedResources:
    """The table. Iterating gives all rows, the built-in ones first."""

    def __init__(self, static: Iterable[Resource] = RESOURCES) -> None:
        """Serve `static`, which never changes."""
        self._static = tuple(static)
        self._custom: tuple[Resource, ...] = ()
        self._listeners: set[Listener] = set()
        self.revision = 0
        self._index()

    def _index(self) -> None:
        self._by_name: dict[str, Resource] = {}
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        self.by_path: dict[tuple[str, str, str], Resource] = {}
        versions: dict[str, list[str]] = {}
        # Custom rows first: where two claim one place (names are not accepted then), the built-in one must win.
        for resource in (*self._custom, *self._static):
            self._by_name[resource.name] = resource
            for version in resource.versions:
                self._by_kind[resource.group, version, resource.kind] = resource
                self.by_path[resource.group, version, resource.plural] = resource
        for resource in (row for row in self if row.versions):
            known = versions.setdefault(resource.group, [])
            known += [version for version in resource.versions if version not in known]
        static_groups = {resource.group for resource in self._static}
        for group, found in versions.items():
            if group not in static_groups:
                found.sort(key=version_priority)
        self.versions = versions

    def __iter__(self) -> Iterator[Resource]:
        """Yield all rows."""
        yield from self._static
        yield from self._custom

    @property
    def custom(self) -> tuple[Resource, ...]:
        """Return the rows of established definitions."""
        return self._custom

    def get(self, name: str) -> Resource | None:
        """Return the row of `pods`, `statefulsets.apps`, `widgets.example.com`, or None."""
        return self._by_name.get(name)

    def of(self, group: str, version: str) -> list[Resource]:
        """Return the rows of a group version, in table order."""
        return [r for r in self if r.group == group and version in r.versions]

    def find_by_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the row that serves `kind` in exactly this `apiVersion`, or None."""
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def set_custom(self, rows: Iterable[Resource]) -> None:
        """Serve exactly these custom rows from now on, and tell the listeners when that is a change."""
        wanted = tuple(sorted(rows, key=lambda r: r.name))
        if len(wanted) == len(self._custom) and all(a is b for a, b in zip(wanted, self._custom, strict=True)):
            return
        self._custom = wanted
        self.revision += 1
        self._index()
        for listener in list(self._listeners):
            listener()

    def add_listener(self, listener: Listener) -> None:
        """Call `listener()` after each change; it must not raise."""
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        self._listeners.discard(listener)
