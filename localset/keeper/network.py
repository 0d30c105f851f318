"""The keeper's side of the network holder: starts it, knows its namespaces, starts it again when it dies.

`server` asks for it when the daemon wants a network (`ensure`); Pods are forked into what it holds. The wish is
journalled, so that the next keeper goes on. Its descriptors of the namespaces keep them alive while no holder lives.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable

from localset.keeper import wire
from localset.keeper.holder import SOCKET
from localset.keeper.journal import Fields, Journal
from localset.keeper.loop import Loop, say

NETWORK_KEY = "\0network"
_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 10.0

Answer = Callable[..., None]


class Network:
    """One holder. `namespaces` are descriptors: the bridge's network, and rootless the outer user namespace."""

    def __init__(
        self, loop: Loop, journal: Journal, children: dict[int, Callable[[int], None]], given: list[int]
    ) -> None:
        """Start nothing yet; `given` are the namespaces as whoever started this keeper kept them, or none."""
        self._loop = loop
        self._journal = journal
        self._children = children
        self.namespaces = given
        self.subnet = ""
        self.gateway = ""
        self.pid = 0
        self.was_kept = False
        self._is_wanted = False
        self._waiting: list[Answer] = []
        self._delay = _FIRST_SECONDS
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._starting = False

    @property
    def is_up(self) -> bool:
        """Tell whether a holder answers and its namespaces are known."""
        return self._socket is not None and self.pid > 0

    @property
    def user_namespace(self) -> int:
        """Return the descriptor of the outer user namespace; -1 as root, who needs none."""
        return self.namespaces[1] if len(self.namespaces) > 1 else -1

    def restore(self) -> None:
        """Find the holder of a former keeper, or start one in the namespaces that were given."""
        fields = self._journal.records.get(NETWORK_KEY)
        if fields is None:
            self._drop_namespaces()
            return
        self._is_wanted, self.subnet = True, str(fields["subnet"])
        sock = _dial()
        if sock is not None:
            self._converse_at_once(sock)
        self.was_kept = bool(self.namespaces)  # else what is restored has lost its network
        if not self.is_up:
            self._start()

    def _converse_at_once(self, sock: socket.socket) -> None:
        """Ask a living holder what it holds, waiting a little: what is restored next depends on the answer."""
        sock.settimeout(1.0)
        try:
            hello = _ask(sock, {"id": 0, "do": "hello"})[0]
            _, namespaces = _ask(sock, {"id": 1, "do": "namespaces"})
        except (OSError, ValueError) as error:
            say(f"the network holder does not answer: {error!r}")
            sock.close()
            return
        self._drop_namespaces()
        self.namespaces = namespaces
        self._take(sock, hello)

    def ensure(self, subnet: str, answer: Answer) -> None:
        """Answer {subnet, gateway, pid} with copies of the namespaces once a holder is up; an error if none can be."""
        if not self._is_wanted:
            self._is_wanted, self.subnet = True, subnet
            self._journal.write(NETWORK_KEY, {"subnet": subnet})
        self._waiting.append(answer)
        if self.is_up:
            self._answer_all()
        elif not self._starting:
            self._start()

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            facts = {"subnet": self.subnet, "gateway": self.gateway, "pid": self.pid}
            answer(facts, [os.dup(descriptor) for descriptor in self.namespaces])

    # --- life of the holder ---------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._is_wanted or self._starting:
            return
        self._starting = True
        reading, writing = os.pipe()
        argv = [sys.executable, "-I", "-S", "-E", os.path.join(os.path.dirname(__file__), "holder.py")]
        argv += ["--subnet", self.subnet, "--ready", str(writing)]
        if self.namespaces:
            argv += ["--namespaces", ",".join(map(str, self.namespaces))]
        for descriptor in (writing, *self.namespaces):
            os.set_inheritable(descriptor, True)
        pid = os.posix_spawn(sys.executable, argv, {"PATH": os.environ.get("PATH", "")}, setsid=True)
        for descriptor in (writing, *self.namespaces):
            os.set_inheritable(descriptor, False)
        os.close(writing)
        os.set_blocking(reading, False)
        self._children[pid] = lambda status: say(f"network holder {pid} ended with wait status {status}")
        word = bytearray()

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                block = os.read(reading, 4096)
                word.extend(block)
                if not block:
                    self._loop.remove(reading)
                    os.close(reading)
                    self._started(word.decode("utf-8", "replace"))

        self._loop.add_reader(reading, heard)

    def _started(self, word: str) -> None:
        self._starting = False
        sock = _dial() if word == "ok" else None
        if sock is None:
            self._failed(word or "it died while it started; see keeper.log")
            return
        self._converse_at_once(sock)
        if not self.is_up:
            self._failed("it does not answer")

    def _failed(self, why: str) -> None:
        say(f"no network holder: {why}")
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(None, error=f"no network holder: {why}")
        self._again()

    def _again(self) -> None:
        if self._is_wanted:
            self._loop.call_later(self._delay, self._start)
            self._delay = min(self._delay * 2, _LONGEST_SECONDS)

    def _take(self, sock: socket.socket, hello: Fields) -> None:
        self.pid, self.subnet, self.gateway = int(hello["pid"]), str(hello["subnet"]), str(hello["gateway"])
        sock.setblocking(False)
        self._socket = sock
        self._delay = _FIRST_SECONDS
        self._loop.add_reader(sock.fileno(), self._read)
        self._answer_all()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data, descriptors = wire.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.close(descriptor)
        if not data:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket, self.pid = None, 0
            if self._is_wanted:
                say("the network holder has died")
                self._start()

    def stop(self) -> None:
        """End the holder with the keeper, for good."""
        self._is_wanted = False
        if NETWORK_KEY in self._journal.records:
            self._journal.write(NETWORK_KEY, None)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendall(wire.encode({"id": 2, "do": "shutdown"}))
        self._drop_namespaces()

    def _drop_namespaces(self) -> None:
        for descriptor in self.namespaces:
            os.close(descriptor)
        self.namespaces = []


def _dial() -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(SOCKET)
    except OSError:
        sock.close()
        return None
    return sock


def _ask(sock: socket.socket, message: Fields) -> tuple[Fields, list[int]]:
    """Send one request and wait for its answer."""
    sock.sendall(wire.encode(message))
    decoder = wire.Decoder()
    while True:
        data, descriptors = wire.receive(sock)
        if not data:
            raise ConnectionResetError(104, "the network holder has gone")
        for answer, received in decoder.feed(data, descriptors):
            if "error" in answer:
                raise ValueError(answer["error"])
            return answer["ok"], received
