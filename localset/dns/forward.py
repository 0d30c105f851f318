"""Names outside the zone: asked from the host's own resolvers, for Pods only.

`listener` calls it with checked questions. Every query has its own connected socket (a random source port; the kernel
drops what comes from elsewhere) and a random id; what does not answer exactly that question is ignored. Bounded in
flight, in time and in waiters; equal questions share one query, which also starves a loop between two forwarders. It
never asks an address that we listen on.
"""

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from localset.base.tasks import Tasks
from localset.dns.records import Code, Record, RecordType, is_usable_name
from localset.dns.relay import forwarded_query, is_answer_to, is_truncated, read_addresses, readdressed
from localset.dns.responder import Forward, Responder
from localset.dns.wire import TCP_LIMIT, Question, wire_name
from localset.dns.zone import Answer

log = logging.getLogger(__name__)

MAXIMUM_IN_FLIGHT = 128
MAXIMUM_WAITERS = 512
TRY_SECONDS = 1.5
TOTAL_SECONDS = 4.0
"""Less than glibc's 5 s: an answer, even SERVFAIL, before the asker tries again."""
MAXIMUM_UPSTREAMS = 3
MAXIMUM_STRAY_PACKETS = 16
RESOLV_CONF = Path("/etc/resolv.conf")

Key = tuple[bytes, int, bool, bool]


class Upstream(NamedTuple):
    """Address and port of a resolver."""

    address: str
    port: int


def parse_upstream(text: str) -> Upstream:
    """Return the resolver that `ADDRESS`, `ADDRESS:PORT` or `[IPV6]:PORT` names; ValueError when it names none."""
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    ipaddress.ip_address(address)
    if not 0 < int(port) <= 65535:
        raise ValueError(f"{text!r}: a port is 1 to 65535")
    return Upstream(address, int(port))


