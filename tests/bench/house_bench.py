"""Figures for the whole house: start, memory, idling, scaling and the ensemble, beside what the machine itself needs.

Run by `make bench`, or alone: `python tests/bench/house_bench.py`. Every figure is taken from a real daemon in a data
directory of its own, which is taken down whatever happens. A peer that is missing is said to be missing.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from localset.base.directories import api_socket  # noqa: E402 - the checkout is on the path only now
from tests.e2e.house import EXAMPLES, House, four_letters, role, until  # noqa: E402 - as above

REPLICAS = 100
LINKS = 30
OBJECTS = 1000
IDLE_SECONDS = 15.0
STARTS = 3
ENSEMBLES = 3
SETS = "/apis/apps/v1/namespaces/default/statefulsets"


def surroundings() -> dict[str, str]:
    """Return the environment of an ordinary user: bytecode is kept, whatever this shell wants."""
    dropped = ("LOCALSET", "XDG_", "PYTHON")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {"PYTHONPATH": str(CHECKOUT)}


class _Connection(http.client.HTTPConnection):
    """HTTP over the daemon's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localset", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Bench:
    """One data directory: its daemon, started straight (no command line in between), and its API."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.house = House(data)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._connection: _Connection | None = None

    def start(self) -> float:
        """Start the daemon; return the seconds until its API answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "localset", "--data-dir", str(self.data), "up", "--foreground"]
        command += [f"--max-processes={REPLICAS * 2}"]
        with (self.data / "daemon.log").open("ab") as log:
            begun = time.perf_counter()
            self._daemon = subprocess.Popen(
                command, env=surroundings(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = begun + 30
        while True:
            try:
                self.ask("GET", "/localset/v1/status")
                return time.perf_counter() - begun
            except OSError:
                if time.perf_counter() > deadline or self._daemon.poll() is not None:
                    raise
                time.sleep(0.002)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the API answers; refusals are raised."""
        if self._connection is None:
            self._connection = _Connection(api_socket(self.data))
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = None
            raise OSError(str(error)) from error
        if answer.status >= 400:
            raise AssertionError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def stop(self) -> None:
        """End daemon, keeper and all replicas."""
        if self._daemon is None:
            return
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.house.run("down", "--timeout", "20", check=False)
        try:
            self._daemon.wait(20)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._daemon = None

    def processes(self) -> dict[str, int]:
        """Return the pids of daemon and keeper."""
        status = self.ask("GET", "/localset/v1/status")
        return {"daemon": status["daemon"]["pid"], "keeper": status["keeper"]["pid"]}

    def ready(self, name: str) -> int:
        """Return how many replicas of a set are Ready."""
        return int(self.ask("GET", f"{SETS}/{name}")["status"].get("readyReplicas", 0))

    def scale_up(self, name: str, replicas: int, policy: str) -> float:
        """Create a set; return the seconds until all its replicas are Ready."""
        begun = time.perf_counter()
        self.ask("POST", SETS, stateful_set(name, replicas, policy))
        while self.ready(name) < replicas:
            if time.perf_counter() - begun > 30:
                raise AssertionError(f"{name}: {self.ready(name)} of {replicas} Ready after 30 s")
            time.sleep(0.01)
        return time.perf_counter() - begun

    def remove(self, name: str) -> None:
        """Delete a set and wait for the end of its Pods."""
        self.ask("DELETE", f"{SETS}/{name}")
        until(lambda: not self.ask("GET", "/api/v1/namespaces/default/pods")["items"], 40, f"{name} is gone")


def stateful_set(name: str, replicas: int, policy: str) -> dict[str, Any]:
    """Return a set of sleepers without probes."""
    labels = {"app": name}
    container = {"name": "main", "image": "host", "command": ["sleep", "inf"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": name,
            "replicas": replicas,
            "podManagementPolicy": policy,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }


def pss_megabytes(pid: int) -> float:
    """Return the proportional set size of one process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no Pss for {pid}")


def cpu_milliseconds(pid: int) -> float:
    """Return utime + stime of one process; the kernel counts in ticks, mostly of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """Return how often the threads of one process have waited for something: each wait but the last has ended."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found += int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def row(goal: str, name: str, figures: list[float], unit: str) -> None:
    """Print one line of the table."""
    middle, low, high = statistics.median(figures), min(figures), max(figures)
    print(f"{goal:22} {name:46} {len(figures):2} {middle:9.2f} {unit:6} {low:.2f} to {high:.2f}", flush=True)


def say(goal: str, name: str, text: str) -> None:
    """Print a line without a figure of its own."""
    print(f"{goal:22} {name:46}  - {text}", flush=True)


@contextlib.contextmanager
def bench(root: Path, name: str) -> Iterator[Bench]:
    """Give a bench that is taken down at the end."""
    one = Bench(root / name)
    try:
        yield one
    finally:
        one.stop()


def restart(one: Bench) -> float:
    """End everything and start the daemon anew."""
    one.stop()
    return one.start()


def starts(root: Path) -> None:
    """P10: how long a start takes, empty and furnished, beside the imports alone."""
    imports = []
    command = [
        sys.executable,
        "-c",
        "import localset.cli.up, localset.daemon.start as s; s._import_the_house()",
    ]
    with bench(root, "start") as one:
        one.start()  # writes bytecode, furnishes the directory, checks the isolation
        empty, bare = [], []
        for _ in range(STARTS):
            empty.append(restart(one))
            imports.append(_run_python(command))
            bare.append(_run_python([sys.executable, "-c", "import aiohttp"]))
        for number in range(OBJECTS):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}, "data": {"k": "v"}}
            one.ask("POST", "/api/v1/namespaces/default/configmaps", body)
        stored = [restart(one) for _ in range(STARTS)]
    row("P10 <= 0.35 s", "daemon start to API answer, nothing stored", empty, "s")
    row("", "peer: python importing the same modules", imports, "s")
    say("", "ratio to the peer", f"{statistics.median(empty) / statistics.median(imports):.2f}")
    row("", "peer: python importing aiohttp", bare, "s")
    say("", "ratio to the peer", f"{statistics.median(empty) / statistics.median(bare):.2f}")
    row("", f"the same with {OBJECTS} ConfigMaps", stored, "s")
    each = (statistics.median(stored) - statistics.median(empty)) * 1000 / OBJECTS
    say("P10 <= 0.2 ms", "each stored object costs", f"{each:.3f} ms")


