"""The `Client` protocol over HTTP: what a controller outside the daemon's process would use.

Tests run the same controllers over it (design 1). It speaks the storage versions over the Unix socket; the CLI has a
leaner hand-written one. Every refusal is raised as the StatusError that the server sent.
"""

import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from localset.apis.resources import BY_NAME, Resource
from localset.base.frozen import replace
from localset.client.client import DeleteOptions, ObjectList, PatchType, WatchEvent, WatchType
from localset.machinery.errors import StatusError, not_found
from localset.machinery.metadata import Object, name_of, namespace_of, version_of
from localset.machinery.patch import apply_merge_patch

JSON = "application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def resource_path(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the URL path of a collection, an object or its subresource, in the storage version."""
    api_version = resource.api_version()
    path = f"/apis/{api_version}" if resource.group else f"/api/{api_version}"
    if namespace:
        path += f"/namespaces/{quote(namespace, safe='')}"
    path += f"/{resource.plural}"
    if name:
        path += f"/{quote(name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


def rows_of(group: Object) -> list[Resource]:
    """Return the rows of one group of an APIGroupDiscoveryList; a resource's versions in their order of preference."""
    name = (group.get("metadata") or {}).get("name", "")
    rows: dict[str, Resource] = {}
    for version in group["versions"]:
        for found in version.get("resources") or []:
            plural = found["resource"]
            known = rows.get(plural)
            if known is not None:
                rows[plural] = replace(known, versions=(*known.versions, version["version"]))
                continue
            rows[plural] = Resource(
                plural=plural,
                singular=found.get("singularResource") or "",
                kind=found["responseKind"]["kind"],
                group=name,
                versions=(version["version"],),
                namespaced=found["scope"] == "Namespaced",
                short_names=tuple(found.get("shortNames") or ()),
                categories=tuple(found.get("categories") or ()),
                subresources=tuple(sub["subresource"] for sub in found.get("subresources") or ()),
                verbs=tuple(found["verbs"]),
            )
    return list(rows.values())


def _options_body(options: DeleteOptions | None) -> dict[str, Any]:
    if options is None:
        return {}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if options.grace_period_seconds is not None:
        body["gracePeriodSeconds"] = options.grace_period_seconds
    if options.propagation is not None:
        body["propagationPolicy"] = options.propagation.value
    preconditions = {"uid": options.uid, "resourceVersion": options.resource_version}
    if kept := {k: v for k, v in preconditions.items() if v is not None}:
        body["preconditions"] = kept
    if options.dry_run:
        body["dryRun"] = ["All"]
    return body


def _cut(error: Exception) -> StatusError:
    return StatusError(503, "ServiceUnavailable", f"the connection to the daemon was cut: {error}")


