"""The published types: what is pruned, what is refused, how lists merge, and where the file comes from."""

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from localset.apis.resources import RESOURCES
from localset.apis.schema.types import PatchRules, check, patch_rules, schema, type_of
from localset.machinery.errors import StatusError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ("spec", "template", "spec")


def stateful_set(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": spec}


def refusal(obj: dict[str, Any], group: str = "apps", kind: str = "StatefulSet") -> str:
    with pytest.raises(StatusError) as caught:
        check(group, "v1", kind, obj)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


def test_the_checked_in_file_is_what_the_generator_writes() -> None:
    spec = importlib.util.spec_from_file_location("generate_schema", ROOT / "tools" / "generate_schema.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    definitions = generator.read_definitions()
    if definitions is None:
        pytest.skip("kubernetes-validate 1.37.0 is not installed: pip install kubernetes-validate==1.37.0")
    for name, document in generator.build(definitions).items():
        assert gzip.decompress((generator.DIRECTORY / name).read_bytes()) == generator.encode(document)


def test_every_reference_leads_somewhere_and_every_served_kind_has_a_type() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["r"]] if isinstance(node.get("r"), str) else []
            return own + [name for sub in node.values() for name in references(sub)]
        return []

    assert set(references(schema()["types"])) <= schema()["types"].keys()
    for resource in RESOURCES:
        for version in resource.versions:
            assert type_of(resource.group, version, resource.kind)
    assert type_of("autoscaling", "v1", "Scale")
    assert type_of("policy", "v1", "Eviction")
    assert type_of("policy", "v1beta1", "Eviction")
    assert type_of("", "v1", "Binding")
    assert type_of("apps", "v1", "DeleteOptions")
    assert type_of("apps", "v2", "StatefulSet") is None


def test_unknown_fields_are_pruned_and_named_by_their_full_path_in_order() -> None:
    container = {"name": "a", "imagee": "x", "image": "y", "env": [{"name": "A"}, {"name": "B", "val": "1"}]}
    obj = stateful_set(template={"spec": {"containers": [container]}}, bogus={"deep": 1})
    obj["extra"] = True
    checked = check("apps", "v1", "StatefulSet", obj)
    at = "spec.template.spec.containers[0]"
    assert checked.unknown == [f"{at}.imagee", f"{at}.env[1].val", "spec.bogus", "extra"]
    assert checked.object == stateful_set(
        template={"spec": {"containers": [{"name": "a", "image": "y", "env": [{"name": "A"}, {"name": "B"}]}]}}
    )
    assert container["imagee"] == "x", "the input must stay as it was"


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_the_beta_versions_have_the_fields_of_v1(version: str) -> None:
    obj = {"spec": {"serviceName": "zk", "wrong": 1}}
    assert check("apps", version, "StatefulSet", obj) == ({"spec": {"serviceName": "zk"}}, ["spec.wrong"])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": "three"}, 'spec.replicas: expected integer, got string "three"'),
        ({"replicas": 1.5}, "spec.replicas: expected integer, got number 1.5"),
        ({"replicas": True}, "spec.replicas: expected integer, got boolean true"),
        ({"replicas": 2**31}, "spec.replicas: expected integer of 32 bits, got number 2147483648"),
        ({"serviceName": 3}, "spec.serviceName: expected string, got number 3"),
        ({"template": []}, "spec.template: expected object, got array"),
        ({"template": {"spec": {"containers": {}}}}, "spec.template.spec.containers: expected array, got object"),
        ({"selector": {"matchLabels": {"a": 1}}}, "spec.selector.matchLabels.a: expected string, got number 1"),
    ],
)
def test_a_wrong_type_is_refused_with_its_path(spec: dict[str, Any], why: str) -> None:
    assert refusal(stateful_set(**spec)) == f'StatefulSet in version "v1" cannot be handled as a StatefulSet: {why}'


def test_a_body_that_is_no_object_and_a_kind_that_is_not_served_are_refused() -> None:
    assert refusal([], "", "Pod").endswith(": expected object, got array")  # type: ignore[arg-type]
    assert refusal({}, "apps", "Nothing") == 'no kind "Nothing" is registered for version "apps/v1"'


def test_null_fields_vanish_but_stay_inside_free_form_values() -> None:
    meta = {"name": "web", "creationTimestamp": None, "labels": {"a": None, "b": "c"}}
    revision = {"metadata": meta, "data": {"spec": {"x": None, "y": [None, {}]}}, "revision": 3}
    checked = check("apps", "v1", "ControllerRevision", revision)
    assert checked.unknown == []
    assert checked.object == {
        "metadata": {"name": "web", "labels": {"b": "c"}},
        "data": {"spec": {"x": None, "y": [None, {}]}},
        "revision": 3,
    }
    assert checked.object["data"] is not revision["data"]


def test_a_null_list_element_becomes_the_zero_value() -> None:
    pod = {"spec": {"containers": [None, {"name": "a", "args": ["x", None]}]}}
    assert check("", "v1", "Pod", pod).object == {"spec": {"containers": [{}, {"name": "a", "args": ["x", ""]}]}}


def test_quantities_take_numbers_as_text_and_ports_take_names_or_numbers() -> None:
    container = {
        "name": "a",
        "resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}, "requests": {"cpu": 2}},
        "readinessProbe": {"httpGet": {"port": "web"}},
        "livenessProbe": {"tcpSocket": {"port": 80}},
    }
    checked = check("", "v1", "Pod", {"spec": {"containers": [container]}}).object["spec"]["containers"][0]
    assert checked["resources"] == {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "2"}}
    assert checked["readinessProbe"] == {"httpGet": {"port": "web"}}
    assert checked["livenessProbe"] == {"tcpSocket": {"port": 80}}
    budget = {"spec": {"minAvailable": [1]}}
    assert refusal(budget, "policy", "PodDisruptionBudget").endswith(
        "spec.minAvailable: expected integer or string, got array"
    )


