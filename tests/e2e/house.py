"""A real localset in a data directory of its own, driven by its command line as a person would."""

import atexit
import contextlib
import functools
import importlib.metadata
import io
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from packaging.requirements import Requirement

import localset.cli.main as command_line
from localset.base.directories import api_socket

CHECKOUT = Path(__file__).resolve().parents[2]
SEED = CHECKOUT.parent / "shared" / "seed"
EXAMPLES = CHECKOUT / "examples"
HERE = {
    "annotate",
    "apply",
    "cordon",
    "delete",
    "describe",
    "events",
    "fault",
    "get",
    "label",
    "patch",
    "restart",
    "scale",
    "set",
}
HERE |= {"start", "status", "stop", "top", "uncordon"}
"""Commands that tests run in their own process, which saves 0.2 s each; the others are tried as a person types them."""


def until(what: Callable[[], Any], seconds: float = 30.0, why: str = "") -> Any:
    """Return the first true answer of `what`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why or what}")
        time.sleep(0.05)


def _can(user: str, *command: str) -> bool:
    """Tell whether `user` can run `command` with success."""
    entry = pwd.getpwnam(user)
    try:
        done = subprocess.run(
            command, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], capture_output=True, check=False, cwd="/"
        )
    except PermissionError:
        return False
    return done.returncode == 0


@functools.cache
def surroundings(user: str | None) -> tuple[str, str]:
    """Return (interpreter, PYTHONPATH) that `user` may use: root's own pyenv and checkout may be closed to him."""
    packages = sysconfig.get_paths()["purelib"]
    if user is None:
        return sys.executable, f"{CHECKOUT}{os.pathsep}{packages}"
    wanted = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _can(user, p, "-c", wanted)), None)
    if python is None:
        pytest.skip(f"no Python {sys.version_info.major}.{sys.version_info.minor} that an ordinary user may run")
    if _can(user, "ls", str(CHECKOUT / "localset"), packages):
        return python, f"{CHECKOUT}{os.pathsep}{packages}"
    copy = Path(tempfile.mkdtemp(prefix="localset-code-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(CHECKOUT / "localset", copy / "localset", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _packages_of("localset"):
        source, target = Path(packages) / name, copy / "packages" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    subprocess.run(["chmod", "-R", "go+rX", str(copy)], check=True)
    return python, f"{copy}{os.pathsep}{copy / 'packages'}"


def _packages_of(name: str) -> set[str]:
    """Return what site-packages holds of the packages that `name` needs, and these need in turn: top-level names."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        distribution = importlib.metadata.distribution(waiting.pop())
        if distribution.name in seen:
            continue
        seen.add(distribution.name)
        found |= {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}
        requirements = [Requirement(line) for line in distribution.requires or []]
        waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found - {"__pycache__"}


class House:
    """One data directory and the command line on it, perhaps as another user."""

    def __init__(self, data: Path, *, user: str | None = None, isolation: str = "auto") -> None:
        self.data = data
        self.user = user
        self.isolation = isolation

    def run(
        self, *words: str, check: bool = True, stdin: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run one command, in this process where that is as good."""
        done = self._run_here(words, stdin) if self._may_run_here(words) else self._run_process(words, stdin, timeout)
        if check and done.returncode != 0:
            log = self.data / "daemon.log"
            tail = log.read_text()[-4000:] if log.exists() else ""
            raise AssertionError(
                f"{words} exited {done.returncode}\n{done.stdout}\n{done.stderr}\n--- daemon.log\n{tail}"
            )
        return done

    def _may_run_here(self, words: tuple[str, ...]) -> bool:
        is_alone = threading.current_thread() is threading.main_thread()
        has_daemon = api_socket(self.data).exists()
        return (
            is_alone
            and has_daemon
            and self.user is None
            and words[0] in HERE
            and not {"-w", "-h", "--help"} & set(words)
        )

    def _run_here(self, words: tuple[str, ...], stdin: str | None) -> subprocess.CompletedProcess[str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO((stdin or "").encode()))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = command_line.run(["--data-dir", str(self.data), *words])
        finally:
            sys.stdin = before
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(words, code, *texts)

    def _run_process(
        self, words: tuple[str, ...], stdin: str | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOCALSET", "XDG_"))}
        environment["LOCALSET_DATA_DIR"] = str(self.data)
        python, environment["PYTHONPATH"] = surroundings(self.user)
        identity: dict[str, Any] = {}
        if self.user:
            entry = pwd.getpwnam(self.user)
            environment["HOME"] = entry.pw_dir
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.run(
            [python, "-m", "localset", *words],
            env=environment,
            cwd="/",
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            **identity,
        )

    def up(self) -> None:
        """Start the daemon at the wanted level."""
        self.run("up", f"--isolation={self.isolation}")

    def json(self, *words: str) -> Any:
        """Return what `get … -o json` says."""
        return json.loads(self.run("get", *words, "-o", "json").stdout)

    def status(self) -> dict[str, Any]:
        """Return `status -o json`."""
        return json.loads(self.run("status", "-o", "json").stdout)

    def pod(self, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return a Pod or None."""
        done = self.run("get", "pod", name, "-n", namespace, "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def pids(self) -> dict[str, int]:
        """Return run id → pid of the leaders of every process that this data directory's journal knows."""
        journal = (self.data / "keeper" / "journal").read_text(errors="replace")
        found: dict[str, int] = {}
        for process in psutil.process_iter():
            try:
                run_id = process.environ().get("LOCALSET_RUN_ID", "")
                is_ours = bool(run_id) and f'"{run_id}"' in journal and process.status() != psutil.STATUS_ZOMBIE
            except (psutil.Error, OSError):  # it has ended while we looked
                continue
            if is_ours:
                found.setdefault(f"{run_id}:{process.pid}", process.pid)
        return found

    def leader(self, pod: dict[str, Any]) -> int:
        """Return the pid of a Pod's present leader, from the keeper's journal: nginx hides its environment."""
        found = 0
        for line in (self.data / "keeper" / "journal").read_text().splitlines():
            entry = json.loads(line)
            if entry["run"].startswith(pod["metadata"]["uid"]):
                found = (entry.get("set") or {}).get("pid") or found
        assert found
        return found

    def down(self) -> None:
        """End everything and check that nothing is left."""
        self.run("down", "--timeout", "30")
        found = self.leftovers()
        assert not found, found

    def leftovers(self) -> list[str]:
        """Return what must not be there after `down`: processes, mounts, sockets."""
        left = [f"process {pid}" for pid in self.pids().values()] if (self.data / "keeper" / "journal").exists() else []
        left += [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.data) in line]
        left += [str(p) for p in self.data.rglob("*.sock")]
        return left


def four_letters(address: str, port: int, word: str) -> str:
    """Ask a ZooKeeper server a four letter word; empty when it does not answer."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(word.encode())
            chunks = b""
            while data := connection.recv(4096):
                chunks += data
            return chunks.decode(errors="replace")
    except OSError:
        return ""


def host_address(pod: dict[str, Any]) -> str:
    """Return where the host reaches a Pod, "" before that is known: at level namespaces not its podIP."""
    return str((pod["metadata"].get("annotations") or {}).get("localset.dev/host-address", ""))


def role(address: str, port: int = 2181) -> str:
    """Return leader, follower or nothing."""
    for line in four_letters(address, port, "srvr").splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ").strip()
    return ""
