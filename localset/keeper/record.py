"""One kept process: what is on record, and what only this keeper's life knows (descriptors, pumps, timers)."""

import json
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from localset.keeper import processes
from localset.keeper.journal import Fields
from localset.keeper.logs import LogFile, Pump
from localset.keeper.loop import Timer
from localset.keeper.transitions import FINAL, State

Answer = Callable[[Fields], None]


class Attached(Protocol):
    """A client that is attached to a process."""

    def finish(self) -> None:
        """The process is over."""
        ...


class Killable(Protocol):
    """A command that was started in a process's surroundings."""

    def kill(self) -> None:
        """Kill it and what descends from it."""
        ...


def packed(spec: Fields) -> str:
    """Return what a record keeps of what was asked to run: a fifth of the parsed form's size, and seldom looked at."""
    return json.dumps(spec, separators=(",", ":"))


class Record:
    """`fields` is what the journal holds; the rest is made anew after a restart."""

    __slots__ = (
        "answers",
        "attachments",
        "commands",
        "delay",
        "fields",
        "gate",
        "grace_timer",
        "is_cancelled",
        "is_child",
        "is_first",
        "is_frozen",
        "is_killing",
        "is_nested",
        "is_unheard",
        "log",
        "pidfd",
        "pod_uid",
        "pumps",
        "report_data",
        "report_pipe",
        "roots",
        "run_id",
        "stdin",
        "stop_after_exec",
        "terminal",
        "terminal_offer",
    )

    def __init__(self, run_id: str, fields: Fields) -> None:
        """Wrap the journal's fields."""
        self.run_id = run_id
        self.fields = fields
        self.pidfd: int | None = None
        self.gate = -1
        spec = self.spec if '"isolation":"namespaces"' in fields.get("spec", "") else {}
        self.is_nested = bool(spec)  # in namespaces of its Pod
        self.is_first = self.is_nested and not spec.get("shares_processes")  # PID 1 of a process table
        self.pod_uid = str(spec.get("pod_uid", ""))
        self.is_child = self.is_unheard = False
        self.is_cancelled = False
        self.is_killing = False
        self.is_frozen = False
        self.stop_after_exec: float | None = None
        self.report_pipe = -1
        self.report_data = b""
        self.log: LogFile | None = None
        self.pumps: list[Pump] = []
        self.terminal = -1
        self.terminal_offer: socket.socket | None = None  # by which a child sends the terminal that it made
        self.stdin = -1
        self.grace_timer: Timer | None = None
        self.roots: dict[int, int] = {}
        self.answers: list[Answer] = []
        self.attachments: list[Attached] = []
        self.commands: list[Killable] = []
        self.delay = 0.005

    @property
    def state(self) -> State:
        """Return the present state."""
        return State(self.fields.get("state", State.ABSENT))

    @property
    def spec(self) -> dict[str, Any]:
        """Return what was asked to run, parsed anew: ask once for several of its fields."""
        spec: dict[str, Any] = json.loads(self.fields["spec"])
        return spec

    @property
    def pid(self) -> int | None:
        """Return the leader's pid once it is on record."""
        return self.fields.get("pid")

    @property
    def is_over(self) -> bool:
        """Tell whether nothing of the set is left."""
        return self.state in FINAL

    def whole_report(self) -> Fields:
        """Return what a ProcessReport holds, with the labels that tell a new daemon whose process this is."""
        return {**self.report(), "labels": self.spec.get("labels", {})}

    def report(self) -> Fields:
        """Return what a ProcessReport holds but for the labels, which whoever asked for the process knows."""
        status = self.fields.get("status")
        code = number = None
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                code, number = 128 - code, -code
        return {
            "run_id": self.run_id,
            "state": str(self.state),
            "pid": self.pid,
            "started_at": self.fields.get("started_at"),
            "finished_at": self.fields.get("finished_at"),
            "exit_code": code,
            "signal": number,
            "error": self.fields.get("error", ""),
            "errno_name": self.fields.get("errno_name", ""),
        }

    def is_same_process(self, boot: str) -> bool:
        """Tell whether the recorded leader lives: boot id, pid, start time, and pidfs inode or else the run id."""
        if self.pid is None or self.fields.get("boot") != boot:
            return False
        if not processes.HAS_PROC:
            return processes.session_lives(self.pid)
        pidfd = processes.open_pidfd(self.pid)
        if pidfd is None:
            return False
        inode = processes.inode_of(pidfd)
        same = processes.start_time(self.pid) == self.fields.get("start_time")
        if same and inode is not None and self.fields.get("inode") is not None:
            same = inode == self.fields["inode"]
        elif same:
            same = processes.run_id_of(self.pid) == self.run_id
        os.close(pidfd)
        return same