@pytest.mark.parametrize(
    "path",
    ["examples/nginx/web.yaml", "examples/zookeeper/zookeeper.yaml", "examples/zookeeper/zookeeper-v1beta1.yaml"],
)
def test_the_example_manifests_pass_unchanged(path: str) -> None:
    documents = [document for document in yaml.safe_load_all((ROOT / path).read_text()) if document]
    assert documents
    for document in documents:
        group, _, version = document["apiVersion"].rpartition("/")
        checked = check(group, version, document["kind"], document)
        assert checked.unknown == []
        assert checked.object.keys() == document.keys()


def container_rule(rules: PatchRules, *names: str) -> tuple[str | None, tuple[str, ...]] | None:
    return rules.lookup((*TEMPLATE, "containers", *names))


def test_lists_merge_by_the_published_keys() -> None:
    rules = patch_rules("apps", "v1", "StatefulSet")
    assert container_rule(rules) == ("name", ("merge",))
    assert container_rule(rules, "env") == ("name", ("merge",))
    assert container_rule(rules, "ports") == ("containerPort", ("merge",))
    assert container_rule(rules, "volumeMounts") == ("mountPath", ("merge",))
    assert container_rule(rules, "volumeDevices") == ("devicePath", ("merge",))
    assert container_rule(rules, "args") == (None, ())
    assert rules.lookup((*TEMPLATE, "volumes")) == ("name", ("merge", "retainKeys"))
    assert rules.lookup((*TEMPLATE, "tolerations")) == (None, ())
    assert rules.lookup((*TEMPLATE, "topologySpreadConstraints")) == ("topologyKey", ("merge",))
    assert rules.lookup(("metadata", "finalizers")) == (None, ("merge",))
    assert rules.lookup(("metadata", "ownerReferences")) == ("uid", ("merge",))
    assert rules.lookup(("status", "conditions")) == ("type", ("merge",))
    assert patch_rules("", "v1", "Service").lookup(("spec", "ports")) == ("port", ("merge",))
    assert patch_rules("", "v1", "Node").lookup(("spec", "taints")) == (None, ())
    assert patch_rules("policy", "v1", "PodDisruptionBudget").lookup(("spec", "selector")) == (None, ("replace",))


def test_an_unknown_field_has_no_rule_and_map_keys_and_free_form_values_are_known() -> None:
    rules = patch_rules("apps", "v1", "StatefulSet")
    assert rules.lookup(()) == (None, ())
    assert rules.lookup(("spec", "bogus")) is None
    assert container_rule(rules, "env", "bogus") is None
    assert rules.lookup(("spec", "replicas", "deeper")) is None
    assert rules.lookup(("metadata", "labels", "app")) == (None, ())
    assert patch_rules("apps", "v1", "ControllerRevision").lookup(("data", "spec", "x")) == (None, ())


@pytest.mark.parametrize("text", ["a", "a===", "é", "\U000c923a", "aGk=\n"])
def test_secret_bytes_that_are_no_base64_are_refused(text: str) -> None:
    with pytest.raises(StatusError, match=r"data\.key: illegal base64 data"):
        check("", "v1", "Secret", {"data": {"key": text}})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-11-24T10:49:22Z", "2026-11-24T10:49:22Z"),
        ("2026-11-24T10:49:22+00:00", "2026-11-24T10:49:22Z"),
        ("2026-11-24T10:49:22.999999+02:00", "2026-11-24T08:49:22Z"),
        ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        *((wrong, None) for wrong in ("2026-02-29T00:00:00Z", "9999-99-99T00:00:00Z", "2026-01-01T24:00:00Z", "")),
        *((wrong, None) for wrong in ("2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "9999-12-31T23:00:00-05:00")),
        *(
            (wrong, None)
            for wrong in ("2026-01-01T00:00:00+24:00", "0000-01-01T00:00:00+01:00", "2026-01-01T00:00:60Z")
        ),
    ],
)
def test_moments_are_stored_in_utc_whatever_a_client_writes(given: str, stored: str | None) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {}, "firstTimestamp": given}
    if stored is None:
        with pytest.raises(StatusError, match="firstTimestamp: expected time as 2006-01-02T15:04:05Z"):
            check("", "v1", "Event", event)
    else:
        assert check("", "v1", "Event", event).object["firstTimestamp"] == stored


def test_a_micro_time_has_six_digits_after_the_point() -> None:
    lease = {"spec": {"renewTime": "2026-11-24T10:49:22.601759+00:00", "acquireTime": "2026-11-24T10:49:22.000000Z"}}
    found = check("coordination.k8s.io", "v1", "Lease", lease).object["spec"]
    assert found == {"renewTime": "2026-11-24T10:49:22.601759Z", "acquireTime": "2026-11-24T10:49:22.000000Z"}
    for wrong in ("2026-11-24T10:49:22Z", "2026-11-24T10:49:22.60Z"):
        with pytest.raises(StatusError, match=r"spec.renewTime: expected time as 2006-01-02T15:04:05.000000Z"):
            check("coordination.k8s.io", "v1", "Lease", {"spec": {"renewTime": wrong}})
