"""How custom objects are prepared and checked: what the registry calls for them.

One per version of a definition. Source: apiextensions-apiserver pkg/registry/customresource strategy.go, validator.go.
"""

from typing import TYPE_CHECKING, Any

from localset.apis.customresources.schema import ABSENT
from localset.apis.customresources.validation import embedded_causes, list_causes, schema_causes
from localset.apis.resources import Resource
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value
from localset.machinery.metadata import Object

if TYPE_CHECKING:
    from localset.apis.customresources.definition import Version

MAX_REPLICAS = 2**31 - 1
_GO_TYPES = {str: "string", bool: "bool", float: "float64", dict: "map[string]interface {}", list: "[]interface {}"}


class CustomStrategy(Strategy):
    """The rules of one version of a custom resource."""

    allows_unconditional_update = False

    def __init__(self, resource: Resource, version: "Version") -> None:
        """Serve `resource` in `version`."""
        super().__init__(resource)
        self._version = version

    @property
    def has_status(self) -> bool:
        """Tell whether status is written through its own subresource."""
        return self._version.has_status

    def prepare_create(self, obj: Object) -> None:
        """Wipe the status where it has its own door; the first generation."""
        if self.has_status:
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def prepare_update(self, new: Object, old: Object) -> None:
        """Keep the status where it has its own door; count a generation for any change but metadata's."""
        super().prepare_update(new, old)
        before = old["metadata"].get("generation", 1)
        ignored = {"metadata", "apiVersion", "status"} if self.has_status else {"metadata", "apiVersion"}
        is_same = _without(new, ignored) == _without(old, ignored)
        new["metadata"]["generation"] = before if is_same else before + 1

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Judge a new object by the schema."""
        return self._causes(obj, ABSENT)

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """Judge an update: metadata, and what has changed."""
        return [*super().validate_metadata(new), *self._causes(new, old)]

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """Judge a status update as the whole object."""
        return self._causes(new, old)

    def _causes(self, new: Object, old: Any) -> list[Cause]:
        schema = self._version.schema
        return [
            *schema_causes(schema, new, old),
            *embedded_causes(schema, new),
            *list_causes(schema, new),
            *self._scale_causes(new),
        ]

    def _scale_causes(self, obj: Object) -> list[Cause]:
        paths = self._version.scale
        if paths is None:
            return []
        causes = [*_replicas_causes(obj, paths.spec_replicas), *_replicas_causes(obj, paths.status_replicas)]
        if paths.label_selector:
            value = nested(obj, paths.label_selector)
            if value is not None and not isinstance(value, str):
                causes.append(
                    bad_value(paths.label_selector, "", _accessor_error(paths.label_selector, value, "string"))
                )
        return causes


def _without(obj: Object, names: set[str]) -> Object:
    return {name: value for name, value in obj.items() if name not in names}


def nested(obj: Any, path: str) -> Any:
    """Return what lies at a path of plain names, `.spec.size`; None when nothing does."""
    for step in path.removeprefix(".").split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _accessor_error(path: str, value: Any, wanted: str) -> str:
    shown = str(value).lower() if isinstance(value, bool) else value
    return f"{path} accessor error: {shown} is of the type {_GO_TYPES.get(type(value), 'int64')}, expected {wanted}"


def _replicas_causes(obj: Object, path: str) -> list[Cause]:
    value = nested(obj, path)
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int):
        return [bad_value(path, 0, _accessor_error(path, value, "int64"))]
    if value < 0:
        return [bad_value(path, value, "should be a non-negative integer")]
    if value > MAX_REPLICAS:
        return [bad_value(path, value, f"should be less than or equal to {MAX_REPLICAS}")]
    return []
