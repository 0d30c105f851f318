"""The real server on real loopback sockets, asked by real clients and by bad ones."""

import asyncio
import contextlib
import random
import shutil
import socket
import struct

import dnslib
import pytest

from localset.base.clock import SystemClock
from localset.client.client import ObjectList, WatchEvent, WatchType
from localset.dns.server import DnsBindError, DnsServer, DnsSettings
from localset.machinery.errors import StatusError

HEADLESS = "zk.default.svc.cluster.local"
WAIT_SECONDS = 10


class Objects:
    """The least Client that the server needs: LIST, and a watch fed by the test."""

    def __init__(self):
        self.items = {"namespaces": {}, "services": {}, "endpoints": {}, "pods": {}}
        self.version = 1
        self.queues = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def list(self, resource, namespace="", *, label_selector="", field_selector=""):
        await self.gate.wait()
        return ObjectList(list(self.items[resource].values()), str(self.version))

    async def watch(self, resource, namespace="", *, resource_version, label_selector="", field_selector=""):
        queue = self.queues[resource] = asyncio.Queue()
        while True:
            yield await queue.get()

    def put(self, resource, name, **fields):
        self.version += 1
        metadata = {"name": name, "namespace": "default", "resourceVersion": str(self.version)}
        if resource == "namespaces":
            del metadata["namespace"]
        obj = {"metadata": metadata, **fields}
        kind = WatchType.MODIFIED if name in self.items[resource] else WatchType.ADDED
        self.items[resource][name] = obj
        if resource in self.queues:
            self.queues[resource].put_nowait(WatchEvent(kind, obj))

    def delete(self, resource, name):
        obj = self.items[resource].pop(name)
        self.version += 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self.queues[resource].put_nowait(WatchEvent(WatchType.DELETED, last))

    def put_endpoints(self, *hostnames, start=10):
        addresses = [{"ip": f"127.77.1.{start + i}", "hostname": name} for i, name in enumerate(hostnames)]
        ports = [{"name": "client", "port": 2181, "protocol": "TCP"}]
        self.put("endpoints", "zk", subsets=[{"addresses": addresses, "ports": ports}])


def make_objects():
    objects = Objects()
    objects.put("namespaces", "default")
    objects.put("services", "zk", spec={"clusterIP": "None", "ports": [{"name": "client", "port": 2181}]})
    objects.put("services", "web", spec={"clusterIP": "127.77.9.9", "ports": [{"name": "http", "port": 80}]})
    objects.put("services", "alias", spec={"type": "ExternalName", "externalName": "www.example.com"})
    objects.put_endpoints("zk-0", "zk-1")
    return objects


def free_address():
    return f"127.77.{random.randrange(2, 250)}.{random.randrange(2, 250)}"


@contextlib.asynccontextmanager
async def serving(objects=None, **options):
    base = {"host_address": free_address(), "host_port": 0, "pods_address": free_address(), "pods_port": 0}
    settings = DnsSettings(**{**base, "forward": False, **options})
    server = DnsServer(objects or make_objects(), SystemClock(), settings)
    try:
        await server.start()
        yield server
    finally:
        await server.aclose()


def where(server, serves):
    return next((a.address, a.port) for a in server.addresses if serves in a.serves)


