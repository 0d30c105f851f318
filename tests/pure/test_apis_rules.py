"""The rules of single kinds that the recordings do not reach: what may change, predicates, names, warnings."""

from typing import Any

import pytest

from localset.apis.fields import field_value, refusal
from localset.apis.pods import hostname_of, is_created, is_ready, is_running_and_ready, is_terminal, ready_since
from localset.apis.quantities import canonical_quantity
from localset.apis.resources import BY_NAME
from localset.apis.scheme import FieldValidation, decode, strategy_of
from localset.apis.services import publishes_not_ready
from localset.apis.statefulsets import claim_name, parent_and_ordinal, pod_name, replicas_of, start_ordinal
from localset.machinery.metadata import copy_of


def stored(name: str, obj: dict[str, Any]) -> dict[str, Any]:
    resource = BY_NAME[name]
    new = copy_of(decode(resource, resource.versions[0], obj, FieldValidation.STRICT).object)
    strategy_of(name).prepare_create(new)
    return new  # type: ignore[no-any-return]


def refused(name: str, old: dict[str, Any], **changes: Any) -> list[str]:
    new = copy_of(old)
    for path, value in changes.items():
        place = new
        *steps, last = path.split("__")
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    strategy = strategy_of(name)
    strategy.prepare_update(new, old)
    return [f"{cause.field}: {cause.message}" for cause in strategy.validate_update(new, old)]


POD = stored("pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
CLAIM = stored(
    "persistentvolumeclaims",
    {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    },
)
SET = stored(
    "statefulsets.apps",
    {
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]},
        },
    },
)


def test_a_live_pod_takes_a_new_image_and_more_tolerations_and_nothing_else() -> None:
    container = {**POD["spec"]["containers"][0], "image": "i:2"}
    toleration = {"key": "k", "operator": "Exists"}
    assert refused("pods", POD, spec__containers=[container], spec__tolerations=[toleration]) == []
    tolerant = copy_of(POD)
    tolerant["spec"]["tolerations"] = [toleration]
    assert refused("pods", tolerant, spec__tolerations=[])[0].startswith("spec: Forbidden: pod updates may not change")
    assert refused("pods", POD, spec__hostname="x")[0].startswith("spec: Forbidden: pod updates may not change")
    assert refused("pods", POD, metadata__labels=None, metadata__ownerReferences=None) == []


def test_a_claim_keeps_its_spec_but_a_bound_one_may_grow() -> None:
    bigger = {"requests": {"storage": "2Gi"}}
    assert refused("persistentvolumeclaims", CLAIM, spec__resources=bigger)[0].startswith("spec: Forbidden")
    assert refused("persistentvolumeclaims", CLAIM, spec__volumeName="pv", spec__storageClassName="s") == []
    bound = copy_of(CLAIM)
    bound["status"]["phase"], bound["spec"]["volumeName"] = "Bound", "pv"
    assert refused("persistentvolumeclaims", bound, spec__resources=bigger) == []
    smaller = refused("persistentvolumeclaims", bound, spec__resources={"requests": {"storage": "1Mi"}})
    assert smaller == ["spec.resources.requests.storage: Forbidden: field can not be less than previous value"]
    assert refused("persistentvolumeclaims", bound, spec__volumeName="other")[0].startswith("spec: Forbidden")


def test_a_services_address_stays_and_its_type_may_change() -> None:
    service = stored("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    service["spec"]["clusterIP"] = "10.0.0.1"
    assert refused("services", service, spec__clusterIP="10.0.0.2")[0].startswith("spec.clusterIPs[0]: Invalid value")
    assert refused("services", service, spec__type="NodePort") == []
    assert refused("services", service, spec__type="ExternalName", spec__externalName="x.y", spec__clusterIP="") == []


def test_a_set_counts_generations_by_its_spec_alone() -> None:
    strategy = strategy_of("statefulsets.apps")
    new = copy_of(SET)
    new["metadata"]["labels"] = {"x": "y"}
    new["status"] = {"replicas": 9}
    strategy.prepare_update(new, SET)
    assert (new["metadata"]["generation"], new["status"]) == (1, SET["status"])
    new["spec"]["replicas"] = 5
    strategy.prepare_update(new, SET)
    assert new["metadata"]["generation"] == 2
    status = copy_of(new)
    status["spec"]["replicas"], status["status"] = 7, {"replicas": 1, "conditions": [{"type": "X"}]}
    strategy.prepare_status_update(status, new)
    assert (status["spec"], status["status"]["replicas"]) == (new["spec"], 1)


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"replicas": -1}, "status.replicas"),
        ({"replicas": 1, "readyReplicas": 2}, "status.readyReplicas"),
        ({"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}, "status.availableReplicas"),
        ({"replicas": 0, "collisionCount": 1}, "status.collisionCount"),
    ],
)
def test_impossible_counters_are_refused(status: dict[str, Any], field: str) -> None:
    old = {**SET, "status": {"replicas": 0, "collisionCount": 2}}
    new = {**SET, "status": {"collisionCount": 2, **status}}
    causes = strategy_of("statefulsets.apps").validate_status_update(new, old)
    assert causes[0].field == field
    assert len(causes) == 1 or status["replicas"] < 0, "all counters are above a negative total, as upstream says"


