"""What a container at level *namespaces* has of its own beneath the root: /dev, /sys, /tmp, /run, and at last /proc.

Runs in the forked child while its tree is staged (`keeper.mounts`), `show_processes` in its PID 1. What a user
namespace must not mount without seeing the host's (proc, sysfs) is laid over the host's (runtime.md 2.3).
"""

import contextlib
import os

from localset.keeper import linux

OWN = ("proc", "sys", "dev", "tmp", "run")
_QUIET = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_KERNEL_WIDE = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def furnish(stage: str, *, is_privileged: bool) -> None:
    """Make the directories of OWN beneath `stage`."""
    for name in OWN:
        os.mkdir(f"{stage}/{name}", 0o755)
    linux.mount("/proc", f"{stage}/proc", None, linux.MS_BIND | linux.MS_REC)
    _show_system(stage)
    _show_devices(stage, is_privileged=is_privileged)
    for name in ("tmp", "run"):
        linux.mount("localset", f"{stage}/{name}", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    os.mkdir(f"{stage}/run/lock")
    os.chmod(f"{stage}/run/lock", 0o1777)  # noqa: S103 - as the host's, which /var/lock leads to


def _show_system(stage: str) -> None:
    target = f"{stage}/sys"
    linux.mount("/sys", target, None, linux.MS_BIND | linux.MS_REC)
    try:
        linux.mount("sysfs", target, "sysfs", _QUIET | linux.MS_RDONLY)
    except OSError:
        linux.make_read_only(target)


def _show_devices(stage: str, *, is_privileged: bool) -> None:
    place = f"{stage}/dev"
    linux.mount("localset", place, "tmpfs", linux.MS_NOSUID, "mode=755")
    for name in _NODES:
        if os.path.exists(f"/dev/{name}"):
            os.close(os.open(f"{place}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            linux.mount(f"/dev/{name}", f"{place}/{name}", None, linux.MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"{place}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{place}/{name}", 0o755)
    options = "newinstance,ptmxmode=0666,mode=0620" + (",gid=5" if is_privileged else "")
    linux.mount("devpts", f"{place}/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, options)
    linux.mount("localset", f"{place}/shm", "tmpfs", _QUIET, "mode=1777,size=64m")
    with contextlib.suppress(OSError):  # a kernel without POSIX message queues
        linux.mount("mqueue", f"{place}/mqueue", "mqueue", _QUIET)


def show_processes(*, is_privileged: bool) -> None:
    """Mount the process table of the PID namespace that we are in on /proc."""
    linux.mount("proc", "/proc", "proc", _QUIET)
    if not is_privileged:
        return  # what is the whole machine's is root's there, and we are not that root
    for name in _KERNEL_WIDE:
        path = f"/proc/{name}"
        with contextlib.suppress(FileNotFoundError):
            linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
            linux.make_read_only(path)
