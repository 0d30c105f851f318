"""Finds out which levels work here by doing what they do in a forked child each, which then ends without a trace."""

import errno
import json
import os
from collections.abc import Callable
from typing import NoReturn

from localset.keeper import child, devices, linux, processes
from localset.keeper.bridge import LINK, free_low_ports
from localset.keeper.journal import Fields
from localset.keeper.mounts import Tree
from localset.keeper.netlink import Netlink, hardware_address
from localset.keeper.registry import Registry, remove_tree

_PROBE = "/localset-probe/volume"
_LEVELS = (child.LOOPBACK, child.NAMESPACES)


def probe(registry: Registry, directory: str, answer: Callable[[Fields], None]) -> None:
    """Answer {loopback: reason, namespaces: reason}, each "" where it works; private layers lie in `directory`."""
    if not processes.HAS_PROC:
        answer(dict.fromkeys(_LEVELS, "own mounts exist on Linux only"))
        return
    found: Fields = {}

    def told(level: str, problem: str) -> None:
        found[level] = problem
        if len(found) == len(_LEVELS):
            answer(found)

    for level in _LEVELS:
        _probe_one(registry, os.path.join(directory, f"check-{level}"), level, told)


class EarlyCheck:
    """The check of a keeper for the daemon that sets it off: made while that one still imports itself; told once."""

    def __init__(self, registry: Registry, directory: str) -> None:
        """Begin; `registry` reaps what is tried."""
        self._found: Fields | None = None
        self._answer: Callable[[Fields], None] | None = None
        probe(registry, directory, self._tell)

    def _tell(self, found: Fields) -> None:
        self._found = found
        if self._answer is not None:
            self._answer(found)

    def answer(self, answer: Callable[[Fields], None]) -> None:
        """Tell what was found, now or when it is."""
        self._answer = answer
        if self._found is not None:
            answer(self._found)


def _probe_one(registry: Registry, private: str, level: str, told: Callable[[str, str], None]) -> None:
    reading, writing = os.pipe()
    os.makedirs(private, mode=0o755, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _try(private, writing, level, is_privileged=registry.privileged)
    os.close(writing)

    def ended(_status: int) -> None:
        text = os.read(reading, 4096).decode("utf-8", "replace")
        os.close(reading)
        remove_tree(private)
        told(level, "" if text == "ok" else _reason(text))

    registry.children[pid] = ended


def _reason(text: str) -> str:
    try:
        fields = json.loads(text)
    except ValueError:
        return "the check died"
    return str(fields["message"])


def _try(private: str, writing: int, level: str, *, is_privileged: bool) -> NoReturn:
    try:
        attempt(level, private, is_privileged=is_privileged)
        os.write(writing, b"ok")
    except OSError as error:
        text = error.strerror or str(error)
        os.write(writing, json.dumps({"message": f"{text} ({error.filename or 'user and mount namespaces'})"}).encode())
    finally:
        os._exit(0)


def attempt(level: str, private: str, *, is_privileged: bool) -> None:
    """Do what `level` needs, in this process, which must end afterwards; OSError. `private` is an empty directory."""
    if level == child.LOOPBACK:
        _try_mounts(private, is_privileged=is_privileged)
    else:
        _try_namespaces(private, is_privileged=is_privileged)


def _own(flags: int, *, is_privileged: bool) -> tuple[int, int]:
    uid, gid = os.geteuid(), os.getegid()
    if is_privileged:
        linux.unshare(flags)
    else:
        linux.new_user_namespace(flags, f"0 {uid} 1", f"0 {gid} 1")
    return uid, gid


def _try_mounts(private: str, *, is_privileged: bool) -> None:
    uid, gid = _own(linux.CLONE_NEWNS | linux.CLONE_NEWUTS, is_privileged=is_privileged)
    mount = {"source": private, "target": _PROBE, "read_only": True}
    Tree(private, is_privileged=is_privileged).build([mount], "/", (0, 0))
    if not is_privileged:
        linux.new_user_namespace(0, f"{uid} 0 1", f"{gid} 0 1")


def _try_namespaces(private: str, *, is_privileged: bool) -> None:
    """A bridge, a Pod's link on it, its mounts, and a process table: each is refused somewhere (runtime.md 2.9)."""
    uid, gid = _own(linux.CLONE_NEWNET, is_privileged=is_privileged)
    outside = Netlink()
    outside.add_bridge(LINK, hardware_address("10.0.0.1"))
    free_low_ports()
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWNS)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    outside.add_pair("v0.2", 0, "eth0", own, hardware_address("10.0.0.2"), "check")
    Tree(private, is_privileged=is_privileged, has_own_system=True).build([], "/", (0, 0))
    linux.unshare(linux.CLONE_NEWPID)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            devices.show_processes(is_privileged=is_privileged)
            if not is_privileged:
                linux.new_user_namespace(0, f"{uid} 0 1", f"{gid} 0 1")
            os.write(writing, b"ok")
        except OSError as error:
            os.write(writing, json.dumps({"errno": error.errno, "message": f"{error}"}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    word = os.read(reading, 4096)
    os.waitpid(pid, 0)
    if word != b"ok":
        fields = json.loads(word or b"{}")
        raise OSError(fields.get("errno", errno.EPERM), fields.get("message", "the process table's check died"))
