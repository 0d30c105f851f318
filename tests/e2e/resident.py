"""A kubectl that lives in a namespace of its own, in a house that it shares with kubectls of other versions.

For the tests of every command: texts are compared with what kubectl prints before a real cluster.
"""

import json
import re
import select
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.kubectls import OLD, Kubectl, find_kubectl, newest_kubectl

BEFORE = [pytest.param(minor, marks=pytest.mark.slow) for minor in (OLD, "1.28")]
"""Older kubectls: how they read OpenAPI, what bodies they send and how they stream has changed since."""
AGE = re.compile(r"\b(\d+[smhdy])+\b")
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080, name: web}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: host
        command: [sh, -c, 'for i in 0 1 2 3; do echo line $i; done; exec sleep 1000']
        ports: [{containerPort: 8080, name: web}]
        volumeMounts: [{name: www, mountPath: /srv}]
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""


class Resident(Kubectl):
    """One version of kubectl, whose current context names a namespace that it has to itself."""

    def __init__(self, minor: str, home: Path, house: House) -> None:
        """Take a copy of the house's kubeconfig; `minor` may be `newest`."""
        program = newest_kubectl() if minor == "newest" else find_kubectl(minor)
        config = home / "kubeconfig"
        config.write_bytes((house.data / "kubeconfig").read_bytes())
        super().__init__(program, home, config)
        self.house = house
        client = json.loads(self.quiet("version", "--client", "-o", "json"))["clientVersion"]
        self.number = int(client["minor"].rstrip("+"))
        """The minor version."""
        self.is_old = minor == OLD
        self.namespace = f"kubectl-{minor.replace('.', '-')}"
        self.quiet("create", "namespace", self.namespace)
        self.quiet("config", "set-context", "--current", f"--namespace={self.namespace}")

    def refusal(self, *words: str, stdin: str | None = None, **environment: str) -> str:
        """Return what a command complains of that fails and prints nothing else."""
        done = self.run(*words, stdin=stdin, **environment)
        assert (done.returncode, done.stdout) == (1, ""), (words, done.stdout, done.stderr)
        return done.stderr

    def table(self, *words: str) -> list[list[str]]:
        """Return the cells that `get` or its like prints, ages as AGE."""
        lines = self.quiet(*words).splitlines()
        return [[AGE.sub("AGE", cell) for cell in re.split(r"\s{3,}", line.strip())] for line in lines]

    def await_web(self, replicas: int = 2) -> None:
        """Wait until the StatefulSet `web` has so many ready Pods of its newest revision."""
        self.quiet("rollout", "status", "sts/web", "--timeout=30s")
        assert self.quiet("get", "sts", "web", "-o", "jsonpath={.status.readyReplicas}") == str(replicas)

    @contextmanager
    def following(self, *words: str) -> Iterator["Following"]:
        """Run a command that goes on until it is killed, at the end at the latest."""
        process = subprocess.Popen(
            [self.program, *words], env=self.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        timer = threading.Timer(30, process.kill)
        timer.start()
        try:
            yield Following(process)
        finally:
            timer.cancel()
            process.kill()
            process.communicate()


class Following:
    """A running kubectl and the lines that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()

    def has_printed(self, seconds: float = 0.5) -> bool:
        """Wait so long for anything; only before the first `until`."""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def until(self, pattern: str) -> str:
        """Return the next line that matches; fail when the command has ended before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        assert self.process.stderr is not None
        self.lines.append(self.process.stderr.read())
        raise AssertionError(f"ended without {pattern!r}: {self.lines}")
