"""Runs the recorded commands of kubectl with real kubectls, in order, and compares what they print.

kubectl-seed meets a server without controllers, as it was recorded; the others a real localset with real Pods. What
cannot be replayed is listed in NOT_REPLAYED with its reason. The files that a command names are those of `MANIFESTS`,
read off the recorded requests.
"""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conformance import volatile
from tests.conformance.comparing import Pairs
from tests.conformance.explaining import Explanation, is_skipped
from tests.conformance.outputs import Printed, differences
from tests.conformance.recording import Record, Request, fixtures_directory
from tests.conformance.replaying import Outcome
from tests.conformance.server import open_server
from tests.e2e.house import SEED, House, until
from tests.e2e.kubectls import find_kubectl

NAMES = ("kubectl-seed", "kubectl-132", "kubectl-120")
_SERVICE = """apiVersion: v1
kind: Service
metadata: {name: nginx, labels: {app: nginx}}
spec: {ports: [{port: 80, name: web}], clusterIP: None, selector: {app: nginx}}
---
"""
_SET = """apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: nginx
        image: nginx:1.24
        ports: [{containerPort: 80, name: web}]
        volumeMounts: [{name: www, mountPath: /usr/share/nginx/html}]
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kcm}\ndata: {a: b}\n"
MANIFESTS = {
    "web.yaml": _SERVICE + _SET.replace("apps/v1", "apps/v1beta1"),
    "web1.yaml": _SERVICE + _SET,
    "web1b.yaml": _SERVICE + _SET.replace("nginx:1.24", "nginx:1.25"),
    "pdb.yaml": "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web-pdb}\n"
    "spec: {maxUnavailable: 1, selector: {matchLabels: {app: nginx}}}\n",
    "unknown.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unk}\ndata: {a: b}\nbogus: 1\n",
    "list.yaml": "apiVersion: v1\nkind: List\nitems:\n"
    + "".join(
        f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {n}}}, data: {{a: b}}}}\n" for n in ("la", "lb")
    ),
    "cm.yaml": _MAP,
    "cml.yaml": _MAP.replace("{name: kcm}", "{name: px, labels: {app: x}}"),
    "raw.json": '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"rawcm"}}',
    "node.yaml": "apiVersion: v1\nkind: Node\nmetadata: {name: node-2}\n",
    "kust/cm.yaml": _MAP,
    "kust/kustomization.yaml": "resources: [cm.yaml]\nnamePrefix: k-\n"
    "configMapGenerator: [{name: gen, literals: [x=y]}]\n",
}
_EDITS = {
    "edit": "s/^  replicas: .*/  replicas: 3/",
    "edit-invalid": "s/^  serviceName: .*/  serviceName: other/",
    "edit-noop": "",
    "seed132-edit": "s/replicas: 3/replicas: 4/",
    "seed120-edit": "s/replicas: 3/replicas: 4/",
}
NOT_REPLAYED = {
    r"get-A|get-all-resources|eviction-drain": "shows the other recorder's namespace",
    r"port-forward.*": "not a command line: it was driven by the recorder",
    r"exec-i|exec-it|run-rm": "a shell around kubectl",
    r"logs.*|attach": "shows what the stand-in's Pods said",
    r"cp-.*": "the stand-in's Pods had their own files",
    r"events.*|get-events": "tells the stand-in's events",
    r"cordon|uncordon.*|taint|drain": "the other recorder had changed node-2 before",
    r"create-v1beta1|apply-removed-version|delete-f0": "old versions are served here, and later commands would see it",
    r"get-rawfs": "the recording ends inside the managedFields of controllers, which are none here",
}
"""Patterns of command names, and why they are not run."""
_SETTLED = re.compile(r"wait-ready|get-sort|label(-rm|-conflict)?|delete-(now|l)")
"""Commands about Pods that the recorder's stand-in had made again at once: they wait until the set is whole."""
_ENDLESS = 3.0
_LONGEST = 60.0
"""Seconds that a command may take: one that the recorder had to end, and any other."""


def _read(name: str) -> list[dict[str, Any]]:
    lines = (fixtures_directory() / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if "cmd" in row]


def _words(command: str) -> list[str]:
    """Return the words of a recorded command line; JSON in it was not quoted."""
    return shlex.split(command) if "'" in command else command.split(" ")


def not_replayed(name: str) -> dict[str, str]:
    """Return the ids of the commands in the file `name` that are not run, and why."""
    ids = [row["id"] for row in _read(name)]
    return {i: why for i in ids for p, why in NOT_REPLAYED.items() if re.fullmatch(p, i.partition("/")[2])}


