"""P7: the API over TLS with kept connections, as rates and p50/p99, beside its peers in the same run.

Run by `make bench-api`. Peers: a bare aiohttp server over TLS that gives the same bodies from memory (what Python's
HTTP costs, whatever we do), and a kube-apiserver when `KUBE_APISERVER=PATH` names one (with `ETCD=PATH`, or an etcd on
the PATH); without it the figures of performance.md stand there, marked as stored. Rounds alternate between the sides,
and only ratios within one run mean anything. Each server has a session of its own, as the daemon has: the kernel shares
a busy machine out among sessions, and one in ours would have our client's share beside its own.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from localset.apiserver.certificates import CertificateFiles  # noqa: E402 - the checkout is on the path only now
from tests.e2e.house import House, until  # noqa: E402 - as above

STORED = {
    ("GET Pod", 1): 1440, ("GET Pod", 8): 2760, ("LIST 100", 1): 95, ("LIST 100", 8): 102,
    ("LIST 1,000", 1): 13, ("LIST 1,000", 8): 15, ("PATCH", 1): 260, ("PATCH", 8): 448,
}  # fmt: skip
"""Requests a second of kube-apiserver 1.20.2 (performance.md 3), taken on another day."""
STORED_WATCH_MS = 5.5
GOALS = {"GET Pod": 3.0, "LIST 100": 9.0, "LIST 1,000": 8.0, "PATCH": 6.0}
WATCH_GOAL = 0.2
RECORD_BYTES = 16 * 1024
"""The most that TLS gives at once: a larger buffer would only be made, and cut again, for each record."""
MERGE = "application/merge-patch+json"
SMALL, LARGE = "bench-100", "bench-1000"
POD = f"/api/v1/namespaces/{SMALL}/pods/web-007"


def pod(name: str) -> dict[str, Any]:
    """Return a Pod of about 4 kB for a Node that is not there: nobody may run what is only to be read."""
    env = [{"name": f"SETTING_{n}", "value": f"value of setting {n}"} for n in range(24)]
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    ports = [{"containerPort": 8080 + n, "name": f"port-{n}"} for n in range(4)]
    container = {"name": "main", "image": "nginx:1", "env": env, "resources": resources, "ports": ports}
    labels = {"app": "web", "tier": "front", "statefulset.kubernetes.io/pod-name": name}
    spec = {"nodeName": "nowhere", "containers": [container, {"name": "side", "image": "busybox:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@dataclass
class Side:
    """One server: where it is and who we are."""

    name: str
    port: int
    context: ssl.SSLContext
    headers: dict[str, str] = field(default_factory=dict)
    pid: int = 0

    def cpu_seconds(self) -> float:
        """Return what the server has used so far: on a busy machine this says more than the clock."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)


