"""Which objects of a LIST or WATCH are meant: namespace, label selector, field selector.

Compiled once per request, then asked per object. Pure; used by reading and watching.
"""

from localset.apis import fields as api_fields
from localset.apis.resources import Resource
from localset.base.frozen import frozen
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.fields import parse_field_selector
from localset.machinery.labels import Selector, parse_selector
from localset.machinery.metadata import Object, labels_of


@frozen
class Selection:
    """What a request selects. `name` is set when a field selector pins it: then one lookup replaces a scan.

    `resource` names what holds the objects, `row` is the one whose field names are used.
    """

    row: Resource
    namespace: str
    labels: Selector | None
    fields: tuple[tuple[str, str, str], ...]

    @property
    def resource(self) -> str:
        """Return the name under which the objects are stored."""
        return self.row.stored_as or self.row.name

    @property
    def is_everything(self) -> bool:
        """Tell whether no selector narrows it (the namespace aside)."""
        return self.labels is None and not self.fields

    @property
    def name(self) -> str | None:
        """Return the only name that can match, or None."""
        for path, operator, value in self.fields:
            if path == "metadata.name" and operator != "!=":
                return value
        return None

    def matches(self, obj: Object) -> bool:
        """Tell whether `obj` of this resource is selected; the namespace is the caller's to check."""
        if self.labels is not None and not self.labels.matches(labels_of(obj)):
            return False
        for path, operator, value in self.fields:
            found = _value(self.row, obj, path)
            if (found == value) is (operator == "!="):
                return False
        return True


def _value(row: Resource, obj: Object, path: str) -> str | None:
    found = api_fields.field_value(row.name, obj, path)
    return row.definition.field_value(obj, path) if found is None and row.definition is not None else found


def selection_of(resource: Resource, namespace: str, label_selector: str, field_selector: str) -> Selection:
    """Compile the selectors; StatusError 400 for a bad one or an unknown field."""
    labels = parse_selector(label_selector) if label_selector else None
    fields = tuple(parse_field_selector(field_selector)) if field_selector else ()
    for path, _, _ in fields:
        if _value(resource, {"metadata": {}}, path) is None:
            is_custom = resource.definition is not None
            refusal = f"field label not supported: {path}" if is_custom else api_fields.refusal(resource.name, path)
            raise bad_request(refusal)
    return Selection(resource, namespace, labels, fields)


def parse_version(text: str) -> int:
    """Return the number in a resourceVersion; StatusError 422 when it is none."""
    if text.isascii() and text.isdigit():
        return int(text)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise StatusError(422, "Invalid", why)
