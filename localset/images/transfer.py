"""Copies an image's directory into the catalogue: whole or not at all.

Called by `Catalogue.add` only. The source is a stranger's: nothing outside of it may come in through a link, no device
or pipe is opened, and its size is bounded. File modes are made plain, for a tarball's may be anything.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from localset.images.image import ImageError

MAX_FILES = 20_000
MAX_TOTAL_BYTES = 2 * 1024**3


def copy_image(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, replacing what stood there. Raises ImageError and leaves `target` as it was."""
    names = _survey(source)
    # Pods of other users must read the files when root runs them; everyone else keeps them to himself.
    is_shared = os.geteuid() == 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o711 if is_shared else 0o700)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            fresh, old = Path(scratch, "new"), Path(scratch, "old")
            _copy(source, fresh, names, is_shared=is_shared)
            if target.exists():
                target.rename(old)
            try:
                fresh.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
    except OSError as error:
        raise ImageError(f"{target}: cannot be written: {error.strerror or error}") from error


def _survey(source: Path) -> list[Path]:
    """Return every name below `source`, parents first, relative to it; raise for what must not be copied."""
    names: list[Path] = []
    total = 0
    for parent, directories, files in os.walk(source):
        for name in sorted([*directories, *files]):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                if not path.resolve().is_relative_to(source) or path.readlink().is_absolute():
                    raise ImageError(f"{path}: is a link that leaves the image's directory")
            elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise ImageError(f"{path}: is neither a file, a directory nor a link")
            elif stat.S_ISREG(mode):
                total += path.stat().st_size
            names.append(path.relative_to(source))
            if len(names) > MAX_FILES or total > MAX_TOTAL_BYTES:
                raise ImageError(f"{source}: is too large for an image ({MAX_FILES} files, {MAX_TOTAL_BYTES} bytes)")
    return names


def _copy(source: Path, target: Path, names: list[Path], *, is_shared: bool) -> None:
    executable = 0o755 if is_shared else 0o700
    readable = 0o644 if is_shared else 0o600
    target.mkdir()
    target.chmod(executable)
    for name in names:
        origin, copy = source / name, target / name
        if origin.is_symlink():
            copy.symlink_to(origin.readlink())
        elif origin.is_dir():
            copy.mkdir()
            copy.chmod(executable)
        else:
            shutil.copyfile(origin, copy, follow_symlinks=False)
            copy.chmod(executable if origin.stat().st_mode & 0o111 else readable)
