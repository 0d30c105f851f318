"""Where a container finds its files: mounts with own mounts, a tree of links beneath LOCALSET_ROOT without (plain).

Called by `starter` for each start; the private root and the scratch directories are made anew each time, because only
volumes may outlive a process. Targets and subPaths are API data and are walked beneath descriptors.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from localset.base.files import (
    make_directory_beneath,
    make_private_directory,
    open_beneath,
    opened_directory,
    remove_tree_beneath,
    safe_elements,
)
from localset.base.frozen import frozen
from localset.kubelet.context import ImageLike
from localset.kubelet.environment import ConfigError
from localset.kubelet.expansion import expand
from localset.kubelet.identity import ProcessIdentity
from localset.kubelet.runtime import Mount
from localset.kubelet.volumes import MountedVolume
from localset.machinery.metadata import Object

_COPY_FILES = 200
_COPY_BYTES = 1 << 20


@frozen
class Place:
    """One thing at a path of the container: `source`, or what lies `beneath` it in a volume."""

    source: Path
    target: str
    is_read_only: bool
    beneath: str = ""

    @property
    def path(self) -> Path:
        """Return where it lies on the host."""
        return self.source / self.beneath


@frozen
class Layout:
    """The outcome: mounts for the runtime, or the root of the link tree."""

    mounts: tuple[Mount, ...]
    root: str
    work_directory: Path


def volume_places(
    container: Object, volumes: Mapping[str, MountedVolume], environment: Mapping[str, str]
) -> list[Place]:
    """Return the container's volumeMounts; a volume that is not served is left out. ConfigError for an unknown one."""
    places = []
    for mount in container.get("volumeMounts") or []:
        volume = volumes.get(mount.get("name") or "")
        if volume is None:
            continue
        sub_path = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            sub_path = expand(mount["subPathExpr"], environment)
            if "$(" in sub_path:
                raise ConfigError(f"subPathExpr of volume {mount['name']} names a variable that is not set: {sub_path}")
        beneath = _beneath(volume.path, sub_path) if sub_path else ""
        is_read_only = bool(mount.get("readOnly")) or volume.is_read_only
        target = "/" + "/".join(safe_elements(mount["mountPath"].lstrip("/")))
        places.append(Place(volume.path, target, is_read_only, beneath))
    return places


def _beneath(volume: Path, sub_path: str) -> str:
    """Return the path of a subPath in its volume, made as a directory when missing; a link in it is refused.

    Who mounts it looks again: others may write into the volume in between.
    """
    relative = "/".join(safe_elements(sub_path))
    try:
        with opened_directory(volume) as root:
            try:
                os.close(open_beneath(root, relative, os.O_RDONLY | os.O_NONBLOCK))
            except FileNotFoundError:
                os.close(make_directory_beneath(root, relative))
    except OSError as error:
        projected = _projected_file(volume, relative)
        if projected is not None:
            return projected
        raise ConfigError(f'failed to prepare subPath "{sub_path}": {error.strerror}') from error
    return relative


def _projected_file(volume: Path, relative: str) -> str | None:
    """Return the file behind the kubelet's own links of a projected volume, fixed to its present generation."""
    try:
        with opened_directory(volume) as root:
            generation = os.readlink("..data", dir_fd=root)
            os.close(open_beneath(root, f"{generation}/{relative}"))
    except OSError:
        return None
    return f"{generation}/{relative}"


