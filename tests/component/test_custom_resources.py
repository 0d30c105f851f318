"""CustomResourceDefinitions and their objects through the real application, as recorded and as they come and go.

The definition, namespace and garbage controllers run over the registry or over HTTP (design 1), as the test says.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apiserver_house import House, open_house, open_registry

from localset.base.clock import SystemClock
from localset.client.client import Client
from localset.client.http import HttpClient
from localset.client.informer import InformerFactory
from localset.controllers.customresources.controller import DefinitionController
from localset.controllers.garbagecollector.controller import GarbageCollector
from localset.controllers.namespace.controller import NamespaceController

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pure"))
from fixtures_of_kubernetes import record

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"Content-Type": "application/merge-patch+json"}
Json = dict[str, Any]


def definition(plural: str = "gadgets", kind: str = "Gadget", versions: list[Json] | None = None, **names: Any) -> Json:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 1},
                    "port": {"x-kubernetes-int-or-string": True},
                    "note": {"type": "string", "nullable": True, "pattern": "^(a+)+$"},
                    "items": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 5}},
                        },
                    },
                    "template": {
                        "type": "object",
                        "x-kubernetes-embedded-resource": True,
                        "x-kubernetes-preserve-unknown-fields": True,
                    },
                },
                "oneOf": [{"required": ["port"]}, {"required": ["note"]}],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.fx.example.com"},
        "spec": {
            "group": "fx.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": versions or [version],
        },
    }


def gadget(name: str = "g", owners: list[Json] | None = None, **spec: Any) -> Json:
    metadata: Json = {"name": name}
    if owners:
        metadata["ownerReferences"] = owners
    return {"apiVersion": "fx.example.com/v1", "kind": "Gadget", "metadata": metadata, "spec": {"port": 1, **spec}}


@asynccontextmanager
async def controllers(client: Client) -> AsyncGenerator[None, None]:
    clock = SystemClock()
    informers = InformerFactory(client, clock)
    made = (
        DefinitionController(client, clock, informers),
        NamespaceController(client, clock, informers, "PEM"),
        GarbageCollector(client, clock, informers),
    )
    for controller in made:
        await controller.start()
    try:
        yield
    finally:
        for controller in made:
            await controller.aclose()
        await informers.aclose()


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with open_registry() as registry, open_house(tmp_path, registry) as opened, controllers(registry):
        yield opened


@asynccontextmanager
async def over(tmp_path: Path, *, over_http: bool) -> AsyncGenerator[House, None]:
    """Open a house whose controllers reach it by HTTP, or the registry itself."""
    async with (
        open_registry() as registry,
        open_house(tmp_path, registry) as house,
        HttpClient(house.socket) as http,
        controllers(http if over_http else registry),
    ):
        yield house


async def until(house: House, path: str, holds: Callable[[int, Any], bool]) -> Any:
    """Return the answer of GET once `holds(status, answer)`; each try is a whole request."""
    async with asyncio.timeout(5):
        while not holds(*(answer := await house.call("GET", path))):
            pass
    return answer[1]


async def until_gone(house: House, path: str) -> None:
    await until(house, path, lambda status, _: status == 404)


async def define(house: House, crd: Json) -> Json:
    """Create a definition and return it once it is established."""
    status, made = await house.call("POST", DEFINITIONS, crd)
    assert status == 201, made
    return await condition(house, crd["metadata"]["name"], "Established", "True")


async def condition(house: House, name: str, kind: str, wanted: str) -> Json:
    def holds(_: int, crd: Json) -> bool:
        found = {c["type"]: c["status"] for c in crd["status"].get("conditions") or []}
        return bool(found.get(kind) == wanted)

    return await until(house, f"{DEFINITIONS}/{name}", holds)


def blur(value: Any) -> Any:
    """Return a recorded or an own answer without what differs from server to server."""
    if isinstance(value, dict):
        volatile = {"uid", "resourceVersion", "creationTimestamp", "lastTransitionTime", "managedFields", "description"}
        return {k: blur(v) for k, v in value.items() if k not in volatile | {"deletionTimestamp", "storageVersionHash"}}
    if isinstance(value, list):
        return [blur(item) for item in value]
    return value


async def replay(house: House, identity: str) -> tuple[tuple[int, Any], tuple[int, Any]]:
    """Send a recorded request; return (our answer, the recorded one)."""
    recorded = record("helpers.jsonl", identity)
    request, wanted = recorded["req"], recorded["res"]
    data = json.dumps(request["body"]).encode() if "body" in request else None
    headers = request["headers"]
    async with house.session.request(
        request["method"], request["path"], data=data, headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        text = await response.text()
        if "events" in wanted:
            ours = (response.status, [blur(json.loads(line)) for line in text.splitlines()])
            return ours, (wanted["status"], blur(wanted["events"]))
        is_json = "json" in response.headers["Content-Type"]
        return (response.status, blur(json.loads(text)) if is_json else text), (
            wanted["status"],
            blur(wanted["body"]) if "body" in wanted else wanted.get("text"),
        )


async def test_the_recorded_life_of_a_definition_and_its_objects(house: House) -> None:
    await house.call("POST", "/api/v1/namespaces", {"metadata": {"name": "fx-helpers"}})
    for step in ("name-wrong", "no-schema", "create"):
        ours, wanted = await replay(house, f"helpers/crd/{step}")
        assert ours == wanted, step
    await condition(house, "widgets.fx.example.com", "Established", "True")
    for step in ("crd/get", "crd/discovery", "crd/group", "cr/create", "cr/invalid", "cr/missing", "cr/get"):
        ours, wanted = await replay(house, f"helpers/{step}")
        assert ours == wanted, step
    ours, wanted = await replay(house, "helpers/cr/wrong-type")
    assert ours[1]["message"] == wanted[1]["message"]
    assert ours[1]["details"]["causes"][0]["reason"] == "FieldValueTypeInvalid"  # newer than the recording
    for step in ("list", "table", "strategic", "merge", "status", "scale", "put-no-rv"):
        ours, wanted = await replay(house, f"helpers/cr/{step}")
        assert ours == wanted, step
    ours, wanted = await replay(house, "helpers/cr/field-selector")
    assert ours == wanted
    for step in ("cr/delete", "crd/delete"):
        ours, wanted = await replay(house, f"helpers/{step}")
        assert ours == wanted, step
    await until_gone(house, f"{DEFINITIONS}/widgets.fx.example.com")
    for step in ("crd/after", "cr/after"):
        ours, wanted = await replay(house, f"helpers/{step}")
        assert ours == wanted, step


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"note": "b", "port": None}, "should match '^(a+)+$'"),
        ({"note": "a" * 50_000 + "b", "port": None}, "should match '^(a+)+$'"),
        ({"note": "a"}, '"spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'),
        ({"port": True}, 'spec.port in body must be of type integer,string: "boolean"'),
        ({"size": None, "items": [{"name": "a"}, {"name": "a"}]}, 'spec.items[1]: Duplicate value: {"name":"a"}'),
        ({"items": [{"weight": "x", "name": "n"}]}, "spec.items[0].weight in body must be of type integer"),
        ({"template": {"kind": "Pod"}}, "spec.template.apiVersion: Required value: must not be empty"),
        ({"size": "1"}, "spec.size in body must be of type integer"),
    ],
)
async def test_what_the_schema_forbids_is_422_with_its_words(house: House, spec: Json, complaint: str) -> None:
    await define(house, definition())
    body = gadget(**spec)
    if body["spec"].get("port", 0) is None:
        del body["spec"]["port"]
    status, answer = await house.call("POST", "/apis/fx.example.com/v1/namespaces/default/gadgets", body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert complaint in answer["message"]


async def test_objects_are_pruned_defaulted_counted_and_checked_for_unknown_fields(house: House) -> None:
    await define(house, definition())
    path = "/apis/fx.example.com/v1/namespaces/default/gadgets"
    body = gadget(items=[{"name": "a"}], bogus=1, template={"apiVersion": "v1", "kind": "Pod", "anything": {"x": 1}})
    status, answer = await house.call("POST", f"{path}?fieldValidation=Strict", body)
    assert (status, answer["message"]) == (
        400,
        'Gadget in version "v1" cannot be handled as a Gadget: strict decoding error: unknown field "spec.bogus"',
    )
    async with house.session.post(path, json=body) as response:
        assert response.headers.getall("Warning") == ['299 - "unknown field \\"spec.bogus\\""']
        made = await response.json()
    assert made["spec"] == {
        "port": 1,
        "size": 1,
        "items": [{"name": "a", "weight": 5}],
        "template": {"apiVersion": "v1", "kind": "Pod", "anything": {"x": 1}},
    }
    # No status subresource: the status is written with the object, and counts.
    _, changed = await house.call("PATCH", f"{path}/g", {"status": {"seen": True}}, headers=MERGE)
    assert (changed["metadata"]["generation"], changed["status"]) == (2, {"seen": True})
    _, same = await house.call("PATCH", f"{path}/g", {"metadata": {"labels": {"a": "b"}}}, headers=MERGE)
    assert same["metadata"]["generation"] == 2
    assert (await house.call("GET", f"{path}/g/status"))[0] == 404


async def test_versions_differ_in_apiversion_only_and_an_unserved_one_is_404(house: House) -> None:
    def version(name: str, **more: Any) -> Json:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"name": name, "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}, **more}

    old = version("v1beta1", deprecated=True, deprecationWarning="use v1")
    crd = definition(versions=[old, version("v1", storage=True), version("v2alpha1", served=False)])
    await define(house, crd)
    _, group = await house.call("GET", "/apis/fx.example.com")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    body = {"metadata": {"name": "g"}, "data": 1}
    async with house.session.post("/apis/fx.example.com/v1beta1/namespaces/default/gadgets", json=body) as response:
        assert (response.status, response.headers["Warning"]) == (201, '299 - "use v1"')
        assert (await response.json())["apiVersion"] == "fx.example.com/v1beta1"
    _, listed = await house.call("GET", "/apis/fx.example.com/v1/gadgets")
    assert [(o["apiVersion"], o["data"]) for o in listed["items"]] == [("fx.example.com/v1", 1)]
    assert (await house.call("GET", "/apis/fx.example.com/v2alpha1/gadgets"))[0] == 404


async def test_a_changed_schema_shows_in_objects_that_were_stored_before(house: House) -> None:
    crd = await define(house, definition())
    path = "/apis/fx.example.com/v1/namespaces/default/gadgets"
    await house.call("POST", path, gadget(size=3))
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["color"] = {"type": "string", "default": "red"}
    fields["size"]["maximum"] = 2
    assert (await house.call("PUT", f"{DEFINITIONS}/gadgets.fx.example.com", crd))[0] == 200
    _, shown = await house.call("GET", f"{path}/g")
    assert shown["spec"] == {"port": 1, "size": 3, "color": "red"}
    status, _ = await house.call("PATCH", f"{path}/g", {"spec": {"color": "blue"}}, headers=MERGE)
    assert status == 200, "what is not touched is not judged again"
    assert (await house.call("PATCH", f"{path}/g", {"spec": {"size": 4}}, headers=MERGE))[0] == 422


async def test_a_taken_name_is_not_accepted_until_it_is_free(house: House) -> None:
    await define(house, definition(shortNames=["gd"]))
    await house.call("POST", DEFINITIONS, definition("others", "Other", shortNames=["gd"]))
    refused = await condition(house, "others.fx.example.com", "NamesAccepted", "False")
    assert {c["type"]: c["reason"] for c in refused["status"]["conditions"]} == {
        "NamesAccepted": "ShortNamesConflict",
        "Established": "NotAccepted",
    }
    assert (await house.call("GET", "/apis/fx.example.com/v1/others"))[0] == 404
    await house.call("DELETE", f"{DEFINITIONS}/gadgets.fx.example.com")
    await condition(house, "others.fx.example.com", "Established", "True")
    assert (await house.call("GET", "/apis/fx.example.com/v1/others"))[0] == 200


@pytest.mark.parametrize("over_http", [False, True])
async def test_the_end_of_a_definition_waits_for_finalizers_and_takes_dependents_along(
    tmp_path: Path, over_http: bool
) -> None:
    async with over(tmp_path, over_http=over_http) as house:
        await define(house, definition())
        path = "/apis/fx.example.com/v1/namespaces/default/gadgets"
        body = gadget()
        body["metadata"]["finalizers"] = ["fx.example.com/hold"]
        _, owner = await house.call("POST", path, body)
        reference = {"apiVersion": "fx.example.com/v1", "kind": "Gadget", "name": "g"}
        reference["uid"] = owner["metadata"]["uid"]
        metadata = {"name": "dependent", "ownerReferences": [reference]}
        await house.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": metadata})
        watched = await house.session.get(f"{path}?watch=1")
        await house.call("DELETE", f"{DEFINITIONS}/gadgets.fx.example.com")
        await until(house, f"{path}/g", lambda _, obj: "deletionTimestamp" in obj["metadata"])
        assert (await house.call("POST", path, gadget("late")))[0] == 405
        await house.call("PATCH", f"{path}/g", {"metadata": {"finalizers": None}}, headers=MERGE)
        await until_gone(house, f"{DEFINITIONS}/gadgets.fx.example.com")
        async with asyncio.timeout(5):
            events = [json.loads(line)["type"] for line in (await watched.text()).splitlines()]
        assert (events[0], events[-1]) == ("ADDED", "DELETED")
        assert (await house.call("GET", path))[0] == 404
        await until_gone(house, "/api/v1/namespaces/default/configmaps/dependent")


@pytest.mark.parametrize("over_http", [False, True])
async def test_a_dying_namespace_takes_its_custom_objects_along(tmp_path: Path, over_http: bool) -> None:
    async with over(tmp_path, over_http=over_http) as house:
        await define(house, definition())
        await house.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
        await house.call("POST", "/apis/fx.example.com/v1/namespaces/n/gadgets", gadget())
        assert (await house.call("DELETE", "/api/v1/namespaces/n"))[0] == 200
        await until_gone(house, "/api/v1/namespaces/n")
        assert (await house.call("GET", "/apis/fx.example.com/v1/gadgets"))[1]["items"] == []


@pytest.mark.parametrize(
    ("change", "field", "complaint"),
    [
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.strategy", "calls no webhooks"),
        ({"scope": "Galaxy"}, "spec.scope", "Unsupported value"),
        ({"group": "nodots"}, "spec.group", "at least one dot"),
    ],
)
async def test_what_a_definition_may_not_say_is_refused(house: House, change: Json, field: str, complaint: str) -> None:
    crd = definition()
    crd["spec"] |= change
    status, answer = await house.call("POST", DEFINITIONS, crd)
    assert status == 422
    assert any(c["field"] == field and complaint in c["message"] for c in answer["details"]["causes"])


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"properties": {}}, "type: Required value: must not be empty at the root"),
        ({"type": "object", "properties": {"a": {}}}, "properties[a].type: Required value"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "properties[a].items: Required value"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, "must be a valid regular expr"),
        ({"type": "object", "properties": {"a": {"type": "string", "default": 1}}}, "must be of type string"),
        ({"type": "object", "not": {"properties": {"b": {"minLength": 1}}}}, "because it is defined in"),
        ({"type": "object", "anyOf": [{"type": "object"}]}, "must be empty to be structural"),
        ({"type": "object", "additionalProperties": True}, "must not be used at the root"),
    ],
)
async def test_a_schema_must_be_structural(house: House, schema: Json, complaint: str) -> None:
    crd = definition()
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    status, answer = await house.call("POST", DEFINITIONS, crd)
    assert status == 422, answer
    assert complaint in answer["message"]


async def test_rules_in_cel_are_stored_with_a_warning(house: House) -> None:
    crd = definition()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["x-kubernetes-validations"] = [{"rule": "self.spec.size > 1"}]
    async with house.session.post(DEFINITIONS, json=crd) as response:
        assert response.status == 201
        assert "CEL rules are stored, but not evaluated" in response.headers["Warning"]


async def test_a_selectable_field_can_be_selected_by(house: House) -> None:
    crd = definition()
    crd["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": ".spec.size"}]
    await define(house, crd)
    path = "/apis/fx.example.com/v1/namespaces/default/gadgets"
    for name, size in (("a", 1), ("b", 2)):
        await house.call("POST", path, gadget(name, size=size))
    _, listed = await house.call("GET", f"{path}?fieldSelector=spec.size%3D2")
    assert [o["metadata"]["name"] for o in listed["items"]] == ["b"]


async def test_admission_webhooks_are_refused_by_name(house: House) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    status, answer = await house.call("POST", path, {"metadata": {"name": "w"}, "webhooks": []})
    assert (status, "localset calls no webhooks" in answer["message"]) == (422, True)
    assert (await house.call("GET", path))[1]["items"] == []
