"""What every command starts from: the data directory, the namespace, the API, and how words name objects."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localset.apis.resources import RESOURCES, Resource, find_by_word
from localset.base.directories import api_socket, data_directory, namespace_file
from localset.cli.output import fail, say
from localset.cli.transport import Api, path_of


@dataclass
class Context:
    """The options before the command, and the daemon's door."""

    data_option: str | None = None
    _api: Api | None = field(default=None, repr=False)

    @property
    def data_directory(self) -> Path:
        """Return the data directory in force."""
        return data_directory(self.data_option)

    @property
    def namespace(self) -> str:
        """Return the namespace that `localset ns` remembers for this data directory, else `default`."""
        try:
            return namespace_file(self.data_directory).read_text().strip() or "default"
        except OSError:
            return "default"

    @property
    def api(self) -> Api:
        """Return the door to the daemon; requests raise DaemonNotRunningError when nobody is there."""
        if self._api is None:
            self._api = Api(api_socket(self.data_directory))
        return self._api

    def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Return one object."""
        body: dict[str, Any] = self.api.request("GET", path_of(resource, namespace, name)).body
        return body

    def items(self, resource: Resource, namespace: str, **query: str) -> list[dict[str, Any]]:
        """Return the items of a list; `labelSelector=` and `fieldSelector=` narrow it."""
        body: dict[str, Any] = self.api.request("GET", path_of(resource, namespace), query=query).body
        return [{"apiVersion": resource.api_version(), "kind": resource.kind, **item} for item in body["items"]]


def resource_of(word: str) -> Resource:
    """Return the resource a person means, or fail with the nearest name."""
    resource = find_by_word(word)
    if resource is None:
        names = [n for r in RESOURCES for n in (r.plural, r.singular, *r.short_names)]
        near = difflib.get_close_matches(word.lower(), names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "known kinds: " + ", ".join(r.plural for r in RESOURCES)
        fail(f'the server doesn\'t have a resource type "{word}"', hint=hint)
    return resource


def parse_targets(words: tuple[str, ...]) -> list[tuple[Resource, str | None]]:
    """Return (resource, name or None) for `pods`, `pod web-0 web-1`, `pod/web-0 svc/nginx`, `pods,svc`."""
    if not words:
        fail("you must name a kind, for example `pods` or `statefulset/web`")
    if any("/" in word for word in words):
        pairs = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name or "/" in name:
                fail(f'"{word}" is not of the form kind/name')
            pairs.append((resource_of(kind), name))
        return list(pairs)
    kinds = [resource_of(word) for word in words[0].split(",")]
    if len(words) == 1:
        return [(kind, None) for kind in kinds]
    return [(kind, name) for kind in kinds for name in words[1:]]


def say_warnings(warnings: list[str]) -> None:
    """Print each Warning once, as kubectl does."""
    for text in dict.fromkeys(warnings):
        say(f"Warning: {text}")
