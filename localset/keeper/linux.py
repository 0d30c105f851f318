"""The system calls that Python 3.11 does not have, by ctypes. Linux only at call time; importing works anywhere.

Called by the keeper's forked children (namespaces, mounts) and by its log pump (tee). Raises OSError with the errno of
the call; decides nothing.
"""

import ctypes
import os
import struct
import sys
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SPLICE_F_NONBLOCK = 2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218, "ppc64le": 203, "s390x": 217}
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_CAP_SYS_ADMIN = 21
_LAST_CAPABILITY = 63
# chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
# audit_write, setfcap: what container engines leave to root.
_CONTAINER_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})

HAS_PRCTL = sys.platform == "linux"

_libc: Any = None


def _call(name: str, *arguments: Any, about: str = "") -> int:
    global _libc  # noqa: PLW0603 - loaded once, and never on a system that does not need it
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.tee.restype = ctypes.c_ssize_t
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", about or None)
    return result


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _call("unshare", ctypes.c_int(flags))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def new_user_namespace(flags: int, uid_line: str, gid_line: str) -> None:
    """unshare with a map of one user and one group."""
    unshare(CLONE_NEWUSER | flags)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", uid_line)
    _write("/proc/self/gid_map", gid_line)


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespaces of the process behind a pidfd, all at once: one by one fails in nested ones.

    Or the one namespace behind a file of /proc/PID/ns.
    """
    _call("setns", ctypes.c_int(descriptor), ctypes.c_int(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    _call("mount", _text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(options), about=target)


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _call("umount2", _text(target), ctypes.c_int(flags), about=target)


def pivot_root_here() -> None:
    """Make the working directory, which must be a mount, the root, and let the old tree go."""
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _call("syscall", ctypes.c_long(number), b".", b".")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def make_read_only(target: str) -> None:
    """Make the mount at `target` read-only with all below it; by remount on kernels before 5.12."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    try:
        _call(
            "syscall",
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            _text(target),
            ctypes.c_uint(_AT_RECURSIVE),
            attributes,
            ctypes.c_size_t(len(attributes)),
        )
    except OSError:
        # A remount in a user namespace must repeat every flag that the source already has (runtime.md 2.5).
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048 | 4096)
        flags = kept & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        flags |= 1024 if kept & 1024 else 0
        flags |= 2048 if kept & 2048 else 0
        flags |= (1 << 21) if kept & 4096 else 0
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def become_subreaper() -> None:
    """Let orphans among our descendants come to us."""
    if sys.platform == "linux":
        _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def name_process(name: str) -> None:
    """Give the process a name of at most 15 bytes in process lists."""
    _call("prctl", _PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def forbid_new_privileges() -> None:
    """Make setuid programs powerless from here on."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def keep_container_capabilities() -> None:
    """Give up for good, root or not, what a container's root does not have: mounting, the network, the clock, ..."""
    for number in range(_LAST_CAPABILITY + 1):
        if number not in _CONTAINER_CAPABILITIES:
            try:
                _call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
            except OSError:
                return  # the kernel knows no more


def tee(source: int, target: int, length: int) -> int:
    """Copy up to `length` bytes from pipe to pipe without consuming them; BlockingIOError when the source is empty."""
    pipes, size = (ctypes.c_int(source), ctypes.c_int(target)), ctypes.c_size_t(length)
    while True:
        try:
            return _call("tee", *pipes, size, ctypes.c_uint(_SPLICE_F_NONBLOCK))
        except InterruptedError:  # by a child's end; Python asks again only for its own calls
            continue


NOT_YET = -1


def exit_status_of(pidfd: int) -> int | None:
    """Return the wait status of a process that is not our child and has ended; None where the kernel cannot tell.

    NOT_YET means that its parent has not reaped it: the kernel tells only afterwards.
    """
    import fcntl

    buffer = bytearray(64)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", buffer, 0)
    if not mask & _PIDFD_INFO_EXIT:
        return NOT_YET
    (status,) = struct.unpack_from("=i", buffer, 60)
    return int(status)


def may_mount() -> bool:
    """Tell whether we are root with the right to mount, so that no user namespace is needed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False