def test_a_stored_template_that_could_not_be_made_today_does_not_stop_scaling() -> None:
    old = copy_of(SET)
    old["spec"]["template"]["spec"]["containers"] = []
    assert refused("statefulsets.apps", old, spec__replicas=0) == []
    template = copy_of(old["spec"]["template"])
    template["spec"]["terminationGracePeriodSeconds"] = 1
    assert refused("statefulsets.apps", old, spec__template=template) == [
        "spec.template.spec.containers: Required value"
    ]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("foo-1-0", ("foo-1", 0)),
        ("foo", ("", -1)),
        ("web-00012", ("web", 12)),
        ("web-2147483647", ("web", 2147483647)),
        ("web-2147483648", ("web", -1)),
        ("web-99999999999999999999", ("web", -1)),
        ("web-", ("", -1)),
    ],
)
def test_a_pods_name_tells_its_set_and_ordinal(name: str, wanted: tuple[str, int]) -> None:
    assert parent_and_ordinal(name) == wanted


def test_names_and_numbers_of_sets() -> None:
    assert (pod_name("web", 3), claim_name("www", "web", 3)) == ("web-3", "www-web-3")
    assert (replicas_of({"spec": {}}), replicas_of({"spec": {"replicas": 0}})) == (1, 0)
    assert (start_ordinal({"spec": {}}), start_ordinal({"spec": {"ordinals": {"start": 2}}})) == (0, 2)


def test_predicates_of_pods() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    pod = {"metadata": {"name": "p" * 70}, "spec": {}, "status": {"phase": "Running", "conditions": [ready]}}
    assert is_running_and_ready(pod)
    assert is_ready(pod)
    assert is_created(pod)
    assert not is_terminal(pod)
    since = ready_since(pod)
    assert since is not None
    assert since.utcoffset() is not None
    assert hostname_of(pod) == "p" * 63
    assert not is_created({"metadata": {"name": "p"}})


@pytest.mark.parametrize(
    ("annotation", "field", "wanted"),
    [(None, True, True), (None, None, False), ("true", False, True), ("false", True, False), ("odd", True, True)],
)
def test_the_old_annotation_overrides_the_field_where_it_parses(annotation: Any, field: Any, wanted: bool) -> None:
    key = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
    metadata = {} if annotation is None else {"annotations": {key: annotation}}
    assert publishes_not_ready({"metadata": metadata, "spec": {"publishNotReadyAddresses": field}}) is wanted


def test_fields_without_effect_are_named_once_each() -> None:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}
    template = {"spec": {"containers": [container], "affinity": {"podAntiAffinity": {}}}}
    assert strategy_of("statefulsets.apps").warnings({"metadata": {}, "spec": {"template": template}}) == [
        "spec.template.spec.affinity: no effect here: every Pod runs on this machine",
        "spec.template.spec.containers[0].resources.limits: no effect here: processes share the machine unlimited",
    ]
    assert strategy_of("pods").warnings(POD) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5Gi", "512Mi"), ("0.5", "500m"), ("1000m", "1"), ("1024Ki", "1Mi"), ("100000k", "100M"), ("1e3", "1e3"),
        ("12e2", "1200"), ("0", "0"), ("0.5Ki", "512"), ("-1", "-1"), ("1.5Gi", "1536Mi"), ("0.0000000001", "1n"),
    ],
)  # fmt: skip
def test_quantities_come_back_canonical(text: str, wanted: str) -> None:
    assert canonical_quantity(text) == wanted
    assert canonical_quantity(wanted) == wanted


def test_field_selectors_see_what_the_kind_offers() -> None:
    assert field_value("pods", POD, "spec.restartPolicy") == "Always"
    assert field_value("pods", POD, "spec.hostNetwork") == "false"
    assert field_value("pods", POD, "status.podIP") == ""
    assert field_value("configmaps", {}, "data.a") is None
    assert refusal("configmaps", "data.a").startswith('"data.a" is not a known field selector: only "metadata.name"')
    assert refusal("pods", "spec.foo") == "field label not supported: spec.foo"