def _run_python(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=surroundings(), cwd="/", check=True)
    return time.perf_counter() - begun


def replicas(root: Path) -> None:
    """P2, P4, P5 and P6: many sleepers in one house."""
    with bench(root, "many") as one:
        one.start()
        row("P4 <= 0.9 ms", f"ordered chain of {LINKS}, each link", _chain(one), "ms")
        one.stop()
        one.start()
        pids = one.processes()
        one.scale_up("first", 1, "Parallel")  # what the first Pod alone makes a daemon load is no cost of a replica
        before = {name: pss_megabytes(pid) for name, pid in pids.items()}
        row("P2", f"{REPLICAS} Parallel replicas Ready", [one.scale_up("many", REPLICAS, "Parallel")], "s")
        time.sleep(2)  # until what was put off (events, log rotation) is done
        for name, goal in (("daemon", "P6 <= 45 MB"), ("keeper", "P6 <= 10 MB")):
            after = pss_megabytes(pids[name])
            row("", f"{name} PSS with 1 replica", [before[name]], "MB")
            row(goal, f"{name} PSS with {REPLICAS} replicas", [after], "MB")
            say("P6 <= 30 kB in all", f"{name}: each replica", f"{(after - before[name]) * 1024 / REPLICAS:.1f} kB")
        idle(pids)


def _chain(one: Bench) -> list[float]:
    found = []
    for number in range(2):
        found.append(one.scale_up(f"chain{number}", LINKS, "OrderedReady") * 1000 / LINKS)
        one.remove(f"chain{number}")
    return found


