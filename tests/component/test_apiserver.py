"""The Kubernetes API over a real Unix socket: verbs, forms, refusals, streams."""

import asyncio
import contextlib
import io
import json
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from apiserver_house import House, open_house, open_registry

from localset.apis.served import ServedResources
from localset.apiserver.listener import CONNECTIONS
from localset.apiserver.routes import RouteTable

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "host", "command": ["true"]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str, api_version: str = "apps/v1") -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "host"}]}}
    spec = {"serviceName": name, "replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": api_version, "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        yield opened


async def closed(house: House) -> None:
    async with asyncio.timeout(5):
        await house.streams.sessions[0].closed.wait()


async def watched(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    events = []
    async with asyncio.timeout(5):
        while len(events) < count:
            line = await response.content.readline()
            assert line.endswith(b"\n"), "the stream ended early"
            events.append(json.loads(line))
    return events


async def test_an_object_is_created_read_changed_and_deleted(house: House) -> None:
    status, made = await house.call("POST", CONFIG_MAPS, config_map("m", a="1"))
    assert (status, made["kind"], made["metadata"]["namespace"]) == (201, "ConfigMap", "default")
    assert await house.call("GET", f"{CONFIG_MAPS}/m") == (200, made)
    status, put = await house.call("PUT", f"{CONFIG_MAPS}/m", made | {"data": {"a": "2"}})
    assert (status, put["data"]) == (200, {"a": "2"})
    headers = {"Content-Type": "application/merge-patch+json"}
    status, patched = await house.call("PATCH", f"{CONFIG_MAPS}/m", {"data": {"b": "3"}}, headers=headers)
    assert (status, patched["data"]) == (200, {"a": "2", "b": "3"})
    status, listed = await house.call("GET", f"{CONFIG_MAPS}/")
    mine = next(item for item in listed["items"] if item["metadata"]["name"] == "m")
    assert listed["kind"] == "ConfigMapList"
    assert "kind" not in mine
    status, gone = await house.call("DELETE", f"{CONFIG_MAPS}/m")
    assert (status, gone["status"], gone["details"]["name"]) == (200, "Success", "m")
    status, refusal = await house.call("GET", f"{CONFIG_MAPS}/m")
    assert (status, refusal["message"], refusal["reason"]) == (404, 'configmaps "m" not found', "NotFound")


async def test_yaml_goes_both_ways(house: House) -> None:
    text = "kind: ConfigMap\nmetadata:\n  name: w\ndata: {a: 'yes'}\n"
    headers = {"Content-Type": "application/yaml", "Accept": "application/yaml"}
    async with house.session.post(CONFIG_MAPS, data=text, headers=headers) as response:
        assert response.status == 201
        assert response.headers["Content-Type"] == "application/yaml"
        assert "a: 'yes'" in await response.text()


async def test_answers_are_one_line_unless_eyes_ask(house: House) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("m"))
    async with house.session.get(f"{CONFIG_MAPS}/m") as response:
        assert (await response.text()).count("\n") == 1
        assert response.headers["Cache-Control"] == "no-cache, private"
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Audit-Id"]
        assert "Server" not in response.headers
    for query, agent, is_pretty in (("?pretty=true", "x", True), ("", "curl/8", True), ("?pretty=0", "curl/8", False)):
        async with house.session.get(f"{CONFIG_MAPS}/m{query}", headers={"User-Agent": agent}) as response:
            assert ("\n  " in await response.text()) is is_pretty


async def test_a_long_list_comes_in_pieces_that_are_what_gzip_holds(house: House) -> None:
    for name in "abcd":
        await house.call("POST", CONFIG_MAPS, config_map(name, a=name * 150_000))
    bodies = []
    for encoding in ("identity", "gzip"):
        async with house.session.get(CONFIG_MAPS, headers={"Accept-Encoding": encoding}) as response:
            assert response.headers["Audit-Id"]
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers.get("Content-Encoding", "identity") == encoding
            bodies.append(await response.read())
            if encoding == "identity":
                assert int(response.headers["Content-Length"]) == len(bodies[0])
    assert bodies[0] == bodies[1]
    items = {item["metadata"]["name"]: item.get("data", {}) for item in json.loads(bodies[0])["items"]}
    assert all(items[name] == {"a": name * 150_000} for name in "abcd")


async def test_a_list_is_a_table_when_asked_and_errors_never_are(house: House) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("m", a="1"))
    status, table = await house.call("GET", CONFIG_MAPS, headers={"Accept": TABLE})
    row = next(row for row in table["rows"] if row["cells"][0] == "m")
    assert (status, table["kind"], row["cells"][1]) == (200, "Table", 1)
    assert row["object"]["kind"] == "PartialObjectMetadata"
    status, table = await house.call("GET", f"{CONFIG_MAPS}/m?includeObject=Object", headers={"Accept": TABLE})
    assert table["rows"][0]["object"]["kind"] == "ConfigMap"
    status, refusal = await house.call("GET", f"{CONFIG_MAPS}/nope", headers={"Accept": TABLE})
    assert (status, refusal["kind"]) == (404, "Status")
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
    status, partial = await house.call("GET", CONFIG_MAPS, headers=accept)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert all("data" not in item for item in partial["items"])


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/yaml", 200),
        ("text/html", 406),
        ("application/*", 406),
        ("application/json;as=Table;v=v9;g=meta.k8s.io", 406),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", 200),
        ("application/json;as=Foo;v=v1;g=meta.k8s.io", 406),
        ("application/vnd.kubernetes.protobuf,application/json", 200),
    ],
)
async def test_accept_is_answered_as_upstream_does(house: House, accept: str, status: int) -> None:
    assert (await house.call("GET", CONFIG_MAPS, headers={"Accept": accept}))[0] == status


