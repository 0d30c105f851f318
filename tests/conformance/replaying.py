"""Sends the records of one file in order and compares each answer.

Recorded resource versions, uids and continue tokens are replaced by the live ones; `during` lines are sent while their
watch is open; patch.jsonl gets its object anew before each record. One replay, one server.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp

from tests.conformance import volatile
from tests.conformance.comparing import Answer, Comparison, Pairs
from tests.conformance.explaining import Explanation, is_skipped
from tests.conformance.recording import Record, read
from tests.conformance.server import Server, open_server

NOT_RECORDED = frozenset({"SchedulerController", "ApiServiceController"})
OF_SETS = frozenset({"EndpointsController", "EndpointSliceController", "DisruptionController", "StatefulSetController"})
LEFT_OUT = dict.fromkeys(("crud", "delete", "statefulset", "tables"), NOT_RECORDED)
"""Controllers that do not run for a file; without an entry those of sets do not either (fixtures' README, Format)."""
INVENTED = re.compile(r"0{8}-|\d{1,2}$|[^\d-]*$")
FAR_FUTURE = "999999999"
_QUERY_VERSION = re.compile(r"(?<=[?&])resourceVersion=(\d{3,8})(?=&|$)")
_QUERY_CONTINUE = re.compile(r"(?<=[?&])continue=([^&]+)")
_RESET = re.compile(r"patch/(smp|merge|json)/|patch/type/charset$")
NOT_SENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
WATCH_SECONDS = 6.0
QUIET_SECONDS = 0.15
ANSWER_SECONDS = 6.0
AFTER_TRIES, OTHER_TRIES, TRY_SECONDS = 30, 3, 0.05


@dataclass
class Outcome:
    """What became of one record."""

    record: Record
    differences: list[str]
    answer: Answer | None = None


class Replay:
    """One file against one server."""

    def __init__(self, records: list[Record], server: Server, explanations: list[Explanation]) -> None:
        self._explanations = explanations
        self._records = records
        self._server = server
        self._pairs = Pairs()
        self._run_began_at = server.version
        self._waiting: list[Record] = []
        agent = _agent_of(records)
        self._agent = {"User-Agent": agent} if agent else {}

    async def run(self) -> list[Outcome]:
        """Replay all; return the outcome of each compared record, and of setup lines that went wrong."""
        outcomes = []
        reset = [r for r in self._records if r.id in {"patch/setup/4", "patch/setup/5"}]
        was_setup = False
        for record in self._records:
            if record.during:
                self._waiting.append(record)
                continue
            if is_skipped(record.id, self._explanations):
                outcomes.append(Outcome(record, ["not sent"]))
                continue
            if record.is_setup and not was_setup:
                self._run_began_at = self._server.version
            was_setup = record.is_setup
            if _RESET.match(record.id):
                await self._reset(reset)
            if record.is_setup:
                wrong = await self._set_up(record)
                if wrong is not None:
                    outcomes.append(wrong)
            else:
                outcomes.append(await self._compared(record))
                outcomes += await self._late()
        return outcomes

    async def _reset(self, reset: list[Record]) -> None:
        await self._send(reset[0])
        path = reset[0].request.path
        await self._server.sessions[""].request("DELETE", self._server.url(path), skip_auto_headers=NOT_SENT)
        answer = await self._send(reset[1])
        self._learn(reset[1], answer)

    async def _set_up(self, record: Record) -> Outcome | None:
        answer = await self._send(record)
        self._learn(record, answer)
        wanted = record.answer["status"]
        if record.request.path == "/api/v1/namespaces" and answer.status == 201:
            await self._server.wait_for_namespace(record.request.body["metadata"]["name"])
        if answer.status == wanted or {answer.status, wanted} == {201, 409}:
            return None
        return Outcome(
            record, [f"setup status: recorded {wanted}, got {answer.status} {str(answer.body)[:300]}"], answer
        )

    async def _late(self) -> list[Outcome]:
        """Send the `during` lines that no watch has taken."""
        left, self._waiting = self._waiting, []
        return [wrong for record in left if (wrong := await self._set_up(record)) is not None]

    async def _compared(self, record: Record) -> Outcome:
        tries = (AFTER_TRIES if "after" in record.id else OTHER_TRIES) if record.request.method == "GET" else 1
        tries = tries if self._server.has_controllers and not record.is_watch else 1
        for attempt in range(tries):
            before = Pairs(dict(self._pairs.live), dict(self._pairs.recorded))
            answer = await (self._watch(record) if record.is_watch else self._send(record))
            found = Comparison(self._pairs, _generated_from(record)).answers(record.answer, answer, record.request.path)
            if not found or attempt == tries - 1:
                break
            self._pairs.live, self._pairs.recorded = before.live, before.recorded
            await asyncio.sleep(TRY_SECONDS)
        self._learn(record, answer)
        return Outcome(record, [line for line in found if not volatile.is_racing(record.id, line)], answer)

    # Sending

    async def _send(self, record: Record) -> Answer:
        await self._meet_preconditions(record)
        async with self._open(record, await self._account_of(record)) as response:
            headers = list(response.headers.items())
            if "Etag" in record.answer.get("headers", {}):
                self._pairs.live["tag", record.answer["headers"]["Etag"]] = response.headers.get("ETag", "")
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    body = _body_of(response, await response.read())
            except TimeoutError:
                body = "(a stream without an end)"
            return Answer(response.status, headers, body)

    async def _meet_preconditions(self, record: Record) -> None:
        """Learn the live uids and versions of objects that setup lines made: their answers were not recorded."""
        body = record.request.body
        if not isinstance(body, dict):
            return
        own = self._path(record).partition("?")[0]
        for given in (body.get("preconditions"), body.get("metadata") if record.request.method == "PUT" else None):
            await self._meet(given, own)
        metadata = body.get("metadata")
        for owner in (metadata.get("ownerReferences") or []) if isinstance(metadata, dict) else []:
            prefix = "/api/v1" if owner.get("apiVersion") == "v1" else f"/apis/{owner.get('apiVersion')}"
            space = own.partition("/namespaces/")[2].partition("/")[0]
            await self._meet(
                owner, f"{prefix}/namespaces/{space}/{str(owner.get('kind')).lower()}s/{owner.get('name')}"
            )

    async def _meet(self, given: Any, path: str) -> None:
        """Pair the unknown `uid` and `resourceVersion` of `given` with those of the live object at `path`."""
        found = [
            (kind, key)
            for kind, key in (("uid", "uid"), ("version", "resourceVersion"))
            if self._is_new(given, kind, key)
        ]
        if not found:
            return
        async with self._server.sessions[""].get(self._server.url(path), skip_auto_headers=NOT_SENT) as response:
            live = (await response.json()).get("metadata", {}) if response.status == 200 else {}
        for kind, key in found:
            if key in live:
                self._pairs.live[kind, given[key]] = live[key]

    def _is_new(self, given: Any, kind: str, key: str) -> bool:
        value = given.get(key) if isinstance(given, dict) else None
        return isinstance(value, str) and (kind, value) not in self._pairs.live and not INVENTED.match(value)

    async def _account_of(self, record: Record) -> dict[str, Any]:
        """Return the live Pod that a recorded Pod is about to replace; its account must stay, and was not recorded."""
        if record.request.method != "PUT" or not re.search(r"/pods/[^/?]+$", record.request.path):
            return {}
        async with self._server.sessions[""].get(self._server.url(self._path(record))) as response:
            return dict(await response.json()) if response.status == 200 else {}

    def _open(self, record: Record, live_pod: dict[str, Any] | None = None) -> Any:
        sent = record.request
        body = self._body(sent.body)
        if live_pod and isinstance(body, dict):
            volatile.add_account(body, live_pod)
        known = sent.headers.get("If-None-Match", "")
        tag = {"If-None-Match": self._pairs.live[("tag", known)]} if ("tag", known) in self._pairs.live else {}
        return self._server.sessions[sent.identity].request(
            sent.method,
            self._server.url(self._path(record)),
            data=sent.encoded(body),
            headers={**self._agent, **sent.headers, **tag},
            skip_auto_headers=NOT_SENT,
            allow_redirects=False,
        )

    async def _watch(self, record: Record) -> Answer:
        """Read a watch to its end, or until as many events have come as were recorded and none follows."""
        wanted = len(record.answer["events"])
        during, self._waiting = [w for w in self._waiting if w.during == record.id], []
        async with self._open(record) as response:
            headers = list(response.headers.items())
            if response.status != 200:
                return Answer(response.status, headers, _body_of(response, await response.read()))
            answer = Answer(response.status, headers)
            reader = asyncio.ensure_future(self._read_events(response, answer))
            for line in during:
                await asyncio.sleep(0.02)
                await self._set_up(line)
            ends = record.answer.get("ended") == "by the server"
            loop = asyncio.get_running_loop()
            deadline = loop.time() + WATCH_SECONDS
            while not reader.done() and loop.time() < deadline:
                if not ends and len(answer.events) >= wanted:
                    break
                await asyncio.wait([reader], timeout=0.02)
            if not ends:
                await asyncio.wait([reader], timeout=QUIET_SECONDS)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            return answer

    @staticmethod
    async def _read_events(response: aiohttp.ClientResponse, answer: Answer) -> None:
        async for line in response.content:
            answer.events.append(json.loads(line))
        answer.has_ended = True

    # What was recorded, made live

    def _path(self, record: Record) -> str:
        path = record.request.path

        def version(match: re.Match[str]) -> str:
            live = self._pairs.live.get(("version", match[1]))
            if live is None and record.is_watch:
                live = str(self._run_began_at if not _has_during(self._records, record) else self._server.version)
                if not record.answer["events"]:
                    live = str(self._server.version)
            return f"resourceVersion={live or match[1]}"

        path = _QUERY_VERSION.sub(version, path)
        path = path.replace(FAR_FUTURE, str(self._server.version + int(FAR_FUTURE)))
        path = _QUERY_CONTINUE.sub(
            lambda m: "continue=" + quote(self._pairs.live.get(("continue", unquote(m[1])), unquote(m[1])), safe=""),
            path,
        )
        head, query = path.partition("?")[::2]
        for (kind, recorded), live in self._pairs.live.items():
            if kind == "name" and recorded in head:
                head = "/".join(live if part == recorded else part for part in head.split("/"))
        return volatile.UUID.sub(lambda m: self._uid(m[0]), head + ("?" + query if query else ""))

    def _token(self, recorded: str) -> str:
        return quote(self._pairs.live.get(("continue", recorded), recorded), safe="")

    def _uid(self, recorded: str) -> str:
        return self._pairs.live.get(("uid", recorded), recorded)

    def _body(self, body: Any) -> Any:
        if isinstance(body, str):
            body = self._pairs.live.get(("address", body), body) if volatile.ADDRESS.match(body) else body
            return volatile.UUID.sub(lambda m: self._uid(m[0]), body)
        if isinstance(body, list):
            return [self._body(inner) for inner in body]
        if not isinstance(body, dict):
            return body
        made = {key: self._body(inner) for key, inner in body.items()}
        if isinstance(made.get("resourceVersion"), str):
            made["resourceVersion"] = self._version(made["resourceVersion"])
        if isinstance(made.get("nodePort"), int):
            made["nodePort"] = int(self._pairs.live.get(("port", str(made["nodePort"])), made["nodePort"]))
        if str(made.get("path", "")).endswith("resourceVersion") and isinstance(made.get("value"), str):
            made["value"] = self._version(made["value"])
        return made

    def _version(self, recorded: str) -> str:
        return self._pairs.live.get(("version", recorded), recorded)

    def _learn(self, record: Record, answer: Answer) -> None:
        """Note which live values stand for recorded ones, also where the comparison never came to them."""
        if isinstance(answer.body, dict | list) and "body" in record.answer:
            self._learn_from(record.answer["body"], answer.body)
        for one, other in zip(record.answer.get("events", []), answer.events, strict=False):
            self._learn_from(one, other)

    def _learn_from(self, recorded: Any, live: Any) -> None:
        if isinstance(recorded, list) and isinstance(live, list):
            by_name = {_key(item): item for item in live if isinstance(item, dict)}
            for one, other in zip(recorded, live, strict=False):
                self._learn_from(one, by_name.get(_key(one), other) if isinstance(one, dict) else other)
        if not isinstance(recorded, dict) or not isinstance(live, dict):
            return
        for key, one in recorded.items():
            other = live.get(key)
            kind = "version" if key == "resourceVersion" else volatile.PAIRED_KEYS.get(key)
            kind = "continue" if key == "continue" else kind
            if kind is not None and isinstance(one, str) and isinstance(other, str):
                self._pairs.live.setdefault((kind, one), other)
            self._learn_from(one, other)
        self._learn_generated(recorded, live)

    def _learn_generated(self, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        prefix, one, other = recorded.get("generateName"), recorded.get("name"), live.get("name")
        if prefix and one and other and str(one).startswith(prefix[:58]) and one != prefix:
            self._pairs.live.setdefault(("name", one), other)


def _generated_from(record: Record) -> str:
    body = record.request.body
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return str(metadata.get("generateName", "")) if isinstance(metadata, dict) else ""


def _agent_of(records: list[Record]) -> str:
    """Return the User-Agent that a file was recorded with: its product became the default manager."""
    return "fixtures/1.0" if any('"manager": "fixtures"' in json.dumps(r.answer.get("body")) for r in records) else ""


def _has_during(records: list[Record], watch: Record) -> bool:
    return any(r.during == watch.id for r in records)


def _key(item: Any) -> Any:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return (metadata.get("namespace"), metadata.get("name")) if isinstance(metadata, dict) else None


def _body_of(response: aiohttp.ClientResponse, body: bytes) -> Any:
    if "json" in response.headers.get("Content-Type", ""):
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


async def replay(name: str, directory: Path, explanations: list[Explanation]) -> list[Outcome]:
    """Replay the file `name` on a fresh server whose files lie in `directory`."""
    left_out = None if name == "statefulset-versions" else LEFT_OUT.get(name, NOT_RECORDED | OF_SETS)
    async with open_server(directory, left_out) as server:
        return await Replay(read(name), server, explanations).run()