def idle(pids: dict[str, int]) -> None:
    """P5: what daemon and keeper use while nothing happens."""
    before = {name: cpu_milliseconds(pid) for name, pid in pids.items()}
    waits = {name: wakeups(pid) for name, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    total = 0.0
    for name, pid in pids.items():
        used = cpu_milliseconds(pid) - before[name]
        total += used
        row("", f"{name} idle with {REPLICAS} replicas, {IDLE_SECONDS:.0f} s", [used], "ms")
        row("P5: none", f"{name} woken meanwhile", [float(wakeups(pid) - waits[name])], "times")
    row("P5 <= 20 ms a minute", "both, a minute", [total * 60 / IDLE_SECONDS], "ms")


def ensemble(root: Path) -> None:
    """P11: the ensemble from apply to a leader, beside the same JVM started three times without us."""
    manifest = EXAMPLES / "zookeeper" / "zookeeper.yaml"
    ours: list[float] = []
    bare: list[float] = []
    for number in range(ENSEMBLES):
        with bench(root, f"ensemble{number}") as one:
            one.start()
            begun = time.perf_counter()
            one.house.run("apply", "-f", str(manifest))
            until(lambda: one.ready("zk") == 3 and _has_leader(one), 40, "three Ready with a leader")
            ours.append(time.perf_counter() - begun)
            command = _jvm_command()
        if command is None:
            continue
        bare.append(sum(_bare_start(root / f"bare{number}-{k}", command) for k in range(3)))
    row("P11 <= 3 s", "apply to 3/3 Ready with a leader", ours, "s")
    if bare:
        row("", "peer: three bare JVMs, exec to imok, in a row", bare, "s")
        say("P11 <= 2.5", "ratio to the peer", f"{statistics.median(ours) / statistics.median(bare):.2f}")
    else:
        say("P11 <= 2.5", "peer: three bare JVMs", "missing: the JVM's class path is not one of this machine")


def _has_leader(one: Bench) -> bool:
    pods = one.ask("GET", "/api/v1/namespaces/default/pods")["items"]
    return "leader" in [role(p["status"].get("podIP", "")) for p in pods]


def _jvm_command() -> list[str] | None:
    """Return the command line of a member that runs now, without its own files; None when it cannot run outside."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
            if "org.apache.zookeeper.server.quorum.QuorumPeerMain" not in words:
                continue
            paths = words[words.index("-cp") + 1].split(":")
            if not any(Path(path.rstrip("*")).exists() for path in paths if path):
                return None
            dropped = ("-Djava.security.properties", "-Djdk.net.hosts.file")
            return [w for w in words[:-1] if not w.startswith(dropped)]
    return None


def _bare_start(directory: Path, command: list[str]) -> float:
    """Start one lone server without us; return the seconds until it answers imok."""
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (directory / "zoo.cfg").write_text(
        f"dataDir={directory}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\n4lw.commands.whitelist=*\n"
    )
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(directory / "zoo.cfg")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory
    )
    try:
        while four_letters("127.0.0.1", port, "ruok") != "imok":
            if process.poll() is not None or time.perf_counter() - begun > 20:
                raise AssertionError(f"the bare JVM did not start: {command}")
            time.sleep(0.005)
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Print the table; 1 when a part could not be measured."""
    if not sys.platform.startswith("linux"):
        print("missing: these figures are read from /proc")
        return 0
    root = Path(tempfile.mkdtemp(prefix="localset-bench-"))
    root.chmod(0o711)  # so that a Pod's own user reaches its volume
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{'goal':22} {'figure':46} {'n':>2} {'median':>9} {'':6} spread", flush=True)
    code = 0
    parts: tuple[Callable[[Path], None], ...] = (starts, replicas, ensemble)
    chosen = sys.argv[1:]
    try:
        for part in parts:
            if chosen and part.__name__ not in chosen:
                continue
            try:
                part(root)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                say("FAILED", part.__name__, str(error)[:1000])
                code = 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
