"""The informer and the event recorder over a scripted Client that can cut streams and forget history."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from localset.base.clock import ManualClock
from localset.client.client import ObjectList, WatchEvent, WatchType
from localset.client.events import EventRecorder
from localset.client.informer import Informer, InformerFactory
from localset.machinery.errors import StatusError, gone, not_found


def pod(name: str, version: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "resourceVersion": str(version), "labels": labels},
    }


class ScriptedClient:
    """Holds objects and one stream; the test pushes events, cuts the stream or makes it expire."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 10
        self.stream: asyncio.Queue[Any] = asyncio.Queue()
        self.lists = 0
        self.watched_from: list[int] = []
        self.created: list[dict[str, Any]] = []
        self.patched: list[Any] = []

    async def list(self, resource: str, namespace: str = "", **_: str) -> ObjectList:
        self.lists += 1
        return ObjectList(list(self.objects.values()), str(self.version))

    async def watch(
        self, resource: str, namespace: str = "", *, resource_version: str, **_: str
    ) -> AsyncGenerator[WatchEvent, None]:
        self.watched_from.append(int(resource_version))
        while (item := await self.stream.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def create(self, resource: str, obj: dict[str, Any]) -> dict[str, Any]:
        self.created.append(obj)
        return obj

    async def patch(self, resource: str, namespace: str, name: str, patch: Any, patch_type: Any, **_: str) -> Any:
        if name.startswith("gone"):
            raise not_found(resource, name)
        self.patched.append(patch)
        return {}

    def push(self, kind: WatchType, obj: dict[str, Any]) -> None:
        self.version = int(obj["metadata"]["resourceVersion"])
        self.stream.put_nowait(WatchEvent(kind, obj))


@pytest.fixture
async def world():
    client, clock = ScriptedClient(), ManualClock()
    client.objects["a"] = pod("a", 5, app="x")
    informer = Informer(client, "pods", clock, indexers={"app": lambda o: [o["metadata"]["labels"].get("app", "")]})
    seen: list[tuple[Any, Any]] = []
    informer.add_handler(lambda old, new: seen.append((old, new)))
    await informer.start()
    yield client, clock, informer, seen
    await informer.aclose()


async def test_start_returns_with_the_first_list_in_the_cache(world):
    _, _, informer, seen = world
    assert informer.get("default", "a") is not None
    assert [new["metadata"]["name"] for _, new in seen] == ["a"]


async def test_events_move_the_cache_the_index_and_the_handlers(world):
    client, _, informer, seen = world
    client.push(WatchType.ADDED, pod("b", 11, app="x"))
    client.push(WatchType.MODIFIED, pod("a", 12, app="y"))
    client.push(WatchType.DELETED, pod("b", 13, app="x"))
    await informer.wait_until_seen("13")
    assert [o["metadata"]["name"] for o in informer.list("default")] == ["a"]
    assert informer.by_index("app", "x") == []
    assert len(informer.by_index("app", "y")) == 1
    assert [(old is None, new is None) for old, new in seen] == [
        (True, False),
        (True, False),
        (False, False),
        (False, True),
    ]


async def test_wait_until_seen_lets_go_only_when_the_version_has_arrived(world):
    client, _, informer, _ = world
    waiting = asyncio.ensure_future(informer.wait_until_seen("12"))
    client.push(WatchType.ADDED, pod("b", 11))
    await informer.wait_until_seen("11")
    assert not waiting.done()
    client.push(WatchType.ADDED, pod("c", 12))
    await waiting


async def test_an_expired_watch_lists_again_and_reports_what_was_missed(world):
    client, _, informer, seen = world
    client.objects = {"b": pod("b", 20)}
    client.version = 21
    client.stream.put_nowait(gone("too old resource version"))
    await informer.wait_until_seen("21")
    assert informer.get("default", "a") is None
    assert informer.get("default", "b") is not None
    assert (seen[-2][1], seen[-1][0]) == (None, None)


async def resting(clock: ManualClock) -> None:
    """Wait until the informer sleeps before it tries again."""
    while clock.next_due() is None:  # noqa: ASYNC110 - virtual time has no event for "somebody sleeps now"
        await asyncio.sleep(0)


@pytest.mark.parametrize("cut", [None, StatusError(503, "ServiceUnavailable", "cut"), ConnectionResetError("cut")])
async def test_a_cut_stream_goes_on_where_it_was_after_a_pause(world, cut):
    client, clock, informer, _ = world
    client.push(WatchType.ADDED, pod("b", 11))
    client.push(WatchType.BOOKMARK, {"kind": "Pod", "metadata": {"resourceVersion": "29"}})
    client.stream.put_nowait(cut)
    await resting(clock)
    client.push(WatchType.ADDED, pod("c", 30))
    await clock.advance(1)
    await informer.wait_until_seen("30")
    assert (client.lists, client.watched_from) == (1, [10, 29])
    assert {o["metadata"]["name"] for o in informer.list()} == {"a", "b", "c"}


async def test_a_stream_that_is_refused_is_listed_again(world):
    client, clock, informer, _ = world
    client.stream.put_nowait(not_found("pods", ""))
    await resting(clock)
    client.objects["c"] = pod("c", 30)
    client.version = 30
    await clock.advance(1)
    await informer.wait_until_seen("30")
    assert client.lists == 2


async def test_a_server_made_anew_may_count_from_less(world):
    client, _, informer, _ = world
    client.version = 3
    client.objects = {"c": pod("c", 2)}
    client.stream.put_nowait(gone("too old resource version"))
    client.stream.put_nowait(WatchEvent(WatchType.ADDED, pod("d", 4)))
    while informer.get("default", "d") is None:  # noqa: ASYNC110 - nothing is heard of a version that is lower
        await asyncio.sleep(0)
    assert client.watched_from == [10, 3]


async def test_a_late_handler_hears_of_what_is_already_there(world):
    _, _, informer, _ = world
    heard: list[Any] = []
    informer.add_handler(lambda old, new: heard.append(new))
    assert len(heard) == 1


async def test_a_factory_shares_one_informer_per_resource():
    factory = InformerFactory(ScriptedClient(), ManualClock())
    assert factory.of("pods") is factory.of("pods")
    await factory.start()
    await factory.aclose()


async def test_equal_events_are_merged_into_one_that_counts():
    client, clock = ScriptedClient(), ManualClock()
    recorder = EventRecorder(client, clock, "statefulset-controller")
    for _ in range(3):
        recorder.event(pod("a", 5), "Normal", "SuccessfulCreate", "create Pod a")
    recorder.event(pod("a", 5), "Warning", "Failed", "other")
    await recorder.aclose()
    assert [e["reason"] for e in client.created] == ["SuccessfulCreate", "Failed"]
    assert [p["count"] for p in client.patched] == [2, 3]
    assert client.created[0]["involvedObject"]["name"] == "a"
    assert len({e["metadata"]["name"] for e in client.created}) == 2


async def test_many_similar_events_are_combined_and_a_flood_is_throttled():
    client, clock = ScriptedClient(), ManualClock()
    recorder = EventRecorder(client, clock, "x")
    for i in range(100):
        recorder.event(pod("a", 5), "Warning", "Failed", f"message {i}")
    await recorder.aclose()
    assert len(client.created) == 11
    assert client.created[-1]["message"].startswith("(combined from similar events): ")
    assert len(client.created) + len(client.patched) == 25
