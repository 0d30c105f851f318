"""The set of a kept process: everyone who carries its run id, is in its session or descends from it, wherever it went.

`registry` asks here for what a leader leaves behind: who it is, to end it, to kill it, to hear when nobody is left. A
look at /proc costs 30 µs for every process of the machine, so all who are waiting at one moment share it: a thousand
replicas that end together take a few looks, not a thousand.
"""

import contextlib
import os
import signal
from collections.abc import Callable

from localset.keeper import processes
from localset.keeper.loop import Loop
from localset.keeper.record import Record
from localset.keeper.transitions import Event, State

_FIRST_LOOK_SECONDS = 0.002
_SLOWEST_LOOK_SECONDS = 0.1
_MOST_ROUNDS = 5


class Sets:
    """What is left of the sets of `records`; tells by `happen`."""

    def __init__(
        self,
        loop: Loop,
        records: dict[str, Record],
        children: dict[int, Callable[[int], None]],
        happen: Callable[[Record, Event], None],
        signal_leader: Callable[[Record, int], None],
    ) -> None:
        """Share the registry's tables and hands."""
        self._loop = loop
        self._records = records
        self._children = children
        self._happen = happen
        self._signal_leader = signal_leader
        self._looks = False
        self._leaderless: list[Record] = []
        self._doomed: list[Record] = []

    def members(self, record: Record, seen: processes.Snapshot) -> list[processes.Entry]:
        """Return the living processes of a record's set, remembering them for when they lose parent and environment."""
        return self._members(record, seen, self._leaders())

    def _leaders(self) -> set[int]:
        return {os.getpid(), *(record.pid or 0 for record in self._records.values())}

    def _members(self, record: Record, seen: processes.Snapshot, leaders: set[int]) -> list[processes.Entry]:
        own = record.pid or 0
        found = seen.members(record.run_id, record.roots, leaders, own)
        if record.is_child and own in self._children and record.report_pipe >= 0:
            found = [entry for entry in found if entry.pid != own]
        for entry in found:
            record.roots[entry.pid] = entry.start_time
        return found

    def others(self, record: Record) -> list[processes.Entry]:
        """Return who descends from the leader, as of now; a shell that `exec` brought in does not."""
        return processes.scan().descendants(record.pid or 0, record.fields.get("start_time") or 0)

    def end_rest(self, record: Record) -> None:
        """The leader has gone: ask the rest to end, and tell when nobody is left."""
        if record.is_first:
            # The kernel ends a PID 1's whole table before it tells of its end.
            self._loop.call_soon(lambda: self._happen(record, Event.SET_EMPTY))
            return
        if not processes.HAS_PROC:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(record.pid or 0, signal.SIGTERM)
            self.look_soon()
            return
        if not self._leaderless:
            self._loop.call_soon(self._end_rests)
        self._leaderless.append(record)

    def _end_rests(self) -> None:
        waiting, self._leaderless = self._leaderless, []
        seen, leaders = processes.scan(), self._leaders()
        for record in waiting:
            if record.is_over:
                continue
            rest = self._members(record, seen, leaders)
            for entry in rest:
                processes.send(entry, signal.SIGTERM)
                processes.send(entry, signal.SIGCONT)
            if rest:
                self.look_soon()
            else:
                self._happen(record, Event.SET_EMPTY)

    def kill(self, record: Record) -> None:
        """SIGKILL the whole set, until it is empty."""
        record.is_killing = True
        self._begin_to_kill(record)
        self.look_soon()

    def _begin_to_kill(self, record: Record) -> None:
        if record.is_first and record.pid is not None and "status" not in record.fields:
            self._signal_leader(record, signal.SIGKILL)
        elif not processes.HAS_PROC:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(record.pid or 0, signal.SIGKILL)
        else:
            if not self._doomed:
                self._loop.call_soon(self._kill_doomed)
            self._doomed.append(record)

    def _kill_doomed(self) -> None:
        """STOP all, so that no one forks on, then KILL; repeated by `_look` until the sets are empty."""
        doomed, self._doomed = self._doomed, []
        leaders = self._leaders()
        stopped: set[int] = set()
        for _ in range(_MOST_ROUNDS):
            seen = processes.scan()
            found = [entry for record in doomed for entry in self._members(record, seen, leaders)]
            fresh = [entry for entry in found if entry.pid not in stopped]
            for entry in fresh:
                processes.send(entry, signal.SIGSTOP)
                stopped.add(entry.pid)
            if not fresh:
                break
        for entry in found:
            processes.send(entry, signal.SIGKILL)
        for record in doomed:
            self._signal_leader(record, signal.SIGKILL)

    def freeze(self, record: Record) -> None:
        """SIGSTOP the whole set, again and again until no one new turns up who forked meanwhile."""
        stopped: set[int] = set()
        record.is_frozen = True
        for _ in range(_MOST_ROUNDS):
            fresh = [entry for entry in self.members(record, processes.scan()) if entry.pid not in stopped]
            for entry in fresh:
                processes.send(entry, signal.SIGSTOP)
                stopped.add(entry.pid)
            if not fresh:
                break
        if not processes.HAS_PROC:
            self._signal_group(record, signal.SIGSTOP)

    def thaw(self, record: Record) -> None:
        """SIGCONT the whole set."""
        record.is_frozen = False
        for entry in self.members(record, processes.scan()):
            processes.send(entry, signal.SIGCONT)
        if not processes.HAS_PROC:
            self._signal_group(record, signal.SIGCONT)

    @staticmethod
    def _signal_group(record: Record, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(record.pid or 0, number)

    def note_stray(self) -> None:
        """A process that nobody waits for has ended: perhaps the last of a set."""
        if self._looks:
            self.look_soon()

    def look_soon(self) -> None:
        """Look again whether draining sets have become empty."""
        if not self._looks:
            self._looks = True
            self._loop.call_later(_FIRST_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looks = False
        waiting = [r for r in self._records.values() if r.state is State.DRAINING or (r.is_killing and not r.is_over)]
        if not waiting:
            return
        seen, leaders = processes.scan(), self._leaders()
        for record in waiting:
            lives = bool(self._members(record, seen, leaders)) if processes.HAS_PROC else _group_lives(record)
            if not lives and record.state is State.DRAINING:
                self._happen(record, Event.SET_EMPTY)
            elif record.is_killing:
                self._begin_to_kill(record)
        left = [record for record in waiting if not record.is_over]
        if left:
            for record in left:
                record.delay = min(record.delay * 1.5, _SLOWEST_LOOK_SECONDS)
            self._looks = True
            self._loop.call_later(min(record.delay for record in left), self._look)


def _group_lives(record: Record) -> bool:
    return record.pid is not None and processes.session_lives(record.pid)
