"""Replays clients.jsonl: what Python `kubernetes`, kr8s and kopf sent, request by request, to one server.

The recorded server had controllers and a stand-in for the kubelet; so has this one. What the recorded script did
through another client, between the requests that were recorded, stands in BETWEEN. `commands` has the runs of kubectl.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from localset.base.clock import SystemClock, rfc3339
from localset.base.tasks import Tasks
from localset.client.client import DeleteOptions, PatchType, WatchType
from localset.client.streams import LogOptions
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, is_being_deleted, name_of, namespace_of, uid_of
from localset.registry.registry import Registry
from tests.component.apiserver_house import EchoSession
from tests.conformance.comparing import Answer
from tests.conformance.explaining import Explanation
from tests.conformance.recording import Record, read
from tests.conformance.replaying import NOT_SENT, Outcome, Replay
from tests.conformance.server import ChoosingStreams, Server, open_server

NAMES = ("clients",)
LEFT_OUT = frozenset({"SchedulerController", "ApiServiceController"})
PUT_TRIES, CONFLICT = 20, 409
_NODE = "node-1"
_MAPS = "/api/v1/namespaces/fx-kopf/configmaps"
Call = tuple[str, str, Any]
BETWEEN: dict[str, Call] = {
    "clients/kopf/all": ("POST", "/api/v1/namespaces", {"metadata": {"name": "fx-kopf"}}),
    "clients/kopf/all-10": ("POST", _MAPS, {"metadata": {"name": "a", "labels": {"fx": "kopf"}}, "data": {"a": "b"}}),
    "clients/kopf/all-14": ("PATCH", f"{_MAPS}/a", {"data": {"a": "c"}}),
    "clients/kopf/all-15": ("DELETE", f"{_MAPS}/a", None),
}
"""What happened right before a record."""
MAKES_VERSION = {"clients/kopf/all-10": "4667", "clients/kopf/all-15": "4674"}
"""The recorded resourceVersion that the call before a record made."""


class StandInStreams(ChoosingStreams):
    """Ten lines of log, as the recorded stand-in had them."""

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """Yield the lines that were asked for."""
        lines = [f"line {number}\n".encode() for number in range(10)]
        for line in lines if options.tail_lines is None else lines[-options.tail_lines :]:
            yield line

    async def execute(self, pod: Object, container: str, command: list[str], *, stdin: bool, tty: bool) -> EchoSession:
        """Open a session that nobody looks into."""
        return EchoSession(0)


class StandInKubelet:
    """Binds Pods, lets them run and be ready at once, and ends those that are deleted."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._clock = SystemClock()

    async def run(self) -> None:
        """Tend to Pods for ever."""
        async for event in self._registry.watch("pods", resource_version="0"):
            if event.type is not WatchType.DELETED:
                try:
                    await self._tend(event.object)
                except StatusError as error:
                    if error.code not in {404, 409}:
                        raise

    async def _tend(self, pod: Object) -> None:
        place = namespace_of(pod), name_of(pod)
        if is_being_deleted(pod):
            await self._registry.delete("pods", *place, DeleteOptions(0, uid=uid_of(pod)))
        elif not pod["spec"].get("nodeName"):
            await self._registry.bind_pod(*place, _NODE)
        elif (pod.get("status") or {}).get("phase") != "Running":
            now = rfc3339(self._clock.now())
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
            status = {"phase": "Running", "conditions": [condition], "podIP": "127.0.0.1", "startTime": now}
            await self._registry.patch("pods", *place, {"status": status}, PatchType.MERGE, subresource="status")


class ClientsReplay(Replay):
    """Makes the calls of BETWEEN, gives the reviewed token a live counterpart, and leaves streams once open."""

    def __init__(self, records: list[Record], server: Server, explanations: list[Explanation], token: str) -> None:
        """`token` is what a TokenReview shall be asked about."""
        super().__init__(records, server, explanations)
        self._review_token = token

    async def _compared(self, record: Record) -> Outcome:
        if record.id in BETWEEN:
            await self._call_between(record.id, *BETWEEN[record.id])
        for _ in range(PUT_TRIES):
            before = dict(self._pairs.live)
            outcome = await super()._compared(record)
            if record.request.method != "PUT" or outcome.answer is None or outcome.answer.status != CONFLICT:
                break
            self._pairs.live = before  # a controller wrote the status since: as a client does, read it again
        return outcome

    async def _call_between(self, record_id: str, method: str, path: str, body: Any) -> None:
        patch = {"Content-Type": PatchType.MERGE.value} if method == "PATCH" else {}
        session = self._server.sessions[""]
        async with session.request(method, self._server.url(path), json=body, headers=patch) as response:
            assert response.status in {200, 201}, await response.text()
        if path == "/api/v1/namespaces":
            await self._server.wait_for_namespace(body["metadata"]["name"])
        if record_id in MAKES_VERSION:
            async with session.get(self._server.url(f"{_MAPS}/a")) as response:
                made = (await response.json())["metadata"]["resourceVersion"]
            self._pairs.live["version", MAKES_VERSION[record_id]] = made

    async def _send(self, record: Record) -> Answer:
        is_stream = record.answer["status"] == 101 or "watch=true&allowWatchBookmarks" in record.request.path
        if not is_stream:
            return await super()._send(record)
        # Its frames are in streams.jsonl, its events were not recorded: how it begins is what is compared.
        sent = record.request
        headers = {k: v for k, v in sent.headers.items() if k != "Origin"}
        if "Origin" in sent.headers:
            headers["Origin"] = str(self._server.url("").origin())
        if record.answer["status"] == 101:
            headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        session, url = self._server.sessions[sent.identity], self._server.url(self._path(record))
        async with session.get(url, headers=headers, skip_auto_headers=NOT_SENT) as response:
            answer = Answer(response.status, list(response.headers.items()))
            response.close()
        return answer

    def _body(self, body: Any) -> Any:
        return self._review_token if body == "(token)" else super()._body(body)


@asynccontextmanager
async def _kubelet(registry: Registry) -> AsyncGenerator[None, None]:
    await registry.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _NODE}})
    tasks = Tasks("stand-in kubelet")
    tasks.spawn(StandInKubelet(registry).run(), "run")
    try:
        yield
    finally:
        await tasks.aclose()


async def replay_clients(name: str, directory: Path, explanations: list[Explanation]) -> list[Outcome]:
    """Replay the file `name` on a fresh server whose files lie in `directory`."""
    async with open_server(directory, LEFT_OUT, StandInStreams()) as server, _kubelet(server.registry):
        token = await _token_of_an_account(server)
        return await ClientsReplay(read(name), server, explanations, token).run()


async def _token_of_an_account(server: Server) -> str:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    for _ in range(100):
        async with server.sessions[""].post(server.url(path), json={"spec": {}}) as response:
            if response.status == 201:
                return str((await response.json())["status"]["token"])
        await asyncio.sleep(0.02)
    raise AssertionError("there is no ServiceAccount in the namespace default")