class Connection:
    """One kept connection that does as little as a client can."""

    def __init__(self, side: Side) -> None:
        plain = socket.create_connection(("127.0.0.1", side.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = side.context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.head = "".join(
            f"{k}: {v}\r\n"
            for k, v in {"Host": f"127.0.0.1:{side.port}", "Accept": "application/json", **side.headers}.items()
        )
        self.rest = b""

    def ask(
        self, method: str, path: str, body: bytes = b"", *, kind: str = "application/json", gzip: bool = False
    ) -> bytes:
        """Return the body of a success."""
        more = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" if method != "GET" else ""
        more += "Accept-Encoding: gzip\r\n" if gzip else ""
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\n{self.head}{more}\r\n".encode() + body)
        return self.answer()

    def answer(self) -> bytes:
        """Read one answer with a length, or chunked to its end."""
        data = self.rest
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        chunks, have = [data], len(data)
        if length is None:
            while not chunks[-1].endswith(b"0\r\n\r\n"):
                chunks.append(self._more())
            length = have = 0
        while have < length:
            chunks.append(self._more())
            have += len(chunks[-1])
        self.rest = b""
        if not head[9:].startswith(b"2"):
            raise RuntimeError(f"{head[:60]!r} {b''.join(chunks)[:300]!r}")
        return b"".join(chunks)

    def _more(self) -> bytes:
        data = self.socket.recv(RECORD_BYTES)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data

    def close(self) -> None:
        """Close."""
        self.socket.close()


def whole(body: bytes) -> bytes:
    """Return a body whose chunks, where it came in such, are put together: the measuring client spares itself that."""
    if body.startswith(b"{"):
        return body
    parts = []
    while (size := int(body.partition(b"\r\n")[0], 16)) > 0:
        start = body.index(b"\r\n") + 2
        parts.append(body[start : start + size])
        body = body[start + size + 2 :]
    return b"".join(parts)


def fill(side: Side) -> None:
    """Make the namespaces and their Pods."""
    connection = Connection(side)
    for namespace, count in ((SMALL, 100), (LARGE, 1000)):
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        connection.ask("POST", "/api/v1/namespaces", json.dumps(made).encode())
        for number in range(count):
            body = json.dumps(pod(f"web-{number:03}")).encode()
            connection.ask("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    found = json.loads(whole(connection.ask("GET", f"/api/v1/namespaces/{SMALL}/pods")))["items"]
    phases = {one["status"].get("phase") for one in found}
    connection.close()
    if phases != {"Pending"}:
        raise RuntimeError(f"Pods of the benchmark are being run: {phases}")


def change(number: int, client: int) -> bytes:
    """Return a patch that changes something."""
    return json.dumps({"metadata": {"annotations": {f"bench-{client}": str(number)}}}).encode()


@dataclass
class Taken:
    """What one kind of request took on one side with so many clients."""

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def told(self) -> str:
        """Return rate, p50 and p99."""
        ordered = sorted(self.seconds)
        p50, p99 = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
        cpu = 1000 * self.cpu_seconds / len(ordered)
        return f"{statistics.median(self.rates):8.0f}/s  p50 {p50:7.2f}  p99 {p99:7.2f}  CPU {cpu:7.3f} ms"


def round_of(side: Side, what: str, clients: int, seconds: float, taken: Taken) -> None:
    """Let `clients` ask for `seconds` and add what came of it."""
    connections = [Connection(side) for _ in range(clients)]
    path = {"LIST 100": f"/api/v1/namespaces/{SMALL}/pods", "LIST 1,000": f"/api/v1/namespaces/{LARGE}/pods"}
    gzip = what.endswith("gzip")
    lasted: list[list[float]] = [[] for _ in connections]
    stop = time.perf_counter() + seconds

    def work(client: int) -> None:
        connection, mine, number = connections[client], lasted[client], 0
        while (begun := time.perf_counter()) < stop:
            if what == "PATCH":
                own = f"/api/v1/namespaces/{SMALL}/pods/web-{client:03}"
                connection.ask("PATCH", own, change(time.perf_counter_ns(), client), kind=MERGE)
            else:
                connection.ask("GET", path.get(what.removesuffix(", gzip"), POD), gzip=gzip)
            mine.append(time.perf_counter() - begun)
            number += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    used, begun = side.cpu_seconds(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begun
    taken.cpu_seconds += side.cpu_seconds() - used
    for connection in connections:
        connection.close()
    taken.seconds += [one for mine in lasted for one in mine]
    taken.rates.append(sum(map(len, lasted)) / elapsed)


def watch_latency(side: Side, count: int, watchers: int = 1) -> list[float]:
    """Return the milliseconds from sending a write to its event on the last of `watchers` streams."""
    writer = Connection(side)
    version = json.loads(whole(writer.ask("GET", f"/api/v1/namespaces/{SMALL}/pods?limit=1")))["metadata"][
        "resourceVersion"
    ]
    path = f"/api/v1/namespaces/{SMALL}/pods?watch=true&resourceVersion={version}"
    arrived: list[float] = []
    seen = threading.Semaphore(0)
    streams = [Connection(side) for _ in range(watchers)]

    def read(stream: Connection) -> None:
        stream.socket.sendall(f"GET {path} HTTP/1.1\r\n{stream.head}\r\n".encode())
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            while True:
                data = stream.socket.recv(RECORD_BYTES)
                if not data:
                    return
                now = time.perf_counter()
                for _ in range(data.count(b'{"type":')):
                    arrived.append(now)
                    seen.release()

    threads = [threading.Thread(target=read, args=(s,), daemon=True) for s in streams]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    found = []
    for number in range(count + 10):
        begun = time.perf_counter()
        writer.ask("PATCH", POD, change(number + time.perf_counter_ns(), 0), kind=MERGE)
        for _ in streams:
            seen.acquire()
        if number >= 10:
            found.append(1000 * (arrived[-1] - begun))
    for stream in streams:
        stream.socket.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for connection in (*streams, writer):
        connection.close()
    return sorted(found)


HELLO = """
import asyncio, ssl, sys
from pathlib import Path
from aiohttp import web

async def main(certificate, authority, folder):
    bodies = {}
    async def answer(request):
        body = bodies.get(request.path)
        if body is None:
            body = bodies[request.path] = (Path(folder) / request.path.replace("/", "_")).read_bytes()
        if request.method == "PATCH":
            await request.read()
        return web.Response(body=body, content_type="application/json")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@contextlib.contextmanager
def localset(directory: Path) -> Iterator[Side]:
    """Run a daemon of its own."""
    house = House(directory / "data")
    try:
        house.run("up", "--max-processes=5000")
        files = CertificateFiles(house.data / "tls")
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.directory / "admin.pem")
        server = re.search(r"server: https://127.0.0.1:(\d+)", (house.data / "kubeconfig").read_text())
        assert server
        yield Side("localset", int(server[1]), context, pid=house.status()["daemon"]["pid"])
    finally:
        house.down()


@contextlib.contextmanager
def hello(directory: Path, ours: Side) -> Iterator[Side]:
    """Run the bare server with the bodies that localset gives, under the same certificates."""
    folder = directory / "bodies"
    folder.mkdir()
    connection = Connection(ours)
    for path in (POD, *(f"/api/v1/namespaces/{n}/pods" for n in (SMALL, LARGE))):
        (folder / path.replace("/", "_")).write_bytes(connection.ask("GET", path))
    for number in range(8):
        path = f"/api/v1/namespaces/{SMALL}/pods/web-{number:03}"
        (folder / path.replace("/", "_")).write_bytes(connection.ask("GET", path))
    connection.close()
    files = CertificateFiles(directory / "data" / "tls")
    words = [sys.executable, "-c", HELLO, str(files.server), str(files.ca), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield Side("bare aiohttp", int(process.stdout.readline()), ours.context, pid=process.pid)
        finally:
            process.terminate()


def free_port() -> int:
    """Return a port that nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def kube_apiserver(directory: Path) -> Iterator[Side | None]:
    """Run the kube-apiserver that the environment names, over an etcd of its own; None without one."""
    program, etcd = os.environ.get("KUBE_APISERVER"), os.environ.get("ETCD") or shutil.which("etcd")
    if not program or not etcd:
        print(f"no {'etcd: set ETCD' if program else 'kube-apiserver: set KUBE_APISERVER'}=PATH; its stored figures:")
        yield None
        return
    store, peer, port = free_port(), free_port(), free_port()
    key = directory / "accounts.pem"
    pem, form, bare = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, bare))
    tokens = directory / "tokens.csv"
    tokens.write_text("bench-token,bench,1,system:masters\n")
    etcd_words = [
        etcd,
        f"--data-dir={directory / 'etcd'}",
        *(f"--{kind}-client-urls=http://127.0.0.1:{store}" for kind in ("listen", "advertise")),
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ]
    words = [
        program,
        f"--etcd-servers=http://127.0.0.1:{store}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={directory / 'apiserver'}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://bench.invalid",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    side = Side("kube-apiserver", port, context, {"Authorization": "Bearer bench-token"})
    with (directory / "peer.log").open("wb") as log, contextlib.ExitStack() as stack:
        for command in (etcd_words, words):
            process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            stack.callback(process.terminate)
            side.pid = process.pid  # the last one's: etcd's share is not counted
        until(lambda: is_ready(side) or process.poll() is not None, 60, "kube-apiserver is ready")
        if process.poll() is not None:
            raise RuntimeError(f"kube-apiserver has ended: {(directory / 'peer.log').read_text()[-1000:]}")
        yield side


def is_ready(side: Side) -> bool:
    """Tell whether a server answers."""
    try:
        connection = Connection(side)
        connection.ask("GET", "/readyz")
        connection.ask("GET", "/api/v1/namespaces/default")
        connection.close()
    except (OSError, RuntimeError):
        return False
    return True


def compare(sides: list[Side], rounds: int, seconds: float, counts: list[int]) -> None:
    """Print rates and latencies of all sides, in turn, and what is held to what; for each number of clients."""
    for clients in counts:
        for what in ("GET Pod", "LIST 100", "LIST 1,000", "LIST 1,000, gzip", "PATCH"):
            taken = {side.name: Taken() for side in sides}
            asked = [s for s in sides if s.name != "bare aiohttp" or not what.endswith("gzip")]
            for side in asked:
                round_of(side, what, clients, seconds / 4, Taken())  # warm
            for number in range(rounds):
                for side in asked if number % 2 == 0 else reversed(asked):
                    round_of(side, what, clients, seconds, taken[side.name])
            print(f"{what}, {clients} client{'s' if clients > 1 else ''}")
            for side in asked:
                print(f"  {side.name:<22}{taken[side.name].told()}")
            ours = statistics.median(taken["localset"].rates)
            if "kube-apiserver" in taken:
                peer, mine = taken["kube-apiserver"], taken["localset"]
                ratio, best = ours / statistics.median(peer.rates), max(mine.rates) / max(peer.rates)
                cpu = peer.cpu_seconds / len(peer.seconds) / (mine.cpu_seconds / len(mine.seconds))
                print(f"  {ratio:.1f} × kube-apiserver in this run, best rounds {best:.1f} ×, CPU 1/{cpu:.1f}", end="")
            elif (what, clients) in STORED:
                stored = STORED[what, clients]
                print(
                    f"  {'kube-apiserver':<22}{stored:8.0f}/s  stored, another day\n  {ours / stored:.1f} × that",
                    end="",
                )
            else:
                continue
            print(f" (goal {GOALS[what]:.0f} ×)" if clients == 1 and what in GOALS else "")


def compare_watches(sides: list[Side], counts: list[int]) -> None:
    """Print write → event of all sides."""
    for watchers in counts:
        print(f"write → watch event, {watchers} watcher{'s' if watchers > 1 else ''} (the last of them)")
        medians = {}
        for side in sides:
            if side.name == "bare aiohttp":
                continue
            found = watch_latency(side, 300, watchers)
            medians[side.name] = statistics.median(found)
            print(f"  {side.name:<22}p50 {medians[side.name]:7.2f}  p99 {found[int(len(found) * 0.99)]:7.2f} ms")
        peer = medians.get("kube-apiserver")
        note = "in this run" if peer else "stored, another day"
        ratio = medians["localset"] / (peer or STORED_WATCH_MS)
        print(f"  {ratio:.2f} × kube-apiserver's {peer or STORED_WATCH_MS:.1f} ms, {note} (goal {WATCH_GOAL} ×)")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="localset-bench-"))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}; {given.rounds} rounds of {given.seconds} s, sides in turn")
    try:
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(localset(directory))
            fill(ours)
            bare = stack.enter_context(hello(directory, ours))
            peer = stack.enter_context(kube_apiserver(directory))
            if peer is not None:
                fill(peer)
            sides = [ours, bare, *([peer] if peer else [])]
            compare(sides, given.rounds, given.seconds, given.clients)
            compare_watches(sides, given.clients)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
