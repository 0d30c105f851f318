"""One folder of examples/ in a house: what every example must do, whatever its program is."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from localset.images.catalogue import Catalogue
from tests.e2e.house import EXAMPLES, House, host_address, until

PATIENCE = 90.0


def needs_image(reference: str) -> None:
    """Skip when this machine lacks what the image runs; `make setup` installs it."""
    catalogue = Catalogue(Path("/nonexistent"))
    image = catalogue.find(reference)
    assert image is not None, reference
    missing = catalogue.missing(image)
    if missing:
        pytest.skip("; ".join(map(str, missing)))


class Example:
    """A StatefulSet of an example with the Service of the same name."""

    def __init__(self, house: House, name: str, image: str) -> None:
        needs_image(image)
        self.house, self.name = house, name
        self.manifest = (EXAMPLES / name / f"{name}.yaml").read_text()

    def apply(self, manifest: str = "") -> None:
        """Bring it up and wait until all are Ready."""
        self.house.up()
        self.house.run("apply", "-f", "-", "--wait", "--timeout", "120", stdin=manifest or self.manifest, timeout=150)

    def set(self) -> dict[str, Any]:
        return self.house.json("sts", self.name)

    def pods(self) -> dict[str, dict[str, Any]]:
        """Return the Pods by name."""
        items = self.house.json("pods", "-l", f"app={self.name}")["items"]
        return {pod["metadata"]["name"]: pod for pod in items}

    def addresses(self) -> dict[str, str]:
        """Return where the host reaches each Pod."""
        return {name: host_address(pod) for name, pod in self.pods().items()}

    def wait_until_ready(self) -> None:
        """Wait until every wanted replica is Ready and of the update revision."""

        def is_ready() -> bool:
            found = self.set()
            status, wanted = found["status"], found["spec"]["replicas"]
            return (
                status.get("observedGeneration") == found["metadata"]["generation"]
                and status.get("readyReplicas", 0) == status.get("replicas") == wanted
                and status.get("updatedReplicas") == wanted
                and len(self.pods()) == wanted
            )

        until(is_ready, PATIENCE, f"{self.name}: all replicas Ready")

    def resolves(self) -> None:
        """Check that each member's name has its address: the last by `dns query`, all by dig."""
        server, _, port = self.house.status()["dns"]["address"].rpartition(":")
        addresses = self.addresses()
        names = {f"{pod}.{self.name}.default.svc.cluster.local": address for pod, address in addresses.items()}
        ask = ["dig", "+short", f"@{server}", "-p", port, *names]
        dug = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=20)
        assert dug.stdout.split() == list(names.values())
        name, address = names.popitem()
        assert self.house.run("dns", "query", name).stdout.split()[-1] == address

    def run(self, pod: str, *command: str, check: bool = True) -> str:
        """Return what a command inside a Pod prints."""
        return self.house.run("exec", pod, "--", *command, check=check).stdout

    def kill(self, pod: str) -> None:
        """kill -9 a member's process and wait until the Pod runs it again and is Ready, at the same address."""
        before = self.pods()[pod]
        os.kill(self.house.leader(before), signal.SIGKILL)

        def is_back() -> bool:
            status = (self.house.pod(pod) or before)["status"]["containerStatuses"][0]
            return status["restartCount"] > 0 and status["ready"]

        until(is_back, PATIENCE, f"{pod} is Ready again")
        after = self.pods()[pod]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["status"]["podIP"] == before["status"]["podIP"]

    def roll(self) -> None:
        """Change the template and wait until every Pod is a new one, at its old address."""
        before = self.pods()
        assert self.manifest.count("    metadata:\n      labels:") == 1
        changed = self.manifest.replace(
            "    metadata:\n      labels:", '    metadata:\n      annotations: { turn: "2" }\n      labels:'
        )
        self.house.run("apply", "-f", "-", stdin=changed)
        self.wait_until_ready()
        after = self.pods()
        assert {p["metadata"]["uid"] for p in before.values()}.isdisjoint(p["metadata"]["uid"] for p in after.values())
        assert all(after[name]["status"]["podIP"] == pod["status"]["podIP"] for name, pod in before.items())

    def scale(self, replicas: int) -> None:
        self.house.run("scale", "sts", self.name, f"--replicas={replicas}")
        self.wait_until_ready()

    def delete(self) -> None:
        """Delete what the manifest made; claims stay, as in Kubernetes."""
        self.house.run("delete", "-f", "-", stdin=self.manifest)
        until(lambda: not self.pods(), PATIENCE, "no Pod is left")


def answer_of(text: str) -> Any:
    """Return JSON, or nothing where there is none yet."""
    try:
        return json.loads(text)
    except ValueError:
        return {}
