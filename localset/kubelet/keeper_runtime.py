"""`KeeperRuntime`: the real body of `Runtime`, over the keeper's socket.

The daemon makes one and gives it to the kubelet. It starts a keeper by exec when none answers, and again when one dies;
requests that are idempotent by run id are sent again, events are replayed from the list. It never forks, signals or
waits for a kept process: that is the keeper's alone.
"""

import asyncio
import base64
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from localset.base.clock import Clock
from localset.base.frozen import as_dict, frozen
from localset.base.tasks import Tasks
from localset.keeper import wire
from localset.kubelet.keeper_launch import KeeperError, Launch, dial_keeper, launch_keeper
from localset.kubelet.keeper_session import Attached, PipeSession
from localset.kubelet.runtime import (
    ExecResult,
    ExecSession,
    ExecSpec,
    NetworkShape,
    ProcessReport,
    ProcessSpec,
    ProcessState,
)

log = logging.getLogger(__name__)

_START_SECONDS = 10.0
_START_TRIES = 5


@frozen
class Network:
    """The Pods' network as its holder has it; `subnet` is empty where Pods have no network of their own."""

    subnet: str
    gateway: str
    holder_pid: int


class KeeperRuntime:
    """A `Runtime`; see there for the contract of each method."""

    def __init__(
        self,
        data_directory: Path,
        clock: Clock,
        launch: Launch | None = None,
        held: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        """Use the keeper of `data_directory`: the one that `launch` brings up, else one that answers or is started.

        `held` names the descriptors that a keeper started from here keeps open for its life.
        """
        self._launch = launch
        self._held = held
        self._data_directory = data_directory
        self._clock = clock
        self._tasks = Tasks("keeper-runtime")
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._answers: dict[int, asyncio.Future[tuple[wire.Message, list[int]]]] = {}
        self._next = 0
        self._connected = asyncio.Event()
        self._is_started = self._is_ending = False
        self._send_lock = asyncio.Lock()
        self._queues: list[asyncio.Queue[ProcessReport]] = []
        self._starting: dict[str, ProcessReport | None] = {}
        self._sessions: dict[str, PipeSession] = {}
        self._daemon: wire.Message | None = None
        self._subnet: str | None = None
        self._namespaces: list[int] = []
        self._connecting: asyncio.Task[None] | None = None
        self.keeper_pid: int | None = None

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, starting a keeper when none answers. KeeperError says why none can be started."""
        for _ in range(_START_TRIES):
            try:
                await self._connect()
            except ConnectionResetError:  # one that was just ending took the connection
                self._disconnect()
            else:
                self._is_started = True
                return
        raise KeeperError("the keeper ends as soon as it is asked; see keeper.log")

    async def aclose(self) -> None:
        """Let go of the keeper, which stays, with all it keeps."""
        self._is_ending = True
        self._disconnect()
        await self._tasks.aclose()
        self._keep_namespaces([])

    async def shutdown_keeper(self, *, force: bool = False) -> None:
        """End the keeper; KeeperError when processes still run and `force` is not given. No-op when none answers."""
        self._is_ending = True
        if self._socket is None:
            return
        lost = asyncio.Event()
        self._lost = lost
        await self._request({"do": "shutdown", "force": force})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lost.wait(), 2.0)

    async def set_daemon(
        self, argv: list[str], environment: dict[str, str], working_directory: str, *, restart: bool
    ) -> None:
        """Tell the keeper to start this daemon again when it dies, or, with `restart` false, no longer to."""
        self._daemon = {
            "do": "daemon",
            "pid": os.getpid(),
            "argv": argv,
            "environment": environment,
            "working_directory": working_directory,
            "restart": restart,
        }
        await self._request(dict(self._daemon))

    async def network(self, subnet: str) -> Network:
        """Have the network holder for `subnet` (`10.x.0.0/16`; "": no own network) and return what it holds.

        Its namespaces are kept open here as well, so that they outlive keeper and holder (runtime.md 8.33), and asked
        for again from each new keeper. KeeperError when this machine refuses.
        """
        self._subnet = subnet
        while True:
            try:
                return await self._ask_network(subnet)
            except ConnectionResetError:
                await asyncio.wait_for(self._connected.wait(), _START_SECONDS)

    async def pod_socket(self, pod_uid: str) -> socket.socket:
        """Return a TCP socket made inside a Pod that has a network of its own; OSError when there is none."""
        try:
            _, descriptors = await self._send({"do": "pod_socket", "pod_uid": pod_uid})
        except KeeperError as error:
            raise OSError(errno.ENETUNREACH, str(error)) from error
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made

    async def _ask_network(self, subnet: str) -> Network:
        answer, descriptors = await self._send({"do": "network", "subnet": subnet})
        self._keep_namespaces(descriptors)
        return Network(answer["subnet"], answer["gateway"], answer["pid"])

    def _keep_namespaces(self, descriptors: Sequence[int]) -> None:
        old, self._namespaces = self._namespaces, list(descriptors)
        for descriptor in old:
            os.close(descriptor)

    _lost: asyncio.Event | None = None

    async def _connect(self) -> None:
        sock = None if self._launch is not None else self._dial()
        if sock is None:
            sock = await self._launched()
        if sock is None:
            raise KeeperError(f"no keeper answers in {self._data_directory / 'keeper'}; see keeper.log there")
        self._socket = sock
        self._decoder = wire.Decoder()
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        answer, _ = await self._send({"do": "hello"})
        self.keeper_pid = answer["pid"]
        if self._daemon is not None:
            await self._send(dict(self._daemon))
        if self._subnet is not None:
            await self._ask_network(self._subnet)
        reports, _ = await self._send({"do": "subscribe"})
        self._connected.set()
        for fields in reports:
            self._publish(_report(fields))

    async def _launched(self) -> socket.socket | None:
        """Start a keeper, or wait for the one that is coming up, and connect to it."""
        launch, self._launch = self._launch or self._new_launch(), None
        code, errors = await launch.wait()
        sock = self._dial()
        if code:
            # Another may have been quicker; only the connection decides.
            log.info("keeper: %s", errors)
            if sock is None:
                raise KeeperError(errors or "the keeper did not start")
        return sock

    def _new_launch(self) -> Launch:
        return launch_keeper(self._data_directory, self._held(), self._namespaces)

    def _dial(self) -> socket.socket | None:
        sock = dial_keeper(self._data_directory)
        if sock is not None:
            sock.setblocking(False)
        return sock

    def _disconnect(self) -> None:
        self._connected.clear()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._decoder.close()
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the keeper has gone"))
                future.exception()
        for session in list(self._sessions.values()):
            session.ended(None, "the keeper has gone")
        self._sessions.clear()
        if self._lost is not None:
            self._lost.set()

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, descriptors = wire.receive(self._socket, 1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._gone()
            return
        for message, received in self._decoder.feed(data, descriptors):
            self._take(message, received)

    def _gone(self) -> None:
        self._disconnect()
        if self._is_ending or not self._is_started or (self._connecting is not None and not self._connecting.done()):
            return  # the connecting task sees the failure itself and goes on
        log.warning("the keeper has died; starting it again")
        self._connecting = self._tasks.spawn(self._reconnect(), "reconnect")

    async def _reconnect(self) -> None:
        delay = 0.05
        while True:
            try:
                await self._connect()
            except (KeeperError, OSError) as error:
                log.error("no keeper: %s", error)  # noqa: TRY400 - the text says it all
                self._disconnect()
                await self._clock.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                return

    def _take(self, message: wire.Message, descriptors: list[int]) -> None:
        if "event" in message:
            self._publish(_report(message["event"]))
        elif "exec_exit" in message:
            session = self._sessions.pop(message["exec_exit"], None)
            if session is not None:
                session.ended(message["code"], message["error"])
        else:
            future = self._answers.pop(message["id"], None)
            if future is None or future.done():
                for descriptor in descriptors:
                    os.close(descriptor)
            elif "error" in message:
                future.set_exception(KeeperError(message["error"]))
            else:
                future.set_result((message, descriptors))

    async def _send(self, message: wire.Message) -> tuple[Any, list[int]]:
        """Send one request on the present connection; ConnectionResetError when it goes away."""
        sock = self._socket
        if sock is None:
            raise ConnectionResetError("the keeper has gone")
        self._next += 1
        number = self._next
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[wire.Message, list[int]]] = loop.create_future()
        self._answers[number] = future
        try:
            async with self._send_lock:
                await loop.sock_sendall(sock, wire.encode({**message, "id": number}))
            answer, descriptors = await future
        except OSError as error:
            raise ConnectionResetError("the keeper has gone") from error
        finally:
            self._answers.pop(number, None)
        return answer["ok"], descriptors

    async def _request(self, message: wire.Message) -> Any:
        """Send a request that may be sent twice; waits for a new keeper when the old one dies."""
        while True:
            if not self._connected.is_set() and not self._is_ending:
                try:
                    await asyncio.wait_for(self._connected.wait(), _START_SECONDS)
                except TimeoutError:
                    raise KeeperError("no keeper answers") from None
            try:
                answer, _ = await self._send(message)
            except ConnectionResetError:
                if self._is_ending:
                    raise KeeperError("the keeper has gone") from None
                await asyncio.sleep(0)
                continue
            return answer

    def _publish(self, report: ProcessReport) -> None:
        if report.run_id in self._starting:
            self._starting[report.run_id] = report
        for queue in self._queues:
            queue.put_nowait(report)

    # --- Runtime --------------------------------------------------------------------------------------------------

    async def spawn(self, spec: ProcessSpec) -> ProcessReport:
        """Start a process; a known run id answers its present state.

        NB: a process that ends at once can be reported over before its answer is taken up, and whoever follows the
        events does not know its run id yet: the newest report counts, or that end would never be told.
        """
        self._starting[spec.run_id] = None
        try:
            answer = _report(await self._request({"do": "spawn", "spec": _plain(spec)}))
        finally:
            newest = self._starting.pop(spec.run_id, None)
        return newest or answer

    async def stop(self, run_id: str, grace_seconds: float) -> None:
        """Begin to end the whole set."""
        await self._request({"do": "stop", "run_id": run_id, "grace_seconds": grace_seconds})

    async def list(self) -> list[ProcessReport]:
        """Return every process not yet forgotten."""
        return [_report(fields) for fields in await self._request({"do": "list"})]

    async def forget(self, run_id: str) -> None:
        """Remove the record and the private directory of a process that is over."""
        await self._request({"do": "forget", "run_id": run_id})

    def events(self) -> AsyncGenerator[ProcessReport, None]:
        """Yield each change of state from now on; after a keeper's death all states once again."""
        queue: asyncio.Queue[ProcessReport] = asyncio.Queue()
        self._queues.append(queue)
        return self._drain(queue)

    async def _drain(self, queue: "asyncio.Queue[ProcessReport]") -> AsyncGenerator[ProcessReport, None]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    async def execute(self, spec: ExecSpec, timeout_seconds: float) -> ExecResult:
        """Run a command to its end; a keeper that dies meanwhile is an error in the result, never a second run."""
        try:
            answer, _ = await self._send({"do": "execute", "spec": as_dict(spec), "timeout_seconds": timeout_seconds})
        except (ConnectionResetError, KeeperError) as error:
            return ExecResult(None, b"", error=str(error))
        output = answer["output"].encode("latin-1")
        return ExecResult(answer["exit_code"], output, timed_out=answer["timed_out"], error=answer["error"])

    async def open_exec(self, spec: ExecSpec, *, stdin: bool) -> ExecSession:
        """Start an interactive command. KeeperError when the container's process is not running."""
        key = _session_key()
        session = PipeSession(lambda: self._kill(key), is_terminal=spec.tty)
        request = {"do": "open_exec", "spec": as_dict(spec), "stdin": stdin, "session": key}
        self._sessions[key] = session
        try:
            _, descriptors = await self._send(request)
        except ConnectionResetError as error:
            self._sessions.pop(key, None)
            raise KeeperError(str(error)) from error
        except BaseException:
            self._sessions.pop(key, None)
            raise
        session.connect(descriptors, has_stdin=stdin and not spec.tty)
        return session

    def _kill(self, key: str) -> None:
        if key in self._sessions:
            self._tell_later("exec_kill", key)

    def _tell_later(self, what: str, key: str) -> None:
        if self._socket is not None and not self._is_ending:
            self._tasks.spawn(self._tell(what, key), what)

    async def _tell(self, what: str, key: str) -> None:
        with contextlib.suppress(ConnectionResetError, KeeperError):
            await self._send({"do": what, "session": key})

    async def attach(self, run_id: str, *, stdin: bool) -> ExecSession | None:
        """Return a session on the process's own output, and stdin if wanted; see `Runtime`."""
        key = _session_key()
        try:
            ask = {"do": "attach", "run_id": run_id, "stdin": stdin, "session": key}
            answer, descriptors = await self._send(ask)
        except ConnectionResetError as error:
            raise KeeperError(str(error)) from error
        if answer is None:
            return None
        attached = Attached(answer["terminal"], answer["stdin"], lambda: self._tell_later("end_stdin", key))
        session = PipeSession(lambda: self._tell_later("detach", key), is_terminal=False, attached=attached)
        session.connect(descriptors, has_stdin=answer["input"])
        return session

    async def freeze(self, run_id: str, *, frozen: bool) -> None:
        """SIGSTOP or SIGCONT the whole set."""
        try:
            await self._request({"do": "freeze", "run_id": run_id, "frozen": frozen})
        except KeeperError as error:
            raise OSError(errno.ESRCH, str(error)) from error

    async def kill(self, run_id: str) -> None:
        """SIGKILL the container's process."""
        await self._request({"do": "kill", "run_id": run_id})

    async def shape(self, pod_uid: str, shape: NetworkShape, was: tuple[str, ...]) -> None:
        """Make a Pod's network as bad as asked."""
        try:
            await self._request({"do": "shape", "pod_uid": pod_uid, "was": list(was), **as_dict(shape)})
        except KeeperError as error:
            raise OSError(errno.EOPNOTSUPP, str(error)) from error

    async def check_isolation(self) -> dict[str, str]:
        """Return for `loopback` and `namespaces` why each does not work here, "" when it does; really tried."""
        answer = await self._request({"do": "check", "directory": str(self._data_directory / "keeper")})
        return {level: str(answer[level]) for level in ("loopback", "namespaces")}


def _session_key() -> str:
    return base64.b32encode(os.urandom(10)).decode()


def _plain(spec: ProcessSpec) -> dict[str, Any]:
    return {**as_dict(spec), "isolation": str(spec.isolation)}


def _report(fields: dict[str, Any]) -> ProcessReport:
    return ProcessReport(**{**fields, "state": ProcessState(fields["state"])})