class Commands:
    """One recorded file of commands, in a directory of its own, before one server."""

    def __init__(self, directory: Path, config: Path, explanations: list[Explanation], node: str = "node-1") -> None:
        self._work = directory / "work"
        self._home = directory / "home"
        self._config = config
        self._node = node
        self._explanations = explanations
        self._pairs = Pairs()
        self._ready: set[str] = set()
        for name, text in MANIFESTS.items():
            path = self._work / "m" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._home.mkdir()
        if SEED.is_dir():
            shutil.copytree(SEED, directory / "shared" / "seed")

    def replay(self, row: dict[str, Any]) -> Outcome | None:
        """Run one recorded command; None when it cannot be replayed."""
        name = row["id"].partition("/")[2]
        record = Record(row["id"], Request("run", row["cmd"], {}, None, ""), {})
        if any(re.fullmatch(pattern, name) for pattern in NOT_REPLAYED):
            return None
        if is_skipped(row["id"], self._explanations):
            return Outcome(record, ["not sent"])
        minor = "1.20" if "120" in row["id"] else "1.32"
        words = _words(row["cmd"])[1:]
        self._prepare(minor, words, name)
        live = self.run(minor, words, name, _ENDLESS if row["exit"] == "timeout" else _LONGEST)
        recorded = Printed(row["exit"], row["stdout"], row["stderr"])
        is_structured = any(word in {"-oyaml", "yaml", "json", "-ojson", "--raw"} for word in words)
        is_free = volatile.FREE_ORDER.fullmatch(name) is not None
        found = differences(recorded, live, self._pairs, is_structured=is_structured, has_free_order=is_free)
        return Outcome(record, [line for line in found if not volatile.is_racing(row["id"], line)])

    def _prepare(self, minor: str, words: list[str], name: str) -> None:
        """Make what was there when the recorder came to this command, by commands that it did not write down."""
        space = words[1] if words[0] == "-n" else ""
        if name == "get-pdb":
            self.run(minor, ["-n", space, "apply", "-f", "m/pdb.yaml"])
        if _SETTLED.fullmatch(name):
            until(lambda: self._is_settled(minor, space), 30, f"the Pods of {space} are whole before {name}")
        is_new = space not in self._ready and (space.endswith("b") or "seed" in space) and name != "create-pdb"
        if not is_new:
            return
        self._ready.add(space)
        self.run(minor, ["create", "namespace", space])
        if space.endswith("b"):
            self.run(minor, ["-n", space, "apply", "-f", "m/web1.yaml"])
            self.run(minor, ["-n", space, "rollout", "status", "sts/web", "--timeout=30s"])

    def _is_settled(self, minor: str, space: str) -> bool:
        """Tell whether each set has its Pods, all of the newest revision, ready and not about to go."""
        found = json.loads(self.run(minor, ["-n", space, "get", "statefulsets,pods", "-o", "json"]).stdout)["items"]
        sets = [item for item in found if item["kind"] == "StatefulSet"]
        pods = [item for item in found if item["kind"] == "Pod" and "app" in item["metadata"].get("labels", {})]
        revisions = {item["status"].get("updateRevision") for item in sets}
        return len(pods) == sum(item["spec"]["replicas"] for item in sets) and all(
            "deletionTimestamp" not in pod["metadata"]
            and pod["metadata"]["labels"].get("controller-revision-hash") in revisions
            and {"type": "Ready", "status": "True"}.items()
            <= next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {}).items()
            for pod in pods
        )

    def run(self, minor: str, words: list[str], name: str = "", seconds: float = _LONGEST) -> Printed:
        """Run one command, whose editor makes the recorded change."""
        program = find_kubectl(minor)
        editor = self._home / "editor.sh"
        editor.write_text(f"#!/bin/sh\nsed -i '{_EDITS.get(name, '')}' \"$1\"\n")
        editor.chmod(0o755)
        environment = {
            "HOME": str(self._home), "PATH": "/usr/bin:/bin", "KUBECONFIG": str(self._config), "EDITOR": str(editor),
        }  # fmt: skip
        own = [self._node if word == "node-1" else word for word in words]
        process = subprocess.Popen(
            [program, *own], cwd=self._work, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return self._printed("timeout", out, err)
        return self._printed(process.returncode, out, err)

    def _printed(self, code: int | str, out: str, err: str) -> Printed:
        return Printed(code, out.replace(self._node, "node-1"), err.replace(self._node, "node-1"))


async def replay_commands(name: str, directory: Path, explanations: list[Explanation]) -> list[Outcome]:
    """Replay the commands of the file `name` before a server of their own."""
    rows = _read(name)
    if name == "kubectl-seed":
        files = directory / "server"
        files.mkdir()
        async with open_server(files, None) as server:
            config = _config_of(directory, files, server.url("").port or 0)
            commands = Commands(directory, config, explanations)
            found = await asyncio.to_thread(lambda: [commands.replay(row) for row in rows])
    else:
        with _house(directory / "data") as house:
            node = house.json("nodes")["items"][0]["metadata"]["name"]
            commands = Commands(directory, house.data / "kubeconfig", explanations, node)
            commands.run("1.20" if "120" in name else "1.32", ["create", "-f", "m/node.yaml"])
            found = await asyncio.to_thread(lambda: [commands.replay(row) for row in rows])
    return [outcome for outcome in found if outcome is not None]


@contextmanager
def _house(data: Path) -> Iterator[House]:
    house = House(data)
    house.up()
    try:
        yield house
    finally:
        house.down()


def _config_of(directory: Path, files: Path, port: int) -> Path:
    """Write a kubeconfig for the administrator of a server in this process."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(files / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": "u",
                "user": {"client-certificate": str(files / "admin.pem"), "client-key": str(files / "admin.pem")},
            }
        ],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config))
    return path