def lay_out(  # noqa: PLR0913 - one start and all that it shows
    directory: Path,
    image: ImageLike,
    volumes: list[Place],
    own_files: list[Place],
    identity: ProcessIdentity,
    *,
    has_own_mounts: bool,
    has_own_system: bool = False,
    is_root: bool,
) -> Layout:
    """Prepare a container's directory for one start and return its layout.

    `own_files` are hosts, hostname, resolv.conf. `has_own_system`: level *namespaces*, where the image's files are the
    container's own, to change and to remove, and where /tmp is not the host's.
    """
    mode = 0o711 if is_root else 0o700
    make_private_directory(directory, mode=mode)
    with opened_directory(directory) as root:
        for name in ("root", "scratch"):
            remove_tree_beneath(root, name)
    work = make_private_directory(directory / "work", mode=0o700)
    owner = (identity.user, identity.group) if is_root else (None, None)
    _give(work, owner)
    images = (
        []
        if image.is_host
        else [Place(image.directory / source, target, is_read_only=True) for source, target in image.mounts]
    )
    covered = [place.target.rstrip("/") + "/" for place in [*images, *volumes]]
    scratch = [] if image.is_host else [t for t in image.scratch if not any((t + "/").startswith(c) for c in covered)]
    if has_own_system:
        images = _own_copies(directory, images, owner, mode)
        images.append(Place(work, str(work), is_read_only=False))
    if has_own_mounts:
        places = [*images, *_make_scratch(directory, scratch, owner, mode), *volumes, *own_files]
        by_depth = sorted({place.target: place for place in places}.values(), key=lambda p: p.target.count("/"))
        return Layout(tuple(Mount(str(p.source), p.target, p.is_read_only, p.beneath) for p in by_depth), "", work)
    root_path = make_private_directory(directory / "root", mode=0o755 if is_root else 0o700)
    with opened_directory(root_path) as root:
        for target in scratch:
            descriptor = make_directory_beneath(root, target.lstrip("/"))
            try:
                if owner[0] is not None:
                    os.fchown(descriptor, owner[0], -1 if owner[1] is None else owner[1])
            finally:
                os.close(descriptor)
        for place in {p.target: p for p in [*images, *volumes]}.values():
            _link(root, place)
    return Layout((), str(root_path), work)


def _make_scratch(directory: Path, targets: list[str], owner: tuple[int | None, int | None], mode: int) -> list[Place]:
    places = []
    for number, target in enumerate(targets):
        make_private_directory(directory / "scratch", mode=mode)
        source = make_private_directory(directory / "scratch" / str(number), mode=0o755)
        _give(source, owner)
        places.append(Place(source, target, is_read_only=False))
    return places


def _own_copies(directory: Path, places: list[Place], owner: tuple[int | None, int | None], mode: int) -> list[Place]:
    """Return the image's files and directories as copies of this start; big ones as they are, read-only.

    What is mounted twice is copied once: a script tells by its inode whether it has found itself.
    """
    roots = sorted({place.source for place in places}, key=lambda source: len(source.parts))
    copies: dict[Path, Path] = {}
    for number, source in enumerate(roots):
        if not any(known in source.parents for known in copies) and _is_small(source):
            make_private_directory(directory / "scratch", mode=mode)
            copies[source] = _copy(source, directory / "scratch" / f"image-{number}", owner)
    found = []
    for place in places:
        root = next((known for known in copies if known == place.source or known in place.source.parents), None)
        if root is not None:
            place = Place(copies[root] / place.source.relative_to(root), place.target, is_read_only=False)  # noqa: PLW2901
        found.append(place)
    return found


def _is_small(source: Path) -> bool:
    found = list(source.rglob("*")) if source.is_dir() else [source]
    return len(found) <= _COPY_FILES and sum(entry.stat().st_size for entry in found if entry.is_file()) <= _COPY_BYTES


def _copy(source: Path, copy: Path, owner: tuple[int | None, int | None]) -> Path:
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copy2(source, copy)
    for entry in (copy, *copy.rglob("*")):
        _give(entry, owner)
    return copy


def _give(path: Path, owner: tuple[int | None, int | None]) -> None:
    if owner[0] is not None:
        os.chown(path, owner[0], -1 if owner[1] is None else owner[1], follow_symlinks=False)


def _link(root: int, place: Place) -> None:
    elements = safe_elements(place.target.lstrip("/"))
    if not elements:
        raise ConfigError("a volume cannot be mounted at / at the plain level")
    try:
        parent = make_directory_beneath(root, "/".join(elements[:-1]))
    except OSError as error:
        text = f"mountPath {place.target} lies inside another mount: not possible at the plain level"
        raise ConfigError(text) from error
    try:
        try:
            os.symlink(place.path, elements[-1], dir_fd=parent)
        except FileExistsError:
            os.rmdir(elements[-1], dir_fd=parent)
            os.symlink(place.path, elements[-1], dir_fd=parent)
    finally:
        os.close(parent)


def search_path(image: ImageLike, base: str, *, has_own_mounts: bool) -> str:
    """Return PATH: the image's directories (at the plain level its own files) in front of `base`."""
    if image.is_host:
        return base
    front = [entry if has_own_mounts else resolve_in_image(image, entry) for entry in image.path]
    return ":".join([*front, base])


def resolve_in_image(image: ImageLike, path: str) -> str:
    """Return the image directory's own file for an absolute path beneath one of its mounts, else `path`."""
    for source, target in image.mounts:
        if path == target or path.startswith(target.rstrip("/") + "/"):
            return str(image.directory / source) + path[len(target.rstrip("/")) :]
    return path
