"""What server-side apply must know of a type: is it granular or atomic, and by what are list elements told apart.

`apis.schema.shapes` makes them from the published types, and custom resources from theirs; `machinery.typed` walks
objects by them. A shape finds its parts only when it is asked for, because types refer to themselves. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Form(StrEnum):
    """What a value of the type is."""

    SCALAR = "scalar"
    MAP = "map"
    LIST = "list"
    ANY = "any"  # whatever is found: maps as `atomic` says, lists atomic


def _no_field(_: str) -> "Shape | None":
    return None


def _unknown() -> "Shape":
    return UNKNOWN


@dataclass(slots=True, eq=False)
class Shape:
    """One type. `part(name)` is the shape of a field or map key, None when there is no such field."""

    form: Form
    atomic: bool = False
    expects: str = ""
    """For scalars: `string`, `numeric`, `boolean`; empty takes any."""
    part: Callable[[str], "Shape | None"] = _no_field
    declares: Callable[[str], bool] = lambda _: False
    """Whether a name is a declared field, not a key of an open map."""
    element: Callable[[], "Shape"] = _unknown
    """For lists: the shape of each element."""
    keys: tuple[str, ...] = ()
    """For keyed lists: the fields that tell elements apart; a granular list without keys is a set."""
    defaults: Mapping[str, Any] | None = None
    """Values of keys that an element may leave out."""
    present: Mapping[str, Any] | None = None
    """Fields that upstream's Go types always hold, with the value they have when nobody set them."""


UNKNOWN = Shape(Form.ANY, part=lambda _: _unknown())
"""A value without a schema: maps are granular, lists atomic (upstream's `__untyped_deduced_`)."""
OPAQUE = Shape(Form.ANY, atomic=True)
"""A free-form value that is owned as a whole (upstream's `__untyped_atomic_`)."""
