"""HorizontalPodAutoscalers of autoscaling/v1: read and written there, nothing of v2 is lost."""

from typing import Any

import pytest

from localset.apis.resources import BY_NAME
from localset.apis.schema.protobuf import decode_envelope, has_table
from localset.apis.scheme import FieldValidation, decode, encode
from localset.machinery.metadata import Object, copy_of
from localset.machinery.protobuf import Envelope

KIND = BY_NAME["horizontalpodautoscalers.autoscaling"]
TARGET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
PODS = {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}}}


def decoded(obj: Object, version: str = "v1") -> Object:
    return decode(KIND, version, copy_of(obj), FieldValidation.STRICT).object


def test_the_percentage_of_v1_is_a_metric_of_v2_and_back() -> None:
    given = {"scaleTargetRef": TARGET, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    stored = decoded({"metadata": {"name": "web"}, "spec": given})
    assert stored["apiVersion"] == "autoscaling/v2"
    assert stored["spec"] == {"scaleTargetRef": TARGET, "maxReplicas": 3, "minReplicas": 1, "metrics": [CPU]}
    shown = encode(KIND, "v1", stored)
    assert (shown["apiVersion"], shown["spec"]) == ("autoscaling/v1", {**given, "minReplicas": 1})


@pytest.mark.parametrize("metrics", [[CPU], [PODS], [CPU, PODS], [CPU, CPU]])
def test_what_v1_has_no_field_for_survives_a_round_through_it(metrics: list[Any]) -> None:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 3, "minReplicas": 2, "metrics": metrics}
    spec["behavior"] = {"scaleUp": {"stabilizationWindowSeconds": 3}}
    condition = {"type": "AbleToScale", "status": "True"}
    status = {"conditions": [condition], "currentReplicas": 1, "desiredReplicas": 2, "currentMetrics": []}
    metadata = {"name": "web", "annotations": {"mine": "1"}}
    stored = decoded({"metadata": metadata, "spec": spec, "status": status}, "v2")
    again = decoded(encode(KIND, "v1", stored))
    assert (again["metadata"], again["spec"]) == (stored["metadata"], stored["spec"])
    assert again["status"]["conditions"] == [condition]


@pytest.mark.parametrize("text", ["[", "7", '{"a":1}', '[{"type":1}]', '[{"resource":"x"}]', "[" * 300, "[null]"])
def test_an_annotation_that_no_autoscaler_wrote_stays_one(text: str) -> None:
    annotations = {f"autoscaling.alpha.kubernetes.io/{name}": text for name in ("metrics", "conditions")}
    given = {"scaleTargetRef": TARGET, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    stored = decoded({"metadata": {"name": "web", "annotations": annotations}, "spec": given})
    assert stored["spec"]["metrics"][0] == CPU
    assert len(stored["spec"]["metrics"]) <= 2


def test_protobuf_of_v1_has_numbers_of_its_own() -> None:
    spec = bytes((0x18, 3, 0x20, 50))  # maxReplicas, targetCPUUtilizationPercentage
    raw = bytes((0x12, len(spec))) + spec
    assert has_table("autoscaling/v1", "HorizontalPodAutoscaler")
    made = decode_envelope(Envelope("autoscaling/v1", "HorizontalPodAutoscaler", memoryview(raw)))
    assert made["spec"] == {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
