"""Endpoints of many Pods are not written anew for each of them, and never later than the name service may lag."""

import asyncio

from localset.base.clock import ManualClock
from localset.client.informer import InformerFactory
from localset.controllers.endpoints.controller import LONGEST_REST_SECONDS, SMALL, EndpointsController

READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


async def test_many_changes_share_a_write_and_none_waits_for_more_than_its_rest(registry):
    spec = {"clusterIP": "None", "selector": {"app": "a"}, "ports": [{"port": 80}]}
    metadata = {"name": "a", "namespace": "default"}
    await registry.create("services", {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    count = SMALL + 10

    async def set_status(number: int, *conditions: dict):
        pod = await registry.get("pods", "default", f"a-{number}")
        status = {**pod["status"], "podIP": f"127.1.0.{number}", "phase": "Running", "conditions": list(conditions)}
        await registry.update_status("pods", {**pod, "status": status})

    for number in range(count):
        container = {"name": "c", "image": "host", "command": ["true"]}
        metadata = {"name": f"a-{number}", "namespace": "default", "labels": {"app": "a"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        await registry.create("pods", pod)
        await set_status(number)

    clock = ManualClock()
    informers = InformerFactory(registry, clock)
    controller = EndpointsController(registry, clock, informers)
    writes: list[int] = []
    written = asyncio.Event()

    def note(_, new):
        subset = (new.get("subsets") or [{}])[0]
        writes.append(len(subset.get("addresses", ())))
        written.set()

    informers.of("endpoints").add_handler(note)
    await informers.of("endpoints").start()
    await controller.start()

    async def until(condition):
        async with asyncio.timeout(10):
            while not condition():
                written.clear()
                await written.wait()

    try:
        await until(lambda: writes == [0])
        for number in range(5):
            await set_status(number, READY)
            seen = await registry.get("pods", "default", f"a-{number}")
            await informers.of("pods").wait_until_seen(seen["metadata"]["resourceVersion"])
        assert writes == [0], "it rests"
        await clock.advance(LONGEST_REST_SECONDS)
        await until(lambda: writes == [0, 5])
        await clock.advance(LONGEST_REST_SECONDS)
        await set_status(5, READY)
        await until(lambda: writes == [0, 5, 6])  # a lone change is written at once
    finally:
        await controller.aclose()
        await informers.aclose()
