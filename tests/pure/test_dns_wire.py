"""Bytes in, bytes out: hostile packets, cuts, and a round trip through another parser."""

import random
import struct
import time

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localset.dns.records import Code, RecordType
from localset.dns.relay import is_answer_to, read_addresses, readdressed
from localset.dns.responder import Forward, Responder
from localset.dns.wire import Question, Refusal, parse, wire_name
from localset.dns.zone import View, Zone

Z = "cluster.local"
NAME = f"zk-0.zk.default.svc.{Z}"


def query(name=NAME, kind=1, *, flags=0x0100, identity=b"\x12\x34", rclass=1, edns=None, raw=None):
    opt = b"" if edns is None else struct.pack("!BHHBBHH", 0, 41, edns, 0, 0, 0, 0)
    question = (raw if raw is not None else wire_name(name)) + struct.pack("!HH", kind, rclass)
    return identity + struct.pack("!5H", flags, 1, 0, 0, 1 if opt else 0) + question + opt


def make_responder(endpoints=1, **options):
    zone = Zone(Z, View.PODS, "127.64.0.1")
    zone.put_service({"metadata": {"name": "zk", "namespace": "default"}, "spec": {"clusterIP": "None"}})
    addresses = [{"ip": f"127.64.{i >> 8}.{i & 255}", "hostname": f"zk-{i}"} for i in range(endpoints)]
    subset = {"addresses": addresses, "ports": [{"name": "client", "port": 2181}]}
    zone.put_endpoints({"metadata": {"name": "zk", "namespace": "default"}, "subsets": [subset]})
    responder = Responder(zone, **{"is_forwarding": False, "is_for_pods": False, **options})
    responder.is_synced = True
    return responder


def header(reply):
    return struct.unpack("!6H", reply[:12])


def code(reply):
    return Code(reply[3] & 15)


def test_the_second_answer_comes_from_the_table_and_is_the_same():
    responder = make_responder()
    first = responder.answer(query())
    responder.zone.lookup = None  # whoever asks the zone again fails
    assert responder.answer(query()) == first
    assert responder.answer(query(NAME.upper(), raw=wire_name(NAME).upper()))[12:] != first[12:]


def test_the_case_of_the_question_comes_back_and_id_and_aa_are_set():
    responder = make_responder()
    mixed = wire_name(NAME).replace(b"zk", b"zK").replace(b"cluster", b"ClUsTeR")
    for _ in range(2):
        reply = responder.answer(query(raw=mixed, identity=b"\xab\xcd"))
        assert reply[:2] == b"\xab\xcd"
        assert reply[12 : 12 + len(mixed)] == mixed
        assert reply[2] & 0x84 == 0x84
        assert str(dnslib.DNSRecord.parse(reply).rr[0].rdata) == "127.64.0.0"


def test_a_type_is_never_confused_with_its_lower_case_twin():
    responder = make_responder()
    assert header(responder.answer(query(kind=65)))[3] == 0
    assert header(responder.answer(query(kind=97)))[3] == 0


def test_what_was_prepared_is_forgotten_when_the_zone_changes():
    responder = make_responder(2)
    assert header(responder.answer(query()))[3] == 1
    responder.forget(responder.zone.remove_endpoints("default", "zk"))
    assert code(responder.answer(query())) is Code.NXDOMAIN


def test_before_the_objects_are_read_names_of_the_zone_fail_and_others_are_refused():
    responder = make_responder()
    responder.is_synced = False
    assert code(responder.answer(query())) is Code.SERVFAIL
    assert code(responder.answer(query("example.com"))) is Code.REFUSED


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (query(flags=0x8100), None),
        (query() + b"\0" * 600, None),
        (query() + b"x", Code.FORMERR),
        (query()[:-1], Code.FORMERR),
        (b"\0\1" + struct.pack("!5H", 0x100, 2, 0, 0, 0) + query()[12:], Code.FORMERR),
        (b"\0\1" + struct.pack("!5H", 0x100, 0, 0, 0, 0), Code.FORMERR),
        (b"\0\1" + struct.pack("!5H", 0x100, 1, 1, 0, 0) + query()[12:], Code.FORMERR),
        (b"\0\1" + struct.pack("!5H", 0x100, 1, 0, 0, 2) + query()[12:], Code.FORMERR),
        (query(raw=b"\xc0\x0c"), Code.FORMERR),
        (query(raw=b"\x03abc\xc0\x0c"), Code.FORMERR),
        (query(raw=b"\x40" + b"a" * 64 + b"\0"), Code.FORMERR),
        (query(raw=(b"\x3f" + b"a" * 63) * 4 + b"\0"), Code.FORMERR),
        (query(flags=0x2900), Code.NOTIMP),
        (query(flags=0x0300), Code.FORMERR),
        (query(kind=252), Code.REFUSED),
        (query(kind=251), Code.REFUSED),
        (query(rclass=3), Code.REFUSED),
        (query(rclass=255), Code.REFUSED),
        (query("example.com"), Code.REFUSED),
        (query(raw=b"\0"), Code.REFUSED),
        (query(raw=b"\x04a.b\0" + wire_name(Z)), Code.NXDOMAIN),
        (query(f"x.{Z}"), Code.NXDOMAIN),
    ],
)
def test_what_is_no_good_question_gets_its_code_or_silence(packet, expected):
    reply = make_responder().answer(packet)
    assert reply is None if expected is None else code(reply) is expected


