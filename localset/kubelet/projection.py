"""Writes projected files so that a reader sees all old or all new ones: the `..data` symlink swap of Kubernetes.

`<volume>/..<digest>/…` holds the files, `<volume>/..data` points there, and each top-level name is a link through
`..data`. Called by `volumes`; works on a directory descriptor only (reliability M13). Unchanged content writes
nothing.
"""

import hashlib
import os
from contextlib import suppress

from localset.base.files import (
    UnsafePathError,
    make_directory_beneath,
    open_beneath,
    remove_tree_beneath,
    safe_elements,
)
from localset.kubelet.payload import Files

_DATA = "..data"
_DATA_NEW = "..data_new"


def write_projection(
    directory: int, files: Files, *, owner: tuple[int, int] | None, directory_mode: int = 0o755
) -> bool:
    """Make `files` the content of the opened volume directory; return whether anything changed.

    `owner` is (uid, gid) for every file and directory, -1 keeps; None leaves ownership alone.
    """
    for path in files:
        elements = safe_elements(path)
        if not elements or elements[0].startswith(".."):
            raise UnsafePathError(22, "not a path for a projected file", path)
    generation = _generation_name(files, owner)
    if _current(directory) == generation:
        return False
    remove_tree_beneath(directory, generation)
    target = make_directory_beneath(directory, generation, mode=directory_mode)
    try:
        for path, file in files.items():
            _write_file(target, path, file.data, file.mode, owner)
        if owner is not None:
            os.fchown(target, *owner)
        os.fchmod(target, directory_mode)
    finally:
        os.close(target)
    _swap(directory, generation)
    _link_names(directory, {safe_elements(path)[0] for path in files})
    _remove_old(directory, generation)
    return True


def _generation_name(files: Files, owner: tuple[int, int] | None) -> str:
    digest = hashlib.sha256(repr(owner).encode())
    for path in sorted(files):
        file = files[path]
        digest.update(f"{len(path)}:{path}:{file.mode:o}:{len(file.data)}:".encode("utf-8", "surrogateescape"))
        digest.update(file.data)
    return f"..{digest.hexdigest()[:20]}"


def _current(directory: int) -> str:
    try:
        return os.readlink(_DATA, dir_fd=directory)
    except FileNotFoundError:
        return ""


def _write_file(target: int, path: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    parent, _, name = path.rpartition("/")
    folder = make_directory_beneath(target, parent)
    try:
        descriptor = open_beneath(folder, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode & 0o777)
        finally:
            os.close(descriptor)
        if owner is not None and folder != target:
            os.fchown(folder, *owner)
    finally:
        os.close(folder)


def _swap(directory: int, generation: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(_DATA_NEW, dir_fd=directory)
    os.symlink(generation, _DATA_NEW, dir_fd=directory)
    os.rename(_DATA_NEW, _DATA, src_dir_fd=directory, dst_dir_fd=directory)


def _link_names(directory: int, names: set[str]) -> None:
    for name in names:
        with suppress(FileExistsError):
            os.symlink(f"{_DATA}/{name}", name, dir_fd=directory)
    for name in os.listdir(directory):
        if name not in names and not name.startswith(".."):
            os.unlink(name, dir_fd=directory)


def _remove_old(directory: int, generation: str) -> None:
    for name in os.listdir(directory):
        if name.startswith("..") and name not in {generation, _DATA, _DATA_NEW}:
            remove_tree_beneath(directory, name)
