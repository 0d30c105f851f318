"""Host → Pod through the network holder's forwarder, beside Pod → Pod, which nothing of ours is in the path of.

`make bench` runs it; it needs level namespaces and says so where that is refused. The same client runs on the host (to
the Pod's sticky 127.x address) and in another Pod (to the Pod's own), in turn; ratios and differences of one run count.
Goals (issue 7): at least 1 GB/s, and at most 0.1 ms more at the median. Takes about 15 s.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from localset.base.clock import SystemClock
from localset.kubelet.holder_client import HolderClient
from localset.kubelet.isolation import probe_isolation
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import Isolation, ProcessSpec

ROUNDS = 3
SUBNET, OUTER, INNER = "10.78.0.0/16", "127.203.19.2", "10.78.0.2"
PYTHON = "/usr/bin/python3"
SINK, ECHO = 5001, 5002
GOAL_GB, GOAL_MS = 1.0, 0.1

SERVER = f"""
import socket, threading
def sink(c):
    total, block = 0, bytearray(1 << 20)
    while n := c.recv_into(block): total += n
    c.sendall(b"%020d" % total)
    c.close()
def echo(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while d := c.recv(64): c.sendall(d)
    c.close()
def serve(port, work):
    s = socket.create_server(("", port))
    while True: threading.Thread(target=work, args=(s.accept()[0],)).start()
threading.Thread(target=serve, args=({SINK}, sink)).start()
threading.Thread(target=serve, args=({ECHO}, echo)).start()
print("ready", flush=True)
"""
CLIENT = f"""
import json, socket, sys, time
host = sys.argv[1]
c = socket.create_connection((host, {SINK}))
block, start, sent = memoryview(bytes(1 << 20)), time.perf_counter(), 0
while time.perf_counter() - start < 1: sent += c.send(block)
c.shutdown(socket.SHUT_WR)
assert int(c.recv(20, socket.MSG_WAITALL)) == sent
rate = sent / (time.perf_counter() - start) / 1e9
def asked(c):
    start = time.perf_counter()
    c.send(b"x"); c.recv(1)
    return time.perf_counter() - start
def kept(c, times):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sorted(asked(c) for _ in range(times))
with socket.create_connection((host, {ECHO})) as c: echoes = kept(c, 3000)
new = []
for _ in range(300):
    start = time.perf_counter()
    with socket.create_connection((host, {ECHO})) as c: kept(c, 1)
    new.append(time.perf_counter() - start)
new.sort()
print(json.dumps([rate, echoes[1500] * 1000, echoes[2970] * 1000, new[150] * 1000, sent / 1e9]), flush=True)
"""


def spec(directory, name, argv, address):
    return ProcessSpec(
        run_id=f"bench-{name}", pod=name, pod_uid=f"bench-{name}", container="main", argv=argv, address=address,
        hostname=name, working_directory="/", environment={"PATH": "/usr/bin:/bin"},
        log_path=str(directory / f"{name}.log"), private_directory=str(directory / f"private-{name}"),
        isolation=Isolation.NAMESPACES,
    )  # fmt: skip


async def until(condition, what):
    async with asyncio.timeout(30):
        while not (found := condition()):  # noqa: ASYNC110 - a log file tells nobody
            await asyncio.sleep(0.02)
    return found


def last_line(directory, name):
    log = directory / f"{name}.log"
    text = log.read_text() if log.exists() else ""
    return text.splitlines()[-1].split(" ", 3)[3] if text.endswith("\n") else ""


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(directory, runtime, holder):
    """Return the figures of each round: (from the host, from another Pod). `holder` is the forwarder's process.

    The host's end with the forwarder's processor time per GB, which other work on the machine does not change.
    """
    client = HolderClient(directory, SystemClock())
    client.start()
    table = [
        {"side": "host", "protocol": "tcp", "address": OUTER, "port": port, "targets": [[INNER, port]]}
        for port in (SINK, ECHO)
    ]
    try:
        await client.request({"do": "forward", "table": table})
        await runtime.spawn(spec(directory, "server", (PYTHON, "-c", SERVER), INNER))
        await until(lambda: last_line(directory, "server") == "ready", "the server")
        rounds = []
        for number in range(ROUNDS):
            before = processor_seconds(holder)
            done = await asyncio.to_thread(
                subprocess.run, [PYTHON, "-c", CLIENT, OUTER], capture_output=True, text=True, check=True
            )
            name = f"client-{number}"
            await runtime.spawn(spec(directory, name, (PYTHON, "-c", CLIENT, INNER), f"10.78.0.{number + 3}"))
            line = await until(lambda name=name: last_line(directory, name), "the client's figures")
            from_host = json.loads(done.stdout)
            from_host.append((processor_seconds(holder) - before) / from_host[-1])
            rounds.append((from_host, json.loads(line)))
        return rounds
    finally:
        await client.aclose()


async def main():
    with tempfile.TemporaryDirectory(prefix="localset-bench-") as made:
        directory = Path(made)
        runtime = KeeperRuntime(directory, SystemClock())
        await runtime.start()
        try:
            check = await probe_isolation(runtime)
            if not check.allows(Isolation.NAMESPACES) or shutil.which(PYTHON) is None:
                print(f"not measured: {'; '.join(check.reasons) or PYTHON + ' is missing'}")
                return 0
            holder = (await runtime.network(SUBNET)).holder_pid
            rounds = await measure(directory, runtime, holder)
        finally:
            for report in await runtime.list():
                await runtime.stop(report.run_id, 0)
            await runtime.shutdown_keeper(force=True)
            await runtime.aclose()
    host, pod = (
        [statistics.median(values) for values in zip(*side, strict=True)] for side in zip(*rounds, strict=True)
    )
    print(f"{'':12}{'GB/s':>8}{'echo p50 ms':>14}{'p99 ms':>10}{'new + 1 byte ms':>18}")
    for name, (rate, median, late, new, *_) in (("host → Pod", host), ("Pod → Pod", pod)):
        print(f"{name:12}{rate:8.2f}{median:14.3f}{late:10.3f}{new:18.3f}")
    added = host[1] - pod[1]
    is_met = host[0] >= GOAL_GB and added <= GOAL_MS
    print(f"host → Pod {host[0]:.2f} GB/s (goal {GOAL_GB}), {added:.3f} ms more (goal {GOAL_MS}):", end=" ")
    print(f"{'met' if is_met else 'MISSED'}; the forwarder's processor time {host[-1]:.2f} s a GB, all else included")
    return 0


if __name__ == "__main__":
    begun = time.perf_counter()
    code = asyncio.run(main())
    print(f"took {time.perf_counter() - begun:.0f} s")
    sys.exit(code)
