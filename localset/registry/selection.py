"""Which objects of a LIST or WATCH are meant: namespace, label selector, field selector.

Compiled once per request, then asked per object. Pure; used by reading and watching.
"""

from dataclasses import dataclass

from localset.apis import fields as api_fields
from localset.apis.resources import Resource
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.fields import parse_field_selector
from localset.machinery.labels import Selector, parse_selector
from localset.machinery.metadata import Object, labels_of


@dataclass(frozen=True)
class Selection:
    """What a request selects. `name` is set when a field selector pins it: then one lookup replaces a scan.

    `resource` holds the objects, `words` is the one whose field names are used.
    """

    resource: str
    namespace: str
    labels: Selector | None
    fields: tuple[tuple[str, str, str], ...]
    words: str = ""

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
            found = api_fields.field_value(self.words, obj, path)
            if (found == value) is (operator == "!="):
                return False
        return True


def selection_of(resource: Resource, namespace: str, label_selector: str, field_selector: str) -> Selection:
    """Compile the selectors; StatusError 400 for a bad one or an unknown field."""
    labels = parse_selector(label_selector) if label_selector else None
    fields = tuple(parse_field_selector(field_selector)) if field_selector else ()
    for path, _, _ in fields:
        if api_fields.field_value(resource.name, {"metadata": {}}, path) is None:
            raise bad_request(api_fields.refusal(resource.name, path))
    return Selection(resource.stored_as or resource.name, namespace, labels, fields, resource.name)


def parse_version(text: str) -> int:
    """Return the number in a resourceVersion; StatusError 422 when it is none."""
    if text.isascii() and text.isdigit():
        return int(text)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise StatusError(422, "Invalid", why)
