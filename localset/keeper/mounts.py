"""The private mount tree of one container. Runs in the forked child, after unshare(NEWNS).

A new root is built on a tmpfs: each top-level entry of the host is bound in. Where a mount point is missing, a program
that shares the host's files (image `host`) gets just the directory that lacks it exploded: a tmpfs with every entry
bound in, so that what it writes anywhere else is the host's. Others get an overlay of the top-level directory whose
upper layer has the mount point (runtime.md 2.4). Each is the other's fallback. At level *namespaces* a program with an
image of its own has such a layer over every directory, so that nothing it writes reaches the host: on disk for /var,
in memory for the others, because a layer on disk costs twenty times as much to make. Nothing here touches the host's
tree outside the container's private directory.
"""

import contextlib
import errno
import os
import stat
from typing import Any

from localset.keeper import devices, linux

_EXPLODE_LIMIT = 200
_ON_DISK = frozenset({"var"})


class Tree:
    """Builds the tree; `build` ends with the process inside it."""

    def __init__(
        self, private: str, *, is_privileged: bool, shares_host: bool = False, has_own_system: bool = False
    ) -> None:
        """Build beneath `private`, which exists or can be made.

        `has_own_system`: level *namespaces*, where /dev, /sys, /tmp and /run are the container's own.
        """
        self._stage = os.path.join(private, "root")
        self._layers = os.path.join(private, "layers")
        self._memory = os.path.join(self._stage, ".layers")
        self._has_memory = False
        self._is_privileged = is_privileged
        self._shares_host = shares_host
        self._own = frozenset(devices.OWN) if has_own_system else frozenset[str]()
        self._exploded: set[str] = set()

    def build(self, mounts: list[dict[str, Any]], working_directory: str, owner: tuple[int, int]) -> None:
        """Mount all of `mounts` ({source, beneath, target, read_only}), make `working_directory`, move the root there.

        `beneath` is a path inside the volume `source`, which other containers may change meanwhile: it is walked here,
        link by link, and what was found is mounted by its descriptor.
        """
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
        wanted = [(_resolved(m["target"]), _open_source(m["source"], m.get("beneath", "")), m) for m in mounts]
        wanted.sort(key=lambda item: item[0].count("/"))
        targets = [target for target, _, _ in wanted]
        missing: dict[str, bool] = {}  # path -> whether it is a directory
        for target, descriptor, _ in wanted:
            if not _is_beneath(target, targets) and not self._exists(target):
                missing[target] = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        place = _resolved(working_directory) if working_directory else "/"
        made_place = not _is_beneath(place, targets) and place not in targets and not self._exists(place)
        if made_place:
            missing[place] = True
        os.makedirs(self._stage, mode=0o755, exist_ok=True)
        linux.mount("localset", self._stage, "tmpfs", 0, "mode=755")
        linux.mount(None, self._stage, None, linux.MS_UNBINDABLE)  # else binding a parent in would copy it into itself
        self._fill(missing)
        for target, descriptor, mount in wanted:
            self._bind(target, descriptor, is_read_only=bool(mount.get("read_only")))
        if made_place and self._is_privileged:
            os.chown(self._stage + place, *owner)
        linux.mount(None, self._stage, None, linux.MS_PRIVATE)
        os.chdir(self._stage)
        linux.pivot_root_here()

    def _exists(self, path: str) -> bool:
        """Tell whether the container finds `path` without our making it."""
        return os.path.lexists(path) and _top(path) not in self._own

    def _fill(self, missing: dict[str, bool]) -> None:
        needed: dict[str, dict[str, bool]] = {}
        if self._own and not self._shares_host:
            needed = {name: {} for name in os.listdir("/") if name not in self._own and _is_full_directory("/" + name)}
        for path, is_directory in missing.items():
            if os.path.isdir("/" + _top(path)) and _top(path) not in self._own:
                needed.setdefault(_top(path), {})[path] = is_directory
        submounts = _mount_points() if needed else []
        self._bind_top(needed, submounts)
        if self._has_memory:
            # The layers hold it; in the container's own tree it has no business.
            linux.unmount(self._memory, linux.MNT_DETACH)
            os.rmdir(self._memory)
        if self._own:
            devices.furnish(self._stage, is_privileged=self._is_privileged)
        for path, is_directory in missing.items():
            if _top(path) not in needed:
                _make(self._stage + path, is_directory=is_directory)

    def _bind_top(self, needed: dict[str, dict[str, bool]], submounts: list[str]) -> None:
        """Bring in each entry of the host's root; those in `needed` with a layer or with what they lack."""
        with os.scandir("/") as entries:
            for entry in sorted(entries, key=lambda item: item.name):
                here = f"{self._stage}/{entry.name}"
                if entry.name in self._own:
                    continue
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), here)
                elif not entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        _touch(here)
                        linux.mount(entry.path, here, None, linux.MS_BIND)
                else:
                    os.mkdir(here, 0o755)
                    if entry.name in needed:
                        self._extend(entry.name, needed[entry.name], submounts)
                    elif self._own and not self._shares_host:
                        _copy_owner(entry.path, here, is_privileged=self._is_privileged)  # an empty one needs no layer
                    else:
                        linux.mount(entry.path, here, None, linux.MS_BIND | linux.MS_REC)

    def _extend(self, top: str, missing: dict[str, bool], submounts: list[str]) -> None:
        """Make the top-level directory `top` appear with the mount points it lacks."""
        may_overlay = top not in {"proc", "sys", "dev"}
        if (
            may_overlay
            and not (self._shares_host and all(_is_small(_deepest(path)) for path in missing))
            and (self._overlay_on_disk(top, missing) or self._overlay_on_tmpfs(top, missing))
        ):
            self._return_submounts(top, submounts)
            return
        here = f"{self._stage}/{top}"
        linux.mount("/" + top, here, None, linux.MS_BIND | linux.MS_REC)
        if self._own and not self._shares_host:
            linux.make_read_only(here)  # no layer can be had, and the host's files are not this program's
            if not missing:
                return
        for path in sorted(missing, key=lambda path: path.count("/")):
            self._explode(_deepest(path))
            _make(self._stage + path, is_directory=missing[path])

    def _overlay(self, top: str, missing: dict[str, bool], layers: str) -> bool:
        layer = os.path.join(layers, top)
        try:
            for name in ("upper", "work"):
                os.makedirs(os.path.join(layer, name), mode=0o755, exist_ok=True)
            _copy_owner("/" + top, os.path.join(layer, "upper"), is_privileged=self._is_privileged)
            for path, is_directory in missing.items():
                self._prepare(path, os.path.join(layer, "upper"), is_directory=is_directory)
            # Relative names, because a colon or comma in the data directory's path would end an option.
            os.chdir(layer)
            options = f"lowerdir=/{top},upperdir=upper,workdir=work"
            if not self._is_privileged:
                options += ",userxattr"
            _mount_overlay(f"{self._stage}/{top}", options)
        except OSError:
            return False
        finally:
            os.chdir("/")
        # Seen once mounted, some file systems accept an upper layer and then cannot show it.
        return all(os.path.lexists(self._stage + path) for path in missing)

    def _overlay_on_disk(self, top: str, missing: dict[str, bool]) -> bool:
        return (not self._own or top in _ON_DISK) and self._overlay(top, missing, self._layers)

    def _overlay_on_tmpfs(self, top: str, missing: dict[str, bool]) -> bool:
        """Overlay with its upper layer in memory: for a data directory beneath `top` itself, NFS, another overlay."""
        if not self._has_memory:
            os.mkdir(self._memory, 0o700)
            linux.mount("localset", self._memory, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=700")
            self._has_memory = True
        return self._overlay(top, missing, self._memory)

    def _prepare(self, path: str, upper: str, *, is_directory: bool) -> None:
        """Make `path` in the upper layer, its parents looking like the host's."""
        parts = path.split("/")[2:]
        host, here = "/" + path.split("/")[1], upper
        for name in parts[:-1]:
            host, here = f"{host}/{name}", f"{here}/{name}"
            if not os.path.isdir(here):
                os.mkdir(here, 0o755)
                if os.path.isdir(host):
                    _copy_owner(host, here, is_privileged=self._is_privileged)
        _make(f"{here}/{parts[-1]}", is_directory=is_directory)

    def _return_submounts(self, top: str, submounts: list[str]) -> None:
        """Bind back what was mounted beneath `top`: an overlay shows only its own file system."""
        done: list[str] = []
        for point in submounts:
            if not point.startswith(f"/{top}/") or _is_beneath(point, done) or point.startswith(self._stage):
                continue
            done.append(point)
            with contextlib.suppress(OSError):  # covered mounts cannot be reached, on the host neither
                linux.mount(point, self._stage + point, None, linux.MS_BIND | linux.MS_REC)
                if self._own and not self._shares_host:
                    linux.make_read_only(self._stage + point)

    def _explode(self, directory: str) -> None:
        """Put a tmpfs in the place of a directory of the host, with each of its entries bound in."""
        if directory in self._exploded:
            return
        if not _is_small(directory):
            raise OSError(errno.EPERM, f"no overlay here, and more than {_EXPLODE_LIMIT} entries", directory)
        names = os.listdir(directory)
        status = os.stat(directory)
        linux.mount("localset", self._stage + directory, "tmpfs", 0, f"mode={stat.S_IMODE(status.st_mode):o}")
        if self._is_privileged:
            os.chown(self._stage + directory, status.st_uid, status.st_gid)
        self._exploded.add(directory)
        for name in names:
            host, here = f"{directory}/{name}", f"{self._stage}{directory}/{name}"
            if os.path.islink(host):
                os.symlink(os.readlink(host), here)
                continue
            with contextlib.suppress(OSError):
                _make(here, is_directory=os.path.isdir(host))
                linux.mount(host, here, None, linux.MS_BIND | linux.MS_REC)

    def _bind(self, target: str, descriptor: int, *, is_read_only: bool) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        parent, name = os.path.split(target)
        holder = _open_beneath(self._stage, parent, make=True)
        try:
            # A mount inside another volume: the point is made there, as Kubernetes does. Never through a link in it.
            point = _open_point(holder, name, target, is_directory=is_directory)
            linux.mount(f"/proc/self/fd/{descriptor}", f"/proc/self/fd/{point}", None, linux.MS_BIND | linux.MS_REC)
            os.close(point)
            if is_read_only:
                mounted = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder)
                linux.make_read_only(f"/proc/self/fd/{mounted}")
                os.close(mounted)
        finally:
            os.close(holder)
            os.close(descriptor)


