"""What /proc says about processes: identities, descendants, and who carries which run id.

Called by the keeper only. A (pid, start time) pair alone is no identity (reliability M7): where the kernel has it the
pidfs inode decides, else the run id in the environment. Without /proc (macOS) a set is the session of its leader.
"""

import contextlib
import os
import signal
import sys

RUN_ID = "LOCALSET_RUN_ID"
_PREFIX = RUN_ID.encode() + b"="
HAS_PROC = sys.platform == "linux"


class Entry:
    """One living process as a scan saw it."""

    __slots__ = ("parent", "pid", "run_id", "session", "start_time")

    def __init__(self, pid: int, parent: int, session: int, start_time: int, run_id: str) -> None:
        """Keep what was read."""
        self.pid = pid
        self.parent = parent
        self.session = session
        self.start_time = start_time
        self.run_id = run_id


def boot_id() -> str:
    """Return the kernel's id of this boot, "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _fields(pid: int) -> list[bytes] | None:
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 1024)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data[data.rfind(b")") + 2 :].split()


def start_time(pid: int) -> int | None:
    """Return the start time in clock ticks since boot; None when there is no such process, or only its zombie."""
    fields = _fields(pid)
    if fields is None or fields[0] in {b"Z", b"X"}:
        return None
    return int(fields[19])


def is_stopped(pid: int) -> bool:
    """Tell whether a process stands still by SIGSTOP."""
    fields = _fields(pid)
    return fields is not None and fields[0] == b"T"


def zombie_status(pid: int, started: int | None) -> int | None:
    """Return the wait status of a process not yet reaped by its parent; None when it is none, or may not be read."""
    fields = _fields(pid)
    if fields is None or fields[0] != b"Z" or int(fields[19]) != started or len(fields) < 50:
        return None
    try:
        is_ours = os.geteuid() in {0, os.stat(f"/proc/{pid}").st_uid}
    except OSError:
        return None
    # The kernel shows 0 to who may not know, and unknown must never look like success.
    return int(fields[49]) if is_ours or int(fields[49]) else None


def run_id_of(pid: int) -> str:
    """Return the run id in a process's environment, "" when there is none or it may not be read."""
    try:
        descriptor = os.open(f"/proc/{pid}/environ", os.O_RDONLY)
    except OSError:
        return ""
    try:
        data = b""
        while block := os.read(descriptor, 65536):
            data += block
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    at = 0 if data.startswith(_PREFIX) else data.find(b"\0" + _PREFIX) + 1
    if at == 0 and not data.startswith(_PREFIX):
        return ""
    return data[at + len(_PREFIX) :].split(b"\0", 1)[0].decode("ascii", "replace")


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd, or None when there is no such process or no such call."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None


def inode_of(pidfd: int | None) -> int | None:
    """Return the pidfs inode, unique within one boot; None before kernel 6.9, where all pidfds share one."""
    if pidfd is None:
        return None
    mine = open_pidfd(os.getpid())
    if mine is None:
        return None
    try:
        inode = os.fstat(pidfd).st_ino
        return None if os.fstat(mine).st_ino == inode and pidfd != mine else inode
    finally:
        os.close(mine)


class Snapshot:
    """All processes as one look at /proc saw them, ordered for the questions of many sets."""

    __slots__ = ("_by_pid", "_by_run_id", "_children", "_sessions")

    def __init__(self, entries: list[Entry]) -> None:
        """Order what was seen."""
        self._by_pid = {entry.pid: entry for entry in entries}
        self._by_run_id: dict[str, list[Entry]] = {}
        self._children: dict[int, list[Entry]] = {}
        self._sessions: dict[int, list[Entry]] = {}
        for entry in entries:
            self._children.setdefault(entry.parent, []).append(entry)
            self._sessions.setdefault(entry.session, []).append(entry)
            if entry.run_id:
                self._by_run_id.setdefault(entry.run_id, []).append(entry)

    def members(self, run_id: str, roots: dict[int, int], leaders: set[int], own: int) -> list[Entry]:
        """Return the set of `run_id`: who carries it, who is in the session of, or descends from, one of `roots`.

        `roots` maps pid to start time (a reused pid does not count); `leaders` but `own` never belong.
        """
        todo = list(self._by_run_id.get(run_id, ()))
        for pid, started in roots.items():
            entry = self._by_pid.get(pid)
            if entry is not None and entry.start_time == started:
                todo.append(entry)
            todo += [e for e in self._sessions.get(pid, ()) if not e.run_id and e.start_time >= started]
        chosen: dict[int, Entry] = {}
        while todo:
            entry = todo.pop()
            is_other = (entry.pid in leaders and entry.pid != own) or (entry.run_id and entry.run_id != run_id)
            if entry.pid not in chosen and not is_other:
                chosen[entry.pid] = entry
                todo.extend(self._children.get(entry.pid, ()))
        return list(chosen.values())

    def descendants(self, pid: int, started: int) -> list[Entry]:
        """Return who is in the session of `pid` or descends from it, itself not included."""
        todo = [e for e in self._sessions.get(pid, ()) if e.start_time >= started and e.pid != pid]
        todo += self._children.get(pid, [])
        chosen: dict[int, Entry] = {}
        while todo:
            entry = todo.pop()
            if entry.pid not in chosen:
                chosen[entry.pid] = entry
                todo.extend(self._children.get(entry.pid, ()))
        return list(chosen.values())


def scan() -> Snapshot:
    """Return every living process that can be seen, with its run id where it may be read."""
    found: list[Entry] = []
    for name in os.listdir("/proc") if HAS_PROC else ():
        if not name.isdigit():
            continue
        pid = int(name)
        fields = _fields(pid)
        if fields is None or fields[0] in {b"Z", b"X"} or fields[1] == b"2" or pid == 2:
            continue  # kernel threads (children of 2) belong to no one
        found.append(Entry(pid, int(fields[1]), int(fields[3]), int(fields[19]), run_id_of(pid)))
    return Snapshot(found)


def send(entry: Entry, number: int) -> None:
    """Signal exactly the process that a scan saw; nothing when it has gone, or its pid belongs to another."""
    pidfd = open_pidfd(entry.pid)
    if pidfd is None:
        return
    try:
        if start_time(entry.pid) == entry.start_time:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def session_lives(leader: int) -> bool:
    """Tell, without /proc, whether the process group of `leader` still has a member."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