PROTOBUF_CONFIG_MAP = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\x03\x0a\x01a"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"metadata":{"name":"a"}}', 201),
        ("application/json; charset=utf-8", b'{"metadata":{"name":"a"}}', 201),
        ("text/plain", b'{"metadata":{"name":"a"}}', 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("application/vnd.kubernetes.protobuf", b"k8s\0", 400),
        ("application/vnd.kubernetes.protobuf", PROTOBUF_CONFIG_MAP, 201),
        ("application/vnd.kubernetes.protobuf", PROTOBUF_CONFIG_MAP.replace(b"ConfigMap", b"ConfigMop"), 415),
        ("application/json", b"", 400),
        ("application/json", b'{"apiVersion":"v1",', 400),
        ("application/json", b"[]", 400),
        ("application/json", b'"x"', 400),
        ("application/json", b"null", 422),
        ("application/json", b'{"kind":"Secret"}', 400),
        ("application/json", b'{"kind":"ConfigMap","apiVersion":"apps/v1"}', 400),
        ("application/json", b'{"metadata":[]}', 400),
        ("application/json", b'{"metadata":{"name":"a","namespace":"other"}}', 400),
        ("application/json", b'{"metadata":{"name":"a"},"x":NaN}', 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/yaml", b"a: &a [x]\nb: [*a, *b]", 400),
        ("application/json", b'{"metadata":{"name":"a"},"data":{"a":"' + b"x" * (3 << 20) + b'"}}', 413),
    ],
)
async def test_bodies_are_taken_or_refused(house: House, content_type: str, body: bytes, status: int) -> None:
    async with house.session.post(
        CONFIG_MAPS, data=io.BytesIO(body), headers={"Content-Type": content_type}
    ) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert answer["kind"] == ("ConfigMap" if status == 201 else "Status")


