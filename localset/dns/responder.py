"""Packets to answers, for one listener: what is said, and what is never said.

`listener` gives it every packet and sends what it returns. It does no I/O itself. Hot names are answered from a table
of packed answers, by one look-up of the raw question: whatever is in the table was checked when it was put there. The
table holds only names that exist, so nobody can fill it; a name's rows go the moment the zone changes it.
"""

from typing import NamedTuple

from localset.dns.records import Code, RecordType
from localset.dns.wire import (
    CLASS_IN,
    Prepared,
    Question,
    Refusal,
    parse,
    plain_parts,
    prepare,
    render,
    render_code,
    wire_name,
)
from localset.dns.wire import RA as RECURSION_AVAILABLE
from localset.dns.zone import LOOPBACK_REVERSE, Answer, Zone

_PLAIN_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
"""Bytes 2–11 of what nearly every stub resolver sends: a query, RD, one question, nothing else."""

MAXIMUM_NEGATIVE_FORMS = 2048

_TABLED = frozenset({RecordType.A, RecordType.AAAA, RecordType.SRV, RecordType.PTR, RecordType.CNAME, RecordType.TXT})


class Forward(NamedTuple):
    """A question for the host's resolvers. `alias`: our own CNAME answer that their addresses complete."""

    query: Question
    alias: Answer | None = None


class _Row(NamedTuple):
    """A packed answer; `head` and `tail` are set when it goes to a plain asker uncut."""

    prepared: Prepared
    head: bytes
    tail: bytes


class Responder:
    """Answers of one listener. Until `is_synced` is set, names of the zone are SERVFAIL."""

    def __init__(self, zone: Zone, *, is_forwarding: bool, is_for_pods: bool) -> None:
        """Serve `zone`; forward other names, or refuse them. For Pods, unknown loopback addresses have no name."""
        self.zone = zone
        self.is_synced = False
        self._is_forwarding = is_forwarding
        self._is_for_pods = is_for_pods
        self._recursion = RECURSION_AVAILABLE if is_forwarding else 0
        self._table: dict[bytes, dict[bytes, _Row]] = {}
        self._negative: dict[tuple[Code, str, int], Prepared] = {}

    def forget(self, names: set[str]) -> None:
        """Drop what was prepared for `names`."""
        for name in names:
            self._table.pop(wire_name(name), None)

    def answer(self, packet: bytes, *, over_tcp: bool = False) -> bytes | Forward | None:
        """Return the bytes to send, a question to forward, or None for silence. Never raises on any input."""
        if packet[2:12] == _PLAIN_HEADER:
            rows = self._table.get(packet[12:-4].lower())
            if rows is not None and (row := rows.get(packet[-4:])) is not None and row.head:
                return b"".join((packet[:2], row.head, packet[12:], row.tail))
        query = parse(packet, over_tcp=over_tcp)
        if query is None:
            return None
        if isinstance(query, Refusal):
            return render_code(query, query.code, self._recursion)
        return self._answer_question(query)

    def _answer_question(self, query: Question) -> bytes | Forward:
        if query.rclass != CLASS_IN or query.type in {RecordType.AXFR, RecordType.IXFR}:
            return render_code(query, Code.REFUSED, self._recursion)
        zone = self.zone
        is_ours = zone.holds(query.name)
        if not is_ours and not (self._is_for_pods and query.name.endswith(f".{LOOPBACK_REVERSE}")):
            return Forward(query) if self._is_forwarding else render_code(query, Code.REFUSED, self._recursion)
        if not self.is_synced:
            return render_code(query, Code.SERVFAIL, self._recursion)
        row = self._table.get(query.wire_name, {}).get(query.question[-4:])
        if row is not None:
            return render(row.prepared, query, self._recursion)
        answer = zone.lookup(query.name, query.type)
        if answer.outside_alias is not None and self._is_forwarding and query.type in {RecordType.A, RecordType.AAAA}:
            return Forward(query, answer)
        return render(self._prepare(answer, query), query, self._recursion)

    def _prepare(self, answer: Answer, query: Question) -> Prepared:
        if not answer.answers and answer.authority:
            # Nothing of it depends on the name but the place of the pointers: 255 forms at most, for any name asked.
            key = (answer.code, answer.authority[0].name, len(query.question))
            if key not in self._negative:
                if len(self._negative) > MAXIMUM_NEGATIVE_FORMS:
                    self._negative.clear()
                self._negative[key] = prepare(answer, query.question, query.name)
            prepared = self._negative[key]
        else:
            prepared = prepare(answer, query.question, query.name)
        if answer.code is Code.NOERROR and answer.is_fixed and query.type in _TABLED:
            head, tail = plain_parts(prepared, self._recursion) or (b"", b"")
            self._table.setdefault(query.wire_name, {})[query.question[-4:]] = _Row(prepared, head, tail)
        return prepared

    def complete_alias(self, query: Question, answer: Answer) -> bytes:
        """Return the message for an alias whose outside addresses have been added."""
        return render(prepare(answer, query.question, query.name), query, self._recursion)

    def fail(self, query: Question) -> bytes:
        """Return SERVFAIL for `query`."""
        return render_code(query, Code.SERVFAIL, self._recursion)
