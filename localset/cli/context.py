"""What every command starts from: the data directory, the namespace, the API, and how words name objects."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localset.apis.resources import Resource
from localset.base.directories import api_socket, data_directory, namespace_file
from localset.cli.output import fail, say
from localset.cli.transport import Api, path_of


@dataclass
class Context:
    """The options before the command, and the daemon's door."""

    data_option: str | None = None
    namespace_option: str = ""
    _api: Api | None = field(default=None, repr=False)

    @property
    def data_directory(self) -> Path:
        """Return the data directory in force."""
        return data_directory(self.data_option)

    @property
    def namespace(self) -> str:
        """Return the namespace of commands that name none: what `localset ns` remembered, else `default`."""
        if self.namespace_option:
            return self.namespace_option
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

    def close(self) -> None:
        """Close what is open to the daemon."""
        if self._api is not None:
            self._api.close()

    def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Return one object."""
        body: dict[str, Any] = self.api.request("GET", path_of(resource, namespace, name)).body
        return body

    def items(self, resource: Resource, namespace: str, **query: str) -> list[dict[str, Any]]:
        """Return the items of a list; `labelSelector=` and `fieldSelector=` narrow it."""
        body: dict[str, Any] = self.api.request("GET", path_of(resource, namespace), query=query).body
        return [{"apiVersion": resource.api_version(), "kind": resource.kind, **item} for item in body["items"]]


def resource_of(word: str, context: Context | None = None) -> Resource:
    """Return the resource a person means, or fail with the nearest name. Custom resources need `context`."""
    from localset.cli.targets import Kinds

    return Kinds(context).of(word).resource


def parse_targets(context: Context, words: tuple[str, ...]) -> list[tuple[Resource, str | None]]:
    """Return (resource, name or None) for `pods`, `pod web-0 web-1`, `pod/web-0 svc/nginx`, `pods,svc`."""
    from localset.cli.targets import Kinds, parse_words

    if not words:
        fail("you must name a kind, for example `pods` or `statefulset/web`")
    return [(target.kind.resource, target.name) for target in parse_words(Kinds(context), list(words))]


def say_warnings(warnings: list[str]) -> None:
    """Print each Warning once, as kubectl does."""
    for text in dict.fromkeys(warnings):
        say(f"Warning: {text}")
