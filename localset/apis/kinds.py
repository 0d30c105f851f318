"""The small kinds: Namespace, Node, ServiceAccount, Endpoints, Event, ControllerRevision. Pure."""

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_label


def default_endpoints(endpoints: Object) -> None:
    """Ports are TCP unless they say otherwise."""
    for subset in endpoints.get("subsets") or []:
        for port in subset.get("ports") or []:
            port.setdefault("protocol", "TCP")


class NamespaceStrategy(Strategy):
    """Namespaces: the registry's admission fills in finalizer and phase."""

    def prepare_create(self, obj: Object) -> None:
        """A new namespace is Active."""
        obj["status"] = {"phase": "Active"}

    def validate_name(self, name: str) -> list[str]:
        """A namespace is a DNS label."""
        return dns1123_label(name)


class NodeStrategy(Strategy):
    """Nodes: created with their status by the kubelet that registers itself."""

    def prepare_create(self, obj: Object) -> None:
        """Keep the status: upstream does so for Nodes alone."""


class ControllerRevisionStrategy(Strategy):
    """ControllerRevisions: data never changes."""

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Only metadata and the number may change."""
        return [] if new.get("data") == old.get("data") else [bad_value("data", "", "field is immutable")]
