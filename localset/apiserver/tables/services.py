"""Rows of Service, Endpoints and EndpointSlice."""

from datetime import datetime
from typing import Any

from localset.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    Column,
    Printer,
    age,
    items,
    labels_text,
    more_text,
    name,
    part,
    wide,
)
from localset.machinery.metadata import Object

SHOWN_ENDPOINTS = 3


def _ports(spec: dict[str, Any]) -> str:
    texts = []
    for port in items(spec, "ports"):
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or NONE


def _external(spec: dict[str, Any], status: dict[str, Any]) -> str:
    external = ",".join(items(spec, "externalIPs"))
    kind = spec.get("type", "ClusterIP")
    if kind == "ExternalName":
        return str(spec.get("externalName") or NONE)
    if kind == "LoadBalancer":
        ingress = [i.get("ip") or i.get("hostname") or "" for i in items(part(status, "loadBalancer"), "ingress")]
        return ",".join([*(i for i in ingress if i), *([external] if external else [])]) or "<pending>"
    return external or NONE


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = part(obj, "spec")
    return [
        name(obj),
        spec.get("type", "ClusterIP"),
        spec.get("clusterIP") or NONE,
        _external(spec, part(obj, "status")),
        _ports(spec),
        age(obj, now),
        labels_text(spec.get("selector")),
    ]


def _endpoint_texts(obj: Object) -> list[str]:
    texts = []
    for subset in items(obj, "subsets"):
        ports = items(subset, "ports") or [{}]
        for port in ports:
            for address in items(subset, "addresses"):
                ip = str(address.get("ip", ""))
                host = f"[{ip}]" if ":" in ip and port else ip
                texts.append(f"{host}:{port['port']}" if port.get("port") is not None else ip)
    return texts


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    texts = _endpoint_texts(obj)
    return [name(obj), more_text(texts, SHOWN_ENDPOINTS, empty=NONE), age(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(p["port"] if p.get("port") is not None else p.get("name") or "*") for p in items(obj, "ports")]
    addresses = [str(address) for endpoint in items(obj, "endpoints") for address in items(endpoint, "addresses")]
    return [
        name(obj),
        obj.get("addressType") or "",
        more_text(ports, SHOWN_ENDPOINTS),
        more_text(addresses, SHOWN_ENDPOINTS),
        age(obj, now),
    ]


PRINTERS = {
    "services": Printer(
        (
            NAME,
            Column("Type"),
            Column("Cluster-IP"),
            Column("External-IP"),
            Column("Port(s)"),
            AGE,
            wide("Selector"),
        ),
        _service,
    ),
    "endpoints": Printer((NAME, Column("Endpoints", description="Ready addresses with their ports."), AGE), _endpoints),
    "endpointslices.discovery.k8s.io": Printer(
        (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE), _endpoint_slice
    ),
}
