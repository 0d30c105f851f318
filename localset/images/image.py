"""An image as the kubelet sees it, and how `image.yaml` is read.

The catalogue finds and copies images; this module only turns one directory into one `Image`, or says what is wrong
with it in a sentence that names the file and the key. It starts nothing and changes nothing on disk. The format is
documented in docs/images.md; an unknown key is an error, because a misspelt one would otherwise be silently without
effect.
"""

import re
import signal
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from localset.base.frozen import frozen
from localset.machinery.decoding import DecodeError

FILE_NAME = "image.yaml"
MAX_BYTES = 64 * 1024

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ImageError(Exception):
    """An image that cannot be used; the text names the file and what is wrong with it."""


@frozen
class Requirement:
    """Something the host must have: one of `any_of` (program names, or paths with wildcards and `${VARIABLE}`)."""

    what: str
    any_of: tuple[str, ...]
    package: str = ""

    def __str__(self) -> str:
        """Return what is missing and how to get it, as one sentence."""
        hint = f" (Debian and Ubuntu: apt-get install {self.package})" if self.package else ""
        return f"{self.what} is not installed on this host{hint}"


@frozen
class Image:
    """A local image. `entrypoint`/`command` are as in a container image; absolute paths are as the container sees them.

    `mounts` are (source relative to `directory`, absolute target), read-only; `scratch` are fresh writable directories;
    `path` goes in front of PATH. `user` is None when the image does not say or says a name (then `user_name` has it);
    `users` are names that the image knows (name: uid). `notice` is told once to who starts it.
    `is_host` means: no layer of its own, the host's programs and files.
    """

    name: str
    patterns: tuple[str, ...]
    directory: Path
    description: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    working_directory: str = ""
    user: int | None = None
    user_name: str = ""
    group: int | None = None
    users: Mapping[str, int] = MappingProxyType({})
    stop_signal: str = "SIGTERM"
    ports: tuple[int, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    scratch: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    notice: str = ""
    is_host: bool = False
    is_builtin: bool = False


class _Reader:
    """Takes typed values out of a mapping, remembers which keys were asked for, names the key in every complaint."""

    def __init__(self, values: dict[Any, Any], where: str = "") -> None:
        self._values = values
        self._where = where
        self._asked: set[str] = set()

    def _take(self, key: str) -> Any:
        self._asked.add(key)
        return self._values.get(key)

    def fail(self, key: str, why: str) -> ImageError:
        return ImageError(f"{self._where}{key}: {why}")

    def text(self, key: str, *, required: bool = False) -> str:
        value = self._take(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or (required and not value):
            raise self.fail(key, "must be a text" if value is not None else "is required")
        if "\0" in value:
            raise self.fail(key, "must not contain a NUL byte")
        return value

    def flag(self, key: str) -> bool:
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise self.fail(key, "must be true or false")
        return bool(value)

    def items(self, key: str) -> list[Any]:
        value = self._take(key)
        if value is not None and not isinstance(value, list):
            raise self.fail(key, "must be a list")
        return value or []

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.items(key)
        for item in items:
            if not isinstance(item, str) or "\0" in item:
                raise self.fail(key, f"must be a list of texts, and {item!r} is none (quote numbers)")
        return tuple(items)

    def mapping(self, key: str) -> dict[Any, Any]:
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            raise self.fail(key, "must be a mapping")
        return value or {}

    def raw(self, key: str) -> Any:
        return self._take(key)

    def readers(self, key: str) -> list["_Reader"]:
        readers = []
        for index, item in enumerate(self.items(key)):
            where = f"{self._where}{key}[{index}]"
            if not isinstance(item, dict):
                raise ImageError(f"{where}: must be a mapping")
            readers.append(_Reader(item, where + "."))
        return readers

    def finish(self) -> None:
        unknown = sorted(str(key) for key in self._values if key not in self._asked)
        if unknown:
            known = ", ".join(sorted(self._asked))
            raise ImageError(f"{self._where}{unknown[0]}: is not a key of an image (known: {known})")


def read_image(directory: Path, environment: Mapping[str, str], *, is_builtin: bool = False) -> Image:
    """Return the image that `directory` holds. `environment` is where `inheritEnvironment` takes its values from.

    Raises ImageError, its text beginning with the path of image.yaml.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > MAX_BYTES:
            raise ImageError(f"is larger than {MAX_BYTES} bytes")  # noqa: TRY301 - the path is put in front below
        return _parse(_load(content), directory, environment, is_builtin=is_builtin)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _load(content: bytes) -> dict[Any, Any]:
    from localset.machinery.yaml_decoding import decode_yaml

    try:
        documents = decode_yaml(content)
    except DecodeError as error:
        raise ImageError(f"not valid YAML: {error}") from error
    loaded = documents[0].value if len(documents) == 1 else None
    if documents and documents[0].duplicates:
        raise ImageError(f"the key {documents[0].duplicates[0]!r} stands twice")
    if not isinstance(loaded, dict):
        raise ImageError("must be a mapping with at least name and patterns")
    return loaded


def _parse(values: dict[Any, Any], directory: Path, host: Mapping[str, str], *, is_builtin: bool) -> Image:
    reader = _Reader(values)
    name = reader.text("name", required=True)
    if not _NAME.fullmatch(name):
        raise reader.fail("name", f"{name!r} is not made of a-z, 0-9, '.', '_' and '-', at most 63 characters")
    patterns = reader.texts("patterns")
    if not patterns:
        raise reader.fail("patterns", "is required: which image references this image answers to")
    for pattern in patterns:
        if not pattern or any(character.isspace() for character in pattern):
            raise reader.fail("patterns", f"{pattern!r} is not an image reference")
    user, user_name, group = _user(reader)
    image = Image(
        name=name,
        patterns=patterns,
        directory=directory,
        description=reader.text("description"),
        entrypoint=reader.texts("entrypoint"),
        command=reader.texts("command"),
        environment=_environment(reader, host),
        working_directory=_working_directory(reader),
        user=user,
        user_name=user_name,
        group=group,
        users=_users(reader),
        stop_signal=_stop_signal(reader),
        ports=_ports(reader),
        requirements=tuple(_requirement(item) for item in reader.readers("requires")),
        mounts=tuple(_mount(item, directory, is_builtin=is_builtin) for item in reader.readers("mounts")),
        scratch=tuple(_absolute(reader, "scratch", item) for item in reader.texts("scratch")),
        path=tuple(_absolute(reader, "path", item) for item in reader.texts("path")),
        notice=reader.text("notice"),
        is_host=reader.flag("host"),
        is_builtin=is_builtin,
    )
    reader.finish()
    if image.is_host and (image.mounts or image.scratch or image.path):
        raise reader.fail("host", "an image that is the host has no mounts, scratch or path of its own")
    return image


def _absolute(reader: _Reader, key: str, value: str) -> str:
    """Return a container path in its plain form; `..` is refused: no reader should have to compute where it ends."""
    parts = PurePosixPath(value).parts
    if not value.startswith("/") or value.startswith("//") or ".." in parts or len(parts) < 2:
        raise reader.fail(key, f"{value!r} must be an absolute path below / without '..'")
    return str(PurePosixPath(value))


def _working_directory(reader: _Reader) -> str:
    value = reader.text("workingDirectory")
    return value if value in {"", "/"} else _absolute(reader, "workingDirectory", value)


def _environment(reader: _Reader, host: Mapping[str, str]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for name in reader.texts("inheritEnvironment"):
        if not _VARIABLE_NAME.fullmatch(name):
            raise reader.fail("inheritEnvironment", f"{name!r} is not a variable's name")
        if name in host:
            environment[name] = host[name]
    for name, value in reader.mapping("environment").items():
        if not isinstance(name, str) or not _VARIABLE_NAME.fullmatch(name):
            raise reader.fail("environment", f"{name!r} is not a variable's name")
        if not isinstance(value, str) or "\0" in value:
            raise reader.fail(f"environment.{name}", "must be a text (quote numbers)")
        environment[name] = value
    return environment


def _user(reader: _Reader) -> tuple[int | None, str, int | None]:
    """Return (uid, name, gid) of `user: 1000`, `"1000:1000"`, `name`."""
    value = reader.raw("user")
    if value is None:
        return None, "", None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    owner, has_group, group = text.partition(":")
    if not owner or (has_group and not group.isdecimal()) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", owner):
        raise reader.fail("user", "must be a uid, uid:gid or a user's name (quote uid:gid)")
    gid = int(group) if has_group else None
    return (int(owner), "", gid) if owner.isdecimal() else (None, owner, gid)


def _users(reader: _Reader) -> dict[str, int]:
    """Return `users`: names that programs look up inside, as the image's own /etc/passwd would have them."""
    users = reader.mapping("users")
    for name, uid in users.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", name):
            raise reader.fail("users", f"{name!r} is not a user's name")
        if not isinstance(uid, int) or isinstance(uid, bool) or not 0 < uid < 2**31:
            raise reader.fail(f"users.{name}", "must be a uid above 0")
    return users


def _stop_signal(reader: _Reader) -> str:
    value = reader.text("stopSignal") or "SIGTERM"
    name = value if value.startswith("SIG") else f"SIG{value}"
    if name not in signal.Signals.__members__:
        raise reader.fail("stopSignal", f"{value!r} is not a signal of this machine")
    return name


def _ports(reader: _Reader) -> tuple[int, ...]:
    ports = reader.items("ports")
    for port in ports:
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
            raise reader.fail("ports", f"{port!r} is not a port (1 to 65535)")
    return tuple(ports)


def _requirement(reader: _Reader) -> Requirement:
    what = reader.text("what", required=True)
    any_of = reader.texts("anyOf")
    if not any_of:
        raise reader.fail("anyOf", "is required: programs or files of which one must be there")
    requirement = Requirement(what, any_of, reader.text("package"))
    reader.finish()
    return requirement


def _mount(reader: _Reader, directory: Path, *, is_builtin: bool) -> tuple[str, str]:
    """Return (source, target). A built-in image may also show what lies beside it: its neighbours' scripts."""
    source = reader.text("source", required=True)
    target = _absolute(reader, "target", reader.text("target", required=True))
    reader.finish()
    root = directory.resolve()
    found = (root / source).resolve()
    limit = root.parent if is_builtin else root
    if PurePosixPath(source).is_absolute() or not found.is_relative_to(limit):
        raise reader.fail("source", f"{source!r} must be a path inside the image's directory")
    if not found.exists():
        raise reader.fail("source", f"{source!r} does not exist in the image's directory")
    return source, target