def _open_source(source: str, beneath: str) -> int:
    """Return a descriptor of what is to be mounted; a link on the way beneath a volume is refused."""
    return _open_beneath(source, beneath, make=False)


def _open_beneath(root: str, path: str, *, make: bool) -> int:
    """Walk `path` from `root` without following a link; `make` makes directories that are missing."""
    here = os.open(root, os.O_PATH | os.O_CLOEXEC)
    for name in path.split("/"):
        if name in {"", "."}:
            continue
        try:
            inner = _open_entry(here, name, path, make=make)
        finally:
            os.close(here)
        here = inner
    return here


def _open_entry(holder: int, name: str, path: str, *, make: bool) -> int:
    if name == "..":
        raise OSError(errno.EXDEV, "leads out of the volume", path)
    try:
        inner = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder)
    except FileNotFoundError:
        if not make:
            raise
        os.mkdir(name, 0o755, dir_fd=holder)
        inner = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder)
    if stat.S_ISLNK(os.fstat(inner).st_mode):
        os.close(inner)
        raise OSError(errno.ELOOP, "a link on the way into a volume", path)
    return inner


def _open_point(holder: int, name: str, path: str, *, is_directory: bool) -> int:
    if not is_directory:
        with contextlib.suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=holder))
    return _open_entry(holder, name, path, make=is_directory)


