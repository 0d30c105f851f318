"""DNS over the real registry: what is written through the API's own door is what is answered."""

import asyncio

from localset.base.clock import SystemClock
from localset.client.client import PatchType
from localset.dns.server import DnsServer, DnsSettings
from localset.registry.registry import Registry
from localset.store.store import Store

NAME = "zk-0.zk.default.svc.cluster.local"
WAIT_SECONDS = 10


async def status_becomes(server, name, status):
    async with asyncio.timeout(WAIT_SECONDS):
        while (answer := await server.query(name))["status"] != status:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
    return answer


async def test_a_service_and_its_endpoints_in_the_registry_are_answered_and_go_with_them():
    clock = SystemClock()
    store = Store.open(None, clock)
    registry = Registry(store, clock)
    server = DnsServer(registry, clock, DnsSettings(host_address="127.77.251.9", host_port=0, forward=False))
    try:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "zk", "namespace": "default"},
            "spec": {"clusterIP": "None", "ports": [{"name": "client", "port": 2181}]},
        }
        if not [o for o in (await registry.list("namespaces")).items if o["metadata"]["name"] == "default"]:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
            await registry.create("namespaces", namespace)
        await registry.create("services", service)
        await server.start()
        await status_becomes(server, NAME, "NXDOMAIN")
        endpoints = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "zk", "namespace": "default"},
            "subsets": [
                {
                    "addresses": [{"ip": "127.77.1.1", "hostname": "zk-0"}],
                    "ports": [{"name": "client", "port": 2181, "protocol": "TCP"}],
                }
            ],
        }
        await registry.create("endpoints", endpoints)
        answer = await status_becomes(server, NAME, "NOERROR")
        assert [record["data"] for record in answer["answers"]] == ["127.77.1.1"]
        await registry.patch("endpoints", "default", "zk", {"subsets": None}, PatchType.MERGE)
        await status_becomes(server, NAME, "NXDOMAIN")
        await status_becomes(server, "default.svc.cluster.local", "NOERROR")
    finally:
        await server.aclose()
        await store.aclose()