class HttpClient:
    """A Client over the daemon's Unix socket. Use it as an async context manager, or call `aclose`."""

    def __init__(self, socket_path: Path, user_agent: str = "localset") -> None:
        """Name the socket; connections are made when needed. `user_agent` becomes the field manager."""
        self._session = aiohttp.ClientSession(
            base_url="http://localhost",
            connector=aiohttp.UnixConnector(str(socket_path), limit=64),
            headers={"User-Agent": user_agent, "Accept": JSON, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        self._custom: dict[str, Resource] = {}

    async def __aenter__(self) -> "HttpClient":
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Any:
        data = io.BytesIO(orjson.dumps(body)) if body is not None else None  # aiohttp warns of large bytes
        headers = {"Accept": accept} | ({"Content-Type": content_type} if data is not None else {})
        try:
            async with self._session.request(method, path, params=query, data=data, headers=headers) as response:
                payload = await response.read()
                status = response.status
        except aiohttp.ClientError as error:
            raise _cut(error) from error
        return _value(status, payload)

    async def resources(self) -> list[Resource]:
        """Return the rows of all resources that the server has, as its discovery tells."""
        answers = [await self._call("GET", path, accept=DISCOVERY) for path in ("/api", "/apis")]
        rows = [row for answer in answers for group in answer["items"] for row in rows_of(group)]
        self._custom = {row.name: row for row in rows if row.name not in BY_NAME}
        return [BY_NAME.get(row.name, row) for row in rows]

    async def _resource(self, resource: str) -> Resource:
        if resource in BY_NAME:
            return BY_NAME[resource]
        if resource not in self._custom:
            await self.resources()
        if resource not in self._custom:
            raise not_found(resource, "")
        return self._custom[resource]

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        """Return one object; 404 when absent."""
        made: Object = await self._call("GET", resource_path(await self._resource(resource), namespace, name))
        return made

    async def list(
        self, resource: str, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return all matching objects, each with apiVersion and kind."""
        found = await self._resource(resource)
        query = _selection(label_selector, field_selector)
        listed = await self._call("GET", resource_path(found, namespace), query=query)
        head = {"apiVersion": found.api_version(), "kind": found.kind}
        return ObjectList([{**head, **item} for item in listed["items"]], listed["metadata"]["resourceVersion"])

    async def create(self, resource: str, obj: Object) -> Object:
        """Create and return the stored object; the namespace is the object's."""
        path = resource_path(await self._resource(resource), namespace_of(obj))
        made: Object = await self._call("POST", path, body=obj)
        return made

    async def update(self, resource: str, obj: Object) -> Object:
        """Replace everything but status."""
        return await self._put(resource, obj, "")

    async def update_status(self, resource: str, obj: Object) -> Object:
        """Replace status only."""
        return await self._put(resource, obj, "status")

    async def _put(self, resource: str, obj: Object, subresource: str) -> Object:
        path = resource_path(await self._resource(resource), namespace_of(obj), name_of(obj), subresource)
        made: Object = await self._call("PUT", path, body=obj)
        return made

    async def patch(
        self, resource: str, namespace: str, name: str, patch: Any, patch_type: PatchType, *, subresource: str = ""
    ) -> Object:
        """Apply `patch` to the object or to its `status`, `scale` or `finalize` subresource."""
        if subresource == "finalize":
            return await self._finalize(resource, namespace, name, patch)
        path = resource_path(await self._resource(resource), namespace, name, subresource)
        made: Object = await self._call("PATCH", path, body=patch, content_type=patch_type.value)
        return made

    async def _finalize(self, resource: str, namespace: str, name: str, patch: Any) -> Object:
        """Put what the merge `patch` makes of the object: `finalize` takes a PUT alone."""
        wanted: Object = apply_merge_patch(await self.get(resource, namespace, name), patch)
        path = resource_path(await self._resource(resource), namespace, name, "finalize")
        made: Object = await self._call("PUT", path, body=wanted)
        return made

    async def delete(self, resource: str, namespace: str, name: str, options: DeleteOptions | None = None) -> Object:
        """Delete, or begin to. Kinds that answer a Status are given back as their bare identity: name and uid."""
        found = await self._resource(resource)
        answer: Object = await self._call("DELETE", resource_path(found, namespace, name), body=_options_body(options))
        if answer.get("kind") != "Status":
            return answer
        metadata = {"name": name, "uid": (answer.get("details") or {}).get("uid", "")}
        if namespace:
            metadata["namespace"] = namespace
        return {"apiVersion": found.api_version(), "kind": found.kind, "metadata": metadata}

    async def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield changes after `resource_version`, for ever; 410 when it is no longer held, 503 when the stream is cut.

        A stream that the server ends in order is taken up again where it was. Bookmarks are passed on.
        """
        path = resource_path(await self._resource(resource), namespace)
        seen = resource_version
        while True:
            query = _selection(label_selector, field_selector)
            query |= {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": seen}
            async for event in self._stream(path, query):
                seen = version_of(event.object) or seen
                yield event

    async def _stream(self, path: str, query: dict[str, str]) -> AsyncGenerator[WatchEvent, None]:
        try:
            async with self._session.get(path, params=query) as response:
                if response.status != 200:
                    _value(response.status, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield _event(orjson.loads(line))
        except aiohttp.ClientError as error:
            raise _cut(error) from error


def _selection(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in given.items() if value}


def _value(status: int, payload: bytes) -> Any:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = None
    if status < 400:
        return value
    if isinstance(value, dict) and value.get("kind") == "Status":
        raise StatusError.from_status(value)
    reason = "NotFound" if status == 404 else "InternalError"
    raise StatusError(status, reason, payload[:200].decode("utf-8", "replace").strip())


def _event(value: Object) -> WatchEvent:
    if value["type"] == "ERROR":
        raise StatusError.from_status(value["object"])
    return WatchEvent(WatchType(value["type"]), value["object"])
