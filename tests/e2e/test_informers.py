"""Whoever follows objects from outside, ours and the Python client's, while connections and the daemon are killed.

Three ways to be cut: the connection dies, the daemon dies and comes back, and so much happens meanwhile that the place
to go on from is no longer held (410). None may lose a change for good; short of a 410 none may lose one at all.
"""

import asyncio
import logging
import os
import random
import secrets
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client, config
from kubernetes.informer import SharedInformer

from localset.base.clock import SystemClock
from localset.client.client import ObjectList, PatchType, WatchType
from localset.client.http import HttpClient
from localset.client.informer import Informer
from localset.machinery.errors import StatusError
from tests.e2e.house import House, until

MINE = "of=this-test"
State = dict[str, str]


class Relay:
    """Stands between a client and the daemon's socket; `cut` ends all connections, `is_open` lets new ones through."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.is_open = True
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if self.is_open:
                there, back = await asyncio.open_unix_connection(str(self.target))
                self._writers |= {writer, back}
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def cut(self) -> None:
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


class CountingClient(HttpClient):
    """Counts the LISTs."""

    lists = 0

    async def list(self, *place: str, **selection: str) -> ObjectList:
        self.lists += 1
        return await super().list(*place, **selection)


@asynccontextmanager
async def relayed(house: House, directory: Path) -> AsyncGenerator[tuple[Relay, CountingClient], None]:
    relay = Relay(house.data / "run" / "api.sock")
    server = await asyncio.start_unix_server(relay.meet, directory / "relay.sock")
    async with server, CountingClient(directory / "relay.sock") as cut_client:
        yield relay, cut_client
        relay.cut()


class Writer:
    """Makes, changes and deletes ConfigMaps at random, again when the daemon was away; remembers what was taken."""

    def __init__(self, house: House, seed: int = 7) -> None:
        self.socket = house.data / "run" / "api.sock"
        self.random = random.Random(seed)
        self.taken: list[int] = []
        self.there: set[str] = set()

    async def write(self, count: int, data: Callable[[], str] = lambda: "x") -> None:
        async with HttpClient(self.socket) as own:
            for _ in range(count):
                while True:
                    try:
                        await self._one(own, data())
                        break
                    except (StatusError, OSError) as error:
                        if isinstance(error, StatusError) and error.code != 503:
                            raise
                        await asyncio.sleep(0.05)

    async def _one(self, own: HttpClient, data: str) -> None:
        name = f"w-{self.random.randrange(40)}"
        if name not in self.there:
            metadata = {"name": name, "namespace": "default", "labels": {"of": "this-test"}}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"d": data}}
            try:
                written = await own.create("configmaps", made)
            except StatusError as error:  # taken just before the daemon died, without an answer
                if error.reason != "AlreadyExists":
                    raise
                written = await own.get("configmaps", "default", name)
            self.there.add(name)
        elif self.random.random() < 0.25:
            with suppress_absent():
                await own.delete("configmaps", "default", name)
            self.there.discard(name)
            return
        else:
            change = {"data": {"d": data, "n": str(self.random.random())}}
            try:
                written = await own.patch("configmaps", "default", name, change, PatchType.MERGE)
            except StatusError as error:  # deleted just before the daemon died, without an answer
                if error.code != 404:
                    raise
                self.there.discard(name)
                return
        self.taken.append(int(written["metadata"]["resourceVersion"]))

    async def state(self) -> State:
        async with HttpClient(self.socket) as own:
            listed = await own.list("configmaps", label_selector=MINE)
        return {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in listed.items}


class suppress_absent(suppress):  # noqa: N801 - reads as the function that it is used as
    """Ignore a 404: deleted just before the daemon died, without an answer."""

    def __init__(self) -> None:
        super().__init__(StatusError)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, StatusError) and error.code == 404


class Mirror:
    """What an informer's handlers have been told."""

    def __init__(self) -> None:
        self.state: State = {}
        self.newest: dict[str, int] = {}
        self.went_back: list[str] = []

    def put(self, name: str, version: str) -> None:
        if int(version) < self.newest.get(name, 0):
            self.went_back.append(name)
        self.newest[name] = int(version)
        self.state[name] = version

    def drop(self, name: str) -> None:
        self.state.pop(name, None)

    def ours(self, old: Any, new: Any) -> None:
        if new is None:
            self.drop(old["metadata"]["name"])
        else:
            self.put(new["metadata"]["name"], new["metadata"]["resourceVersion"])


