"""Spells operations as OpenAPI 3.0, one document per group version, in pieces.

Pure. kubectl 1.29 and newer computes patches from these documents because PATCH offers the strategic type: the
schemas must therefore be complete (kube-api.md 3).
"""

from collections.abc import Iterator
from typing import Any

import orjson

from localset.apiserver.openapi.definitions import GVK, STATUS, Definitions
from localset.apiserver.openapi.operations import ANY, JSON, TEXT, Operation, PathItem, paths_of
from localset.apiserver.openapi.parameters import QUERY, VARIABLES
from localset.apiserver.routes import RouteTable
from localset.client.client import PatchType

_REASONS = {200: "OK", 201: "Created", 202: "Accepted"}
_STRING = {"type": "string"}
_JSON_PATCH = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {"op": _STRING, "path": _STRING, "from": _STRING, "value": {}},
    },
}


def document(routes: RouteTable, definitions: Definitions, group: str, version: str, release: str) -> Iterator[bytes]:
    """Yield the pieces of a group version's document."""
    used = {STATUS}
    info = {"title": "Kubernetes", "version": release}
    yield b'{"openapi":"3.0.0","info":' + orjson.dumps(info) + b',"paths":{'
    comma = b""
    for item in paths_of(routes, definitions, group, version):
        for operation in item.operations:
            used.update(name for name in (operation.body, *operation.returns) if name)
        yield comma + orjson.dumps(item.path) + b":" + orjson.dumps(path_item(definitions, item))
        comma = b","
    yield b'},"components":{"schemas":{'
    comma = b""
    for name in definitions.closure(used):
        yield comma + orjson.dumps(name) + b":" + orjson.dumps(definitions.schema_of(name))
        comma = b","
    scheme = {"BearerToken": {"description": "Bearer Token authentication", "type": "http", "scheme": "bearer"}}
    yield b'},"securitySchemes":' + orjson.dumps(scheme) + b'},"security":[{"BearerToken":[]}]}'


def path_item(definitions: Definitions, item: PathItem) -> dict[str, Any]:
    """Return a path's object."""
    kind = next((o.kind.kind for o in item.operations if o.kind), "object")
    parameters: list[dict[str, Any]] = [
        {"name": v, "in": "path", "required": True, "description": VARIABLES[v].format(kind=kind), "schema": _STRING}
        for v in item.variables
    ]
    made: dict[str, Any] = {o.method: _operation(definitions, item, o) for o in item.operations}
    parameters += [_query(name) for name in item.query]
    return made | ({"parameters": parameters} if parameters else {})


def _query(name: str) -> dict[str, Any]:
    parameter = QUERY[name]
    schema: dict[str, Any] = {"type": parameter.type}
    if parameter.is_repeated:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "description": parameter.text, "schema": schema}


def _operation(definitions: Definitions, item: PathItem, operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "tags": [item.tag],
        "description": operation.text,
        "operationId": operation.identifier,
    }
    if operation.query:
        made["parameters"] = [_query(name) for name in operation.query]
    if operation.body:
        content = {media: {"schema": _body(definitions, operation, media)} for media in operation.body_types}
        made["requestBody"] = {"content": content}
        if operation.method != "delete":
            made["requestBody"]["required"] = True
    schema = _returned(definitions, operation)
    answers: dict[str, Any] = {
        str(code): {"description": _REASONS[code], "content": _content(operation, schema)} for code in operation.codes
    }
    refused = {"schema": definitions.ref(STATUS)}
    answers["401"] = {"description": "Unauthorized", "content": {JSON: refused}}
    answers["default"] = {"description": "What went wrong", "content": {JSON: refused}}
    made["responses"] = answers
    if operation.action:
        made["x-kubernetes-action"] = operation.action
    if operation.kind:
        made[GVK] = operation.kind.as_extension()
    return made


def _body(definitions: Definitions, operation: Operation, media: str) -> dict[str, Any]:
    return _JSON_PATCH if media == PatchType.JSON.value else definitions.ref(operation.body)


def _content(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    return {media: {"schema": _STRING if media in {TEXT, ANY} else schema} for media in operation.produces}


def _returned(definitions: Definitions, operation: Operation) -> dict[str, Any]:
    """Return the schema of the answer; one of several may be a Status."""
    refs = [definitions.ref(name) for name in operation.returns]
    if not refs:
        return _STRING if TEXT in operation.produces else {}
    return refs[0] if len(refs) == 1 else {"anyOf": refs}
