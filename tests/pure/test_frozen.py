"""Frozen values behave as the dataclasses that type checkers take them for."""

import copy
import pickle

import pytest

from localset.base.frozen import as_dict, frozen, replace


@frozen
class Point:
    """A point with a name."""

    x: int
    y: int = 0
    names: tuple[str, ...] = ()

    @property
    def is_origin(self) -> bool:
        """Tell whether both are 0."""
        return not self.x and not self.y


@frozen
class Spot:
    """Another class with the same fields, and points of its own."""

    x: int
    y: int = 0
    names: tuple[Point, ...] = ()


@frozen
class Nothing:
    """Has no fields at all."""


def test_values_are_taken_by_place_by_name_and_by_default():
    assert Point(1, 2) == Point(y=2, x=1) == Point(1, y=2, names=())
    assert Point(0).is_origin
    assert repr(Point(1)) == "Point(x=1, y=0, names=())"
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, (), 4), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_what_does_not_fit_is_refused(values, named):
    with pytest.raises(TypeError, match="Point"):
        Point(*values, **named)


def test_equal_fields_of_another_class_are_not_equal():
    assert Point(1, 2) != Spot(1, 2)
    assert Nothing() == Nothing()
    assert {Point(1): "a"}[Point(1)] == "a"


def test_a_value_cannot_change_and_has_no_room_for_more():
    point = Point(1)
    for name in ("x", "new"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(point, name, 2)
    assert not hasattr(point, "__dict__")
    assert replace(point, y=5) == Point(1, 5)
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point


def test_as_plain_data_it_holds_no_class_of_ours():
    assert as_dict(Spot(1, names=(Point(2),))) == {"x": 1, "y": 0, "names": [{"x": 2, "y": 0, "names": []}]}