def _mount_overlay(target: str, options: str) -> None:
    """Mount; a layer that lives no longer than its container need not be synced at its end, where the kernel can."""
    try:
        linux.mount("overlay", target, "overlay", 0, options + ",volatile")
    except OSError:
        linux.mount("overlay", target, "overlay", 0, options)


def _top(path: str) -> str:
    return path.split("/")[1]


def _is_full_directory(path: str) -> bool:
    try:
        return not os.path.islink(path) and bool(os.listdir(path))
    except NotADirectoryError:
        return False
    except OSError:
        return True  # what we may not look into


def _resolved(path: str) -> str:
    resolved = os.path.realpath(path)
    if resolved == "/" and os.path.normpath(path) != "/":
        raise OSError(22, "leads to /", path)
    return resolved


def _deepest(path: str) -> str:
    """Return the deepest directory of the host on the way to `path`, which is missing."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _is_small(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return sum(1 for _ in entries) <= _EXPLODE_LIMIT
    except OSError:
        return False


def _is_beneath(path: str, others: list[str]) -> bool:
    return any(path.startswith(other + "/") for other in others)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _make(path: str, *, is_directory: bool) -> None:
    if is_directory:
        os.makedirs(path, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _touch(path)


def _copy_owner(source: str, target: str, *, is_privileged: bool) -> None:
    status = os.stat(source)
    if is_privileged:
        os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode) | 0o700)


def _mount_points() -> list[str]:
    points: list[str] = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            raw = line.split(b" ")[4]
            points.append(os.fsdecode(raw.decode("unicode_escape").encode("latin-1") if b"\\" in raw else raw))
    return sorted(set(points), key=lambda point: point.count("/"))
