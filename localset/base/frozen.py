"""Frozen values: what `@dataclass(frozen=True, slots=True)` gives, made forty times faster.

`dataclasses` writes and compiles half a dozen functions for every class while a module is imported: for a hundred
classes a fifth of the daemon's start. Here all classes share the same few functions; making an instance costs a
microsecond more. Type checkers see a dataclass (PEP 681). What a daemon imports at its start uses this. NB: it must
never grow what dataclasses can do beside (factories, inheritance, order): take a dataclass or a plain class for those.
"""

from collections.abc import Callable
from inspect import get_annotations
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Return `cls` with slots and without a way to change its instances: its annotations are its fields, in order."""
    names = tuple(get_annotations(cls))
    body = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__"}}
    defaults = {name: body.pop(name) for name in names if name in body}
    body |= {"__slots__": names, "__match_args__": names, "__qualname__": cls.__qualname__}
    made: Any = type(cls.__name__, cls.__bases__, body)  # slots can only be given to a class that is being made
    made.__init__ = _make_init(made, names, defaults)
    made.__setattr__ = made.__delattr__ = _refuse
    made.__reduce__ = _reduce
    if "__repr__" not in body:
        made.__repr__ = _repr
    if "__eq__" not in body:
        made.__eq__, made.__hash__ = _make_equality(made, names)
    return cast("type[T]", made)


def replace(value: T, **changes: Any) -> T:
    """Return a copy of a frozen value with some fields changed."""
    names: tuple[str, ...] = type(value).__match_args__  # type: ignore[attr-defined]
    return type(value)(**{name: getattr(value, name) for name in names} | changes)


def as_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a frozen value as plain data: those in its tuples become dicts too, the rest is shared."""
    return {name: _plain(getattr(value, name)) for name in value.__match_args__}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return as_dict(value) if getattr(type(value), "__setattr__", None) is _refuse else value


def _make_init(cls: Any, names: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
    setters = tuple(vars(cls)[name].__set__ for name in names)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - what it becomes
        if kwargs or len(args) != len(setters):
            args = _bind(cls.__name__, names, defaults, args, kwargs)
        for set_, value in zip(setters, args, strict=True):
            set_(self, value)

    return __init__


def _bind(
    cls: str, names: tuple[str, ...], defaults: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    values = list(args)
    for name in names[len(args) :]:
        if name in kwargs:
            values.append(kwargs.pop(name))
        elif name in defaults:
            values.append(defaults[name])
        else:
            raise TypeError(f"{cls}() needs {name}")
    if kwargs or len(values) > len(names):
        raise TypeError(f"{cls}() takes {', '.join(names)}, not {', '.join(kwargs) or f'{len(values)} values'}")
    return tuple(values)


def _make_equality(cls: Any, names: tuple[str, ...]) -> tuple[Callable[..., Any], Callable[..., int]]:
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807 - what it becomes
        return values(self) == values(other) if other.__class__ is cls else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807 - what it becomes
        return hash(values(self))

    return __eq__, __hash__


def _refuse(self: Any, name: str, *_: Any) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__match_args__)})"


def _reduce(self: Any) -> tuple[Any, ...]:
    return type(self), tuple(getattr(self, name) for name in self.__match_args__)
