"""`open`: what to type to connect to a set: addresses, names, ports, and the clients that its image is known by."""

import shutil
from typing import Any

import click

from localset.apis.pods import is_ready
from localset.apis.resources import BY_NAME
from localset.apis.statefulsets import parent_and_ordinal, replicas_of
from localset.apis.views import HOST_ADDRESS, host_address_of
from localset.cli.context import Context
from localset.cli.output import print_rows, put
from localset.cli.pods import PODS, selector_text
from localset.cli.sets import Meant, meant

# Names of images, without registry and tag, to (usual port, command).
_ZOOKEEPER = (2181, "zkCli.sh -server {address}:{port}")
_CLIENTS: dict[str, tuple[int, str]] = {
    "k8szk": _ZOOKEEPER,
    "kubernetes-zookeeper": _ZOOKEEPER,
    "zookeeper": _ZOOKEEPER,
    "redis": (6379, "redis-cli -h {address} -p {port}"),
    "postgres": (5432, "psql -h {address} -p {port} -U postgres"),
    "etcd": (2379, "etcdctl --endpoints=http://{address}:{port} endpoint status"),
    "nats": (4222, "nats -s nats://{address}:{port} server ping"),
}
_WEB = (80, "curl http://{address}:{port}/")
_WEB_SERVERS = ("nginx", "nginx-slim", "httpd")


@click.command(name="open")
@click.argument("target", metavar="SET[/ORDINAL]")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.pass_obj
def open_(context: Context, target: str, namespace: str) -> int:
    """Show what to type to connect to a set, or to one ordinal of it."""
    this = meant(context, target, namespace)
    spec = this.statefulset["spec"]
    pods = _pods(context, this)
    ready = sum(is_ready(pod) for pod in pods)
    put(f"{this.namespace}/{this.name}  {ready}/{replicas_of(this.statefulset)} ready")
    if not pods:
        put(f"no Pod is there: `localset start {this.name}`, or `localset describe sts {this.name}` for the reason")
        return 0
    zone = f"{this.namespace}.svc.{context.api.request('GET', '/localset/v1/status').body['dns']['zone']}"
    service = spec.get("serviceName", "")
    put("")
    rows = [[p["metadata"]["name"], _address(p), f"{p['metadata']['name']}.{service}.{zone}", _mark(p)] for p in pods]
    print_rows(["POD", "ADDRESS", "NAME", "READY"], rows)
    ports = _ports(spec)
    services = _services(context, this)
    if ports or services:
        put("")
        print_rows(["PORT", "WHAT"], [[str(port), what] for port, what in ports] + services)
    put("\nType")
    for line in _lines(this, pods[0], [port for port, _ in ports]):
        put(f"  {line}")
    put("\nNames resolve inside every Pod; `localset dns` lets this machine use them too.")
    return 0


def _pods(context: Context, this: Meant) -> list[dict[str, Any]]:
    found = context.items(PODS, this.namespace, labelSelector=selector_text(this.statefulset["spec"]["selector"]))
    own = [pod for pod in found if parent_and_ordinal(pod["metadata"]["name"])[0] == this.name]
    own.sort(key=lambda pod: parent_and_ordinal(pod["metadata"]["name"])[1])
    return [pod for pod in own if this.ordinal is None or pod["metadata"]["name"] == this.pod]


def _address(pod: dict[str, Any]) -> str:
    """Return where this machine reaches the Pod."""
    return host_address_of(pod) or "-"


def _mark(pod: dict[str, Any]) -> str:
    return "yes" if is_ready(pod) else "not yet"


def _ports(spec: dict[str, Any]) -> list[tuple[int, str]]:
    containers = spec["template"]["spec"]["containers"]
    return [
        (port["containerPort"], " ".join(filter(None, [port.get("name", ""), f"(container {c['name']})"])))
        for c in containers
        for port in c.get("ports") or []
    ]


def _services(context: Context, this: Meant) -> list[list[str]]:
    """Return (port, which Service) of the Services with an address of their own that lead to the set's Pods."""
    labels = this.statefulset["spec"]["template"]["metadata"].get("labels") or {}
    rows = []
    for service in context.items(BY_NAME["services"], this.namespace):
        selector, address = service["spec"].get("selector"), service["spec"].get("clusterIP")
        if selector and address not in {None, "", "None"} and selector.items() <= labels.items():
            on_host = (service["metadata"].get("annotations") or {}).get(HOST_ADDRESS, address)
            name = service["metadata"]["name"]
            rows += [[str(p["port"]), f"Service {name} at {on_host}"] for p in service["spec"].get("ports") or []]
    return rows


def _lines(this: Meant, pod: dict[str, Any], ports: list[int]) -> list[str]:
    name, lines = pod["metadata"]["name"], []
    container = pod["spec"]["containers"][0]
    image = str(container.get("image", "")).rpartition("/")[2].partition("@")[0].partition(":")[0]
    client = _CLIENTS.get(image) or (_WEB if image in _WEB_SERVERS else None)
    if client is not None:
        port = client[0] if client[0] in ports or not ports else ports[0]
        command = client[1].format(address=_address(pod), port=port)
        if shutil.which(command.split()[0]):
            lines.append(command)
        inside = client[1].format(address="$POD_IP", port=port)
        lines.append(f"localset exec -it {name} -- sh -c '{inside}'")
    lines.append(f"localset exec -it {name} -- sh")
    lines += [f"localset port-forward {name} {port}" for port in dict.fromkeys(ports)]
    lines.append(f"localset logs -f {this.name}")
    where = [] if this.namespace == "default" else ["-n", this.namespace]
    return [_in_namespace(line, where) for line in lines]


def _in_namespace(line: str, where: list[str]) -> str:
    words = line.split(" ")
    return " ".join([*words[:2], *where, *words[2:]]) if words[0] == "localset" else line
