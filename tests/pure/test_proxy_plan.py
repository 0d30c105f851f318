"""Which addresses lead to which Pods: the proxy's table from Services, Endpoints and Pods."""

from typing import Any

from localset.controllers.proxy.plan import HOST_ADDRESS, HOST_PORTS, Row, host_ports, table_of


def pod(name: str, outer: str, inner: str, *ports: int, phase: str = "Running") -> dict[str, Any]:
    containers = [{"name": "c", "ports": [{"containerPort": port} for port in ports]}]
    metadata = {"name": name, "namespace": "default", "annotations": {HOST_ADDRESS: outer}}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": {"podIP": inner, "phase": phase}}


def service(name: str, cluster_ip: str, outer: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "annotations": {HOST_ADDRESS: outer}}
    return {"metadata": metadata, "spec": {"clusterIP": cluster_ip, "ports": list(ports), **spec}}


def endpoints(name: str, ready: list[str], late: list[str], *ports: dict[str, Any]) -> dict[str, Any]:
    subset = {"addresses": [{"ip": ip} for ip in ready], "notReadyAddresses": [{"ip": ip} for ip in late]}
    return {"metadata": {"name": name, "namespace": "default"}, "subsets": [{**subset, "ports": list(ports)}]}


ZK = [pod("zk-0", "127.64.0.10", "10.1.0.10", 2181), pod("zk-1", "127.64.0.11", "10.1.0.11", 2181)]


def places(rows: list[Row]) -> dict[tuple[str, str, str, int], tuple[tuple[str, int], ...]]:
    return {row[:4]: row.targets for row in rows}


def test_a_pods_sticky_address_leads_to_its_declared_ports_and_to_those_that_services_name() -> None:
    headless = service("zk", "None", "", {"port": 3888, "name": "election"})
    behind = endpoints("zk", ["10.1.0.10"], ["10.1.0.11"], {"port": 3888, "name": "election"})
    assert places(table_of([headless], [behind], ZK, has_pod_network=True)) == {
        ("host", "tcp", "127.64.0.10", 2181): (("10.1.0.10", 2181),),
        ("host", "tcp", "127.64.0.11", 2181): (("10.1.0.11", 2181),),
        ("host", "tcp", "127.64.0.10", 3888): (("10.1.0.10", 3888),),
        ("host", "tcp", "127.64.0.11", 3888): (("10.1.0.11", 3888),),
    }


def test_a_service_leads_to_its_ready_pods_by_the_name_of_its_port() -> None:
    web = service(
        "web", "10.1.8.2", "127.64.8.2", {"port": 80, "name": "http"}, {"port": 53, "name": "dns", "protocol": "UDP"}
    )
    ports = {"port": 8080, "name": "http"}, {"port": 5353, "name": "dns", "protocol": "UDP"}
    behind = endpoints("web", ["10.1.0.10", "10.1.0.12"], ["10.1.0.11"], *ports)
    http, dns = (("10.1.0.10", 8080), ("10.1.0.12", 8080)), (("10.1.0.10", 5353), ("10.1.0.12", 5353))
    assert places(table_of([web], [behind], [], has_pod_network=True)) == {
        ("pods", "tcp", "10.1.8.2", 80): http,
        ("host", "tcp", "127.64.8.2", 80): http,
        ("pods", "udp", "10.1.8.2", 53): dns,
        ("host", "udp", "127.64.8.2", 53): dns,
    }
    web = service("web", "127.64.8.2", "127.64.8.2", {"port": 80, "name": "http"}, sessionAffinity="ClientIP")
    (row,) = table_of([web], [behind], ZK, has_pod_network=False)
    assert (row.side, row.address, row.targets, row.sticks) == ("host", "127.64.8.2", http, True)


def test_nothing_leads_where_nobody_is() -> None:
    web = service("web", "10.1.8.2", "127.64.8.2", {"port": 80})
    nobody = {("pods", "tcp", "10.1.8.2", 80): ()}  # refused inside, where an address that nobody has is waited for
    assert places(table_of([web], [], [], has_pod_network=True)) == nobody
    late = endpoints("web", [], ["10.1.0.11"], {"port": 80})
    assert places(table_of([web], [late], [], has_pod_network=True)) == nobody
    assert table_of([web], [late], [], has_pod_network=False) == []
    over = pod("job", "127.64.0.12", "10.1.0.12", 80, phase="Succeeded")
    on_host = pod("agent", "127.64.0.13", "127.64.0.13", 80)
    assert table_of([], [], [over, on_host], has_pod_network=True) == []


def test_pods_reach_the_api_by_its_service_and_the_host_does_not_need_it() -> None:
    api = service("kubernetes", "10.1.8.1", "127.64.8.1", {"port": 443, "name": "https"})
    behind = endpoints("kubernetes", ["127.64.8.1"], [], {"port": 16443, "name": "https"})
    (row,) = table_of([api], [behind], [], has_pod_network=True)
    assert row[:5] == ("pods", "tcp", "10.1.8.1", 443, (("127.64.8.1", 16443),))
    assert table_of([api], [behind], [], has_pod_network=False) == []


def test_the_gateway_leads_to_the_ports_of_the_host_that_a_pod_asks_for() -> None:
    asking = pod("app-0", "127.64.0.10", "10.1.0.10")
    asking["metadata"]["annotations"][HOST_PORTS] = "5432, 8125/UDP 5432 none 0 70000 53/sctp"
    asking["status"]["hostIP"] = "10.1.0.1"
    assert places(table_of([], [], [asking], has_pod_network=True)) == {
        ("pods", "tcp", "10.1.0.1", 5432): (("127.0.0.1", 5432),),
        ("pods", "udp", "10.1.0.1", 8125): (("127.0.0.1", 8125),),
    }
    assert host_ports(asking["metadata"]["annotations"][HOST_PORTS])[1] == ["none", "0", "70000", "53/sctp"]
    assert table_of([], [], [asking], has_pod_network=False) == []
    asking["status"]["phase"] = "Failed"
    assert table_of([], [], [asking], has_pod_network=True) == []
