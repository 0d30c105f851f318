"""The Pods' way out: a slirp4netns process whose tap device lies in the bridge namespace, and who starts it again.

A part of the network holder (`egress` requests). Nothing of the host changes: to it all traffic of Pods is that of an
ordinary program. The process ends with the holder, by a pipe whose other end only the holder has. It carries any
source address, so Pods need no translation; the kernel only has to answer for them on the tap (proxy ARP).
It must never give Pods the host's 127.0.0.1: that is what `localset.dev/host-ports` is for.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

from localset.keeper.loop import Loop, Timer, say

LINK = "uplink0"
CIDR = "198.19.255.0/24"
"""The tap's own network: of those set aside for measuring (RFC 2544), so that it hides nobody's."""
_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 30.0
_KEPT_BYTES = 2000

Answer = Callable[..., None]
State = dict[str, Any]


class Holder(Protocol):
    """What is needed of the network holder."""

    loop: Loop

    def emit(self, message: State) -> None:
        """Tell the daemon."""
        ...


class Bridge(Protocol):
    """What is needed of the bridge namespace."""

    namespaces: tuple[int, ...]

    def answer_for_pods(self, link: str) -> None:
        """Answer ARP for Pods' addresses on `link`."""
        ...


class Egress:
    """At most one process. `state` is {"how": "slirp4netns" | "off", "reason": why there is no way out, or ""}."""

    def __init__(self, holder: Holder, bridge: Bridge) -> None:
        """Start nothing."""
        self._holder = holder
        self._loop = holder.loop
        self._bridge = bridge
        self._program = ""
        self._pid = 0
        self._alive = -1  # the write end: closed, the process ends
        self._said = bytearray()
        self._delay = _FIRST_SECONDS
        self._retry: Timer | None = None
        self._waiting: list[Answer] = []
        self.state: State = {"how": "off", "reason": ""}

    def serve(self, program: str, answer: Answer) -> None:
        """Have `program` (a path of slirp4netns; "": no way out), and answer with the state once it is known."""
        if program == self._program and not self._waiting:
            answer(self.state)
            return
        self.close()
        self._program = program
        if not program:
            answer(self.state)
            return
        self._waiting.append(answer)
        self._start()

    def close(self) -> None:
        """Have no way out. The process goes by itself when it sees the end of its pipe."""
        self._program = ""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        self._settle({"how": "off", "reason": ""})

    def _settle(self, state: State) -> None:
        is_new, self.state = state != self.state, state
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(state)
        if is_new and not waiting:
            self._holder.emit({"event": "egress", "state": state})

    def _start(self) -> None:
        self._retry = None
        if self._pid:  # the former one is still ending, and has the tap
            self._retry = self._loop.call_later(0.05, self._start)
            return
        ready, says_ready = os.pipe()
        is_over, self._alive = os.pipe()
        hears, says = os.pipe()
        network = os.dup(self._bridge.namespaces[0])
        argv = [self._program, "--configure", "--disable-host-loopback", "--disable-dns", f"--cidr={CIDR}"]
        argv += [f"--ready-fd={says_ready}", f"--exit-fd={is_over}", "--netns-type=path"]
        argv += [f"/proc/self/fd/{network}", LINK]
        given = (says_ready, is_over, network, says)
        for descriptor in given:
            os.set_inheritable(descriptor, True)
        actions = [(os.POSIX_SPAWN_DUP2, says, 1), (os.POSIX_SPAWN_DUP2, says, 2)]
        # The holder ignores signals that an ordinary program should not.
        defaults = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE]
        try:
            self._pid = os.posix_spawn(
                self._program, argv, {"PATH": os.environ.get("PATH", "")}, file_actions=actions, setsigdef=defaults
            )
        except OSError as error:
            os.close(ready)
            os.close(hears)
            self._failed(f"{self._program}: {error.strerror}")
            return
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._said.clear()
        for descriptor in (ready, hears):
            os.set_blocking(descriptor, False)
        self._loop.add_reader(hears, lambda: self._hear(hears))
        self._loop.add_reader(ready, lambda: self._ready(ready))

    def _ready(self, ready: int) -> None:
        """It says `1` when the tap is there; the end without a word is its death, which `_hear` sees as well."""
        word = os.read(ready, 8)
        self._loop.remove(ready)
        os.close(ready)
        if not word or not self._program:
            return
        try:
            self._bridge.answer_for_pods(LINK)
        except OSError as error:
            say(f"no way out for Pods: {error}")
        self._delay = _FIRST_SECONDS
        self._settle({"how": "slirp4netns", "reason": ""})

    def _hear(self, hears: int) -> None:
        try:
            block = os.read(hears, 4096)
        except BlockingIOError:
            return
        self._said += block
        del self._said[:-_KEPT_BYTES]
        if block:
            return
        self._loop.remove(hears)
        os.close(hears)
        # It has closed its output, so it has ended or is about to; the kill makes sure that the wait is short.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._pid = 0
        if self._program and self._retry is None:
            self._failed(_last_line(self._said) or "it ended without a word")

    def _failed(self, reason: str) -> None:
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        say(f"no way out for Pods: {reason}")
        self._settle({"how": "off", "reason": reason})
        self._retry = self._loop.call_later(self._delay, self._start)
        self._delay = min(self._delay * 2, _LONGEST_SECONDS)


def _last_line(said: bytearray) -> str:
    """Return the first of the last words that tells of a failure, else the last line."""
    lines = said.decode("utf-8", "replace").splitlines()
    for line in lines:
        if any(word in line.lower() for word in ("denied", "fail", "cannot", "error", "no such", "not permitted")):
            return line.strip()
    return lines[-1].strip() if lines else ""