async def until(condition):
    """Return once the sync or async `condition` is true; the loop turns in between."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            value = condition()
            if await value if asyncio.iscoroutine(value) else value:
                return
            await asyncio.sleep(0)


async def ask(target, name, kind="A", *, edns=None, source=None):
    record = dnslib.DNSRecord.question(name, kind)
    if edns:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    return dnslib.DNSRecord.parse(await exchange(target, record.pack(), source=source))


async def has_code(target, name, code):
    return (await ask(target, name)).header.rcode == code


async def exchange(target, packet, *, source=None):
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if source:
            sock.bind(source)
        await loop.sock_sendto(sock, packet, target)
        async with asyncio.timeout(WAIT_SECONDS):
            return (await loop.sock_recvfrom(sock, 65535))[0]


async def run(*command):
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    return output.decode()


needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="dig (dnsutils) is not installed")
needs_busybox = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")


@needs_dig
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
async def test_dig_finds_addresses_srv_and_names_of_addresses(transport):
    async with serving() as server:
        address, port = where(server, "host")
        base = ("dig", f"@{address}", "-p", str(port), "+short", "+tries=1", "+time=5", transport)
        assert sorted((await run(*base, HEADLESS)).split()) == ["127.77.1.10", "127.77.1.11"]
        srv = await run(*base, "SRV", f"_client._tcp.{HEADLESS}")
        assert sorted(srv.splitlines()) == [f"0 50 2181 zk-0.{HEADLESS}.", f"0 50 2181 zk-1.{HEADLESS}."]
        assert await run(*base, "-x", "127.77.1.11") == f"zk-1.{HEADLESS}.\n"
        full = await run("dig", f"@{address}", "-p", str(port), f"zk-7.{HEADLESS}", transport)
        assert "status: NXDOMAIN" in full
        assert "0 IN SOA" in " ".join(full.split())
        assert "malformed" not in full.lower()


@needs_busybox
async def test_busybox_nslookup_finds_a_member():
    async with serving() as server:
        address, port = where(server, "host")
        output = await run("busybox", "nslookup", f"zk-0.{HEADLESS}", f"{address}:{port}")
        assert "127.77.1.10" in output


async def test_readiness_reaches_the_answer_in_the_turn_in_which_the_event_is_handled():
    objects = make_objects()
    async with serving(objects) as server:
        target = where(server, "pods")
        assert (await ask(target, f"zk-2.{HEADLESS}")).header.rcode == 3
        handle = server._handler_of("endpoints")
        subset = {"addresses": [{"ip": "127.77.1.12", "hostname": "zk-2"}]}
        handle(None, {"metadata": {"name": "zk", "namespace": "default"}, "subsets": [subset]})
        answer = await server.query(f"zk-2.{HEADLESS}")
        assert [a["data"] for a in answer["answers"]] == ["127.77.1.12"]
        assert str((await ask(target, f"zk-2.{HEADLESS}")).rr[0].rdata) == "127.77.1.12"


async def test_changes_arrive_by_watch_and_go_again():
    objects = make_objects()
    async with serving(objects) as server:
        target = where(server, "pods")
        objects.put_endpoints("zk-0", "zk-1", "zk-2")
        await until(lambda: has_code(target, f"zk-2.{HEADLESS}", 0))
        objects.delete("services", "zk")
        await until(lambda: has_code(target, HEADLESS, 3))


async def test_until_the_objects_are_read_the_answer_is_servfail():
    objects = make_objects()
    objects.gate.clear()
    settings = DnsSettings(host_address=free_address(), host_port=0, forward=False)
    server = DnsServer(objects, SystemClock(), settings)
    starting = asyncio.ensure_future(server.start())
    try:
        await until(lambda: server.addresses)
        assert (await ask(where(server, "host"), HEADLESS)).header.rcode == 2
        assert (await server.query(HEADLESS))["status"] == "SERVFAIL"
        objects.gate.set()
        await starting
        assert (await ask(where(server, "host"), HEADLESS)).header.rcode == 0
    finally:
        await server.aclose()


async def test_a_busy_port_is_named_with_its_holder_and_stops_neither_the_other_listener_nor_query():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        address = free_address()
        taken.bind((address, 0))
        port = taken.getsockname()[1]
        settings = DnsSettings(
            host_address=free_address(), host_port=0, pods_address=address, pods_port=port, forward=False
        )
        server = DnsServer(make_objects(), SystemClock(), settings)
        try:
            with pytest.raises(DnsBindError) as caught:
                await server.start()
            assert f"{address} port {port} (UDP)" in str(caught.value)
            assert "pid" in str(caught.value)
            assert [a.serves for a in server.addresses] == ["host"]
            assert (await ask(where(server, "host"), HEADLESS)).header.rcode == 0
            assert (await server.query(HEADLESS))["status"] == "NOERROR"
        finally:
            await server.aclose()


async def test_nobody_else_can_bind_our_udp_address_even_with_the_reuse_options():
    async with serving() as server:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
                thief.setsockopt(socket.SOL_SOCKET, option, 1)
                with pytest.raises(OSError, match="in use"):
                    thief.bind(where(server, "host"))


async def test_a_flood_of_hostile_packets_is_survived_and_good_questions_are_answered_after_it():
    async with serving() as server:
        target = where(server, "host")
        rng = random.Random(4)
        good = dnslib.DNSRecord.question(HEADLESS).pack()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            for _ in range(3000):
                packet = bytearray(good)
                packet[rng.randrange(len(packet))] = rng.randrange(256)
                with contextlib.suppress(BlockingIOError):
                    sock.sendto(rng.choice([bytes(packet), rng.randbytes(rng.randrange(900)), b"\0" * 8011]), target)
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                with contextlib.suppress(TimeoutError):
                    reply = await asyncio.wait_for(exchange(target, good), 0.5)
                    break
        assert len(dnslib.DNSRecord.parse(reply).rr) == 2


async def test_two_servers_aimed_at_each_other_say_nothing_after_the_first_answer():
    async with serving() as one, serving() as two:
        first, second = where(one, "host"), where(two, "host")
        answers = []
        for server in (one, two):
            responder = server._listeners[0].responder
            original = responder.answer

            def counted(packet, original=original, **options):
                answers.append(original(packet, **options))
                return answers[-1]

            responder.answer = counted
        # A query that `one` believes to come from `two`: what a forger on this machine would send.
        one._listeners[0]._udp.sendto(dnslib.DNSRecord.question(HEADLESS).pack(), second)
        await until(lambda: len(answers) >= 2)
        await ask(first, HEADLESS)
        await ask(second, HEADLESS)
        assert [answer is None for answer in answers] == [False, True, False, False]


# -- TCP ----------------------------------------------------------------------------------------------------------


async def test_over_tcp_split_length_bytes_and_several_questions_on_one_connection_work():
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*where(server, "host"))
        packet = dnslib.DNSRecord.question(HEADLESS).pack()
        framed = struct.pack("!H", len(packet)) + packet
        for byte in framed:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(framed)
        for _ in range(2):
            size = struct.unpack("!H", await reader.readexactly(2))[0]
            assert len(dnslib.DNSRecord.parse(await reader.readexactly(size)).rr) == 2
        writer.close()
        await writer.wait_closed()


async def test_stalled_tcp_connections_are_few_and_do_not_hold_udp(monkeypatch):
    monkeypatch.setattr("localset.dns.listener.IDLE_SECONDS", 0.3)
    async with serving() as server:
        target = where(server, "host")
        loop = asyncio.get_running_loop()
        stalled = []
        try:
            for _ in range(200):
                sock = socket.socket()
                sock.setblocking(False)
                stalled.append(sock)
                async with asyncio.timeout(WAIT_SECONDS):
                    await loop.sock_connect(sock, target)
            assert server._listeners[0]._connections <= 64
            assert (await ask(target, HEADLESS)).header.rcode == 0
            async with asyncio.timeout(WAIT_SECONDS):
                while server._listeners[0]._connections:
                    await ask(target, HEADLESS)
        finally:
            for sock in stalled:
                sock.close()


# -- Forwarding ---------------------------------------------------------------------------------------------------


class Upstream(asyncio.DatagramProtocol):
    """A resolver of the host that the test plays; `say` turns a query into the packets to send."""

    def __init__(self, say):
        self.say = say
        self.asked = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, packet, sender):
        record = dnslib.DNSRecord.parse(packet)
        self.asked.append((record, sender))
        for reply in self.say(record):
            self.transport.sendto(reply, sender)


@contextlib.asynccontextmanager
async def upstream(say):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Upstream(say), (free_address(), 0))
    try:
        address, port = transport.get_extra_info("sockname")
        protocol.name = f"{address}:{port}"
        yield protocol
    finally:
        transport.close()


def good_answer(record):
    return [record.replyZone(f"{record.q.qname} 60 IN A 192.0.2.7").pack()]


def forged_then_good(record):
    wrong_id = record.replyZone(f"{record.q.qname} 60 IN A 6.6.6.6")
    wrong_id.header.id ^= 1
    other = dnslib.DNSRecord(dnslib.DNSHeader(id=record.header.id, qr=1), q=dnslib.DNSQuestion("evil.example"))
    return [wrong_id.pack(), other.pack(), b"x", *good_answer(record)]


@pytest.mark.parametrize("say", [good_answer, forged_then_good])
async def test_pods_get_outside_names_from_the_hosts_resolver_and_only_from_it(say):
    async with upstream(say) as resolver, serving(forward=True, upstreams=[resolver.name]) as server:
        reply = await ask(where(server, "pods"), "Www.Example.com")
        assert str(reply.rr[0].rdata) == "192.0.2.7"
        assert str(reply.q.qname) == "Www.Example.com."
        assert (await ask(where(server, "host"), "www.example.com")).header.rcode == 5
        assert len(resolver.asked) == 1


async def test_each_forwarded_question_has_its_own_port_and_id_and_equal_ones_share():
    held = []
    async with contextlib.AsyncExitStack() as keep:
        resolver = await keep.enter_async_context(upstream(lambda record: held.append(record) or []))
        server = await keep.enter_async_context(serving(forward=True, upstreams=[resolver.name]))
        target = where(server, "pods")
        asking = [asyncio.ensure_future(ask(target, f"n{i % 4}.example.com")) for i in range(12)]
        await until(lambda: len(held) == 4 and server._forwarder._waiters == 12)
        senders = {sender for _, sender in resolver.asked}
        assert len(senders) == 4
        for record, sender in resolver.asked:
            resolver.transport.sendto(good_answer(record)[0], sender)
        assert all(str(reply.rr[0].rdata) == "192.0.2.7" for reply in await asyncio.gather(*asking))
        assert not server._forwarder.own_sockets
        assert len(resolver.asked) == 4


async def test_a_silent_resolver_means_servfail_in_time(monkeypatch):
    monkeypatch.setattr("localset.dns.forward.TRY_SECONDS", 0.1)
    async with upstream(lambda _: []) as silent, upstream(good_answer) as second:
        async with serving(forward=True, upstreams=[silent.name]) as server:
            assert (await ask(where(server, "pods"), "example.com")).header.rcode == 2
        async with serving(forward=True, upstreams=[silent.name, second.name]) as server:
            assert (await ask(where(server, "pods"), "example.com")).header.rcode == 0


async def test_an_alias_to_the_outside_is_completed_for_pods():
    async with upstream(good_answer) as resolver, serving(forward=True, upstreams=[resolver.name]) as server:
        reply = await ask(where(server, "pods"), "alias.default.svc.cluster.local")
        assert [str(rr.rdata) for rr in reply.rr] == ["www.example.com.", "192.0.2.7"]
        reply = await ask(where(server, "host"), "alias.default.svc.cluster.local")
        assert [str(rr.rdata) for rr in reply.rr] == ["www.example.com."]


async def test_we_never_forward_to_ourselves_and_drop_what_comes_from_our_own_sockets():
    pods = free_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((pods, 0))
        port = probe.getsockname()[1]
    options = {"pods_address": pods, "pods_port": port, "upstreams": [f"{pods}:{port}"]}
    async with serving(forward=True, **options) as server:
        assert (await ask((pods, port), "example.com")).header.rcode == 2
        server._forwarder.own_sockets.add(("127.77.1.250", 45454))
        dropped = asyncio.ensure_future(ask((pods, port), HEADLESS, source=("127.77.1.250", 45454)))
        assert (await ask((pods, port), HEADLESS)).header.rcode == 0
        assert not dropped.done()
        dropped.cancel()
        await asyncio.wait([dropped])


async def test_switched_off_forwarding_refuses():
    async with serving(forward=False) as server:
        assert (await ask(where(server, "pods"), "example.com")).header.rcode == 5


async def test_one_listener_serves_both_when_the_addresses_are_one():
    async with serving(pods_address=None) as server:
        assert [a.serves for a in server.addresses] == ["pods and host"]
        assert (await ask(where(server, "host"), HEADLESS)).header.rcode == 0


@pytest.mark.parametrize(("name", "kind"), [("", "A"), ("a b", "A"), ("a", "AXFR"), ("a", "NOPE"), ("x" * 64, "A")])
async def test_query_says_what_is_no_name_or_type(name, kind):
    async with serving() as server:
        with pytest.raises(StatusError) as caught:
            await server.query(name, kind)
        assert caught.value.code == 400


async def test_query_answers_as_json():
    async with serving() as server:
        answer = await server.query(f"_client._tcp.{HEADLESS.upper()}.", "srv")
        assert answer["status"] == "NOERROR"
        assert answer["answers"][0] == {
            "name": f"_client._tcp.{HEADLESS}",
            "type": "SRV",
            "ttl": 5,
            "data": f"0 50 2181 zk-0.{HEADLESS}.",
        }
        assert (await server.query("example.com"))["status"] == "REFUSED"
        assert (await server.query(f"x.{HEADLESS}"))["authority"][0]["ttl"] == 0


async def test_a_truncated_resolvers_answer_is_fetched_whole_over_tcp():
    def whole(record):
        return record.replyZone("\n".join(f"big.example. 60 IN A 192.0.2.{i}" for i in range(60))).pack()

    def cut(record):
        reply = record.reply()
        reply.header.tc = 1
        return [reply.pack()]

    async def serve_tcp(reader, writer):
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        reply = whole(dnslib.DNSRecord.parse(await reader.readexactly(size)))
        writer.write(struct.pack("!H", len(reply)) + reply)
        await writer.drain()
        writer.close()

    async with upstream(cut) as resolver:
        address, _, port = resolver.name.partition(":")
        tcp = await asyncio.start_server(serve_tcp, address, int(port))
        async with tcp, serving(forward=True, upstreams=[resolver.name]) as server:
            target = where(server, "pods")
            assert (await ask(target, "big.example")).header.tc == 1
            reader, writer = await asyncio.open_connection(*target)
            packet = dnslib.DNSRecord.question("big.example").pack()
            writer.write(struct.pack("!H", len(packet)) + packet)
            size = struct.unpack("!H", await reader.readexactly(2))[0]
            assert len(dnslib.DNSRecord.parse(await reader.readexactly(size)).rr) == 60
            writer.close()
            await writer.wait_closed()