async def test_a_body_without_a_type_is_json(house: House) -> None:
    body = b'{"metadata":{"name":"bare"}}'
    async with house.session.post(CONFIG_MAPS, data=body, skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 201


async def test_duplicate_fields_warn_or_refuse_as_field_validation_says(house: House) -> None:
    body = b'{"metadata":{"name":"%s"},"data":{"a":"1","a":"2"}}'
    for mode, status, warning in (
        ("Warn", 201, '299 - "duplicate field \\"data.a\\""'),
        ("Ignore", 201, None),
        ("Strict", 400, None),
    ):
        headers = {"Content-Type": "application/json"}
        path = f"{CONFIG_MAPS}?fieldValidation={mode}"
        async with house.session.post(path, data=body % mode.lower().encode(), headers=headers) as response:
            assert (response.status, response.headers.get("Warning")) == (status, warning)
            if mode == "Strict":
                assert 'strict decoding error: duplicate field "data.a"' in (await response.json())["message"]
    status, refusal = await house.call("POST", f"{CONFIG_MAPS}?fieldValidation=Loud", config_map("x"))
    assert (status, refusal["reason"]) == (422, "Invalid")


async def test_old_versions_warn(house: House) -> None:
    path = SETS.replace("v1", "v1beta1")
    async with house.session.post(path, json=stateful_set("old", "apps/v1beta1")) as response:
        assert response.status == 201
        assert (await response.json())["apiVersion"] == "apps/v1beta1"
        assert "deprecated" in response.headers["Warning"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("PUT", CONFIG_MAPS, 405, "the server does not allow this method on the requested resource"),
        ("POST", f"{CONFIG_MAPS}/m", 405, "the server does not allow this method on the requested resource"),
        ("DELETE", "/api/v1/configmaps", 405, "the server does not allow this method on the requested resource"),
        ("POST", "/api/v1/configmaps", 405, "the server does not allow this method on the requested resource"),
        ("OPTIONS", CONFIG_MAPS, 405, "the server does not allow this method on the requested resource"),
        ("DELETE", "/api/v1/namespaces", 405, "the server does not allow this method on the requested resource"),
        ("GET", "/api/v1/namespaces/default/nopes", 404, "the server could not find the requested resource"),
        ("GET", f"{CONFIG_MAPS}/m/scale", 404, "the server could not find the requested resource"),
        ("GET", "/apis/apps/v9", 404, "the server could not find the requested resource"),
        ("GET", "/apis/apps/v9/statefulsets", 404, "the server could not find the requested resource"),
    ],
)
async def test_wrong_methods_and_resources_are_status_answers(
    house: House, method: str, path: str, status: int, message: str
) -> None:
    got, refusal = await house.call(method, path)
    assert (got, refusal["message"]) == (status, message)


async def test_wrong_paths_are_told_in_upstreams_three_ways(house: House) -> None:
    assert await house.call("GET", "/apis/nope.example.com") == (404, "404 page not found\n")
    assert (await house.call("GET", "/api//v1"))[0] == 404
    status, body = await house.call("GET", "/nope")
    assert (status, "/apis/apps/v1" in body["paths"]) == (404, True)


async def test_unknown_patches_are_refused_naming_the_known_ones(house: House) -> None:
    headers = {"Content-Type": "application/apply-patch+json"}
    status, refusal = await house.call("PATCH", f"{CONFIG_MAPS}/m?fieldManager=x", {}, headers=headers)
    assert status == 415
    for kind in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
        assert f"application/{kind}" in refusal["message"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/"])
async def test_health_is_ok(house: House, path: str) -> None:
    assert await house.call("GET", path) == (200, "ok")


async def test_the_version_is_no_prerelease(house: House) -> None:
    status, version = await house.call("GET", "/version/")
    assert (status, version["major"]) == (200, "1")
    assert version["gitVersion"].startswith(f"v1.{version['minor']}.0+localset.")


async def test_discovery_is_classic_or_aggregated_as_asked(house: House) -> None:
    assert (await house.call("GET", "/api"))[1]["versions"] == ["v1"]
    groups = (await house.call("GET", "/apis/"))[1]["groups"]
    preferred = {g["name"]: g["preferredVersion"]["version"] for g in groups}
    assert (
        preferred.items() >= {group: found[0] for group, found in ServedResources().versions.items() if group}.items()
    )
    assert (preferred["apps"], preferred["autoscaling"], preferred["events.k8s.io"]) == ("v1", "v2", "v1")
    listed = (await house.call("GET", "/apis/apps/v1"))[1]
    entries = {entry["name"]: entry for entry in listed["resources"]}
    assert entries["statefulsets"]["storageVersionHash"] == "H+vl74LkKdo="
    assert entries["statefulsets/scale"]["kind"] == "Scale"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    async with house.session.get("/apis", headers={"Accept": accept}) as response:
        assert response.headers["Content-Type"] == accept.partition(",")[0]
        body = await response.json(content_type=None)
        etag = response.headers["ETag"]
    assert [item["metadata"]["name"] for item in body["items"]] == list(preferred)
    assert [v["version"] for v in body["items"][0]["versions"]] == ["v1", "v1beta2", "v1beta1"]
    async with house.session.get("/apis", headers={"Accept": accept, "If-None-Match": etag}) as response:
        assert response.status == 304


async def test_a_watch_sends_headers_at_once_and_then_each_change(house: House) -> None:
    listed = (await house.call("GET", CONFIG_MAPS))[1]
    query = f"watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
    async with asyncio.timeout(5), house.session.get(f"{CONFIG_MAPS}?{query}") as response:
        assert response.status == 200
        assert response.headers["Transfer-Encoding"] == "chunked"
        await house.call("POST", CONFIG_MAPS, config_map("w"))
        await house.call("DELETE", f"{CONFIG_MAPS}/w")
        added, deleted = await watched(response, 2)
    assert (added["type"], added["object"]["kind"]) == ("ADDED", "ConfigMap")
    assert deleted["type"] == "DELETED"
    assert int(deleted["object"]["metadata"]["resourceVersion"]) > int(added["object"]["metadata"]["resourceVersion"])


async def test_a_watch_without_a_version_begins_with_what_exists(house: House) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("w"))
    async with house.session.get(f"{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Dw") as response:
        event = (await watched(response, 1))[0]
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "w")


