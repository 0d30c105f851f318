"""The network holder's program: `python -I -S -E holder.py --subnet 10.x.0.0/16 --ready FD [--namespaces FD,FD]`.

A child of the keeper that owns the Pods' bridge namespace and forwards what the host sends to Pods. It outlives the
daemon and a killed keeper; a keeper that finds it dead starts another in the same namespaces. Its main thread stays in
the host's network; with an empty subnet it has no namespaces at all. It serves `holder.sock` in the keeper's directory
with the keeper's frames (`keeper.wire`): who asks is the keeper, and the daemon through `kubelet.holder_client`.
"""

import contextlib
import importlib
import os
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from localset.keeper.bridge import Bridge, Host
    from localset.keeper.egress import Egress
    from localset.keeper.loop import Loop

SOCKET = "holder.sock"
PROTOCOL = 1
_BACKLOG_BYTES = 16 << 20
Message = dict[str, Any]


class Forwarder(Protocol):
    """Who serves the requests that begin with `forward`: `keeper.forwarder`, loaded at the first one."""

    def serve(self, message: Message, descriptors: list[int], answer: Callable[..., None]) -> None:
        """Answer, now or later; the descriptors are its own."""
        ...

    def close_all(self) -> None:
        """The holder ends."""
        ...


class Client:
    """One connection. A client that does not read is dropped."""

    def __init__(self, holder: "Holder", sock: socket.socket) -> None:
        """Serve `sock`."""
        from localset.keeper import wire

        self._wire = wire
        self._holder = holder
        self._socket = sock
        self._decoder = wire.Decoder()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._pending = 0
        sock.setblocking(False)
        holder.loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data, descriptors = self._wire.receive(self._socket)
            messages = self._decoder.feed(data, descriptors) if data else None
        except BlockingIOError:
            return
        except (OSError, ValueError):
            messages = None
        if messages is None:
            self.close()
            return
        for message, received in messages:
            self._holder.serve(self, message, received)

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Queue a message; its descriptors are closed once sent."""
        given = descriptors or []
        if self._socket.fileno() < 0:
            for descriptor in given:
                os.close(descriptor)
            return
        data = self._wire.encode(message)
        self._pending += len(data)
        self._outgoing.append((memoryview(data), given))
        if self._pending > _BACKLOG_BYTES:
            self.close()
        else:
            self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            try:
                count = self._wire.send(self._socket, data, descriptors)
            except BlockingIOError:
                self._holder.loop.add_writer(self._socket.fileno(), self._flush)
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
        self._holder.loop.remove_writer(self._socket.fileno())

    def close(self) -> None:
        """End this client."""
        if self._socket.fileno() < 0:
            return
        self._holder.loop.remove(self._socket.fileno())
        self._socket.close()
        self._decoder.close()
        for _, descriptors in self._outgoing:
            for descriptor in descriptors:
                os.close(descriptor)
        self._outgoing.clear()
        self._holder.forget(self)


class Holder:
    """What the program does; `bridge_socket`, `add_address` and `emit` are the forwarder's doors."""

    def __init__(self, loop: "Loop", bridge: "Bridge | Host", subnet: str, gateway: str) -> None:
        """Own `bridge`."""
        self.loop = loop
        self.network = subnet
        self.gateway = gateway
        self.bridge_socket = bridge.socket
        self.add_address = bridge.add_address
        self.remove_address = bridge.remove_address
        self._bridge = bridge
        self._named: dict[str, socket.socket] = {}
        self._subscribers: list[Client] = []
        self._forwarder: Forwarder | None = None
        self._egress: Egress | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._listener.bind(SOCKET)
        self._listener.listen(64)
        self._listener.setblocking(False)
        loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if sys.platform == "linux":
            # NB: in our user namespace our own user is 0, and every other one 65534.
            _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in {0, os.geteuid()}:
                sock.close()
                return
        Client(self, sock)

    def emit(self, message: Message) -> None:
        """Tell everyone who has subscribed."""
        for client in list(self._subscribers):
            client.send(message)

    def forget(self, client: Client) -> None:
        """A client has gone."""
        if client in self._subscribers:
            self._subscribers.remove(client)

    def serve(self, client: Client, message: Message, received: list[int]) -> None:
        """Answer one request; the descriptors that came with it are closed unless it keeps them."""
        number, name = message.get("id"), str(message.get("do"))

        def answer(value: object, descriptors: list[int] | None = None) -> None:
            client.send({"id": number, "ok": value, "fds": len(descriptors or ())}, descriptors)

        try:
            if name.startswith("forward"):
                self._forward().serve(message, received, answer)
                return
            work: Callable[..., None] | None = getattr(self, f"_do_{name}", None)
            if work is None:
                raise ValueError(f"unknown request {name!r}")  # noqa: TRY301 - answered below as all
            for descriptor in received:
                os.close(descriptor)
            work(client, message, answer)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            client.send({"id": number, "error": str(error) or repr(error), "errno": getattr(error, "errno", None)})

    def _forward(self) -> Forwarder:
        if self._forwarder is None:
            made: Forwarder = importlib.import_module("localset.keeper.forwarder").Forwarder(self)
            self._forwarder = made
        return self._forwarder

    def _do_hello(self, _client: Client, _message: Message, answer: Callable[..., None]) -> None:
        answer({"pid": os.getpid(), "protocol": PROTOCOL, "subnet": self.network, "gateway": self.gateway})

    def _do_subscribe(self, client: Client, _message: Message, answer: Callable[..., None]) -> None:
        if client not in self._subscribers:
            self._subscribers.append(client)
        answer(None)

    def _do_namespaces(self, _client: Client, _message: Message, answer: Callable[..., None]) -> None:
        answer(None, [os.dup(descriptor) for descriptor in self._bridge.namespaces])

    def _do_socket(self, _client: Client, message: Message, answer: Callable[..., None]) -> None:
        name = message.get("name") or ""
        made = self._named.get(name) if name else None
        if made is None:
            made = self._make_socket(message)
            if name:
                self._named[name] = made
        answer(None, [os.dup(made.fileno())])
        if not name:
            made.close()

    def _make_socket(self, message: Message) -> socket.socket:
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[message["kind"]]
        made = self._bridge.socket(kind)
        try:
            if message.get("bind"):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((message["bind"][0], int(message["bind"][1])))
            if message.get("listen"):
                made.listen(int(message["listen"]))
            if message.get("connect"):
                with contextlib.suppress(BlockingIOError):
                    made.connect((message["connect"][0], int(message["connect"][1])))
        except BaseException:
            made.close()
            raise
        return made

    def _do_egress(self, _client: Client, message: Message, answer: Callable[..., None]) -> None:
        """`how` slirp4netns or nat, `program` the path of slirp4netns or nft; "": no way out. Answers {how, reason}."""
        from localset.keeper.bridge import Bridge
        from localset.keeper.egress import Egress
        from localset.keeper.nat import RECORD, open_nat, undo_nat

        if not isinstance(self._bridge, Bridge):
            raise ValueError("Pods are in the host's network")  # noqa: TRY004 - answered as an error
        if self._egress is None:
            self._egress = Egress(self, self._bridge)
        program = str(message["program"])
        if program and message.get("how") == "nat":
            self._egress.close()
            answer(open_nat(self._bridge, self.network, program))
            return
        undo_nat(RECORD)
        self._egress.serve(program, answer)

    def _do_shutdown(self, _client: Client, _message: Message, answer: Callable[..., None]) -> None:
        if self._forwarder is not None:
            self._forwarder.close_all()
        if self._egress is not None:
            from localset.keeper.nat import RECORD, undo_nat

            self._egress.close()
            undo_nat(RECORD)
        answer(None)
        with contextlib.suppress(OSError):
            os.unlink(SOCKET)
        self.loop.call_later(0.01, self._stop)

    def _stop(self) -> None:
        self.loop.is_stopped = True


def _arguments(argv: list[str]) -> dict[str, str]:
    return dict(zip(argv[1::2], argv[2::2], strict=True))


def main(argv: list[str]) -> int:
    """Hold until asked to end. Writes `ok`, or why not, to the descriptor after `--ready`."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if root not in sys.path:
        sys.path.append(root)
    options = _arguments(argv)
    ready = int(options["--ready"])
    given = [int(number) for number in options.get("--namespaces", "").split(",") if number]
    for descriptor in (ready, *given):
        os.set_inheritable(descriptor, False)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    from localset.keeper.bridge import Bridge, Host, gateway_of
    from localset.keeper.loop import Loop, say

    subnet = options["--subnet"]
    try:
        bridge = Bridge(subnet, given) if subnet else Host()
        loop = Loop()
        Holder(loop, bridge, subnet, gateway_of(subnet) if subnet else "")
    except OSError as error:
        os.write(ready, f"{error}".encode())
        return 1
    os.write(ready, b"ok")
    os.close(ready)
    say(f"network holder started, subnet {subnet or 'none'}")
    loop.run()
    say("network holder ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
