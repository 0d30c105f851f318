"""How a PID 1 is asked to end: the kernel drops every signal that the first process of a table has no handler for.

In Kubernetes such a command runs into its whole grace period. Here, unless the Pod asks for that (`strict_stop`), the
signal goes to everyone else in the container, and once they have gone the command, if it has not ended by itself, as
the signal would have ended it elsewhere (runtime.md 2.6; docs/parity.md). Called by `registry`; never waits.
"""

import signal
from collections.abc import Callable

from localset.keeper import processes
from localset.keeper.loop import Loop

_FIRST_LOOK_SECONDS = 0.01
_SLOWEST_LOOK_SECONDS = 0.2
_LAST_CHANCE_SECONDS = 0.1
SECOND_LOOKS_SECONDS = (0.1, 1.0)
"""When to ask again whether a PID 1 that was signalled still has its handler."""
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})


def is_dropped(pid: int, number: int) -> bool:
    """Tell whether `number`, which ends a process by default, is neither handled nor ignored by `pid`."""
    if number not in _ENDING:
        return False
    bit = 1 << (number - 1)
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            masks = dict(line.split(":", 1) for line in file if line.startswith(("SigIgn:", "SigCgt:")))
        return not any(int(mask, 16) & bit for mask in masks.values())
    except (OSError, ValueError):
        return False


class Ending:
    """One stop of a PID 1 that does not hear: TERM for the others, and once they are gone, KILL for it."""

    def __init__(
        self, loop: Loop, others: Callable[[], list[processes.Entry]], number: int, kill: Callable[[], None]
    ) -> None:
        """`others` lists who else is in the container now; `kill` ends the PID 1, and does nothing when it has gone."""
        self._loop = loop
        self._others = others
        self._kill = kill
        found = others()
        self._told = {(entry.pid, entry.start_time) for entry in found}
        self._delay = _FIRST_LOOK_SECONDS
        for entry in found:
            processes.send(entry, number)
            processes.send(entry, signal.SIGCONT)
        if self._told:
            loop.call_later(self._delay, self._look)
        else:
            kill()

    def _look(self) -> None:
        left = {(entry.pid, entry.start_time) for entry in self._others()} & self._told
        if not left:
            self._loop.call_later(_LAST_CHANCE_SECONDS, self._kill)
            return
        self._delay = min(self._delay * 1.5, _SLOWEST_LOOK_SECONDS)
        self._loop.call_later(self._delay, self._look)