def upstreams_of(resolv_conf: str) -> list[Upstream]:
    """Return the name servers of a resolv.conf text, at most three, as resolvers read it."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = [Upstream(words[1], 53) for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return list(dict.fromkeys(found))[:MAXIMUM_UPSTREAMS]


class Forwarder:
    """Asks the host's resolvers. `own_sockets` are the sources of what it has in flight."""

    def __init__(self, upstreams: list[str] | None, is_own_address: Callable[[Upstream], bool]) -> None:
        """Ask `upstreams`, or those of /etc/resolv.conf when None; skip those that `is_own_address`."""
        self._given = None if upstreams is None else [parse_upstream(text) for text in upstreams]
        self._is_own_address = is_own_address
        self._read: list[Upstream] = []
        self._read_stamp: tuple[int, int] | None = None
        self._tasks = Tasks("dns forward")
        self._in_flight: dict[Key, asyncio.Task[bytes | None]] = {}
        self._waiters = 0
        self.own_sockets: set[tuple[str, int]] = set()

    @property
    def has_room(self) -> bool:
        """Tell whether another question may be asked or waited for now."""
        return self._waiters < MAXIMUM_WAITERS

    async def aclose(self) -> None:
        """Give up everything in flight."""
        await self._tasks.aclose()

    def upstreams(self) -> list[Upstream]:
        """Return whom to ask, without ourselves; resolv.conf is read again when it has changed."""
        found = self._read_resolv_conf() if self._given is None else self._given
        return [upstream for upstream in found if not self._is_own_address(upstream)]

    def _read_resolv_conf(self) -> list[Upstream]:
        try:
            status = RESOLV_CONF.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._read_stamp:
                self._read = upstreams_of(RESOLV_CONF.read_text(encoding="utf-8", errors="replace"))
                self._read_stamp = stamp
        except OSError as error:
            log.debug("no resolvers: %s", error)
            return []
        return self._read

    async def resolve(self, forward: Forward, responder: Responder, *, over_tcp: bool) -> bytes:
        """Return the message for the asker: the resolver's answer, our alias completed by it, or SERVFAIL."""
        if forward.alias is not None:
            return await self._complete_alias(forward.query, forward.alias, responder)
        packet = await self._ask(forward.query, over_tcp=over_tcp)
        return responder.fail(forward.query) if packet is None else readdressed(packet, forward.query)

    async def _complete_alias(self, query: Question, alias: Answer, responder: Responder) -> bytes:
        target = alias.outside_alias or ""
        if not is_usable_name(target):
            return responder.complete_alias(query, alias)
        question = wire_name(target) + query.question[-4:]
        # Over TCP: addresses are read out of this answer, so it must be whole whatever the asker can take.
        packet = await self._ask(query._replace(question=question, name=target, limit=TCP_LIMIT), over_tcp=True)
        found = read_addresses(packet, question) if packet is not None else None
        if found is None:
            return responder.fail(query)
        code, records = found
        chain = (*alias.answers, *_chain_of(target, records))
        return responder.complete_alias(query, Answer(code, chain, is_fixed=False))

    async def _ask(self, query: Question, *, over_tcp: bool) -> bytes | None:
        """Return a resolver's answer to `query` with some id, or None when nobody answered in time."""
        key = (query.question[:-4].lower() + query.question[-4:], query.limit, query.has_edns, query.is_dnssec_ok)
        task = self._in_flight.get(key)
        if task is None:
            if len(self._in_flight) >= MAXIMUM_IN_FLIGHT:
                return None
            task = self._tasks.spawn(self._try_all(query, over_tcp=over_tcp), "ask")
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        self._waiters += 1
        try:
            await asyncio.wait([task])
        finally:
            self._waiters -= 1
        return None if task.cancelled() or task.exception() is not None else task.result()

    async def _try_all(self, query: Question, *, over_tcp: bool) -> bytes | None:
        last: bytes | None = None
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                for upstream in self.upstreams():
                    packet = await self._try_one(upstream, query, over_tcp=over_tcp)
                    last = packet or last
                    if packet is not None and packet[3] & 15 in {Code.NOERROR, Code.NXDOMAIN}:
                        return packet
        except TimeoutError:
            log.debug("no resolver answered in time")
        return last

    async def _try_one(self, upstream: Upstream, query: Question, *, over_tcp: bool) -> bytes | None:
        identity = secrets.token_bytes(2)
        message = forwarded_query(query, identity)
        try:
            async with asyncio.timeout(TRY_SECONDS):
                packet = await self._exchange(upstream, message, query.question, socket.SOCK_DGRAM)
                if packet is not None and is_truncated(packet) and over_tcp:
                    packet = await self._exchange(upstream, message, query.question, socket.SOCK_STREAM)
                return packet
        except (OSError, TimeoutError) as error:
            log.debug("resolver %s: %s", upstream.address, error)
            return None

    async def _exchange(
        self, upstream: Upstream, message: bytes, question: bytes, kind: socket.SocketKind
    ) -> bytes | None:
        loop = asyncio.get_running_loop()
        found = socket.getaddrinfo(upstream.address, upstream.port, type=kind, flags=socket.AI_NUMERICHOST)
        family, _, _, _, address = found[0]
        own: tuple[str, int] | None = None
        with socket.socket(family, kind) as sock:
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
                own = sock.getsockname()[:2]
                self.own_sockets.add(own)
                if kind == socket.SOCK_STREAM:
                    await loop.sock_sendall(sock, len(message).to_bytes(2, "big") + message)
                    return await _read_framed(sock, message[:2], question)
                await loop.sock_sendall(sock, message)
                for _ in range(MAXIMUM_STRAY_PACKETS):
                    packet = await loop.sock_recv(sock, 4096)
                    if is_answer_to(packet, message[:2], question):
                        return packet
                return None
            finally:
                if own is not None:
                    self.own_sockets.discard(own)


def _chain_of(target: str, records: list[Record]) -> list[Record]:
    """Return what of a resolver's answer belongs to `target`: its aliases in order, then the addresses of the last."""
    name, chain = target, []
    for _ in range(len(records)):
        alias = next((r for r in records if r.name == name and r.type is RecordType.CNAME), None)
        if alias is None or not is_usable_name(str(alias.data)):
            break
        chain.append(alias)
        name = str(alias.data)
    return chain + [record for record in records if record.name == name and record.type is not RecordType.CNAME]


async def _read_framed(sock: socket.socket, identity: bytes, question: bytes) -> bytes | None:
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        chunk = await loop.sock_recv(sock, 65537)
        if not chunk:
            return None
        received += chunk
    packet = received[2 : 2 + int.from_bytes(received[:2], "big")]
    return packet if is_answer_to(packet, identity, question) else None
