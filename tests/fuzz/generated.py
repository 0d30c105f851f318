"""Requests that schemathesis makes from our own OpenAPI documents, and what those documents say about the answers.

Half of what it makes follows the schema and half contradicts it. What stands in the way of getting deep is set right
afterwards: the name and namespace of something that is there, and the kind that the URL is for. Streams and watches are
left out: they have no end.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET

from tests.fuzz.mutations import Sent, quote

STREAMS = ("/exec", "/attach", "/portforward", "/proxy", "/proxy/{path}")
ENDLESS = frozenset({"watch", "follow", "timeoutSeconds"})
BASE = "https://localset.invalid"
KIND = "x-kubernetes-group-version-kind"


FEW_SCHEMAS, MANY_SCHEMAS = 1, 40
"""A body of so many schemas takes a tenth of a second to make, one of more (a Pod's) a whole one."""


@dataclass(frozen=True)
class Operation:
    """One operation of one document, with the answers that the document knows: status → content types.

    `weight`: how many of its requests are made for a hundred of an operation without a body.
    """

    label: str
    raw: Any
    answers: Mapping[str, frozenset[str]]
    weight: int

    def contradictions(self, status: int, content_type: str) -> list[str]:
        """Return how a success contradicts the document; refusals are Kubernetes', and in no document."""
        if status >= 300:
            return []
        if str(status) not in self.answers:
            return [f"{status} is not among the answers of {self.label}: {sorted(self.answers)}"]
        types = self.answers[str(status)]
        kind = content_type.partition(";")[0]
        return [f"{kind} is none of the types of {self.label}: {sorted(types)}"] if types and kind not in types else []


def operations_of(document: dict[str, Any]) -> list[Operation]:
    """Return the operations of one OpenAPI v3 document that have an end."""
    schema = schemathesis.openapi.from_dict(document)
    found = []
    for result in schema.get_all_operations():
        raw = result.ok()
        if raw.path.endswith(STREAMS):
            continue
        answers = {
            status: frozenset(answer.get("content") or ())
            for status, answer in raw.definition.raw.get("responses", {}).items()
        }
        body = raw.definition.raw.get("requestBody", {})
        size = len(_schemas_of(body, document.get("components", {}).get("schemas", {})))
        weight = 100 if size <= FEW_SCHEMAS else 50 if size <= MANY_SCHEMAS else 15
        found.append(Operation(raw.label, raw, answers, weight))
    return found


def _schemas_of(body: Any, schemas: dict[str, Any]) -> set[str]:
    """Return the names of all schemas that `body` refers to, and those refer to in turn."""
    found: set[str] = set()
    left = [body]
    while left:
        names = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(left.pop()))) - found
        found |= names
        left += [schemas[name] for name in names if name in schemas]
    return found


def requests_of(operation: Operation, seed: int, count: int) -> Iterator[Sent]:
    """Yield up to `count` requests of each kind, right and wrong ones."""
    choose = random.Random(f"{seed} {operation.label}")
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for case in _cases(operation.raw, mode, seed, count):
            yield _sent(case, operation.raw.definition.raw, choose)


def _cases(raw: Any, mode: GenerationMode, seed: int, count: int) -> list[Any]:
    found: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(raw.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(case)

    try:
        collect()
    except Unsatisfiable:  # nothing about the operation can be wrong
        return []
    return found


def _sent(case: Any, definition: dict[str, Any], choose: random.Random) -> Sent:
    if choose.random() < 0.8:
        _ground(case, definition, choose)
    for name in ENDLESS:
        (case.query or {}).pop(name, None)
    prepared = requests.Request(**_kept(case.as_transport_kwargs(base_url=BASE))).prepare()
    parts = urlsplit(prepared.url or "")
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    headers = {k: v for k, v in prepared.headers.items() if k in {"Content-Type", "Accept"}}
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    return Sent(case.method.upper(), path, body, headers)


def _kept(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v for k, v in arguments.items() if k in {"method", "url", "params", "headers", "json", "data", "cookies"}
    }


def _ground(case: Any, definition: dict[str, Any], choose: random.Random) -> None:
    """Name what is there, say the right kind, and let a new object have a name of its own."""
    parameters = case.path_parameters
    if parameters:
        parameters |= {k: v for k, v in (("namespace", "default"), ("name", "lib")) if k in parameters}
    body = case.body
    kind = definition.get(KIND)
    if body is NOT_SET or not isinstance(body, dict) or not kind or choose.random() < 0.1:
        return
    if case.method.upper() == "DELETE":
        body |= {"kind": "DeleteOptions", "apiVersion": "v1"}
        return
    version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
    body |= {"apiVersion": version, "kind": kind["kind"]}
    metadata = body.get("metadata")
    name = "lib" if case.method.upper() != "POST" else f"g{choose.randrange(30)}"
    body["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "name": name, "namespace": "default"}
    for key in ("resourceVersion", "generateName"):
        body["metadata"].pop(key, None)
