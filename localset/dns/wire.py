"""Bytes to questions and answers to bytes: the only file that speaks dnslib.

`responder` calls it for every packet that is not answered from its table. Questions are parsed by hand, after a check
that costs nothing, because dnslib can be held for seconds by one packet (reliability M1): it never sees a packet from
outside, it only packs answers that we made. An answer is packed once, without a limit, and cut at a record's end when
it must be shorter: names in it are compressed only towards the front, so every cut is a whole message.
"""

import socket
import struct
from typing import Any, NamedTuple

import dnslib
from dnslib.buffer import Buffer
from dnslib.label import DNSBuffer

from localset.dns.records import Code, Record, RecordType, Soa, Srv
from localset.dns.zone import Answer

HEADER_LENGTH = 12
PLAIN_LIMIT = 512
EDNS_LIMIT = 1232
TCP_LIMIT = 65535
CLASS_IN = 1
TYPE_OPT = 41

QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
OPCODE_MASK = 0x7800
DNSSEC_OK = 0x8000
_FARTHEST_POINTER = 0x3FFF
_SAFE = b"abcdefghijklmnopqrstuvwxyz0123456789-_"


class Question(NamedTuple):
    """One checked query. `question`: name, type and class as they came; `limit`: what the asker can take in bytes."""

    id: bytes
    flags: int
    question: bytes
    name: str
    type: int
    rclass: int
    has_edns: bool
    is_dnssec_ok: bool
    limit: int

    @property
    def wire_name(self) -> bytes:
        """Return the name in wire form, lower case."""
        return self.question[:-4].lower()


class Refusal(NamedTuple):
    """A packet that is a query but gets only a code, without its question."""

    id: bytes
    flags: int
    code: Code
    has_edns: bool = False


class Prepared(NamedTuple):
    """A packed answer without id and question: flags, sections, and where each record ends in `tail`."""

    code: Code
    tail: bytes
    ends: tuple[int, ...]
    answers: int
    authority: int
    question_length: int


def parse(packet: bytes, *, over_tcp: bool) -> Question | Refusal | None:
    """Return the checked question of `packet`, a refusal to send, or None for what deserves no answer at all."""
    length = len(packet)
    if length < HEADER_LENGTH or (length > PLAIN_LIMIT and not over_tcp):
        return None
    flags, questions, answers, authority, additional = struct.unpack_from("!5H", packet, 2)
    if flags & QR:
        return None
    identity = packet[:2]
    if flags & OPCODE_MASK:
        return Refusal(identity, flags, Code.NOTIMP)
    if flags & TC or questions != 1 or answers or authority or additional > 1:
        return Refusal(identity, flags, Code.FORMERR)
    labels, offset = _read_name(packet)
    end = offset + 4
    if not offset or end > length:
        return Refusal(identity, flags, Code.FORMERR)
    kind, rclass = struct.unpack_from("!HH", packet, offset)
    edns = _read_edns(packet, end) if additional else None
    if (additional and edns is None) or (not additional and end != length):
        return Refusal(identity, flags, Code.FORMERR)
    if edns is not None and edns.version:
        return Refusal(identity, flags, Code.BADVERS, has_edns=True)
    limit = min(max(edns.payload, PLAIN_LIMIT), EDNS_LIMIT) if edns else PLAIN_LIMIT
    return Question(
        identity,
        flags,
        packet[HEADER_LENGTH:end],
        ".".join(map(label_text, labels)),
        kind,
        rclass,
        edns is not None,
        bool(edns and edns.flags & DNSSEC_OK),
        TCP_LIMIT if over_tcp else limit,
    )


def _read_name(packet: bytes) -> tuple[list[bytes], int]:
    """Return the labels of the question and where the name ends; 0 as the end for anything but plain labels."""
    labels: list[bytes] = []
    offset, length = HEADER_LENGTH, len(packet)
    while offset < length:
        size = packet[offset]
        if size == 0:
            return labels, offset + 1
        after = offset + 1 + size
        # The whole name has at most 255 bytes; sizes above 63 are pointers, which no asker needs in a first name.
        if size > 63 or after >= length or after - HEADER_LENGTH > 254:
            return [], 0
        labels.append(packet[offset + 1 : after])
        offset = after
    return [], 0


class _Edns(NamedTuple):
    payload: int
    version: int
    flags: int


def _read_edns(packet: bytes, offset: int) -> _Edns | None:
    """Return the OPT record that must fill the rest of the packet, or None."""
    if len(packet) < offset + 11 or packet[offset] != 0:
        return None
    kind, payload, _, version, flags, size = struct.unpack_from("!HHBBHH", packet, offset + 1)
    return _Edns(payload, version, flags) if kind == TYPE_OPT and offset + 11 + size == len(packet) else None


def label_text(label: bytes) -> str:
    """Return a label lower case, with bytes that no name of ours has escaped: they match nothing and reach no log."""
    lowered = label.lower()
    if not lowered.translate(None, _SAFE):
        return lowered.decode("ascii")
    return "".join(chr(byte) if byte in _SAFE else f"\\{byte:03d}" for byte in lowered)


def wire_name(name: str) -> bytes:
    """Return a usable name (see `records.is_usable_name`) in wire form."""
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


class _NearNames(dict[Any, int]):
    """Where names stand, without those that a 14-bit pointer cannot reach: dnslib would wrap the pointer around."""

    def __setitem__(self, key: Any, offset: int) -> None:
        if offset <= _FARTHEST_POINTER:
            super().__setitem__(key, offset)


