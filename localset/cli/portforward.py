"""`port-forward`: ports of this machine that lead to a Pod's, one WebSocket for each connection (kube-api.md 8.3).

A set or a Service leads to one of its Pods; a Service's port to the port behind it. Listens on the loopback addresses
unless told otherwise.
"""

import contextlib
import select
import socket
import threading
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import CommandError, fail, put, say
from localset.cli.pods import PODS, hint_of, parse_target, pods_behind
from localset.cli.transport import DaemonNotRunningError, path_of
from localset.cli.websocket import CLOSE, WebSocket
from localset.machinery.errors import StatusError

_PROTOCOL = "v4.channel.k8s.io"
_CHUNK = 32 * 1024


@click.command(name="port-forward")
@click.argument("target", default="")
@click.argument("ports", nargs=-1)
@click.option("--address", "addresses", default="localhost", show_default=True, help="Addresses to listen on.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("--pod-running-timeout", hidden=True, expose_value=False)
@click.pass_obj
def port_forward(context: Context, target: str, ports: tuple[str, ...], addresses: str, namespace: str) -> int:
    """Forward ports of this machine: `port-forward zk-0 2181`, `port-forward svc/nginx 8080:web`, `… sts/zk :2181`."""
    if not ports:
        fail(
            "TYPE/NAME and list of ports are required for port-forward\n"
            "See 'localset port-forward -h' for help and examples",
            hint="localset port-forward POD LOCAL:REMOTE",
        )
    resource, name = parse_target(target)
    owner = context.get(resource, namespace, name)
    if resource == PODS:
        pod = owner
    else:
        pods = pods_behind(context, owner, resource)
        if not pods:
            fail(f"no Pod of {resource.singular}/{name} is there", hint="`localset status` shows every set")
        pod = pods[0]
    service = owner if resource.kind == "Service" else None
    pairs = [_pair(text, pod, service) for text in ports]
    if (pod.get("status") or {}).get("phase") != "Running":
        phase = (pod.get("status") or {}).get("phase", "Pending")
        fail(f"unable to forward port because pod is not running. Current status={phase}", hint=hint_of(context, pod))
    listeners = [entry for local, remote in pairs for entry in _listen(addresses.split(","), local, remote)]
    try:
        return _accept(context, pod, listeners)
    finally:
        for listener, _, _ in listeners:
            listener.close()


def _pair(text: str, pod: dict[str, Any], service: dict[str, Any] | None) -> tuple[int, int]:
    """Return (local port, 0 for any; the Pod's port) of `8080:80`, `80`, `:80`, `8080:web`."""
    local, colon, remote = text.rpartition(":")
    if not remote or (local and not _is_port(local)):
        fail(f"invalid port format '{text}'", hint="as 8080:80, 80, :80 or 8080:NAME")
    target = _service_port(remote, pod, service) if service is not None else _pod_port(remote, pod)
    if not colon:
        return (int(remote) if _is_port(remote) else target), target
    return (int(local) if local else 0), target


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536


def _pod_port(text: str, pod: dict[str, Any]) -> int:
    if _is_port(text):
        return int(text)
    named = {
        p["name"]: p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or [] if "name" in p
    }
    if text not in named:
        known = ", ".join(f"{n} ({p})" for n, p in named.items())
        fail(f"Pod '{pod['metadata']['name']}' does not have a named port '{text}'", hint=known and f"it has {known}")
    return int(named[text])


def _service_port(text: str, pod: dict[str, Any], service: dict[str, Any]) -> int:
    ports = service["spec"].get("ports") or []
    found = next((p for p in ports if text in {str(p["port"]), p.get("name")}), None)
    if found is None:
        known = ", ".join(str(p["port"]) for p in ports)
        name = service["metadata"]["name"]
        fail(f"Service {name} does not have a service port {text}", hint=known and f"it has {known}")
    if service["spec"].get("clusterIP") == "None" and "targetPort" not in found:
        return int(found["port"])
    return _pod_port(str(found.get("targetPort", found["port"])), pod)


_Listener = tuple[socket.socket, int, int]


def _listen(addresses: list[str], local: int, remote: int) -> list[_Listener]:
    """Open the listening sockets of one pair; of `localhost` only 127.0.0.1 must work: not everyone has IPv6."""
    opened: list[_Listener] = []
    failures = []
    for address in [a for text in addresses for a in (("127.0.0.1", "::1") if text == "localhost" else (text,))]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, local))
            listener.listen(64)
        except OSError as error:
            listener.close()
            if address != "::1":
                failures.append(f"{address}: {(error.strerror or str(error)).lower()}")
            continue
        local = listener.getsockname()[1]
        opened.append((listener, local, remote))
    if failures or not opened:
        for listener, _, _ in opened:
            listener.close()
        why = "; ".join(failures) or "no address works"
        fail(f"unable to listen on port {local}: {why}", hint=f"take any free local port: `:{remote}`")
    for listener, port, _ in opened:
        address = listener.getsockname()[0]
        put(f"Forwarding from {f'[{address}]' if ':' in address else address}:{port} -> {remote}")
    return opened


def _accept(context: Context, pod: dict[str, Any], listeners: list[_Listener]) -> int:
    """Carry connections until interrupted or the Pod has gone."""
    by_socket = {listener: (local, remote) for listener, local, remote in listeners}
    lost, told = socket.socketpair()
    with lost, told:
        while True:
            ready, _, _ = select.select([*by_socket, lost], [], [])
            if lost in ready:
                raise CommandError("lost connection to pod", hint=hint_of(context, pod))
            for listener in ready:
                client, _ = listener.accept()
                local, remote = by_socket[listener]
                put(f"Handling connection for {local}")
                arguments = (context, pod, client, remote, told)
                threading.Thread(target=_carry, args=arguments, daemon=True).start()


def _carry(context: Context, pod: dict[str, Any], client: socket.socket, port: int, told: socket.socket) -> None:
    metadata = pod["metadata"]
    with client:
        try:
            url = f"{path_of(PODS, metadata['namespace'], metadata['name'], sub='portforward')}?ports={port}"
            pod_end = WebSocket(context.api.socket_path, url, _PROTOCOL)
        except (StatusError, DaemonNotRunningError, OSError) as error:
            say(f"an error occurred forwarding {port}: {error}")
            with contextlib.suppress(OSError):
                told.send(b"x")
            return
        with contextlib.closing(pod_end), contextlib.suppress(OSError):
            _copy(client, pod_end, port)


def _copy(client: socket.socket, pod_end: WebSocket, port: int) -> None:
    """Copy both ways until the Pod ends; the client's own end is passed on as the end of what it sends."""
    sources: list[Any] = [client, pod_end]
    greeted: set[int] = set()
    while True:
        ready = [pod_end] if pod_end.has_buffered else select.select(sources, [], [])[0]
        if client in ready:
            data = client.recv(_CHUNK)
            if data:
                pod_end.send(0, data)
            else:
                pod_end.send(CLOSE, bytes([0]))
                sources.remove(client)
        if pod_end in ready:
            message = pod_end.receive()
            if message is None:
                return
            channel, data = message
            if channel not in greeted:
                greeted.add(channel)  # the first message of a channel is its port
            elif channel == 0:
                client.sendall(data)
            else:
                say(f"an error occurred forwarding {port}: {data.decode(errors='replace')}")
                return
