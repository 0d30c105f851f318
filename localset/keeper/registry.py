"""The kept processes: spawn, stop, report, restore. Performs what `transitions.step` decides.

Order is everything here: intent on disk before fork; pid on disk before the child may exec; exit status on disk before
anyone is told (runtime.md 5.3, 5.6). Only the server calls in; nothing here waits.
"""

import contextlib
import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable

from localset.keeper import child, ending, linux, processes, streams
from localset.keeper.journal import Fields, Journal
from localset.keeper.loop import Loop, failpoint, say
from localset.keeper.network import Network
from localset.keeper.pods import Pods
from localset.keeper.record import Answer, Record, packed
from localset.keeper.sets import Sets
from localset.keeper.transitions import Action, Event, State, step

DRAIN_SECONDS = 2.0
_REAP_TRIES = 200
DAEMON_KEY = "\0daemon"


class Registry:
    """All records by run id, and the children by pid."""

    def __init__(self, loop: Loop, journal: Journal, limits: tuple[int, int], namespaces: list[int]) -> None:
        """Start from `journal`; `limits` are the original RLIMIT_NOFILE, which children get back.

        `namespaces` are those of the Pods' network that outlived a former keeper, or none.
        """
        self.loop = loop
        self.journal = journal
        self.limits = limits
        self.privileged = linux.may_mount()
        self.boot = processes.boot_id()
        self.records: dict[str, Record] = {}
        self.children: dict[int, Callable[[int], None]] = {}
        self.subscribers: list[Callable[[Fields], None]] = []
        self.network = Network(loop, journal, self.children, namespaces)
        self.pods = Pods(loop, journal, self.children, self.network)
        self.sets = Sets(loop, self.records, self.children, self.happen, self._signal_leader)

    # --- requests -------------------------------------------------------------------------------------------------

    def spawn(self, spec: Fields, answer: Answer) -> None:
        """Start `spec`; a known run id answers its state. The answer comes when exec has gone well or failed."""
        run_id = spec["run_id"]
        known = self.records.get(run_id)
        if known is not None:
            if known.state is State.INTENDED:
                known.answers.append(answer)
            else:
                answer(known.report())
            return
        fields: Fields = {"spec": packed(spec), "state": State.INTENDED, "boot": self.boot}
        self.journal.write(run_id, fields)
        failpoint("after-intent")
        record = Record(run_id, dict(fields))
        record.answers.append(answer)
        self.records[run_id] = record
        if record.is_nested:
            self.pods.ensure(spec, lambda error: self._try_fork(record, error))
        else:
            self._try_fork(record, None)

    def _try_fork(self, record: Record, error: OSError | None) -> None:
        if record.is_cancelled and record.state is State.INTENDED:
            error = OSError(errno.ECANCELED, "stopped before it began")
        try:
            if error is not None:
                raise error
            self._fork(record)
        except OSError as caught:
            self._fail(record, caught.errno or 0, f"{caught.strerror}: {caught.filename or ''}".rstrip(": "))

    def _fork(self, record: Record) -> None:
        standard, is_terminal = streams.open_for_start(self.loop, record)
        gate_read, gate_write = os.pipe()
        report_read, report_write = os.pipe()
        parts = child.Parts(report_write, standard, gate=gate_read, is_terminal=is_terminal)
        parts.makes_terminal = is_terminal and record.terminal < 0
        parts.limits, parts.privileged = self.limits, self.privileged
        spec = record.spec
        spec["environment"][processes.RUN_ID] = record.run_id
        if record.is_nested:
            parts.namespaces = self.pods.descriptors(record.pod_uid)
            parts.user_namespace = self.network.user_namespace
        pid = os.fork()
        if pid == 0:
            child.run(spec, parts)
        for number in {gate_read, report_write, *standard}:
            os.close(number)
        record.gate = gate_write
        os.set_blocking(report_read, False)
        record.report_pipe = report_read
        if record.is_nested:
            self.children[pid] = lambda _status: None  # its child is the container; we hear of it by the pipe
        else:
            self._started(record, pid)
        self.loop.add_reader(report_read, lambda: self._exec_report(record))

    def _started(self, record: Record, pid: int) -> None:
        """Put a container's process on record, and let it go on."""
        record.is_child = True
        record.pidfd = processes.open_pidfd(pid)
        self.children[pid] = lambda status: self._leader_exit(record, status)
        self._write(
            record,
            pid=pid,
            start_time=processes.start_time(pid),
            inode=processes.inode_of(record.pidfd),
            started_at=time.time(),
        )
        record.roots[pid] = record.fields["start_time"] or 0
        failpoint("after-pid")
        if not record.is_cancelled:
            with contextlib.suppress(OSError):
                os.write(record.gate, b"g")
        self._close_gate(record)
        failpoint("after-release")

    @staticmethod
    def _close_gate(record: Record) -> None:
        if record.gate >= 0:
            os.close(record.gate)
            record.gate = -1

    def _exec_report(self, record: Record) -> None:
        try:
            data = os.read(record.report_pipe, 4096)
        except BlockingIOError:
            return
        if data:
            record.report_data += data
            if record.gate >= 0 and record.report_data.endswith(b"\n"):
                self._started(record, int(record.report_data[1:]))
                record.report_data = b""
            return
        self.loop.remove(record.report_pipe)
        os.close(record.report_pipe)
        record.report_pipe = -1
        self._close_gate(record)
        streams.take_terminal(self.loop, record)
        text = record.report_data
        if text == child.ABOUT_TO_EXEC:
            self.happen(record, Event.EXEC_OK)
            if record.stop_after_exec is not None:
                self.stop(record.run_id, record.stop_after_exec)
            self._settle(record)
        elif text:
            failure = json.loads(text.removeprefix(child.ABOUT_TO_EXEC))
            self._fail(record, failure["errno"], failure["message"])
        elif record.is_cancelled:
            self._fail(record, errno.ECANCELED, "stopped before it began")
        else:
            self._fail(record, 0, "the child died before it could exec")

    def _fail(self, record: Record, number: int, message: str) -> None:
        record.fields.pop("status", None)  # reaped before its report was read: what it left with was ours, no program's
        name = errno.errorcode.get(number, "")
        record.fields["error"] = f"{name}: {message}" if name else message
        record.fields["errno_name"] = name
        self.happen(record, Event.EXEC_FAILED)

    def _settle(self, record: Record) -> None:
        """Handle an exit that was reaped before the exec report arrived."""
        if "status" in record.fields and record.state in {State.RUNNING, State.STOPPING}:
            self.happen(record, Event.LEADER_EXIT)

    def stop(self, run_id: str, grace_seconds: float) -> None:
        """Begin or hasten the end of a set."""
        record = self.records.get(run_id)
        if record is None or record.is_over:
            return
        if record.state is State.INTENDED:
            record.stop_after_exec = grace_seconds
        deadline = time.monotonic() + max(0.0, grace_seconds)
        old = record.fields.get("deadline")
        record.fields["deadline"] = deadline if old is None else min(old, deadline)
        self.happen(record, Event.STOP_ASKED)
        if record.is_frozen and not record.is_over:
            self.sets.thaw(record)  # after the signal: it is the first thing that the thawed see

    def kill_leader(self, run_id: str) -> None:
        """SIGKILL the first process of a set; what follows is what follows any death of it."""
        record = self.records.get(run_id)
        if record is not None and not record.is_over:
            self._signal_leader(record, signal.SIGKILL)

    def forget(self, run_id: str) -> None:
        """Drop the record of a process that is over."""
        record = self.records.get(run_id)
        if record is not None:
            self.happen(record, Event.FORGOTTEN)

    def live(self) -> list[Record]:
        """Return the records whose set may still have a process."""
        return [record for record in self.records.values() if not record.is_over]

    # --- events ---------------------------------------------------------------------------------------------------

    def happen(self, record: Record, event: Event) -> None:
        """Ask the table and perform what it says."""
        state, actions = step(record.state, event)
        changed = state is not record.state
        record.fields["state"] = state
        if record.is_over and changed:
            record.fields.setdefault("finished_at", time.time())
            streams.finish(record)
            self._release(record)
        for action in actions:
            self._perform(record, action)
        if state is not State.INTENDED:
            answers, record.answers = record.answers, []
            for answer in answers:
                answer(record.report())

    def _perform(self, record: Record, action: Action) -> None:
        if action is Action.RECORD:
            failpoint(f"before-{record.state}")
            self._write(record)
        elif action is Action.REPORT:
            for subscriber in list(self.subscribers):
                subscriber(record.report())
        elif action is Action.KILL_CHILD:
            record.is_cancelled = True
            self._signal_leader(record, signal.SIGKILL)
        elif action is Action.SIGNAL_LEADER:
            self._ask_to_end(record)
            self._arm(record)
        elif action is Action.SHORTEN:
            self._arm(record)
        elif action is Action.TERM_REST:
            self._end_rest(record)
        elif action is Action.KILL_SET:
            self.sets.kill(record)
        elif action is Action.DROP:
            self._drop(record)

    def _write(self, record: Record, **fields: object) -> None:
        record.fields.update(fields)
        try:
            self.journal.write(record.run_id, {key: value for key, value in record.fields.items() if key != "spec"})
        except OSError as error:
            # A full disk must not keep a process from being stopped (reliability M5); the next write may succeed.
            say(f"journal: {error}")

    def _arm(self, record: Record) -> None:
        if record.grace_timer is not None:
            record.grace_timer.cancel()
        left = record.fields.get("deadline", 0.0) - time.monotonic()
        record.grace_timer = self.loop.call_later(max(0.0, left), lambda: self.happen(record, Event.GRACE_OVER))

    def _end_rest(self, record: Record) -> None:
        if record.fields.get("deadline") is None:
            record.fields["deadline"] = time.monotonic() + DRAIN_SECONDS
        self._arm(record)
        self.sets.end_rest(record)

    def _ask_to_end(self, record: Record) -> None:
        spec = record.spec
        number = _number(spec.get("stop_signal", "SIGTERM"))
        if not record.is_first or record.pid is None or spec.get("strict_stop"):
            self._signal_leader(record, number)
        elif ending.is_dropped(record.pid, number):
            self._end_others_first(record, number)
        else:
            self._signal_leader(record, number)
            # Some programs answer a signal by taking their handler away and sending it to themselves (Node.js).
            for seconds in ending.SECOND_LOOKS_SECONDS:
                self.loop.call_later(seconds, lambda: self._look_whether_it_hears(record, number))

    def _look_whether_it_hears(self, record: Record, number: int) -> None:
        is_done = record.is_over or "status" in record.fields or record.is_unheard
        if not is_done and record.pid is not None and ending.is_dropped(record.pid, number):
            self._end_others_first(record, number)

    def _end_others_first(self, record: Record, number: int) -> None:
        record.is_unheard = True

        def kill() -> None:
            if not record.is_over and "status" not in record.fields:
                self._signal_leader(record, signal.SIGKILL)

        ending.Ending(self.loop, lambda: self.sets.others(record), number, kill)

    def _signal_leader(self, record: Record, number: int) -> None:
        pid = record.pid
        if pid is None:
            return
        if record.is_child and pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)  # not yet reaped, so the pid is still its own
        elif record.pidfd is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(record.pidfd, number)
        elif not processes.HAS_PROC and record.is_same_process(self.boot):
            os.kill(pid, number)

    def _leader_exit(self, record: Record, status: int | None) -> None:
        if record.is_over:
            return
        failpoint("exit-before-record")
        record.fields["status"] = status
        record.fields["finished_at"] = time.time()
        for command in list(record.commands):
            command.kill()  # a shell of `exec` outlives its container as little as under a PID 1 that has died
        if record.report_pipe >= 0:
            return  # the exec report decides first what this exit means
        self.happen(record, Event.LEADER_EXIT)

    def reaped(self, pid: int, status: int) -> None:
        """Take the wait status of a child; an adopted stray has no one to tell."""
        callback = self.children.pop(pid, None)
        if callback is not None:
            callback(status)
        else:
            self.sets.note_stray()

    def _release(self, record: Record) -> None:
        if record.grace_timer is not None:
            record.grace_timer.cancel()
            record.grace_timer = None
        if record.pidfd is not None:
            self.loop.remove(record.pidfd)
            os.close(record.pidfd)
            record.pidfd = None

    def _drop(self, record: Record) -> None:
        self.records.pop(record.run_id, None)
        self.journal.write(record.run_id, None)
        if record.is_nested and not any(r.pod_uid == record.pod_uid for r in self.records.values()):
            self.pods.release(record.pod_uid)
        private = record.spec.get("private_directory")
        if private:
            remove_tree(private)

    # --- restart --------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up what a former keeper left: by identity, never by pid alone."""
        for run_id, fields in list(self.journal.records.items()):
            if not run_id.startswith("\0"):  # what is no process: the daemon, the network
                if not isinstance(fields["spec"], str):
                    fields["spec"] = packed(fields["spec"])  # written by a keeper of an older version
                self.records[run_id] = Record(run_id, dict(fields))
        streams.remove_strays({run_id.replace("/", "_") for run_id in self.records})
        unfinished = self.live()
        seen = processes.scan() if unfinished else processes.Snapshot([])
        for record in unfinished:
            self._take_up(record, seen)
            if record.is_nested and not record.is_over and not self._is_whole(record):
                # Its network died with the former keeper and holder: gone and replaced is better than cut off.
                self.sets.kill(record)

        self.pods.end_strays()

    def _is_whole(self, record: Record) -> bool:
        """Tell whether a container that was found again still has the network of its Pod; takes that up."""
        return bool(self.network.was_kept and record.pid is not None and self.pods.find_again(record.spec, record.pid))

    def _take_up(self, record: Record, seen: processes.Snapshot) -> None:
        streams.open_again(self.loop, record)
        deadline = record.fields.get("deadline")
        if record.fields.get("boot") != self.boot:
            deadline = None
            record.fields.pop("deadline", None)
        if record.is_same_process(self.boot):
            pid = record.pid
            assert pid is not None
            record.roots[pid] = record.fields.get("start_time") or 0
            record.pidfd = processes.open_pidfd(pid)
            record.is_frozen = processes.is_stopped(pid)
            self.happen(record, Event.FOUND_ALIVE)
            self._watch(record)
            if deadline is not None and not record.is_over:
                self._arm(record)
        elif self.sets.members(record, seen):
            self.happen(record, Event.FOUND_REST)
        else:
            if record.state is State.INTENDED:
                record.fields["error"] = "never started: the keeper died first"
            self.happen(record, Event.FOUND_GONE)

    def _watch(self, record: Record) -> None:
        if record.pidfd is not None:
            pidfd = record.pidfd

            def ended() -> None:
                self.loop.remove(pidfd)
                ask(_REAP_TRIES)

            def ask(tries: int) -> None:
                if record.is_over:
                    return
                status = processes.zombie_status(record.pid or 0, record.fields.get("start_time"))
                if status is None:
                    status = linux.exit_status_of(pidfd)
                if status == linux.NOT_YET and tries:
                    self.loop.call_later(0.005, lambda: ask(tries - 1))
                else:
                    self._leader_exit(record, None if status == linux.NOT_YET else status)

            self.loop.add_reader(pidfd, ended)
        elif not record.is_over:
            if record.is_same_process(self.boot):
                self.loop.call_later(0.5, lambda: self._watch(record))
            else:
                self._leader_exit(record, None)


def _number(name: str) -> int:
    plain = name.upper().removeprefix("SIG")
    if plain.isdigit():
        return int(plain)
    return int(getattr(signal, f"SIG{plain}", signal.SIGTERM))


def remove_tree(path: str) -> None:
    """Remove a private directory; overlay leaves a directory of mode 000 in it (runtime.md 8.5). shutil is too big."""
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)


def raise_descriptor_limit() -> tuple[int, int]:
    """Let the keeper have as many descriptors as it may; return the limits it came with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard
