"""The keeper watches the daemon and starts it again when it dies (design 3.4), 0.1 s growing to 30 s.

The daemon says who it is and how it was started by the request `daemon`; the word is journalled, so that the next
keeper keeps it. `restart: false` (at `down`) ends the watch.
"""

import os
import signal
import time

from localset.keeper import processes
from localset.keeper.journal import Fields, Journal
from localset.keeper.loop import Loop, say
from localset.keeper.registry import DAEMON_KEY, Registry

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 30.0
_HEALTHY_SECONDS = 5.0


class Supervision:
    """Keeps one daemon alive."""

    def __init__(self, loop: Loop, journal: Journal, registry: Registry) -> None:
        """Watch nothing yet."""
        self._loop = loop
        self._journal = journal
        self._registry = registry
        self._wanted: Fields | None = None
        self._pidfd: int | None = None
        self._pid = 0
        self._delay = _FIRST_SECONDS
        self._since = 0.0
        self._was_ready = False

    def restore(self) -> None:
        """Take up the watch of a former keeper."""
        fields = self._journal.records.get(DAEMON_KEY)
        if fields and fields.get("restart") and fields.get("boot") == self._registry.boot:
            self._wanted = fields
            if processes.start_time(fields["pid"]) == fields.get("start_time"):
                self._watch(fields["pid"])
            else:
                self._died()

    def set(self, fields: Fields) -> None:
        """Obey the request: {pid, argv, environment, working_directory, restart}."""
        wanted = {
            **fields,
            "boot": self._registry.boot,
            "start_time": processes.start_time(fields["pid"]),
        }
        self._unwatch()
        self._wanted = wanted if fields["restart"] else None
        self._journal.write(DAEMON_KEY, wanted if fields["restart"] else None)
        if fields["restart"]:
            self._watch(fields["pid"])
            self._was_ready = True

    def stop(self) -> None:
        """End the watch; nothing is started again."""
        self._unwatch()
        self._wanted = None

    def _watch(self, pid: int) -> None:
        self._pid = pid
        self._since = time.monotonic()
        self._pidfd = processes.open_pidfd(pid)
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self._died)
        elif processes.HAS_PROC:
            self._died()
        else:
            self._loop.call_later(0.5, lambda: self._look(pid))

    def _look(self, pid: int) -> None:
        if self._wanted is None or self._pid != pid:
            return
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            self._died()
            return
        self._loop.call_later(0.5, lambda: self._look(pid))

    def _unwatch(self) -> None:
        if self._pidfd is not None:
            self._loop.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._pid = 0

    def _died(self) -> None:
        lived = time.monotonic() - self._since if self._since else 0.0
        self._unwatch()
        if self._wanted is None:
            return
        # Only starts that fail grow the delay: a daemon says `daemon` once it is ready, and one that was is none.
        if self._was_ready or lived >= _HEALTHY_SECONDS:
            self._delay = _FIRST_SECONDS
        self._was_ready = False
        say(f"the daemon has died; starting it again in {self._delay:.1f} s")
        wanted = self._wanted
        self._loop.call_later(self._delay, lambda: self._start(wanted))
        self._delay = min(self._delay * 2, _LONGEST_SECONDS)

    def _start(self, wanted: Fields) -> None:
        if self._wanted is not wanted:
            return
        pid = os.fork()
        if pid == 0:
            _become_daemon(wanted, self._registry.limits)
        self._registry.children[pid] = lambda status: say(f"daemon {pid} ended with wait status {status}")
        self._watch(pid)


def _become_daemon(wanted: Fields, limits: tuple[int, int]) -> None:
    import resource

    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 1 << 20))
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.chdir(wanted.get("working_directory") or "/")
        os.execvpe(wanted["argv"][0], wanted["argv"], wanted["environment"])
    except BaseException as error:  # noqa: BLE001 - a forked child must never run its parent's code again
        say(f"the daemon cannot be started: {error}")
    finally:
        os._exit(127)
