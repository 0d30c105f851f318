"""Commands inside a running process's surroundings: probes and hooks (to their end, output bounded) and exec sessions.

They carry the run id of the process, so they belong to its set and end with it. Called by the server; never waits.
"""

import contextlib
import errno
import json
import os
import signal
from collections.abc import Callable

from localset.keeper import child, processes, sandbox
from localset.keeper.journal import Fields
from localset.keeper.loop import Loop, Timer
from localset.keeper.registry import Registry
from localset.keeper.transitions import State

OUTPUT_LIMIT = 10 << 10
NOT_FOUND, NOT_STARTED = 127, 126

_DIED = json.dumps({"errno": errno.ECHILD, "message": "the command could not enter the container"}).encode()

Ended = Callable[[int | None, str], None]


class Command:
    """One started command. `on_ready` is told "" once exec went well; `on_exit` the code, or None with an error."""

    def __init__(self, registry: Registry, spec: Fields, standard: tuple[int, int, int], *, is_terminal: bool) -> None:
        """Fork; the descriptors stay the caller's. OSError when the process is not there to be entered."""
        record = registry.records.get(spec["run_id"])
        if record is None or record.state not in {State.RUNNING, State.STOPPING} or "status" in record.fields:
            raise OSError(errno.ESRCH, "the container's process is not running")
        if not record.is_child and not record.is_same_process(registry.boot):
            raise OSError(errno.ESRCH, "the container's process is not running")
        self._registry = registry
        self._loop: Loop = registry.loop
        self._status: int | None = None
        self._report_data = b""
        self._is_reported = False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_exit: Ended = lambda code, error: None
        reading, writing = os.pipe()
        gate, self._gate = os.pipe() if record.is_nested else (-1, -1)
        parts = child.Parts(writing, standard, gate=gate, is_terminal=is_terminal)
        parts.limits, parts.privileged = registry.limits, registry.privileged
        inner = {
            **spec,
            "isolation": record.spec.get("isolation"),
            "environment": {**spec["environment"], processes.RUN_ID: record.run_id},
        }
        self.pid = self.start_time = 0
        self._is_killed = False
        self._reading = reading
        self._record = record
        pid = os.fork()
        if pid == 0:
            child.run(inner, parts, inside_pid=record.pid)
        os.close(writing)
        if gate >= 0:
            os.close(gate)
        os.set_blocking(reading, False)
        record.commands.append(self)
        if record.is_nested:
            registry.children[pid] = lambda _status: None  # its child is the command; we hear of it by the pipe
        else:
            self._started(pid)
        self._loop.add_reader(reading, self._report)

    def _started(self, pid: int) -> None:
        self.pid = pid
        self.start_time = processes.start_time(pid) or 0
        self._registry.children[pid] = self._ended
        if self._gate >= 0:
            if not self._is_killed:
                with contextlib.suppress(OSError):
                    os.write(self._gate, b"g")
            os.close(self._gate)
            self._gate = -1

    def _report(self) -> None:
        try:
            data = os.read(self._reading, 4096)
        except BlockingIOError:
            return
        if data:
            self._report_data += data
            if self._gate >= 0 and self._report_data.endswith(b"\n"):
                self._started(int(self._report_data[1:]))
                self._report_data = b""
            return
        self._loop.remove(self._reading)
        os.close(self._reading)
        self._is_reported = True
        if not self.pid:  # nobody came to be: the middle process said why, or died
            os.close(self._gate)
            self._report_data = self._report_data or _DIED
            self._ended(0)
            return
        if self._report_data == child.ABOUT_TO_EXEC:
            self.on_ready()
        self._settle()

    def _ended(self, status: int) -> None:
        self._status = status
        self._record.commands.remove(self)
        self._settle()

    def _settle(self) -> None:
        if self._status is None or not self._is_reported:
            return
        failure = self._report_data.removeprefix(child.ABOUT_TO_EXEC)
        if failure:
            why = json.loads(failure)
            name = errno.errorcode.get(why["errno"], "")
            code = NOT_FOUND if why["errno"] in {errno.ENOENT, errno.ENOTDIR} else NOT_STARTED
            self.on_exit(code, f"{name}: {why['message']}" if name else why["message"])
            return
        code = os.waitstatus_to_exitcode(self._status)
        self.on_exit(code if code >= 0 else 128 - code, "")

    def kill(self) -> None:
        """SIGKILL the command and what descends from it, wherever its session went."""
        self._is_killed = True
        if not self.pid:
            return
        for _ in range(5):
            tree = processes.scan().descendants(self.pid, self.start_time)
            for entry in tree:
                processes.send(entry, signal.SIGKILL)
            if not tree:
                break
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Execution:
    """A command run to its end for an answer {exit_code, output (latin-1), timed_out, error}."""

    def __init__(
        self, registry: Registry, spec: Fields, timeout_seconds: float, answer: Callable[[Fields], None]
    ) -> None:
        """Start it; `answer` is called once."""
        self._loop = registry.loop
        self._answer: Callable[[Fields], None] | None = answer
        self._output = b""
        self._reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._timer: Timer | None = None
        try:
            self._command = Command(registry, spec, (null, writing, writing), is_terminal=False)
        except OSError as error:
            os.close(self._reading)
            self._reading = -1
            self._finish(None, error.strerror or str(error))
            return
        finally:
            os.close(writing)
            os.close(null)
        self._command.on_exit = self._finish
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._readable)
        self._timer = self._loop.call_later(timeout_seconds, self._time_out)

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._reading, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove(self._reading)
            return False
        self._output = (self._output + data)[:OUTPUT_LIMIT]
        return True

    def _time_out(self) -> None:
        self._finish(None, "", timed_out=True)
        self._command.kill()

    def _finish(self, code: int | None, error: str, *, timed_out: bool = False) -> None:
        if self._answer is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._reading >= 0:
            while self._read():
                pass
            self._loop.remove(self._reading)
            os.close(self._reading)
        answer, self._answer = self._answer, None
        text = self._output.decode("latin-1")
        answer({"exit_code": code, "output": text, "timed_out": timed_out, "error": error})


def _open_terminal(registry: Registry, run_id: str) -> tuple[int, int]:
    record = registry.records.get(run_id)
    if record is not None and record.is_nested and record.pid is not None:
        return sandbox.open_terminal(record.pid, is_privileged=registry.privileged)
    return os.openpty()


def open_session(registry: Registry, spec: Fields, *, stdin: bool) -> tuple[Command, list[int]]:
    """Start an interactive command; return it and the caller's ends: [terminal] or [stdin or nothing, out, err]."""
    if spec.get("tty"):
        master, slave = _open_terminal(registry, spec["run_id"])
        user = spec.get("user")
        if user is not None and os.geteuid() == 0:
            os.fchown(slave, user, -1)
        try:
            return Command(registry, spec, (slave, slave, slave), is_terminal=True), [master]
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)
    ours: list[int] = []
    theirs: list[int] = []
    if stdin:
        reading, writing = os.pipe()
        theirs.append(reading)
        ours.append(writing)
    else:
        theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    for _ in range(2):
        reading, writing = os.pipe()
        ours.append(reading)
        theirs.append(writing)
    try:
        return Command(registry, spec, (theirs[0], theirs[1], theirs[2]), is_terminal=False), ours
    except OSError:
        for number in ours:
            os.close(number)
        raise
    finally:
        for number in theirs:
            os.close(number)
