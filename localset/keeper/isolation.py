"""Finds out whether level *loopback* works here by doing it in a forked child, which then ends without a trace."""

import json
import os
from collections.abc import Callable

from localset.keeper import linux, processes
from localset.keeper.journal import Fields
from localset.keeper.mounts import Tree
from localset.keeper.registry import Registry, remove_tree

_PROBE = "/localset-probe/volume"


def probe(registry: Registry, directory: str, answer: Callable[[Fields], None]) -> None:
    """Answer {loopback: bool, reason}. `directory` is where the private layers would lie."""
    if not processes.HAS_PROC:
        answer({"loopback": False, "reason": "own mounts exist on Linux only"})
        return
    reading, writing = os.pipe()
    private = os.path.join(directory, "check")
    os.makedirs(private, mode=0o755, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        _try(private, writing, is_privileged=registry.privileged)
    os.close(writing)

    def ended(_status: int) -> None:
        text = os.read(reading, 4096).decode("utf-8", "replace")
        os.close(reading)
        remove_tree(private)
        if text == "ok":
            answer({"loopback": True, "reason": ""})
        else:
            answer({"loopback": False, "reason": _reason(text)})

    registry.children[pid] = ended


def _reason(text: str) -> str:
    try:
        fields = json.loads(text)
    except ValueError:
        return "the check died"
    return str(fields["message"])


def _try(private: str, writing: int, *, is_privileged: bool) -> None:
    try:
        uid, gid = os.geteuid(), os.getegid()
        flags = linux.CLONE_NEWNS | linux.CLONE_NEWUTS
        if is_privileged:
            linux.unshare(flags)
        else:
            linux.new_user_namespace(flags, f"0 {uid} 1", f"0 {gid} 1")
        mount = {"source": private, "target": _PROBE, "read_only": True}
        Tree(private, is_privileged=is_privileged).build([mount], "/", (0, 0))
        if not is_privileged:
            linux.new_user_namespace(0, f"{uid} 0 1", f"{gid} 0 1")
        os.write(writing, b"ok")
    except OSError as error:
        text = error.strerror or str(error)
        os.write(writing, json.dumps({"message": f"{text} ({error.filename or 'user and mount namespaces'})"}).encode())
    finally:
        os._exit(0)