def _rdata(record: Record) -> Any:
    data = record.data
    if isinstance(data, Srv):
        return dnslib.SRV(data.priority, data.weight, data.port, data.target)
    if isinstance(data, Soa):
        times = (data.serial, data.refresh, data.retry, data.expire, data.minimum)
        return dnslib.SOA(data.name_server, data.mailbox, times)
    if record.type is RecordType.TXT:
        return dnslib.TXT(data)
    if record.type is RecordType.AAAA:
        return dnslib.AAAA(data)
    if record.type is RecordType.A:
        return dnslib.A(data)
    return {RecordType.NS: dnslib.NS, RecordType.CNAME: dnslib.CNAME, RecordType.PTR: dnslib.PTR}[record.type](data)


def prepare(answer: Answer, question: bytes, name: str) -> Prepared:
    """Return `answer` packed for a question of this name; `question` in any case, as only its length matters."""
    if all(record.type in _LIGHT for record in (*answer.answers, *answer.additional)) and not answer.authority:
        return _prepare_light(answer, question, name)
    buffer = DNSBuffer()
    buffer.names = _NearNames()
    Buffer.append(buffer, bytes(HEADER_LENGTH))
    if answer.answers and answer.answers[0].name == name:
        buffer.encode_name(name)
        Buffer.append(buffer, question[-4:])
    else:
        Buffer.append(buffer, question)
    start = HEADER_LENGTH + len(question)
    ends: list[int] = []
    for record in (*answer.answers, *answer.authority, *answer.additional):
        dnslib.RR(record.name, record.type, CLASS_IN, record.ttl, _rdata(record)).pack(buffer)
        ends.append(len(buffer.data) - start)
    tail = bytes(buffer.data[start:])
    return Prepared(answer.code, tail, tuple(ends), len(answer.answers), len(answer.authority), len(question))


_LIGHT = frozenset({RecordType.A, RecordType.AAAA, RecordType.SRV})


def _prepare_light(answer: Answer, question: bytes, name: str) -> Prepared:
    """Pack addresses and SRV without dnslib: 20 times as fast, which counts for a Service of 1,000 Pods."""
    start = HEADER_LENGTH + len(question)
    places = {name: HEADER_LENGTH}
    tail = bytearray()
    ends: list[int] = []
    for record in (*answer.answers, *answer.additional):
        place = places.get(record.name)
        tail += wire_name(record.name) if place is None else (0xC000 | place).to_bytes(2, "big")
        data = record.data
        if isinstance(data, Srv):
            rdata = struct.pack("!HHH", data.priority, data.weight, data.port) + wire_name(data.target)
            target_place = start + len(tail) + 16
            if target_place <= _FARTHEST_POINTER:
                places.setdefault(data.target, target_place)
        else:
            family = socket.AF_INET if record.type is RecordType.A else socket.AF_INET6
            rdata = socket.inet_pton(family, str(data))
        tail += struct.pack("!HHIH", record.type, CLASS_IN, record.ttl, len(rdata)) + rdata
        ends.append(len(tail))
    return Prepared(answer.code, bytes(tail), tuple(ends), len(answer.answers), 0, len(question))


def _edns_record(query: Question | Refusal, code: int) -> bytes:
    if not query.has_edns:
        return b""
    is_dnssec_ok = isinstance(query, Question) and query.is_dnssec_ok
    flags = DNSSEC_OK if is_dnssec_ok else 0
    return struct.pack("!BHHBBHH", 0, TYPE_OPT, EDNS_LIMIT, code >> 4, 0, flags, 0)


def _flags(query_flags: int, code: int, extra: int) -> int:
    return QR | (query_flags & (RD | OPCODE_MASK)) | extra | (code & 15)


def render(prepared: Prepared, query: Question, recursion: int) -> bytes:
    """Return the message for `query`: what fits its limit, with TC when an answer or authority record had to go."""
    edns = _edns_record(query, prepared.code)
    room = query.limit - HEADER_LENGTH - len(query.question) - len(edns)
    fitting = len(prepared.ends)
    while fitting and prepared.ends[fitting - 1] > room:
        fitting -= 1
    needed = prepared.answers + prepared.authority
    answers = min(fitting, prepared.answers)
    authority = min(fitting - answers, prepared.authority)
    flags = _flags(query.flags, prepared.code, AA | recursion | (TC if fitting < needed else 0))
    counts = (flags, 1, answers, authority, fitting - answers - authority + bool(edns))
    tail = prepared.tail[: prepared.ends[fitting - 1]] if fitting else b""
    return query.id + struct.pack("!5H", *counts) + query.question + tail + edns


def plain_parts(prepared: Prepared, recursion: int) -> tuple[bytes, bytes] | None:
    """Return header bytes 2–11 and the tail for an asker with RD and without EDNS, or None when it must be cut."""
    if HEADER_LENGTH + prepared.question_length + len(prepared.tail) > PLAIN_LIMIT:
        return None
    flags = _flags(RD, prepared.code, AA | recursion)
    additional = len(prepared.ends) - prepared.answers - prepared.authority
    return struct.pack("!5H", flags, 1, prepared.answers, prepared.authority, additional), prepared.tail


def render_code(query: Question | Refusal, code: Code, recursion: int, extra: int = 0) -> bytes:
    """Return an answer without records; a refusal's question is not echoed, as it was not understood."""
    edns = _edns_record(query, code)
    question = query.question if isinstance(query, Question) else b""
    counts = (_flags(query.flags, code, recursion | extra), 1 if question else 0, 0, 0, 1 if edns else 0)
    return query.id + struct.pack("!5H", *counts) + question + edns
