"""Spells operations as Swagger 2.0: one document of everything that is served, as pieces of JSON or of protobuf.

Pure. kubectl up to 1.28 validates and explains from the protobuf form, and 1.20 looks for `dryRun` there, written out
in each operation (kube-api.md 3): parameters are therefore never references.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from localset.apiserver.openapi import gnostic
from localset.apiserver.openapi.definitions import GVK, Definitions
from localset.apiserver.openapi.operations import Operation, PathItem, paths_of
from localset.apiserver.openapi.parameters import QUERY, VARIABLES
from localset.apiserver.routes import RouteTable

_REASONS = {200: "OK", 201: "Created", 202: "Accepted"}
Entry = tuple[str, dict[str, Any]]


def head(release: str) -> dict[str, Any]:
    """Return the document without paths and definitions."""
    token = {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": release},
        "securityDefinitions": {"BearerToken": token},
        "security": [{"BearerToken": []}],
    }


def as_json(routes: RouteTable, definitions: Definitions, release: str) -> Iterator[bytes]:
    """Yield the pieces of the document as JSON."""
    yield orjson.dumps(head(release))[:-1] + b',"paths":{'
    used: set[str] = set()
    comma = b""
    for name, value in _paths(routes, definitions, used):
        yield comma + orjson.dumps(name) + b":" + orjson.dumps(value)
        comma = b","
    yield b'},"definitions":{'
    comma = b""
    for name in definitions.closure(used):
        yield comma + orjson.dumps(name) + b":" + orjson.dumps(definitions.schema_of(name))
        comma = b","
    yield b"}}"


def as_protobuf(routes: RouteTable, definitions: Definitions, release: str) -> Iterator[bytes]:
    """Yield the pieces of the document as `openapi.v2.Document`."""
    yield gnostic.document(head(release))
    used: set[str] = set()
    yield from gnostic.paths(_paths(routes, definitions, used))
    yield from gnostic.definitions((name, definitions.schema_of(name)) for name in definitions.closure(used))


def _paths(routes: RouteTable, definitions: Definitions, used: set[str]) -> Iterator[Entry]:
    """Yield every path, and add the definitions that it refers to to `used`."""
    for group, versions in routes.versions.items():
        for version in versions:
            for item in paths_of(routes, definitions, group, version):
                for operation in item.operations:
                    used.update(name for name in (operation.body, *operation.returns) if name)
                yield item.path, path_item(definitions, item)


def path_item(definitions: Definitions, item: PathItem) -> dict[str, Any]:
    """Return a path's object."""
    kind = next((o.kind.kind for o in item.operations if o.kind), "object")
    parameters: list[dict[str, Any]] = [
        {"name": v, "in": "path", "required": True, "description": VARIABLES[v].format(kind=kind), "type": "string"}
        for v in item.variables
    ]
    made: dict[str, Any] = {o.method: _operation(definitions, item, o) for o in item.operations}
    parameters += [_query(name) for name in item.query]
    return made | ({"parameters": parameters} if parameters else {})


def _query(name: str) -> dict[str, Any]:
    parameter = QUERY[name]
    made: dict[str, Any] = {"name": name, "in": "query", "description": parameter.text, "type": parameter.type}
    if parameter.is_repeated:
        made |= {"type": "array", "items": {"type": parameter.type}, "collectionFormat": "multi"}
    return made


def _operation(definitions: Definitions, item: PathItem, operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "tags": [item.tag],
        "description": operation.text,
        "operationId": operation.identifier,
        "produces": list(operation.produces),
        "schemes": ["https"],
    }
    parameters = [_query(name) for name in operation.query]
    if operation.body:
        made["consumes"] = list(operation.body_types)
        body: dict[str, Any] = {"name": "body", "in": "body", "schema": definitions.ref(operation.body)}
        if operation.method != "delete":
            body["required"] = True
        parameters.insert(0, body)
    if parameters:
        made["parameters"] = parameters
    schema = definitions.ref(operation.returns[0]) if operation.returns else {"type": "string"}
    made["responses"] = {
        **{str(code): {"description": _REASONS[code], "schema": schema} for code in operation.codes},
        "401": {"description": "Unauthorized"},
    }
    if operation.action:
        made["x-kubernetes-action"] = operation.action
    if operation.kind:
        made[GVK] = operation.kind.as_extension()
    return made
