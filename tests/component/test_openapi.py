"""OpenAPI over a real socket: what is negotiated, what may be kept, what has moved."""

import gzip
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from apiserver_house import House, open_house, open_registry

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
NEWER_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened:
        yield opened


def get(house: House, path: str, **headers: str) -> "aiohttp.client._RequestContextManager":
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    names.setdefault("Accept-Encoding", "identity")
    return house.session.get(path, headers=names, allow_redirects=False, auto_decompress=False)


async def test_the_index_leads_to_documents_that_may_be_kept_for_ever(house: House) -> None:
    async with get(house, "/openapi/v3?timeout=32s", Accept="application/json, */*") as response:
        paths = (await response.json())["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/apps/v1beta1", "apis/policy/v1"} < paths.keys()
    for name in ("api/v1", "apis/policy/v1"):
        url = paths[name]["serverRelativeURL"]
        tag = url.partition("?hash=")[2]
        async with get(house, url) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, immutable"
            assert response.headers["ETag"] == f'"{tag}"'
            assert response.headers["Expires"].endswith("GMT")
            document = await response.json()
            assert document["openapi"] == "3.0.0"
        async with get(house, url, If_None_Match=f'"{tag}"') as response:
            assert (response.status, await response.read()) == (304, b"")
        async with get(house, f"/openapi/v3/{name}?hash=OLD") as response:
            assert (response.status, response.headers["Location"]) == (301, url)
        async with get(house, f"/openapi/v3/{name}") as response:
            assert response.headers["Cache-Control"] == "no-cache, private"
            assert await response.json() == document


@pytest.mark.parametrize("path", ["/openapi/v3/apis/nothing/v1", "/openapi/v3/v2.json", "/openapi/v3/apis/apps"])
async def test_a_group_version_that_is_not_served_has_no_document(house: House, path: str) -> None:
    async with get(house, path) as response:
        assert response.status == 404


async def test_the_second_version_is_json_or_protobuf_as_asked(house: House) -> None:
    async with get(house, "/openapi/v2", Accept="*/*") as response:
        assert response.headers["Content-Type"] == "application/json"
        plain, tag = await response.read(), response.headers["ETag"]
        assert json.loads(plain)["swagger"] == "2.0"
    async with get(house, "/openapi/v2", Accept_Encoding="gzip") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await response.read()) == plain
    async with get(house, "/openapi/v2", If_None_Match=tag) as response:
        assert response.status == 304
    answers = set()
    for accept in (PROTOBUF, NEWER_PROTOBUF, f"{PROTOBUF},application/json"):
        async with get(house, "/openapi/v2", Accept=accept) as response:
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["ETag"] != tag
            answers.add(await response.read())
    async with get(house, "/swagger-2.0.0.pb-v1", Accept="application/json") as response:
        answers.add(await response.read())
    assert len(answers) == 1
    assert answers.pop().startswith(b"\n\x032.0")


async def test_other_forms_are_not_acceptable_and_documents_are_only_read(house: House) -> None:
    for path in ("/openapi/v2", "/openapi/v3"):
        async with get(house, path, Accept="text/html") as response:
            assert response.status == 406
        async with house.session.post(path, json={}) as response:
            assert response.status == 405
