"""Messages to the host's resolvers and back: what we ask, what counts as an answer, what is passed on.

`forward` calls it. An answer from outside is as little trusted as a question: it is matched byte by byte, passed on
without being parsed, and read, where an alias must be completed, under a limit on jumps and lengths. It does no I/O.
"""

import struct

from localset.dns.records import Code, Record, RecordType
from localset.dns.wire import (
    CLASS_IN,
    DNSSEC_OK,
    EDNS_LIMIT,
    HEADER_LENGTH,
    OPCODE_MASK,
    QR,
    RD,
    TC,
    TYPE_OPT,
    Question,
    label_text,
)


def forwarded_query(query: Question, identity: bytes) -> bytes:
    """Return the query to send to a resolver: our id, RD, the asker's question and, if it spoke EDNS, our own OPT."""
    edns = b""
    if query.has_edns:
        payload = min(query.limit, EDNS_LIMIT)
        flags = DNSSEC_OK if query.is_dnssec_ok else 0
        edns = struct.pack("!BHHBBHH", 0, TYPE_OPT, payload, 0, 0, flags, 0)
    return identity + struct.pack("!5H", RD, 1, 0, 0, 1 if edns else 0) + query.question + edns


def is_answer_to(packet: bytes, identity: bytes, question: bytes) -> bool:
    """Tell whether `packet` answers exactly this question with this id."""
    end = HEADER_LENGTH + len(question)
    if len(packet) < end or packet[:2] != identity or packet[4:6] != b"\0\1":
        return False
    flags = int.from_bytes(packet[2:4], "big")
    found = packet[HEADER_LENGTH:end]
    return bool(flags & QR) and not flags & OPCODE_MASK and _folded(found) == _folded(question)


def _folded(question: bytes) -> bytes:
    return question[:-4].lower() + question[-4:]


def is_truncated(packet: bytes) -> bool:
    """Tell whether TC is set in a message of at least a header's length."""
    return bool(packet[2] & 0x02)


def readdressed(packet: bytes, query: Question) -> bytes:
    """Return a resolver's answer with the asker's id and spelling; cut to its question with TC when it is too long."""
    end = HEADER_LENGTH + len(query.question)
    if len(packet) > query.limit:
        flags = int.from_bytes(packet[2:4], "big") | TC
        return query.id + struct.pack("!5H", flags, 1, 0, 0, 0) + query.question
    return query.id + packet[2:HEADER_LENGTH] + query.question + packet[end:]


def read_addresses(packet: bytes, question: bytes) -> tuple[Code, list[Record]] | None:
    """Return the code and the A, AAAA and CNAME answers of a checked resolver's answer; None when it is malformed."""
    try:
        code = Code(packet[3] & 15)
    except ValueError:
        code = Code.SERVFAIL
    count = int.from_bytes(packet[6:8], "big")
    offset = HEADER_LENGTH + len(question)
    records: list[Record] = []
    try:
        for _ in range(min(count, 100)):
            name, offset = _expand_name(packet, offset)
            kind, rclass, ttl, size = struct.unpack_from("!HHIH", packet, offset)
            offset += 10
            data = packet[offset : offset + size]
            offset += size
            if len(data) != size:
                return None
            if rclass == CLASS_IN and (record := _address_or_alias(packet, name, kind, ttl, offset - size, data)):
                records.append(record)
    except (struct.error, IndexError, ValueError):
        return None
    return code, records


def _address_or_alias(packet: bytes, name: str, kind: int, ttl: int, offset: int, data: bytes) -> Record | None:
    if kind == RecordType.A and len(data) == 4:
        return Record(name, RecordType.A, ttl, ".".join(map(str, data)))
    if kind == RecordType.AAAA and len(data) == 16:
        return Record(name, RecordType.AAAA, ttl, ":".join(data[i : i + 2].hex() for i in range(0, 16, 2)))
    if kind == RecordType.CNAME:
        return Record(name, RecordType.CNAME, ttl, _expand_name(packet, offset)[0])
    return None


def _expand_name(packet: bytes, offset: int) -> tuple[str, int]:
    """Return a name that may be compressed, and where it ends; ValueError for one that is too long or jumps forward."""
    labels: list[str] = []
    end, jumps, total = 0, 0, 0
    while size := packet[offset]:
        if size >= 0xC0:
            target = (size & 0x3F) << 8 | packet[offset + 1]
            end = end or offset + 2
            jumps += 1
            if jumps > 16 or target >= offset:
                raise ValueError("a pointer that does not lead back")
            offset = target
            continue
        total += size + 1
        if size > 63 or total > 254:
            raise ValueError("a name that is too long")
        labels.append(label_text(packet[offset + 1 : offset + 1 + size]))
        offset += 1 + size
    return ".".join(labels), end or offset + 1