async def test_a_streaming_list_ends_with_an_annotated_bookmark(house: House) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("w"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with house.session.get(f"{CONFIG_MAPS}?{query}&fieldSelector=metadata.name%3Dw") as response:
        added, bookmark = await watched(response, 2)
    assert added["type"] == "ADDED"
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_as_table_carries_columns_once(house: House) -> None:
    async with house.session.get(f"{CONFIG_MAPS}?watch=1", headers={"Accept": TABLE}) as response:
        await house.call("POST", CONFIG_MAPS, config_map("w1"))
        await house.call("POST", CONFIG_MAPS, config_map("w2"))
        first, second = (await watched(response, 2))[:2]
    assert first["object"]["columnDefinitions"]
    assert second["object"]["columnDefinitions"] is None


async def test_a_watch_from_a_forgotten_version_is_told_in_the_stream(house: House) -> None:
    async with house.session.get(f"{CONFIG_MAPS}?watch=1&resourceVersion=1") as response:
        assert response.status == 200
        event = (await watched(response, 1))[0]
        assert await response.content.read() == b""
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_ends_in_order_after_its_time_with_a_bookmark(house: House) -> None:
    version = (await house.call("GET", CONFIG_MAPS))[1]["metadata"]["resourceVersion"]
    query = f"watch=1&resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"
    async with asyncio.timeout(5), house.session.get(f"{CONFIG_MAPS}?{query}") as response:
        text = await response.text()
    assert all(json.loads(line)["type"] == "BOOKMARK" for line in text.splitlines())


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("watch=1&resourceVersion=abc", 422),
        ("watch=1&timeoutSeconds=abc", 400),
        ("watch=1&labelSelector=a+in", 400),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("sendInitialEvents=true", 422),
        ("resourceVersion=abc", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=9223372036854775807", 504),
        ("labelSelector=a%3D%3D%3D", 400),
        ("limit=x", 400),
        ("includeObject=All", 422),
    ],
)
async def test_wrong_list_options_are_refused_before_anything_else(house: House, query: str, status: int) -> None:
    async with asyncio.timeout(5):
        got, refusal = await house.call("GET", f"{CONFIG_MAPS}?{query}")
    assert (got, refusal["kind"]) == (status, "Status")


async def test_streams_end_in_order_when_the_server_stops(house: House) -> None:
    async with house.session.get(f"{CONFIG_MAPS}?watch=1&labelSelector=none%3Dsuch") as response:
        async with asyncio.timeout(5):
            await house.listener.aclose()
            assert await response.content.read() == b""