def test_a_future_edns_version_is_badvers():
    packet = query(edns=1232)
    packet = packet[:-5] + b"\1" + packet[-4:]
    parsed = dnslib.DNSRecord.parse(make_responder().answer(packet))
    assert parsed.header.rcode == 0
    assert parsed.ar[0].ttl >> 24 == 1


def test_the_8011_byte_packet_of_pointer_chains_gets_silence_at_once_and_over_tcp_a_code():
    packet = b"\0\1" + struct.pack("!5H", 0x100, 1000, 0, 0, 0) + b"\x01a\0\0\1\0\1"
    for i in range(999):
        packet += struct.pack("!HHH", 0xC000 | min(12 + i, 0x3FFF), 1, 1) + b"\1a"[:2]
    packet = packet[:8011]
    responder = make_responder()
    started = time.perf_counter()
    assert responder.answer(packet) is None
    assert code(responder.answer(packet, over_tcp=True)) is Code.FORMERR
    assert time.perf_counter() - started < 0.01


@pytest.mark.parametrize("edns", [None, 0, 512, 700, 1232, 4096, 65535])
@pytest.mark.parametrize("kind", [RecordType.A, RecordType.SRV, RecordType.ANY])
def test_an_answer_is_never_longer_than_its_asker_takes_and_says_when_it_was_cut(edns, kind):
    responder = make_responder(300)
    name = f"zk.default.svc.{Z}"
    for _ in range(2):
        reply = responder.answer(query(name, kind, edns=edns))
        assert len(reply) <= max(512, min(edns or 0, 1232))
        parsed = dnslib.DNSRecord.parse(reply)
        assert bool(parsed.header.tc) == (kind != RecordType.ANY)
        assert len(parsed.rr) > (0 if kind == RecordType.ANY else 5)
        assert bool(parsed.ar and parsed.ar[-1].rtype == 41) == (edns is not None)


def test_over_tcp_a_thousand_endpoints_arrive_whole_with_pointers_that_reach():
    reply = make_responder(1000).answer(query(f"zk.default.svc.{Z}", RecordType.SRV), over_tcp=True)
    parsed = dnslib.DNSRecord.parse(reply)
    assert len(reply) <= 65535
    targets = {str(rr.rdata.target).rstrip(".") for rr in parsed.rr}
    assert len(targets) == 1000
    assert {str(rr.rname).rstrip(".") for rr in parsed.ar} <= targets


def test_outside_names_are_forwarded_for_pods_and_unknown_loopback_addresses_are_not():
    responder = make_responder(is_forwarding=True, is_for_pods=True)
    assert isinstance(responder.answer(query("example.com")), Forward)
    assert code(responder.answer(query("9.9.9.127.in-addr.arpa", 12))) is Code.NXDOMAIN
    assert responder.answer(query())[3] & 0x80


LABEL = st.text("abcXYZ019-_", min_size=1, max_size=20)


@given(st.lists(LABEL, min_size=1, max_size=8), st.integers(0, 65535), st.integers(0, 65535), st.none() | st.just(900))
def test_a_question_that_another_library_builds_is_read_as_it_was_meant(labels, kind, identity, payload):
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=identity, rd=1), q=dnslib.DNSQuestion(".".join(labels), kind))
    if payload:
        record.add_ar(dnslib.EDNS0(udp_len=payload))
    packet = record.pack()
    parsed = parse(packet, over_tcp=False)
    assert isinstance(parsed, Question)
    assert (parsed.name, parsed.type) == (".".join(labels).lower(), kind)
    assert parsed.limit == (payload or 512)