async def eventually(what: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - the other side is another program's thread or process
            await asyncio.sleep(0.02)


class Follower:
    """Watches from the last version it has seen, whatever is cut, and lists anew only after a 410."""

    def __init__(self, place: HttpClient) -> None:
        self.place = place
        self.seen: list[int] = []
        self.expired = 0

    async def run(self, version: str) -> None:
        while True:
            try:
                version = version or (await self.place.list("configmaps")).resource_version
                stream = self.place.watch("configmaps", "default", resource_version=version, label_selector=MINE)
                async with aclosing(stream) as events:
                    async for event in events:
                        version = event.object["metadata"]["resourceVersion"]
                        if event.type is not WatchType.BOOKMARK:
                            self.seen.append(int(version))
            except StatusError as error:
                if error.code not in {410, 503}:
                    raise
                self.expired += error.code == 410
                version = "" if error.code == 410 else version
                await asyncio.sleep(0.01)


def daemon_of(house: House) -> psutil.Process:
    """Return the daemon, which may be on its way up after an earlier kill."""
    until(lambda: house.run("status", check=False).returncode == 0)
    return psutil.Process(house.status()["daemon"]["pid"])


async def kill_daemon(house: House) -> None:
    """End the daemon without a word; the keeper starts it again."""
    process = await asyncio.to_thread(daemon_of, house)
    os.kill(process.pid, signal.SIGKILL)


def start_theirs(house: House, mirror: Mirror) -> tuple[SharedInformer, client.ApiClient]:
    """Start the Python client's own informer, in its thread; it complains of each cut."""
    for name in ("kubernetes.informer.informer", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config.load_kube_config(str(house.data / "kubeconfig"))
    api = client.ApiClient()
    informer = SharedInformer(client.CoreV1Api(api).list_namespaced_config_map, "default", label_selector=MINE)
    for kind in ("ADDED", "MODIFIED"):
        informer.add_event_handler(kind, lambda o: mirror.put(o.metadata.name, o.metadata.resource_version))
    informer.add_event_handler("DELETED", lambda o: mirror.drop(o.metadata.name))
    informer.start()
    return informer, api


# The kubernetes client leaves sockets to the garbage collector when its watch is cut.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_informers_lose_nothing_whatever_is_cut(house: House, tmp_path: Path) -> None:
    await asyncio.to_thread(house.up)
    writer, mirror, their_mirror = Writer(house), Mirror(), Mirror()
    theirs, api = start_theirs(house, their_mirror)
    async with relayed(house, tmp_path) as (relay, cut_client):
        follower, start = Follower(cut_client), (await cut_client.list("configmaps")).resource_version
        informer = Informer(cut_client, "configmaps", SystemClock(), label_selector=MINE)
        informer.add_handler(mirror.ours)
        await informer.start()
        following = asyncio.ensure_future(follower.run(start))
        try:
            await write_while_cutting(writer, relay)
            await eventually(lambda: set(writer.taken) <= set(follower.seen))
            assert (follower.seen, follower.expired) == (sorted(set(follower.seen)), 0), "each change once, in order"
            assert cut_client.lists == 2, "the informer goes on where it was"

            for _ in range(2):
                writing = asyncio.ensure_future(writer.write(60))
                await asyncio.sleep(0.1)
                await kill_daemon(house)
                await writing

            relay.is_open = False
            relay.cut()
            await writer.write(120, lambda: secrets.token_hex(40_000))
            relay.is_open = True
            expected = await writer.state()
            await eventually(lambda: mirror.state == their_mirror.state == expected)
            await eventually(lambda: follower.expired > 0)
            assert {o["metadata"]["name"] for o in informer.list()} == set(expected)
            assert {o.metadata.name for o in theirs.cache.list()} == set(expected)
            assert mirror.went_back == their_mirror.went_back == []
        finally:
            following.cancel()
            await informer.aclose()
            await asyncio.to_thread(theirs.stop)
            api.rest_client.pool_manager.clear()


async def write_while_cutting(writer: Writer, relay: Relay) -> None:
    """Write a lot; cut all watches again and again, at times that have nothing to do with the writes."""
    writing = asyncio.ensure_future(writer.write(250))
    while not writing.done():
        await asyncio.sleep(0.1)
        relay.cut()
    await writing
    assert relay.cuts > 2
