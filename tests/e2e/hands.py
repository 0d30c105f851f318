"""Whoever types the commands of a tutorial: kubectl, or `localset` with kubectl for the words that it has not got."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localset.cli.main import _COMMANDS
from tests.e2e.house import House, until
from tests.e2e.kubectls import newest_kubectl

PATIENCE = 90.0


class Hands:
    """Runs the words behind `kubectl` on a house that is up."""

    def __init__(self, house: House, who: str, home: Path) -> None:
        self.house, self.who, self.home = house, who, home
        self.kubectl = newest_kubectl()

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self.house.data / "kubeconfig")}

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Return what a command prints; it must succeed."""
        if self.who == "localset" and words[0] in _COMMANDS:
            return self.house.run(*words, stdin=stdin).stdout
        done = subprocess.run(
            [self.kubectl, *words],
            env=self.environment(),
            input=stdin,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def patch(self, name: str, change: Any) -> None:
        """Patch a StatefulSet, by JSON patch when `change` is a list."""
        kind = ["--type=json"] if isinstance(change, list) else []
        self.run("patch", "statefulset", name, *kind, "-p", json.dumps(change))

    @contextmanager
    def watching(self, selector: str, log: Path) -> Iterator[None]:
        """Keep `get pods -w` running, its lines going to `log`."""
        words = [self.kubectl, "get", "pods", "-w", "-l", selector]
        with log.open("wb") as out, subprocess.Popen(words, env=self.environment(), stdout=out) as watcher:
            try:
                yield
            finally:
                watcher.send_signal(signal.SIGTERM)

    def pods(self, selector: str) -> dict[str, dict[str, Any]]:
        """Return the Pods by name."""
        items = self.house.json("pods", "-l", selector)["items"]
        return {pod["metadata"]["name"]: pod for pod in items}

    def wait_until_ready(self, name: str, count: int) -> None:
        """Wait until the set has exactly `count` Pods, all Ready, and has seen its newest spec."""

        def is_ready() -> bool:
            found = self.house.json("sts", name)
            status = found["status"]
            return (
                status.get("observedGeneration") == found["metadata"]["generation"]
                and status.get("readyReplicas", 0) == status.get("replicas") == found["spec"]["replicas"] == count
            )

        until(is_ready, PATIENCE, f"{name}: {count} Ready")


def order_of(log: Path, *patterns: str) -> list[int]:
    """Return the first lines' numbers that match each pattern, once a running watch has seen them all."""

    def found() -> list[int]:
        lines = log.read_text().splitlines()
        numbers = [next((n for n, line in enumerate(lines, 1) if re.search(p, line)), 0) for p in patterns]
        return numbers if all(numbers) else []

    numbers: list[int] = until(found, 30, f"the watch has seen {patterns}")
    return numbers


def images(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return each Pod's image tag."""
    return {n: p["spec"]["containers"][0]["image"].rpartition(":")[2] for n, p in pods.items()}


def ids(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return each Pod's uid."""
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}
