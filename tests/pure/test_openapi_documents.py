"""What stands in the OpenAPI documents: complete, consistent, the same in each form, and true to what is published."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gnostic_reader
import pytest

from localset.apis.customresources.definition import Definition
from localset.apis.resources import RESOURCES
from localset.apis.served import ServedResources
from localset.apiserver.openapi import version2, version3
from localset.apiserver.openapi.definitions import Definitions, without_v3_words
from localset.apiserver.openapi.documents import Documents, custom_schemas
from localset.apiserver.routes import RouteTable
from localset.base.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "io.k8s.api."
CRON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "nullable": {"type": "string", "nullable": True},
                "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "kind": {"type": "string", "enum": ["a", "b"], "pattern": "^[ab]$", "maxLength": 1},
            },
        }
    },
}


CRON_TAB = Definition(
    {
        "metadata": {"name": "crontabs.stable.example.com", "uid": "u"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": CRON_SCHEMA},
                    "subresources": {"status": {}},
                }
            ],
        },
        "status": {"acceptedNames": {"plural": "crontabs", "kind": "CronTab"}},
    }
).row
SERVED = ServedResources()
SERVED.set_custom([CRON_TAB])
ROUTES = RouteTable(SERVED)
VERSIONS = [(group, version) for group, versions in ROUTES.versions.items() for version in versions]


def definitions(*, v3: bool) -> Definitions:
    return Definitions(v3=v3, versions=VERSIONS, custom=custom_schemas(SERVED))


@pytest.fixture(scope="module")
def swagger() -> Any:
    return json.loads(b"".join(version2.as_json(ROUTES, definitions(v3=False), "v1.37.0")))


@pytest.fixture(scope="module")
def documents() -> dict[tuple[str, str], Any]:
    return {
        (group, version): json.loads(
            b"".join(version3.document(ROUTES, definitions(v3=True), group, version, "v1.37.0"))
        )
        for group, version in VERSIONS
    }


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_resolves_and_nothing_is_defined_for_nobody(
    swagger: Any, documents: dict[tuple[str, str], Any]
) -> None:
    assert {r.removeprefix("#/definitions/") for r in references(swagger)} == swagger["definitions"].keys()
    for document in documents.values():
        used = {r.removeprefix("#/components/schemas/") for r in references(document)}
        assert used == document["components"]["schemas"].keys()


def test_every_path_and_method_of_the_route_table_is_described(
    swagger: Any, documents: dict[tuple[str, str], Any]
) -> None:
    described = {}
    for document in documents.values():
        for path, method, _ in operations(document):
            described.setdefault(path.replace("{namespace}", "n").replace("{name}", "x"), set()).add(method.upper())
    for path, methods in ROUTES.sample_paths():
        if methods:
            assert described[path] == methods, path
    assert {(p, m) for p, m, _ in operations(swagger)} == {
        (p, m) for document in documents.values() for p, m, _ in operations(document)
    }


def test_every_patch_takes_a_dry_run_and_field_validation_and_names_its_kind(
    swagger: Any, documents: dict[tuple[str, str], Any]
) -> None:
    patches = [o for d in [swagger, *documents.values()] for _, method, o in operations(d) if method == "patch"]
    assert len(patches) > 100
    for operation in patches:
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= names
        assert operation["x-kubernetes-group-version-kind"].keys() == {"group", "version", "kind"}
        assert operation["x-kubernetes-action"] == "patch"


def test_built_in_kinds_offer_the_strategic_patch_and_custom_ones_do_not(documents: Any) -> None:
    strategic = "application/strategic-merge-patch+json"
    for group_version, document in documents.items():
        for _, method, operation in operations(document):
            if method == "patch":
                content = operation["requestBody"]["content"]
                assert (strategic in content) == (group_version[0] != CRON_TAB.group)
                assert {"application/merge-patch+json", "application/json-patch+json"} < content.keys()


def test_operation_ids_are_unique(swagger: Any) -> None:
    found = [operation["operationId"] for _, _, operation in operations(swagger)]
    assert len(found) == len(set(found))
    for name in ("readAppsV1NamespacedStatefulSet", "listCoreV1PodForAllNamespaces", "patchCoreV1Node"):
        assert name in found


def test_every_served_kind_can_be_looked_up_by_its_group_version_kind(swagger: Any, documents: Any) -> None:
    def kinds(found: dict[str, Any]) -> set[tuple[str, str, str]]:
        gvks = [gvk for one in found.values() for gvk in one.get("x-kubernetes-group-version-kind", [])]
        return {(gvk["group"], gvk["version"], gvk["kind"]) for gvk in gvks}

    for resource in SERVED:
        for version in resource.versions:
            key = (resource.group, version, resource.kind)
            assert key in kinds(swagger["definitions"])
            assert key in kinds(documents[resource.group, version]["components"]["schemas"])
            assert (resource.group, version, "DeleteOptions") in kinds(swagger["definitions"]) or resource.verbs


def test_the_dropped_versions_have_the_fields_of_v1_under_their_own_names(swagger: Any) -> None:
    old = swagger["definitions"][PREFIX + "apps.v1beta1.StatefulSet"]
    new = swagger["definitions"][PREFIX + "apps.v1.StatefulSet"]
    assert old["properties"].keys() == new["properties"].keys()
    assert old["properties"]["spec"]["$ref"] == f"#/definitions/{PREFIX}apps.v1beta1.StatefulSetSpec"
    spec = swagger["definitions"][PREFIX + "apps.v1beta1.StatefulSetSpec"]
    assert spec["required"] == ["template"], "the selector could be left out then"
    assert spec["properties"]["template"]["$ref"] == f"#/definitions/{PREFIX}core.v1.PodTemplateSpec"
    assert old["x-kubernetes-group-version-kind"] == [{"group": "apps", "version": "v1beta1", "kind": "StatefulSet"}]
    assert PREFIX + "policy.v1beta1.PodDisruptionBudgetList" in swagger["definitions"]
    selectors = {
        version: swagger["definitions"][PREFIX + f"policy.{version}.PodDisruptionBudgetSpec"]["properties"]["selector"]
        for version in ("v1", "v1beta1")
    }
    assert selectors["v1"]["x-kubernetes-patch-strategy"] == "replace"
    assert "x-kubernetes-patch-strategy" not in selectors["v1beta1"]  # or each apply would say `configured`


def test_merge_keys_list_types_and_defaults_stand_where_kubectl_looks(documents: Any) -> None:
    schemas = documents["", "v1"]["components"]["schemas"]
    ports = schemas[PREFIX + "core.v1.Container"]["properties"]["ports"]
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"
    assert ports["x-kubernetes-patch-strategy"] == "merge"
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert schemas[PREFIX + "core.v1.ContainerPort"]["properties"]["protocol"]["default"] == "TCP"
    assert schemas[PREFIX + "core.v1.ServicePort"]["properties"]["protocol"]["default"] == "TCP"
    volumes = schemas[PREFIX + "core.v1.PodSpec"]["properties"]["volumes"]
    assert volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    quantity = schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["oneOf"] == [{"type": "string"}, {"type": "number"}]
    assert "securityContext" in schemas[PREFIX + "core.v1.Container"]["properties"]
    context = schemas[PREFIX + "core.v1.Container"]["properties"]["securityContext"]
    assert context["allOf"] == [{"$ref": f"#/components/schemas/{PREFIX}core.v1.SecurityContext"}]


def test_protobuf_says_what_json_says(swagger: Any) -> None:
    data = b"".join(version2.as_protobuf(ROUTES, definitions(v3=False), "v1.37.0"))
    assert gnostic_reader.read("Document", data) == swagger


def test_a_custom_schema_is_described_in_the_words_of_each_version(swagger: Any, documents: Any) -> None:
    name = "com.example.stable.v1.CronTab"
    old = swagger["definitions"][name]
    fields = old["properties"]["spec"]["properties"]
    assert fields["port"] == {"x-kubernetes-int-or-string": True}
    assert fields["nullable"] == {}
    assert fields["anything"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert fields["replicas"] == {"type": "integer", "minimum": 1, "maximum": 10}
    new = documents["stable.example.com", "v1"]["components"]["schemas"][name]
    assert new["properties"]["spec"] == CRON_SCHEMA["properties"]["spec"]
    for made in (old, new):
        assert made["properties"].keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert f"{name}List" in swagger["definitions"]
    assert CRON_SCHEMA["properties"].keys() == {"spec"}, "the given schema must stay as it was"


def test_fields_named_like_keywords_are_kept() -> None:
    schema = {"type": "object", "properties": {"not": {"type": "string"}, "nullable": {"type": "boolean"}}}
    assert without_v3_words(schema) == schema


def test_a_hash_changes_with_what_its_document_says_and_only_then() -> None:
    served = ServedResources()
    documents = Documents(RouteTable(served), "v1.37.0", SystemClock())
    before = documents.hashes()
    assert Documents(RouteTable(ServedResources()), "v1.37.0", SystemClock()).hashes() == before
    assert Documents(RouteTable(ServedResources(RESOURCES[:-1])), "v1.37.0", SystemClock()).hashes() != before
    served.set_custom([CRON_TAB])
    after = documents.hashes()
    assert after["v2.json"] != before["v2.json"]
    assert after["apis/stable.example.com/v1"] not in before.values()
    served.set_custom([])
    assert documents.hashes() == before


def test_the_schemas_are_those_that_kubernetes_publishes(swagger: Any) -> None:
    spec = importlib.util.spec_from_file_location("generate_schema", ROOT / "tools" / "generate_schema.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    published = generator.read_definitions()
    if published is None:
        pytest.skip("kubernetes-validate 1.37.0 is not installed: pip install kubernetes-validate==1.37.0")
    aliases = {f"#/definitions/{old}": f"#/definitions/{new}" for old, new in generator.ALIASES.items()}
    compared = 0
    for name, made in swagger["definitions"].items():
        if name in published and name not in generator.INLINE:
            wanted = renamed(without_nulls(published[name]), aliases)
            wanted["x-kubernetes-group-version-kind"] = made.get("x-kubernetes-group-version-kind")
            assert without_defaults({"x-kubernetes-group-version-kind": None, **made}) == wanted, name
            compared += 1
    assert compared > 300


def without_nulls(node: Any) -> Any:
    """Return a published schema as OpenAPI has it: optional is not nullable, and kind names no one value."""
    if isinstance(node, list):
        return [without_nulls(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, list):
            made[key] = next(t for t in value if t != "null")
        elif key == "$ref":
            made[key] = value.replace("#/$defs/", "#/definitions/") if isinstance(value, str) else without_nulls(value)
        elif key == "enum" and isinstance(value, list):
            continue
        else:
            made[key] = without_nulls(value)
    return made


def renamed(node: Any, names: dict[str, str]) -> Any:
    """Return `node` with other names for what it refers to."""
    if isinstance(node, list):
        return [renamed(item, names) for item in node]
    if isinstance(node, dict):
        return {key: renamed(value, names) for key, value in node.items()}
    return names.get(node, node) if isinstance(node, str) else node


def without_defaults(node: Any) -> Any:
    if isinstance(node, list):
        return [without_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_leaf = isinstance(node.get("default"), str | bool)
    return {key: without_defaults(value) for key, value in node.items() if not (is_leaf and key == "default")}
