"""Services with an address of their own, and Pods' ports, from the host and from Pods."""

import http.client
import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.house import House, until

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 9000, targetPort: http}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: host
        command: [sh, -c, 'mkdir -p /srv/site && hostname > /srv/site/index.html; exec python3 -m http.server 8080 --bind $IP -d /srv/site']
        env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {tcpSocket: {port: http}}
        volumeMounts: [{name: site, mountPath: /srv/site}]
      volumes: [{name: site, emptyDir: {}}]
"""  # noqa: E501 - a script in one piece


def page(address: str, port: int) -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
        text: str = answer.read().decode().strip()
        return text


def pages(address: str, port: int) -> set[str]:
    """Return what three requests bring; nothing where one falls on a Pod that ends this moment."""
    try:
        return {page(address, port) for _ in range(3)}
    except (OSError, http.client.HTTPException):
        return set()


def answers(address: str, port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0


def reach_the_host(house: House, pod: dict[str, Any]) -> None:
    """A Pod reaches a port of the host's own 127.0.0.1, at its `status.hostIP`, once it has asked for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        port = server.getsockname()[1]
        say = (
            f"import socket; socket.create_connection(('{pod['status']['hostIP']}', {port}), 5).sendall(b'from inside')"
        )
        told = ("exec", "web-0", "--", "python3", "-c", say)
        assert "ConnectionRefusedError" in house.run(*told, check=False).stderr
        house.run("annotate", "pod", "web-0", f"localset.dev/host-ports={port},x")
        until(lambda: house.run(*told, check=False).returncode == 0, why="the gateway leads to the host's port")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"from inside"
    until(lambda: "x is no port" in house.run("get", "events", "-o", "wide").stdout, why="the wrong word is told")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may lack the namespaces")
@pytest.mark.parametrize("level", ["loopback", "namespaces"])
def test_a_service_answers_the_host_and_pods_and_outlives_the_daemon(
    make_house: Callable[..., House], level: str
) -> None:
    house = make_house(isolation=level)
    house.up()
    house.run("apply", "-f", "-", "--wait", "--timeout", "30", stdin=WEB)
    pods = house.json("pods")["items"]
    outer = [pod["metadata"]["annotations"]["localset.dev/host-address"] for pod in pods]
    assert [page(address, 8080) for address in outer] == ["web-0", "web-1"]
    service = house.json("service", "web")
    address = service["metadata"]["annotations"]["localset.dev/host-address"]
    assert (address == service["spec"]["clusterIP"]) == (level == "loopback")
    until(lambda: answers(address, 9000), why="the Service's address is forwarded")
    assert {page(address, 9000) for _ in range(4)} == {"web-0", "web-1"}
    ask = "import urllib.request as u; print(u.urlopen('http://web:9000/', timeout=5).read().decode().strip())"
    inside = {house.run("exec", "web-0", "--", "python3", "-c", ask).stdout.strip() for _ in range(2)}
    assert inside == {"web-0", "web-1"}
    if level == "namespaces":
        reach_the_host(house, pods[0])
    os.kill(house.status()["daemon"]["pid"], signal.SIGKILL)
    assert {page(address, 9000) for _ in range(2)} == {"web-0", "web-1"}
    until(lambda: house.run("status", check=False).returncode == 0)
    house.run("scale", "sts", "web", "--replicas=1")
    until(lambda: pages(address, 9000) == {"web-0"}, why="the Service leads only to what is there")
