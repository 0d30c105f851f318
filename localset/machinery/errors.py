"""Status errors: what the Kubernetes API answers when it refuses.

Raised by registry and machinery, rendered by apiserver, parsed back by HTTP clients. The texts follow kube-api.md 4.3,
because clients test reasons and people read messages.
"""

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from localset.base.frozen import frozen


@frozen
class Cause:
    """One `details.causes` entry; `message` lacks the field, as upstream."""

    reason: str
    message: str
    field: str

    def to_json(self) -> dict[str, str]:
        """Return the wire form."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


@dataclass
class StatusError(Exception):
    """An API refusal: HTTP code, machine-readable reason, message for people."""

    code: int
    reason: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def to_status(self) -> dict[str, Any]:
        """Return the metav1.Status object (kind, apiVersion, status Failure, …)."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @staticmethod
    def from_status(status: dict[str, Any]) -> "StatusError":
        """Return the error that a Status object describes."""
        return StatusError(
            int(status.get("code", 500)),
            status.get("reason", ""),
            status.get("message", ""),
            status.get("details") or {},
        )


def split_resource(resource: str) -> tuple[str, str]:
    """Return (plural, group) of `statefulsets.apps`; the core group is the empty text."""
    plural, _, group = resource.partition(".")
    return plural, group


def _details(resource: str, name: str, **more: Any) -> dict[str, Any]:
    plural, group = split_resource(resource)
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = plural
    details.update(more)
    return details


def not_found(resource: str, name: str) -> StatusError:
    """404 for an absent object of `resource` (`pods`, `statefulsets.apps`)."""
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', _details(resource, name))


def already_exists(resource: str, name: str, *, is_being_deleted: bool = False) -> StatusError:
    """409 on create of a name that is taken."""
    prefix = "object is being deleted: " if is_being_deleted else ""
    return StatusError(409, "AlreadyExists", f'{prefix}{resource} "{name}" already exists', _details(resource, name))


def conflict(resource: str, name: str, why: str) -> StatusError:
    """409 for a lost race; `why` completes `Operation cannot be fulfilled on …: `."""
    return StatusError(
        409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {why}', _details(resource, name)
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> StatusError:
    """400: the request itself cannot be understood."""
    return StatusError(400, "BadRequest", message)


def forbidden(resource: str, name: str, why: str, causes: list[Cause] | None = None) -> StatusError:
    """403; `why` completes `pods "x" is forbidden: `."""
    details = _details(resource, name)
    if causes:
        details["causes"] = [cause.to_json() for cause in causes]
    return StatusError(403, "Forbidden", f'{resource} "{name}" is forbidden: {why}', details)


def gone(message: str) -> StatusError:
    """410 Expired: a resourceVersion that is no longer held."""
    return StatusError(410, "Expired", message)


def method_not_allowed() -> StatusError:
    """405."""
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> StatusError:
    """422 with all causes at once, a repeated one told once; `details.kind` is the Kind, as upstream."""
    texts = list(dict.fromkeys(f"{c.field}: {c.message}" for c in causes))
    body = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    full = f"{kind}.{group}" if group else kind
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [c.to_json() for c in causes]
    return StatusError(422, "Invalid", f'{full} "{name}" is invalid: {body}', details)


def raise_if(kind: str, group: str, name: str, causes: list[Cause]) -> None:
    """Raise `invalid` when there is a cause."""
    if causes:
        raise invalid(kind, group, name, causes)


def unreachable(value: object) -> NoReturn:
    """Fail loudly where the code's own logic says nothing can arrive."""
    raise AssertionError(f"unexpected {value!r}")


def required(path: str, why: str = "") -> Cause:
    """Cause: a value is missing."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", path)


def bad_value(path: str, value: Any, why: str = "") -> Cause:
    """Cause: a value is wrong; texts are quoted as Go does."""
    shown = f"Invalid value: {go_quote(value)}"
    return Cause("FieldValueInvalid", f"{shown}: {why}" if why else shown, path)


def not_supported(path: str, value: Any, supported: list[str]) -> Cause:
    """Cause: not one of the supported values."""
    names = ", ".join(go_quote(s) for s in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {go_quote(value)}: supported values: {names}", path)


def not_allowed(path: str, why: str) -> Cause:
    """Cause: the field may not be set or changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", path)


def duplicate(path: str, value: Any) -> Cause:
    """Cause: the value stands twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {go_quote(value)}", path)


def too_long(path: str, limit: int) -> Cause:
    """Cause: more than `limit` bytes."""
    return Cause("FieldValueTooLong", f"Too long: must have at most {limit} bytes", path)


def go_quote(value: Any) -> str:
    """Return `value` roughly as Go's %q / %v prints it in field errors."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_go_character(character) for character in value) + '"'
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return str(value)


_GO_ESCAPES = {"\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r"} | {
    "\t": "\\t",
    "\v": "\\v",
}


def _go_character(character: str) -> str:
    if character.isprintable() and character not in '\\"':
        return character
    code = ord(character)
    return _GO_ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")


def missing(path: str, value: Any) -> Cause:
    """Cause: the value names something that is not there."""
    return Cause("FieldValueNotFound", f"Not found: {go_quote(value)}", path)


def go_print(value: Any) -> str:
    """Return a JSON value as Go's %v prints it: `map[image:i:3 name:c]`, `[a b]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_print(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_print(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return go_quote(value) if isinstance(value, bool) else str(value)
