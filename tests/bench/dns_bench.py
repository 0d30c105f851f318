"""Queries a second of our DNS server, beside dnsmasq when it is installed (performance P8).

`make bench` runs it. Both sides serve the same names from a process of their own and are asked by the same closed-loop
asker (a window of queries in flight), alternating; only ratios of one run count. Takes about 20 s and prints what is
missing.
"""

import asyncio
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from localset.base.clock import SystemClock
from localset.client.client import ObjectList
from localset.dns.server import DnsServer, DnsSettings
from localset.dns.wire import wire_name

SIZES = (3, 100, 1000)
ROUNDS = 3
SECONDS_A_ROUND = 0.8
WINDOW = 64
GOAL = 1.1


def full_name(index):
    return f"zk-{index}.zk.default.svc.cluster.local"


def address_of(index):
    return f"127.90.{index >> 8}.{index & 255}"


class Objects:
    """One headless Service with `count` ready endpoints."""

    def __init__(self, count):
        addresses = [{"ip": address_of(i), "hostname": f"zk-{i}"} for i in range(count)]
        metadata = {"name": "zk", "namespace": "default", "resourceVersion": "1"}
        self.items = {
            "services": [{"metadata": metadata, "spec": {"clusterIP": "None"}}],
            "endpoints": [{"metadata": metadata, "subsets": [{"addresses": addresses}]}],
        }

    async def list(self, resource, namespace="", *, label_selector="", field_selector=""):
        return ObjectList(self.items.get(resource, []), "1")

    async def watch(self, resource, namespace="", **_):
        await asyncio.Event().wait()
        yield


def serve(count, address, pipe):
    async def main():
        settings = DnsSettings(host_address=address, host_port=0, forward=False)
        server = DnsServer(Objects(count), SystemClock(), settings)
        await server.start()
        pipe.send(server.addresses[0].port)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await server.aclose()

    asyncio.run(main())


class Ours:
    name = "localset"

    def __init__(self, count):
        self.address = f"127.91.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        receiver, sender = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.get_context("fork").Process(target=serve, args=(count, self.address, sender))
        self.process.start()
        self.port = receiver.recv()

    def stop(self):
        self.process.terminate()
        self.process.join()


class Dnsmasq:
    name = "dnsmasq"

    def __init__(self, count):
        self.address = f"127.92.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self.address, 0))
            self.port = probe.getsockname()[1]
        self.directory = tempfile.TemporaryDirectory()
        hosts = Path(self.directory.name, "hosts")
        hosts.write_text("".join(f"{address_of(i)} {full_name(i)}\n" for i in range(count)))
        command = [
            "dnsmasq",
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--cache-size=10000",
        ]
        command += [
            f"--addn-hosts={hosts}",
            f"--listen-address={self.address}",
            "--bind-interfaces",
            f"--port={self.port}",
        ]
        command += ["--user=root", "--pid-file="] if os.getuid() == 0 else ["--pid-file="]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not measure(self, count, 0.05)[0]:
            pass

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()


def measure(server, count, seconds):
    """Return (answered queries a second, the server's CPU microseconds a query).

    A lost packet stands still the window for 50 ms. CPU is the fairer figure while other work shares the cores.
    """
    process = psutil.Process(server.process.pid)
    before = sum(process.cpu_times()[:2])
    questions = [
        struct.pack("!6H", i, 0x0100, 1, 0, 0, 0) + wire_name(full_name(i)) + b"\0\1\0\1" for i in range(count)
    ]
    random.Random(1).shuffle(questions)
    answered = sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server.address, server.port))
        sock.settimeout(0.05)
        started = time.perf_counter()
        in_flight = 0
        while (elapsed := time.perf_counter() - started) < seconds:
            try:
                while in_flight < WINDOW:
                    sock.send(questions[sent % count])
                    sent += 1
                    in_flight += 1
                for _ in range(WINDOW // 2):
                    reply = sock.recv(512)
                    in_flight -= 1
                    answered += reply[3] & 15 == 0
            except (TimeoutError, ConnectionRefusedError):
                in_flight = 0
    spent = sum(process.cpu_times()[:2]) - before
    return answered / elapsed, spent / max(answered, 1) * 1e6


def main():
    kinds = [Ours]
    if shutil.which("dnsmasq"):
        kinds.append(Dnsmasq)
    else:
        print("dns: peer missing: dnsmasq (Debian/Ubuntu: dnsmasq-base)")
    rate, cost = {}, {}
    for count in SIZES:
        servers = [kind(count) for kind in kinds]
        try:
            rounds = {server.name: [] for server in servers}
            for server in servers:
                measure(server, count, 0.2)
            for _ in range(ROUNDS):
                for server in servers:
                    rounds[server.name].append(measure(server, count, SECONDS_A_ROUND))
        finally:
            for server in servers:
                server.stop()
        for name, values in rounds.items():
            rates = [value[0] for value in values]
            rate[name, count] = statistics.median(rates)
            cost[name, count] = statistics.median(value[1] for value in values)
            print(
                f"dns: {count:5} names  {name:9} {rate[name, count]:9,.0f} q/s  "
                f"({min(rates):,.0f}–{max(rates):,.0f}, n={len(rates)})  {cost[name, count]:5.1f} µs CPU a query"
            )
        if len(servers) > 1:
            ratio = rate["localset", count] / rate["dnsmasq", count]
            print(f"dns: {count:5} names  localset/dnsmasq {ratio:.2f}  (goal P8 ≥ {GOAL})")
    flat = cost["localset", SIZES[0]] / cost["localset", SIZES[-1]]
    print(f"dns: CPU a query, {SIZES[0]} names / {SIZES[-1]} names: {flat:.2f}  (1.0 is flat)")


if __name__ == "__main__":
    main()