async def test_logs_are_streamed_as_text(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    assert await house.call("GET", f"{PODS}/p/log?tailLines=5&timestamps=true") == (200, "one\ntwo\n")
    assert (house.streams.asked[0].tail_lines, house.streams.asked[0].timestamps) == (5, True)
    status, refusal = await house.call("GET", f"{PODS}/p/log?container=zz")
    assert (status, refusal["message"]) == (400, "container zz is not valid for pod p")
    status, refusal = await house.call("GET", f"{PODS}/p/log?tailLines=-1")
    assert (status, refusal["details"]["kind"]) == (422, "PodLogOptions")
    assert (await house.call("GET", f"{PODS}/nope/log"))[0] == 404


async def test_a_followed_silent_log_connects_at_once(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    house.streams.lines = []
    async with asyncio.timeout(5), house.session.get(f"{PODS}/p/log?follow=true") as response:
        assert response.status == 200


async def test_exec_carries_input_output_and_the_exit_code(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    path = f"{PODS}/p/exec?command=cat&command=3&stdin=true&stdout=true&stderr=true"
    async with house.session.ws_connect(path, protocols=("v5.channel.k8s.io",)) as ws, asyncio.timeout(5):
        assert ws.protocol == "v5.channel.k8s.io"
        await ws.send_bytes(b"\x04" + b'{"Width":120,"Height":40}\n')
        await ws.send_bytes(b"\x04" + b'{"Width":0,"Height":0}\n')
        await ws.send_bytes(b"\x00hello")
        assert await ws.receive_bytes() == b"\x01hello"
        await ws.send_bytes(b"\xff\x00")
        assert await ws.receive_bytes() == b"\x02bye"
        channel, *status = await ws.receive_bytes()
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 1000
    told = json.loads(bytes(status))
    assert channel == 3
    assert told["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert house.streams.sessions[0].sizes == [(120, 40)]
    await closed(house)


async def test_a_client_that_goes_away_ends_its_session(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    ws = await house.session.ws_connect(f"{PODS}/p/attach?stdin=1&stdout=1", protocols=("v4.channel.k8s.io",))
    await ws.send_bytes(b"\x00x")
    assert await ws.receive_bytes() == b"\x01x"
    await ws.close()
    await closed(house)


async def test_exec_refusals_are_plain_status_answers(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    for query in ("command=ls&container=zz&stdout=1", "stdout=1", "command=ls"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await house.session.ws_connect(f"{PODS}/p/exec?{query}", protocols=("v5.channel.k8s.io",))
        assert caught.value.status == 400
    assert (await house.call("POST", f"{PODS}/nope/exec?command=ls&stdout=1"))[0] == 404
    status, refusal = await house.call("POST", f"{PODS}/p/exec?command=ls&stdout=1")
    assert (status, refusal["message"].startswith("unable to upgrade")) == (400, True)


async def test_scale_is_read_and_patched(house: House) -> None:
    await house.call("POST", SETS, stateful_set("web"))
    headers = {"Content-Type": "application/merge-patch+json"}
    status, scale = await house.call("PATCH", f"{SETS}/web/scale", {"spec": {"replicas": 3}}, headers=headers)
    assert (status, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 3)
    assert (await house.call("GET", f"{SETS}/web/scale"))[1]["spec"]["replicas"] == 3
    assert (await house.call("GET", f"{SETS}/web"))[1]["spec"]["replicas"] == 3
    assert (await house.call("POST", f"{SETS}/web/scale", {}))[0] == 405


async def test_a_pod_is_evicted(house: House) -> None:
    await house.call("POST", PODS, pod("p"))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await house.call("POST", f"{PODS}/p/eviction", body | {"metadata": {"name": "q"}}))[0] == 400
    assert (await house.call("POST", f"{PODS}/p/eviction", body | {"kind": "Pod"}))[0] == 400
    status, answer = await house.call("POST", f"{PODS}/p/eviction", body)
    assert (status, answer["status"]) == (201, "Success")
    assert (await house.call("GET", f"{PODS}/p"))[0] == 404


async def test_a_collection_is_deleted_by_selector(house: House) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("a") | {"metadata": {"name": "a", "labels": {"x": "1"}}})
    await house.call("POST", CONFIG_MAPS, config_map("b"))
    status, removed = await house.call("DELETE", f"{CONFIG_MAPS}?labelSelector=x%3D1")
    assert (status, [item["metadata"]["name"] for item in removed["items"]]) == (200, ["a"])
    assert (await house.call("GET", f"{CONFIG_MAPS}/b"))[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"propagationPolicy": "Foo"}, 422),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422),
        ({"dryRun": ["x"]}, 422),
        ({"kind": "Pod"}, 400),
        ({"gracePeriodSeconds": "x"}, 400),
        ({"gracePeriodSeconds": 0, "unknown": 1}, 200),
    ],
)
async def test_delete_options_are_read_from_the_body(house: House, body: dict[str, Any], status: int) -> None:
    await house.call("POST", CONFIG_MAPS, config_map("m"))
    assert (await house.call("DELETE", f"{CONFIG_MAPS}/m", body))[0] == status


async def test_the_daemon_answers_for_itself(house: House) -> None:
    assert await house.call("GET", "/localset/v1/status") == (200, {"daemon": {"pid": 1}})
    status, answer = await house.call("GET", "/localset/v1/dns?name=zk-0&type=srv")
    assert (status, answer["type"]) == (200, "SRV")
    body = {"keepRunning": True, "timeoutSeconds": 2}
    assert (await house.call("POST", "/localset/v1/shutdown", body))[0] == 202
    assert house.control.shutdowns == [(True, 2.0)]
    assert (await house.call("GET", "/localset/v1/shutdown"))[0] == 405
    assert (await house.call("POST", "/localset/v1/shutdown", {"keepRunning": 1}))[0] == 400


HOSTILE_HOSTS = [
    "evil.example",
    "localhost.",
    "localhost.evil.example",
    "169.254.1.1",
    "[::1]x",
    "localhost:x",
    "",
    "::1",
]


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_every_route_refuses_foreign_hosts(house: House, host: str) -> None:
    for path, methods in RouteTable(ServedResources()).sample_paths():
        for method in methods & {"GET", "DELETE"}:
            assert (await house.call(method, path, headers={"Host": host}))[0] in {400, 403}, (method, path)
    assert (await house.call("GET", "/healthz", headers={"Host": host}))[0] in {400, 403}


async def test_web_pages_of_other_origins_are_refused(house: House) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        async with house.session.get(CONFIG_MAPS, headers=headers) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
    assert (await house.call("GET", CONFIG_MAPS, headers={"Origin": "https://localhost"}))[0] == 200
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await house.session.ws_connect(f"{PODS}/p/exec?command=ls&stdout=1", origin="https://evil.example")
    assert caught.value.status == 403


async def test_a_tcp_listener_without_credentials_reaches_health_and_version_only(house: House) -> None:
    from aiohttp import web

    runner = web.AppRunner(house.listener._application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def status(method: str, path: str, host: str) -> int:
            async with session.request(method, path, headers={"Host": host}) as response:
                return response.status

        assert await status("GET", "/version", f"127.0.0.1:{port}") == 200
        assert await status("GET", "/version", "127.0.0.1:1") == 403
        for path, methods in RouteTable(ServedResources()).sample_paths():
            for method in methods:
                assert await status(method, path, f"127.0.0.1:{port}") in {403, 415}, (method, path)
        assert await status("POST", "/localset/v1/shutdown", f"127.0.0.1:{port}") == 403
    await site.stop()


async def test_a_failing_handler_gives_500_and_no_traceback(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.registry, "read_bytes", fail)
    status, refusal = await house.call("GET", f"{CONFIG_MAPS}/m")
    assert (status, refusal["reason"]) == (500, "InternalError")
    assert "secret" not in json.dumps(refusal)
    assert len([r for r in caplog.records if r.exc_info]) == 1


async def test_a_connection_that_never_asks_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localset.apiserver.listener.FIRST_REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_unix_connection(house.socket)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: loc")
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):  # aborted rather than closed: as good
            assert await reader.read() == b""
    writer.close()


async def test_another_user_is_refused_before_http(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localset.apiserver.listener.peer_uid", lambda connection: 65534)
    with pytest.raises(aiohttp.ClientConnectionError):
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(house.socket))) as session:
            await session.get("http://localhost/healthz")


async def test_the_socket_is_private(house: House) -> None:
    assert house.socket.stat().st_mode & 0o777 == 0o600
    assert house.listener._application[CONNECTIONS] is not None
    assert socket.AF_UNIX
