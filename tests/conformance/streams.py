"""Replays streams.jsonl: the recorded client's frames of exec, attach and port-forward, against real Pods.

Each upgrade is written as it was recorded, over a raw TLS connection. What the client sends is sent in order; before it
resets a stream or hangs up it waits until the server has said what it said in the recording. Compared are the answer's
headers, the text of each channel or stream, how each ends, and the close code; not where messages are cut.
"""

import asyncio
import base64
import json
import os
import ssl
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yarl import URL

from localset.apiserver import spdy
from tests.conformance import volatile
from tests.conformance.explaining import Explanation
from tests.conformance.recording import Record, Request, fixtures_directory
from tests.conformance.replaying import Outcome
from tests.e2e.house import House, until

NAMES = ("streams",)
SECONDS = 10.0
STATUS = 3
"""The channel on which a WebSocket tells how a command has ended."""
ECHO = "^@"
"""What a terminal makes of the NUL that kubectl was given."""
_TICKS = "".join(f"tick {number}\n" for number in (1, 2, 3))
_SERVE = f"""
import os, socket, sys
server = socket.create_server((os.environ["POD_IP"], 80))
while True:
    connection, _ = server.accept()
    request = b""
    while b"\\r\\n\\r\\n" not in request and (data := connection.recv(4096)):
        request += data
    if request.startswith(b"TICK"):
        sys.stdout.write({_TICKS!r})
        sys.exit(0)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n")
    connection.close()
"""
_ECHO = f"import sys; sys.stdin.read(); sys.stdout.write({_TICKS!r})"
_ADDRESS = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
_PROBE = {"tcpSocket": {"port": 80}, "periodSeconds": 1}


def _pod(name: str, container: str, program: str, **more: Any) -> dict[str, Any]:
    made = {"name": container, "image": "host", "command": ["python3", "-c", program], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [made]}}


PODS = [
    *(_pod(name, "nginx", _SERVE, env=[_ADDRESS], readinessProbe=_PROBE) for name in ("web-0", "web-1")),
    _pod("two", "two", _ECHO, stdin=True, stdinOnce=True),
]
"""What the recorded stand-in played: servers on port 80 that say their last words when told to, and one that ticks."""


@dataclass
class Talk:
    """What one side said: texts by channel or stream, the streams that it accepted and finished, the close code."""

    texts: dict[int, str] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    code: int | None = None

    def say(self, channel: int, text: str) -> None:
        """Add to what a channel has said."""
        self.texts[channel] = self.texts.get(channel, "") + text

    def has_said(self, wanted: "Talk", stream: int | None = None) -> bool:
        """Tell whether everything in `wanted` has come, or what concerns one stream."""
        if stream is not None:
            return stream in self.finished or stream not in wanted.finished
        is_closed = wanted.code is None or self.code is not None
        return is_closed and self.finished >= wanted.finished and self.accepted >= wanted.accepted


def _recorded(frames: list[dict[str, Any]]) -> Talk:
    talk = Talk()
    for frame in frames:
        if frame.get("op") == "close":
            talk.code = frame["code"]
        elif frame.get("frame") == "SYN_REPLY":
            talk.accepted.add(frame["stream"])
        elif "op" in frame or frame.get("frame") == "DATA":
            where = frame["channel"] if "op" in frame else frame["stream"]
            talk.say(where, frame["text"])
            talk.finished |= {where} if frame.get("fin") else set()
    return talk