@given(st.binary(max_size=600))
@settings(max_examples=500)
def test_no_bytes_raise(packet):
    for over_tcp in (False, True):
        assert isinstance(parse(packet, over_tcp=over_tcp), Question | Refusal | None)
        read_addresses(b"\0" * 4 + packet + b"\0" * 8, b"\0\0\1\0\1")


def structured_packet(rng):
    """Return a packet made of right parts wrongly put together, as in reliability M1."""
    raw = b"".join(
        rng.choice(
            [
                bytes([rng.randrange(64)]) + rng.randbytes(rng.randrange(64)),
                struct.pack("!H", 0xC000 | rng.randrange(600)),
                b"\3svc\7cluster\5local\0",
                wire_name(NAME),
                b"\0",
            ]
        )
        for _ in range(rng.randrange(1, 8))
    )
    small = [0, 0, 0, 1, 1, 2, 65535]
    counts = [rng.choice([1, 1, 1, 0, 1000]), rng.choice(small), rng.choice(small), rng.choice(small)]
    flags = rng.choice([0x0100, 0x0100, 0, 0x8180, rng.randrange(65536)])
    packet = rng.randbytes(2) + struct.pack("!5H", flags, *counts) + raw
    packet += struct.pack("!HH", rng.choice([1, 28, 33, 255, rng.randrange(65536)]), rng.choice([1, 1, 255]))
    if rng.random() < 0.3:
        packet += struct.pack("!BHHBBHH", 0, 41, rng.randrange(65536), 0, rng.choice([0, 1]), 0, rng.choice([0, 9]))
    if rng.random() < 0.2:
        packet = query(edns=rng.randrange(65536))
        packet = bytes(b ^ (rng.random() < 0.03) * rng.randrange(256) for b in packet)
    return packet[: rng.choice([512, 512, 4000, rng.randrange(1, 512)])]


@pytest.mark.parametrize("packets", [25_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_structured_hostile_packets_raise_nothing_and_hold_nobody(packets: int):
    responder = make_responder(50, is_forwarding=True, is_for_pods=True)
    rng = random.Random(20261124)
    worst, replies = 0.0, 0
    for _ in range(packets):
        packet = structured_packet(rng)
        started = time.thread_time()  # CPU of this thread: the machine may be busy with others
        reply = responder.answer(packet)
        worst = max(worst, time.thread_time() - started)
        replies += isinstance(reply, bytes)
        assert not isinstance(reply, bytes) or len(reply) <= 1232
    assert worst < 0.01
    assert replies > 1000


def test_a_resolvers_answer_counts_only_for_its_own_question_and_id():
    question = wire_name("example.com") + b"\0\1\0\1"
    reply = dnslib.DNSRecord.question("ExAmple.com").reply()
    reply.header.id = 0x0102
    packet = reply.pack()
    assert is_answer_to(packet, b"\1\2", question)
    assert not is_answer_to(packet, b"\1\3", question)
    assert not is_answer_to(packet, b"\1\2", wire_name("example.org") + b"\0\1\0\1")
    assert not is_answer_to(dnslib.DNSRecord.question("example.com").pack(), b"\1\2", question)


def test_a_resolvers_answer_that_is_too_long_is_cut_to_its_question():
    reply = dnslib.DNSRecord.question("example.com").replyZone("\n".join(f"example.com A 1.2.3.{i}" for i in range(99)))
    parsed = parse(query("example.com", identity=b"\7\7"), over_tcp=False)
    cut = dnslib.DNSRecord.parse(readdressed(reply.pack(), parsed))
    assert (cut.header.id, cut.header.tc, len(cut.rr)) == (0x0707, 1, 0)


def test_addresses_and_aliases_are_read_out_of_a_compressed_answer():
    question = wire_name("a.example.com") + b"\0\1\0\1"
    zone = "a.example.com CNAME b.example.com\nb.example.com A 1.2.3.4\nb.example.com AAAA 2001:db8::1"
    packet = dnslib.DNSRecord.question("a.example.com").replyZone(zone).pack()
    found = read_addresses(packet, question)
    assert found is not None
    assert [(r.name, r.data) for r in found[1]] == [
        ("a.example.com", "b.example.com"),
        ("b.example.com", "1.2.3.4"),
        ("b.example.com", "2001:0db8:0000:0000:0000:0000:0000:0001"),
    ]
