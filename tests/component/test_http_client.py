"""HttpClient is a Client: the same conversation as with the registry, over a real Unix socket."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apiserver_house import House, open_house, open_registry

from localset.client.client import Client, PatchType, WatchType
from localset.client.http import HttpClient
from localset.machinery.errors import StatusError


def config_map(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": {"t": "1"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        yield opened


@pytest_asyncio.fixture
async def client(house: House) -> AsyncGenerator[HttpClient, None]:
    async with HttpClient(house.socket) as opened:
        yield opened


async def test_objects_are_written_and_read(client: HttpClient) -> None:
    door: Client = client
    made = await door.create("configmaps", config_map("a", x="1"))
    assert await door.get("configmaps", "default", "a") == made
    patched = await door.patch("configmaps", "default", "a", {"data": {"y": "2"}}, PatchType.MERGE)
    assert patched["data"] == {"x": "1", "y": "2"}
    updated = await door.update("configmaps", patched | {"data": {"z": "3"}})
    listed = await door.list("configmaps", label_selector="t=1")
    assert listed.items == [updated]
    removed = await door.delete("configmaps", "default", "a")
    assert (removed["kind"], removed["metadata"]["uid"]) == ("ConfigMap", made["metadata"]["uid"])


async def test_refusals_arrive_as_the_status_that_was_sent(client: HttpClient) -> None:
    with pytest.raises(StatusError) as caught:
        await client.get("configmaps", "default", "nope")
    assert (caught.value.code, caught.value.reason, caught.value.details["kind"]) == (404, "NotFound", "configmaps")
    with pytest.raises(StatusError) as caught:
        await client.get("unknowns", "default", "nope")
    assert caught.value.code == 404


async def test_changes_arrive_in_order(client: HttpClient) -> None:
    version = (await client.list("configmaps")).resource_version
    events = client.watch("configmaps", "default", resource_version=version)
    await client.create("configmaps", config_map("a", x="1"))
    await client.patch("configmaps", "default", "a", {"data": {"x": "y" * 200_000}}, PatchType.MERGE)
    await client.delete("configmaps", "default", "a")
    async with asyncio.timeout(5):
        seen = [await anext(events) for _ in range(3)]
    await events.aclose()
    assert [event.type for event in seen] == [WatchType.ADDED, WatchType.MODIFIED, WatchType.DELETED]


async def test_a_forgotten_version_is_410(client: HttpClient) -> None:
    with pytest.raises(StatusError) as caught:
        await anext(client.watch("configmaps", resource_version="1"))
    assert caught.value.code == 410


async def test_a_large_object_passes_without_a_warning(client: HttpClient) -> None:
    made = await client.create("configmaps", config_map("big", **{f"k{n}": "x" * 100_000 for n in range(9)}))
    assert len(made["data"]) == 9


async def test_a_daemon_that_is_not_there_is_a_503(tmp_path: Path) -> None:
    async with HttpClient(tmp_path / "nothing.sock") as client:
        with pytest.raises(StatusError) as caught:
            await client.list("pods")
    assert caught.value.code == 503
