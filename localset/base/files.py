"""Files: atomic writes, private directories, and walks that follow no link.

Every path that is built from API data (volume names, subPath, keys) goes through a directory descriptor here, element
by element with O_NOFOLLOW: checking a path and opening it afterwards loses the race against a symlink swap thousands
of times in 50,000 tries (reliability M13), a descriptor walk never does. Nothing here may resolve a path and open it
later, and nothing here removes through a link or across a file system.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafePathError(OSError):
    """A path leaves its directory, or meets a link or another file system where none may be."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600, is_durable: bool = True) -> None:
    """Replace `path` by `data` in one step: readers see the old or the new bytes. `is_durable` syncs file and name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            _write_all(descriptor, data)
            if is_durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - the pair of names is the point
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if is_durable:
        sync_directory(path.parent)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_in_place(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write over `path` keeping its inode, truncating last.

    For files that are bind-mounted into Pods: a mount follows the inode, so a rename is never seen (runtime.md 1.5).
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK, mode)
    try:
        os.fchmod(descriptor, mode)  # NB: the daemon's umask is 077, but a Pod's own user has to read these
        _write_all(descriptor, data)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(path: Path, *, mode: int = 0o700) -> Path:
    """Make `path` and what is missing above it, each with `mode` whatever the umask; return it. Idempotent."""
    missing: list[Path] = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    for directory in reversed(missing):
        with suppress(FileExistsError):
            directory.mkdir(mode=mode)
            directory.chmod(mode)
    if not path.is_dir():
        raise NotADirectoryError(20, "not a directory", str(path))
    return path


@contextmanager
def opened_directory(path: Path | str, *, dir_fd: int | None = None) -> Iterator[int]:
    """Yield a descriptor of the directory `path`; its last element may not be a link."""
    descriptor = os.open(path, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def safe_elements(relative: str) -> list[str]:
    """Return the elements of a relative path.

    UnsafePathError for absolute ones, `..`, NUL or elements over 255 bytes.
    """
    if relative.startswith("/"):
        raise UnsafePathError(22, "path must be relative", relative)
    elements = [element for element in relative.split("/") if element not in {"", "."}]
    for element in elements:
        if element == ".." or "\0" in element or len(os.fsencode(element)) > 255:
            raise UnsafePathError(22, "path must stay beneath its directory", relative)
    return elements


def open_beneath(directory: int, relative: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open `relative` beneath the descriptor `directory`, following no link anywhere; return a descriptor.

    Raises UnsafePathError for a path that would leave, OSError ELOOP/ENOTDIR where a link stands in the way.
    """
    elements = safe_elements(relative)
    if not elements:
        return os.open(".", _DIRECTORY, dir_fd=directory)
    current = os.dup(directory)
    try:
        for element in elements[:-1]:
            current = _step(current, element)
        return os.open(elements[-1], flags | _NO_LINK, mode, dir_fd=current)
    finally:
        os.close(current)


def make_directory_beneath(directory: int, relative: str, *, mode: int = 0o755) -> int:
    """Open the directory `relative` beneath `directory`, making what is missing.

    Return a descriptor. No link is followed.
    """
    current = os.dup(directory)
    try:
        for element in safe_elements(relative):
            is_new = True
            try:
                os.mkdir(element, mode, dir_fd=current)
            except FileExistsError:
                is_new = False
            current = _step(current, element)
            if is_new:
                os.fchmod(current, mode)  # whatever the umask
    except BaseException:
        os.close(current)
        raise
    return current


def _step(current: int, element: str) -> int:
    following = os.open(element, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
    os.close(current)
    return following


def remove_tree_beneath(directory: int, name: str) -> None:
    """Remove the entry `name` of the descriptor `directory` with all beneath it; nothing when it is absent.

    Links inside are unlinked, never followed; a link as `name` itself, or a directory on another file system, is
    refused: UnsafePathError. Directories of mode 000 (overlay's `work/work`) are opened up first.
    """
    if safe_elements(name) != [name]:
        raise UnsafePathError(22, "not a single name", name)
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise UnsafePathError(40, "refusing to remove through a link", name)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=directory)
        return
    if status.st_dev != os.fstat(directory).st_dev:
        raise UnsafePathError(18, "refusing to remove a mounted file system", name)
    _remove_directory(directory, name, status.st_dev)


def _remove_directory(parent: int, name: str, device: int) -> None:
    descriptor = _open_writable(parent, name)
    try:
        if os.fstat(descriptor).st_dev != device:
            raise UnsafePathError(18, "refusing to remove a mounted file system", name)
        with os.scandir(descriptor) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_directory in names:
            if is_directory:
                _remove_directory(descriptor, child, device)
            else:
                os.unlink(child, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _open_writable(parent: int, name: str) -> int:
    """Open a directory to empty it; its mode is widened through a descriptor when it forbids that."""
    wanted = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISDIR(wanted) and wanted & 0o700 != 0o700:
        _open_up(parent, name)
    return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _open_up(parent: int, name: str) -> None:
    if sys.platform == "linux":
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 - the descriptor is the point
        finally:
            os.close(handle)
    else:
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)


def change_owner_beneath(directory: int, uid: int, gid: int, *, add_mode: int = 0) -> None:
    """Give the opened directory and all beneath it to uid/gid (-1 keeps); directories also gain `add_mode` bits.

    Links are given away themselves, never what they point at; other file systems are left alone.
    """
    device = os.fstat(directory).st_dev
    os.fchown(directory, uid, gid)
    if add_mode:
        os.fchmod(directory, stat.S_IMODE(os.fstat(directory).st_mode) | add_mode)
    with os.scandir(directory) as entries:
        children = list(entries)
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            child = os.open(entry.name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                if os.fstat(child).st_dev == device:
                    change_owner_beneath(child, uid, gid, add_mode=add_mode)
            finally:
                os.close(child)
        else:
            os.chown(entry.name, uid, gid, dir_fd=directory, follow_symlinks=False)
