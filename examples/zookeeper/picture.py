"""Draws a ZooKeeper StatefulSet: each ordinal's name, address, role, volume and time to Ready, and what to try next.

`make run` ends with it. It knows nothing of localset's insides: it reads objects through `localset get -o json` and
asks each member its role by the four-letter word `srvr`.

Use: picture.py [--name zk] [--namespace default] [--localset PROGRAM]
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

HOST_ADDRESS = "localset.dev/host-address"
COLUMNS = ("POD", "ADDRESS", "ROLE", "VOLUME", "READY AFTER")


def main() -> int:
    """Print the picture; exit code 1 when a member has no role within the time."""
    parser = argparse.ArgumentParser(description="Draw a ZooKeeper StatefulSet.")
    parser.add_argument("--name", default="zk")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--localset", default=default_localset())
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for every member's role")
    options = parser.parse_args()
    get = [options.localset, "get", "-n", options.namespace, "-o", "json"]

    try:
        replicas = ask([*get, "statefulsets", options.name])["spec"]["replicas"]
        names = [f"{options.name}-{ordinal}" for ordinal in range(replicas)]
        found = {p["metadata"]["name"]: p for p in ask([*get, "pods"])["items"]}
        pods = [found[name] for name in names if name in found]
        claims = {c["metadata"]["name"]: c for c in ask([*get, "persistentvolumeclaims"])["items"]}
        paths = {v["metadata"]["name"]: path_of(v) for v in ask([*get, "persistentvolumes"])["items"]}
    except UnansweredError as error:
        print(error, file=sys.stderr)
        return 1
    roles = wait_for_roles(pods, options.timeout)
    rows: list[tuple[str, ...]] = [
        (
            pod["metadata"]["name"],
            f"{address_of(pod)}:{client_port(pod)}",
            role,
            volumes_of(pod, claims, paths),
            ready_after(pod),
        )
        for pod, role in zip(pods, roles, strict=True)
    ]
    print_table(rows)
    if pods:
        print_hints(options.localset, options.name, pods)
    return (
        0
        if len(pods) == replicas and all(role in {"leader", "follower", "observer", "standalone"} for role in roles)
        else 1
    )


class UnansweredError(Exception):
    """localset did not answer; the text is its own."""


def default_localset() -> str:
    """Return the `localset` beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).with_name("localset")
    return str(beside) if beside.exists() else shutil.which("localset") or "localset"


def ask(command: list[str]) -> Any:
    """Return what a command prints as JSON."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UnansweredError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise UnansweredError(done.stderr.strip() or f"{' '.join(command)} exited {done.returncode}")
    return json.loads(done.stdout)


def address_of(pod: dict[str, Any]) -> str:
    """Return where this host reaches the Pod, or a dash."""
    annotations = pod["metadata"].get("annotations", {})
    return str(annotations.get(HOST_ADDRESS) or pod.get("status", {}).get("podIP") or "-")


def client_port(pod: dict[str, Any]) -> int:
    """Return the port that is called client, else the first one, else ZooKeeper's."""
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    named = [port for port in ports if port.get("name") == "client"]
    return int((named or ports or [{"containerPort": 2181}])[0]["containerPort"])


def role_of(address: str, port: int) -> str:
    """Return leader, follower, … as the member itself says, or why it says nothing."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(b"srvr")
            answer = b""
            while part := connection.recv(65536):
                answer += part
    except OSError as error:
        return f"no answer ({error.strerror or error})"
    for line in answer.decode(errors="replace").splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ")
    return "no quorum yet"


def wait_for_roles(pods: list[dict[str, Any]], timeout_seconds: float) -> list[str]:
    """Ready means that a member lives; its role comes with the quorum, moments later."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        roles = [role_of(address_of(pod), client_port(pod)) for pod in pods]
        if all(" " not in role for role in roles) or time.monotonic() > deadline:
            return roles
        time.sleep(0.1)


def path_of(volume: dict[str, Any]) -> str:
    """Return the directory of a volume on this host, or an empty text."""
    spec = volume["spec"]
    return str(spec.get("hostPath", spec.get("local", {})).get("path", ""))


def volumes_of(pod: dict[str, Any], claims: dict[str, Any], paths: dict[str, str]) -> str:
    """Return where each of the Pod's claims lies."""
    shown = []
    for volume in pod["spec"].get("volumes", []):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim:
            bound = claims.get(claim, {}).get("spec", {}).get("volumeName", "")
            shown.append(paths.get(bound) or claim)
    return ", ".join(shown) or "-"


def ready_after(pod: dict[str, Any]) -> str:
    """Return the time from the Pod's creation to Ready, to the second that the API's times have."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True" and condition.get("lastTransitionTime"):
            created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
            seconds = (datetime.fromisoformat(condition["lastTransitionTime"]) - created).total_seconds()
            return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    return "not ready"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows under their headings."""
    widths = [max(len(row[column]) for row in [COLUMNS, *rows]) for column in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_hints(localset: str, name: str, pods: list[dict[str, Any]]) -> None:
    """Print the next commands to try."""
    here = Path.cwd()
    program = Path(localset)
    shown = str(program.relative_to(here)) if program.is_relative_to(here) else localset
    namespace = pods[0]["metadata"].get("namespace", "default")
    where = "" if namespace == "default" else f" -n {namespace}"
    first, last = pods[0]["metadata"]["name"], pods[-1]["metadata"]["name"]
    print("\ntry:")
    print(f"  {shown} exec{where} {first} -- zkCli.sh create /hello world")
    print(f"  {shown} exec{where} {last} -- zkCli.sh get /hello")
    print(f"  {shown} logs{where} {first} --tail 20")
    print(f"  {shown} scale{where} statefulset {name} --replicas=0")
    print("  make down")


if __name__ == "__main__":
    sys.exit(main())
