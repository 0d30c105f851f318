"""Versioned kubectl binaries, found by path: some `kubectl` are dispatchers that run another version than their own.

Looked for in this order: the environment (`LOCALSET_KUBECTL_1_20=/path`), `kubectl.1.27` and its like on the PATH and
beside a google-cloud-sdk, `kubectl` itself unless it is a dispatcher, and for 1.20 Debian's package
`kubernetes-client`, which is unpacked into `~/.cache/localset-tests` and never installed.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CACHE = Path.home() / ".cache" / "localset-tests"
OLD = "1.20"
USUAL = (OLD, "1.27", "1.28", "1.29", "1.32", "1.33")
"""The versions that tests ask for; at least one of each way to read OpenAPI."""
_FOLDERS = ("/usr/lib/google-cloud-sdk/bin", "/usr/local/google-cloud-sdk/bin", "/opt/google-cloud-sdk/bin")


def find_kubectl(minor: str) -> Path:
    """Return the kubectl of `minor` (`1.32`); skips the test with the reason when there is none."""
    found = _found(minor)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def newest_kubectl() -> Path:
    """Return the newest kubectl in reach; skips the test when there is none."""
    found = sorted(_versioned().items(), key=lambda item: _order(item[0]))
    if not found:
        pytest.skip("no kubectl is in reach: set LOCALSET_KUBECTL_1_33 to the path of one")
    return found[-1][1]


class Kubectl:
    """One kubectl with one kubeconfig, a home and a cache of its own."""

    def __init__(self, program: Path, home: Path, config: Path) -> None:
        self.program, self.home, self.config = program, home, config

    def run(self, *words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command; what it exits with is the caller's to judge."""
        return subprocess.run(
            [self.program, *words],
            env=self.environment() | environment, text=True, capture_output=True, timeout=60, check=False, input=stdin,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return what every command gets; its caches lie in its home."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self.config)}

    def out(self, *words: str, stdin: str | None = None, **environment: str) -> str:
        """Return what a command prints that succeeds."""
        done = self.run(*words, stdin=stdin, **environment)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def quiet(self, *words: str, stdin: str | None = None, **environment: str) -> str:
        """Return what a command prints that succeeds and warns of nothing."""
        done = self.run(*words, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), (words, done.stdout, done.stderr)
        return done.stdout


@functools.cache
def _found(minor: str) -> Path | str:
    path = _versioned().get(minor)
    if path is None and minor == OLD:
        return _unpacked()
    return path or f"no kubectl {minor} is in reach: set LOCALSET_KUBECTL_{minor.replace('.', '_')} to its path"


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


@functools.cache
def _versioned() -> dict[str, Path]:
    """Return the binaries by the minor version that they say themselves."""
    named = {}
    for folder in (*_FOLDERS, *os.environ.get("PATH", "").split(os.pathsep)):
        for path in sorted(Path(folder or ".").glob("kubectl.1.*")):
            named[path.name.removeprefix("kubectl.")] = path
    plain = shutil.which("kubectl")
    if plain and (minor := _minor_of(Path(plain))):
        named.setdefault(minor, Path(plain))
    for key, value in os.environ.items():
        if key.startswith("LOCALSET_KUBECTL_1_") and value:
            named[key.removeprefix("LOCALSET_KUBECTL_").replace("_", ".")] = Path(value)
    return {minor: path for minor, path in named.items() if os.access(path, os.X_OK) and _minor_of(path) == minor}


def _minor_of(path: Path) -> str:
    """Return what the binary calls itself; empty for a dispatcher, which names itself or needs its siblings."""
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [path, "version", "--client", "-o", "json"],
                env={"HOME": home, "PATH": "/nonexistent"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            version = str(json.loads(done.stdout)["clientVersion"]["gitVersion"])
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
            return ""
    found = re.match(r"v(\d+\.\d+)\.", version)
    return "" if found is None or "dispatcher" in version else found.group(1)


def _unpacked() -> Path | str:
    """Return Debian's kubectl, downloaded once."""
    folder = CACHE / "kubernetes-client-1.20"
    path = folder / "usr" / "bin" / "kubectl"
    if not path.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            return "kubectl 1.20 is taken from Debian's package, which needs apt-get and dpkg"
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            done = subprocess.run(
                ["apt-get", "download", "kubernetes-client"], cwd=work, capture_output=True, text=True, check=False
            )
            packages = list(Path(work).glob("kubernetes-client_1.20*.deb"))
            if done.returncode != 0 or not packages:
                return f"no package kubernetes-client 1.20 can be downloaded: {done.stderr.strip()[-200:]}"
            subprocess.run(["dpkg", "-x", packages[0], Path(work) / "unpacked"], check=True)
            if not folder.exists():
                (Path(work) / "unpacked").rename(folder)
    minor = _minor_of(path)
    return path if minor == OLD else f"Debian's kubernetes-client is not {OLD} but {minor or 'unknown'}"
