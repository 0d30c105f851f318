"""The keeper's socket: frames in, answers and events out. A client that does not read is dropped, never waited for.

Requests are {id, do, …}; answers {id, ok: …} or {id, error}; events {event: report} for who has subscribed, and
{exec_exit, code, error} for who opened the session. Garbage, half frames and dead peers close that connection only.
"""

import contextlib
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable

from localset.keeper import commands, isolation, wire
from localset.keeper.attachments import Attachment
from localset.keeper.journal import Fields
from localset.keeper.loop import Loop, say
from localset.keeper.registry import Registry
from localset.keeper.supervision import Supervision

PROTOCOL = 1
_BACKLOG_BYTES = 16 << 20
_HOLDER_TRIES = 200
_CLOSED_BY_US = (BrokenPipeError, ConnectionError)


class Connection:
    """One client."""

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        """Serve `sock`."""
        self._server = server
        self._registry = server.registry
        self._loop = server.loop
        self._socket = sock
        self._decoder = wire.Decoder()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._pending = 0
        self._sessions: dict[str, commands.Command] = {}
        self._attached: dict[str, Attachment] = {}
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data, descriptors = wire.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self.close()
            return
        try:
            messages = self._decoder.feed(data, descriptors)
        except ValueError as error:
            say(f"a client spoke nonsense: {error}")
            self.close()
            return
        for message, received in messages:
            for descriptor in received:
                os.close(descriptor)
            self._serve(message)

    def _serve(self, message: Fields) -> None:
        number = message.get("id")

        def answer(value: object, descriptors: list[int] | None = None, error: str = "") -> None:
            if error:
                self.send({"id": number, "error": error}, [])
                return
            self.send({"id": number, "ok": value, "fds": len(descriptors or ())}, descriptors or [])

        try:
            work = getattr(self, f"_do_{message.get('do')}", None)
            if work is None:
                raise ValueError(f"unknown request {message.get('do')!r}")  # noqa: TRY301 - answered below as all
            work(message, answer)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"request {message.get('do')}: {error!r}")
            self.send({"id": number, "error": str(error) or repr(error), "errno": getattr(error, "errno", None)}, [])

    def _do_hello(self, _message: Fields, answer: Callable[..., None]) -> None:
        answer({"pid": os.getpid(), "protocol": PROTOCOL})

    def _do_subscribe(self, _message: Fields, answer: Callable[..., None]) -> None:
        if self._event not in self._registry.subscribers:
            self._registry.subscribers.append(self._event)
        answer([record.whole_report() for record in self._registry.records.values()])

    def _do_list(self, _message: Fields, answer: Callable[..., None]) -> None:
        answer([record.whole_report() for record in self._registry.records.values()])

    def _do_spawn(self, message: Fields, answer: Callable[..., None]) -> None:
        self._registry.spawn(message["spec"], answer)

    def _do_stop(self, message: Fields, answer: Callable[..., None]) -> None:
        self._registry.stop(message["run_id"], float(message["grace_seconds"]))
        answer(None)

    def _do_forget(self, message: Fields, answer: Callable[..., None]) -> None:
        self._registry.forget(message["run_id"])
        answer(None)

    def _do_execute(self, message: Fields, answer: Callable[..., None]) -> None:
        commands.Execution(self._registry, message["spec"], float(message["timeout_seconds"]), answer)

    def _do_open_exec(self, message: Fields, answer: Callable[..., None]) -> None:
        session = message["session"]
        command, descriptors = commands.open_session(self._registry, message["spec"], stdin=bool(message["stdin"]))

        def ended(code: int | None, error: str) -> None:
            self._sessions.pop(session, None)
            self.send({"exec_exit": session, "code": code, "error": error}, [])

        command.on_exit = ended
        self._sessions[session] = command
        answer({}, descriptors)

    def _do_exec_kill(self, message: Fields, answer: Callable[..., None]) -> None:
        command = self._sessions.get(message["session"])
        if command is not None:
            command.kill()
        answer(None)

    def _do_attach(self, message: Fields, answer: Callable[..., None]) -> None:
        record = self._registry.records.get(message["run_id"])
        if record is None or record.is_over:
            answer(None)
            return
        made = Attachment(self._loop, record, stdin=bool(message["stdin"]))
        self._attached[message["session"]] = made
        has_terminal = bool(record.spec.get("tty")) and made.has_input
        answer({"terminal": has_terminal, "stdin": made.has_stdin, "input": made.has_input}, made.given)

    def _do_end_stdin(self, message: Fields, answer: Callable[..., None]) -> None:
        attachment = self._attached.get(message["session"])
        if attachment is not None:
            attachment.end_stdin()
        answer(None)

    def _do_detach(self, message: Fields, answer: Callable[..., None]) -> None:
        attachment = self._attached.pop(message["session"], None)
        if attachment is not None:
            attachment.close()
        answer(None)

    def _do_check(self, message: Fields, answer: Callable[..., None]) -> None:
        early, self._server.early_check = self._server.early_check, None
        if early is not None:
            early.answer(answer)
        else:
            isolation.probe(self._registry, message["directory"], answer)

    def _do_network(self, message: Fields, answer: Callable[..., None]) -> None:
        self._server.network.ensure(str(message["subnet"]), answer)

    def _do_pod_socket(self, message: Fields, answer: Callable[..., None]) -> None:
        self._registry.pods.make_socket(message["pod_uid"], answer)

    def _do_pods(self, _message: Fields, answer: Callable[..., None]) -> None:
        answer(self._registry.pods.listed())

    def _do_freeze(self, message: Fields, answer: Callable[..., None]) -> None:
        from localset.keeper import faults  # seldom needed

        (faults.freeze if message["frozen"] else faults.thaw)(self._registry, message["run_id"])
        answer(None)

    def _do_kill(self, message: Fields, answer: Callable[..., None]) -> None:
        self._registry.kill_leader(message["run_id"])
        answer(None)

    def _do_shape(self, message: Fields, answer: Callable[..., None]) -> None:
        from localset.keeper import faults

        faults.shape(self._registry, message, answer)

    def _do_daemon(self, message: Fields, answer: Callable[..., None]) -> None:
        self._server.supervision.set(
            {key: message[key] for key in ("pid", "argv", "environment", "working_directory", "restart")}
        )
        answer(None)

    def _do_shutdown(self, message: Fields, answer: Callable[..., None]) -> None:
        live = self._registry.live()
        if live and not message.get("force"):
            raise ValueError(f"{len(live)} processes still run")
        self._server.supervision.stop()
        self._server.network.stop()
        answer(None)
        self._server.leave()

    def _event(self, report: Fields) -> None:
        self.send({"event": report}, [])

    def send(self, message: Fields, descriptors: list[int]) -> None:
        """Queue a message; the descriptors are closed once sent."""
        if self._socket.fileno() < 0:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        data = wire.encode(message)
        self._pending += len(data)
        self._outgoing.append((memoryview(data), descriptors))
        if self._pending > _BACKLOG_BYTES:
            say("a client does not read; dropping it")
            self.close()
            return
        self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            try:
                count = wire.send(self._socket, data, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                self.close()
                return
            for descriptor in descriptors:
                os.close(descriptor)
            self._pending -= count
            if count == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[count:], [])
        self._loop.remove_writer(self._socket.fileno())

    def close(self) -> None:
        """End this client: its exec sessions die with it, the kept processes do not."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        self._decoder.close()
        for _, descriptors in self._outgoing:
            for descriptor in descriptors:
                os.close(descriptor)
        self._outgoing.clear()
        if self._event in self._registry.subscribers:
            self._registry.subscribers.remove(self._event)
        for attachment in self._attached.values():
            attachment.close()
        self._attached.clear()
        for command in list(self._sessions.values()):
            command.kill()


class Server:
    """Accepts clients of our own user."""

    def __init__(self, loop: Loop, registry: Registry, supervision: Supervision, listener: socket.socket) -> None:
        """Serve on `listener`, which is bound."""
        self.loop = loop
        self.registry = registry
        self.supervision = supervision
        self.network = registry.network
        self.early_check: isolation.EarlyCheck | None = None
        self._listener = listener
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                say(f"accept: {error}")
            return
        if sys.platform == "linux":
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            _, uid, _ = struct.unpack("3i", credentials)
            if uid not in {0, os.geteuid()}:
                sock.close()
                return
        Connection(self, sock)

    def leave(self) -> None:
        """Stop in the next round, so that the answer still goes out."""
        with contextlib.suppress(OSError):
            os.unlink("keeper.sock")
        self.loop.call_later(0.01, lambda: self._stop(_HOLDER_TRIES))

    def _stop(self, tries: int) -> None:
        if self.network.pid and tries:  # nothing of ours is left once the keeper has gone
            self.loop.call_later(0.005, lambda: self._stop(tries - 1))
        else:
            self.loop.is_stopped = True