class Connection:
    """One upgraded connection: raw SPDY, a WebSocket, or SPDY inside a WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> None:
        self._reader = reader
        self._writer = writer
        wanted = {key.lower(): value for key, value in request.headers.items()}
        self._is_socket = wanted["upgrade"] == "websocket"
        self._is_spdy = not self._is_socket or str(wanted.get("sec-websocket-protocol", "")).startswith("SPDY")
        self._decoder = spdy.Decoder()
        self.talk = Talk()
        self.changed = asyncio.Event()

    async def send(self, frame: dict[str, Any]) -> None:
        """Send one recorded frame."""
        if "hex" in frame and "frame" in frame:
            data = bytes.fromhex(frame["hex"])
        elif frame.get("frame") == "DATA":
            data = spdy.data_frame(frame["stream"], frame["text"].encode(), fin=frame["fin"])
        elif frame["op"] == "close":
            data = struct.pack("!H", frame["code"])
        else:
            text = bytes.fromhex(frame["hex"]) if "hex" in frame else frame["text"].encode()
            data = bytes([frame["channel"]]) + text
        if self._is_socket:
            data = _masked({"text": 1, "close": 8}.get(frame.get("op", ""), 2), data)
        self._writer.write(data)
        await self._writer.drain()

    async def listen(self) -> None:
        """Take in what the server says until it hangs up."""
        try:
            while True:
                data = await (self._message() if self._is_socket else self._reader.read(65536))
                if not data:
                    return
                self._take(data)
                self.changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.changed.set()

    async def _message(self) -> bytes:
        head = await self._reader.readexactly(2)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
        data = await self._reader.readexactly(length)
        if head[0] & 0x0F == 8:
            self.talk.code = int.from_bytes(data[:2], "big")
            return b""
        return data

    def _take(self, data: bytes) -> None:
        if not self._is_spdy:
            self.talk.say(data[0], data[1:].decode(errors="replace"))
            return
        for frame in self._decoder.feed(data):
            if isinstance(frame, spdy.SynReply):
                self.talk.accepted.add(frame.stream)
            elif isinstance(frame, spdy.Data):
                self.talk.say(frame.stream, frame.data.decode(errors="replace"))
                self.talk.finished |= {frame.stream} if frame.fin else set()

    async def wait(self, what: Callable[[], bool]) -> None:
        """Return once `what` holds, or after SECONDS: the comparison tells what is missing."""
        try:
            async with asyncio.timeout(SECONDS):
                while not what():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return


def _masked(opcode: int, data: bytes) -> bytes:
    mask = os.urandom(4)
    size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(data))
    return bytes([0x80 | opcode]) + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


class StreamsReplay:
    """All records against one house with its Pods running."""

    def __init__(self, house: House, rows: list[dict[str, Any]]) -> None:
        self._house = house
        self._rows = rows
        config = yaml.safe_load((house.data / "kubeconfig").read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = URL(cluster["server"])
        decode = lambda name, place: base64.b64decode(place[name]).decode()  # noqa: E731
        self._context = ssl.create_default_context(cadata=decode("certificate-authority-data", cluster))
        pair = house.data / "client-for-streams.pem"
        pair.write_text(decode("client-certificate-data", user) + decode("client-key-data", user))
        self._context.load_cert_chain(pair)

    async def run(self) -> list[Outcome]:
        """Replay all, in order."""
        return [await self._replay(row) for row in self._rows]

    async def _replay(self, row: dict[str, Any]) -> Outcome:
        sent = row["req"]
        request = Request(sent["method"], sent["path"], sent["headers"], None, "")
        record = Record(row["id"], request, row["res"])
        space, _, pod = request.path.removeprefix("/api/v1/namespaces/").split("/")[:3]
        await asyncio.to_thread(self._be_ready, space, pod)
        async with self._open(request) as (status, headers, connection):
            found = _head_differences(row["res"], status, headers)
            if status == 101:
                wanted = _recorded(row["fromServer"])
                listening = asyncio.ensure_future(connection.listen())
                await self._talk(row, connection, wanted)
                listening.cancel()
                found += _talk_differences(wanted, connection.talk)
        return Outcome(record, [line for line in found if not volatile.is_racing(row["id"], line)])

    def _be_ready(self, space: str, name: str) -> None:
        until(lambda: self._state(space, name), 30, f"{space}/{name} is ready")

    def _state(self, space: str, name: str) -> bool:
        conditions = (self._house.pod(name, space) or {}).get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _talk(self, row: dict[str, Any], connection: Connection, wanted: Talk) -> None:
        frames, talk = row["fromClient"], connection.talk
        opening = [frame for frame in frames if frame.get("frame") == "SYN_STREAM"][-1:]
        is_attach = "/web-0/attach" in row["req"]["path"]
        if is_attach and not opening:
            await self._end_program(row, connection, wanted)
        for frame in frames:
            if frame.get("frame") == "RST_STREAM":
                stream = frame["stream"]
                await connection.wait(lambda stream=stream: talk.has_said(wanted, stream))
            elif frame.get("frame") == "GOAWAY":
                await connection.wait(lambda: talk.has_said(wanted))
            elif frame.get("op") == "close" and STATUS in wanted.texts:
                await connection.wait(lambda: STATUS in talk.texts)
            await connection.send(frame)
            if is_attach and frame in opening:
                await self._end_program(row, connection, wanted)
        await connection.wait(lambda: talk.has_said(wanted))

    async def _end_program(self, row: dict[str, Any], connection: Connection, wanted: Talk) -> None:
        """Once the session is open, let the program say its last words."""
        await connection.wait(lambda: connection.talk.accepted >= wanted.accepted)
        space = row["req"]["path"].split("/")[4]
        pod = await asyncio.to_thread(self._house.pod, "web-0", space)
        assert pod is not None
        address = pod["metadata"]["annotations"]["localset.dev/host-address"]
        _, writer = await asyncio.open_connection(address, 80)
        writer.write(b"TICK\r\n\r\n")
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def _open(self, request: Request) -> AsyncGenerator[tuple[int, dict[str, str], Connection], None]:
        host, port = str(self._server.host), int(self._server.port or 443)
        reader, writer = await asyncio.open_connection(host, port, ssl=self._context)
        try:
            lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {host}:{port}"]
            for key, value in request.headers.items():
                values = [str(self._server.origin())] if key == "Origin" else value
                lines += [f"{key}: {one}" for one in ([values] if isinstance(values, str) else values)]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            yield int(head[0].split()[1]), headers, Connection(reader, writer, request)
        finally:
            writer.close()


def _head_differences(recorded: dict[str, Any], status: int, headers: dict[str, str]) -> list[str]:
    found = [f"status: recorded {recorded['status']}, got {status}"] if recorded["status"] != status else []
    live = {key.lower(): value for key, value in headers.items()}
    for key, value in recorded["headers"].items():
        got = live.get(key.lower(), "nothing")
        if got.lower() != value.lower():
            found.append(f"header {key}: recorded {value}, got {got}")
    return found


def _talk_differences(wanted: Talk, got: Talk) -> list[str]:
    found = [f"close: recorded {wanted.code}, got {got.code}"] if wanted.code != got.code else []
    for word, sides in (("accepted", (wanted.accepted, got.accepted)), ("finished", (wanted.finished, got.finished))):
        if sides[0] != sides[1]:
            found.append(f"streams {word}: recorded {sorted(sides[0])}, got {sorted(sides[1])}")
    for channel in sorted({*wanted.texts, *got.texts}):
        texts = [talk.texts.get(channel, "") for talk in (wanted, got)]
        if _meaning(texts[0]) != _meaning(texts[1]):
            found.append(f"channel {channel}: recorded {texts[0]!r}, got {texts[1]!r}")
    return found


def _meaning(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        echo = ECHO if ECHO in text else ""  # the terminal echoes when it likes, before or after what the program says
        return echo + volatile.TERMINAL.sub("/dev/pts/<n>", text.replace(ECHO, ""))


async def replay_streams(name: str, directory: Path, explanations: list[Explanation]) -> list[Outcome]:
    """Replay the file `name` against a real localset, which lives in `directory`."""
    lines = (fixtures_directory() / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "req" in row]
    house = House(directory / "data")
    try:
        await asyncio.to_thread(_begin, house, sorted({row["req"]["path"].split("/")[4] for row in rows}))
        return await StreamsReplay(house, rows).run()
    finally:
        await asyncio.to_thread(house.down)


def _begin(house: House, spaces: list[str]) -> None:
    house.up()
    for space in spaces:
        house.run("create", "namespace", space)
        house.run("apply", "-n", space, "-f", "-", stdin=yaml.safe_dump_all(PODS))
