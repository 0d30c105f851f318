"""Table cells of every served kind, against what a real API server printed for the same objects."""

import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from localset.apis.resources import RESOURCES
from localset.apiserver.tables.columns import since
from localset.apiserver.tables.rendering import PRINTERS, table
from localset.machinery.durations import human_duration

RECORDS = Path(__file__).parents[2].parent / "shared" / "kube-api-fixtures" / "tables.jsonl"
NOW = datetime(2026, 11, 24, 11, 11, 26, tzinfo=UTC)
NEWER_COLUMNS = {"VolumeAttributesClass"}
AGE_LIKE = re.compile(r"^(\d+[smhdy](\d+[smhd])?|<unknown>)$")
needs_records = pytest.mark.skipif(not RECORDS.exists(), reason="the recorded tables are not beside this checkout")


@cache
def records() -> dict[str, Any]:
    lines = (json.loads(line) for line in RECORDS.read_text().splitlines())
    return {line["id"]: line for line in lines if "id" in line}


def setup_objects(plural: str) -> dict[str, Any]:
    """Objects as the setup lines posted and patched them, by name: the source where no `objects` record exists."""
    made: dict[str, Any] = {}
    for record in records().values():
        request = record["req"]
        path = request["path"].split("?")[0].split("/")
        if not record.get("setup") or plural not in path:
            continue
        rest = path[path.index(plural) + 1 :]
        if request["method"] == "POST" and not rest:
            made[request["body"]["metadata"]["name"]] = json.loads(json.dumps(request["body"]))
        elif request["method"] == "PATCH" and rest and isinstance(request["body"], dict):
            for key, value in request["body"].items():
                made.setdefault(rest[0], {}).setdefault(key, {}).update(value)
    return made


def blur(cells: list[Any]) -> list[Any]:
    return ["AGE" if isinstance(c, str) and AGE_LIKE.match(c) else c for c in cells]


def without_newer(made: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[list[Any]]]:
    keep = [i for i, c in enumerate(made["columnDefinitions"]) if c["name"] not in NEWER_COLUMNS]
    columns = [made["columnDefinitions"][i] for i in keep]
    shapes = [(c["name"], c["format"], c["priority"]) for c in columns]
    return shapes, [[row["cells"][i] for i in keep] for row in made["rows"]]


def by_plural() -> dict[str, str]:
    return {resource.plural: resource.name for resource in RESOURCES}


def recorded_plurals() -> set[str]:
    if not RECORDS.exists():
        return {"pods"}
    return {p for p in by_plural() if p == "pods" or f"tables/{p}" in records()}


@needs_records
def test_pod_cells_are_those_of_the_recorded_server_in_25_states() -> None:
    source = records()["tables/pods/objects"]["res"]["body"]["items"]
    wanted = records()["tables/pods/table"]["res"]["body"]
    made = table("pods", source, {}, NOW)
    assert len(made["rows"]) == 25
    for got, expected in zip(made["rows"], wanted["rows"], strict=True):
        cells = list(got["cells"])
        cells[3] = int(cells[3].split(" ")[0])
        assert blur(cells) == blur(expected["cells"])
        assert got.get("conditions") == expected.get("conditions")
        assert got["object"]["kind"] == "PartialObjectMetadata"


@needs_records
def test_event_cells_are_those_of_the_recorded_server() -> None:
    source = records()["tables/events/objects"]["res"]["body"]["items"]
    wanted = records()["tables/events"]["res"]["body"]["rows"]
    assert [blur(row["cells"]) for row in table("events", source, {}, NOW)["rows"]] == [
        blur(row["cells"]) for row in wanted
    ]


@needs_records
@pytest.mark.parametrize("plural", sorted(recorded_plurals()))
def test_columns_are_those_of_the_recorded_server(plural: str) -> None:
    identity = "tables/pods/table" if plural == "pods" else f"tables/{plural}"
    wanted = records()[identity]["res"]["body"]["columnDefinitions"]
    shapes, _ = without_newer(table(by_plural()[plural], [], {}, NOW))
    assert shapes == [(c["name"], c["format"], c["priority"]) for c in wanted]


@needs_records
@pytest.mark.parametrize(
    "plural",
    [
        "services", "endpoints", "nodes", "persistentvolumeclaims", "persistentvolumes", "endpointslices", "leases",
        "rolebindings", "networkpolicies", "ingresses",
    ],
)  # fmt: skip
def test_cells_made_from_the_posted_objects_are_those_of_the_recorded_server(plural: str) -> None:
    objects = setup_objects(plural)
    rows = records()[f"tables/{plural}"]["res"]["body"]["rows"]
    compared = 0
    for expected in (row["cells"] for row in rows):
        source = objects.get(expected[0])
        if source is None:
            continue
        if plural == "services":  # allocated by the server
            spec = source["spec"]
            spec.setdefault("clusterIP", "" if expected[2] == "<none>" else expected[2])
            for port, text in zip(spec.get("ports", []), expected[4].split(","), strict=False):
                if ":" in text:
                    port["nodePort"] = int(text.split(":")[1].split("/")[0])
        if plural.startswith("persistentvolume"):  # defaulted by the server
            source["spec"].setdefault("volumeMode", "Filesystem")
            source["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
            source.setdefault("status", {}).setdefault(
                "phase", expected[4] if plural.endswith("s") and len(expected) > 9 else "Pending"
            )
            if expected[1] == "Terminating":
                source["metadata"]["deletionTimestamp"] = "2026-11-24T11:11:26Z"
        _, cells = without_newer(table(by_plural()[plural], [source], {}, NOW))
        assert blur(cells[0]) == blur(expected)
        compared += 1
    assert compared


def test_every_served_kind_has_a_printer() -> None:
    assert {resource.name for resource in RESOURCES} <= set(PRINTERS)


def test_an_empty_object_of_every_kind_can_be_shown() -> None:
    for resource in RESOURCES:
        made = table(resource.name, [{"metadata": {"name": "x"}}], {}, NOW)
        assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])


def test_rows_carry_what_include_object_asks_for() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert table("pods", [pod], {}, NOW, include="None")["rows"][0]["object"] is None
    assert table("pods", [pod], {}, NOW, include="Object")["rows"][0]["object"] == pod
    partial = table("pods", [pod], {}, NOW, version="v1beta1", with_columns=False)
    assert partial["columnDefinitions"] is None
    assert partial["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"


RESOURCE = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
METRICS = [
    ({"type": "Resource", "resource": RESOURCE}, {}, "cpu: <unknown>/80%"),
    ({"type": "Resource", "resource": RESOURCE}, {"resource": {"current": {"averageUtilization": 33}}}, "cpu: 33%/80%"),
    ({"type": "Resource", "resource": {"name": "cpu", "target": {}}}, {}, "cpu: <unknown>/<auto>"),
    (
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "target": {"averageValue": "1"}}},
        {"containerResource": {"current": {"averageValue": "500m"}}},
        "cpu: 500m/1",
    ),
    ({"type": "Pods", "pods": {"target": {"averageValue": "3"}}}, {"pods": {"current": {"averageValue": "2"}}}, "2/3"),
    ({"type": "Object", "object": {"target": {"averageValue": "3"}}}, {}, "<unknown>/3 (avg)"),
    ({"type": "External", "external": {"target": {"value": "3"}}}, {"external": {"current": {"value": "2"}}}, "2/3"),
]


def test_an_autoscaler_shows_what_is_and_what_shall_be() -> None:
    for metric, status, shown in METRICS:
        obj = {"metadata": {"name": "a"}, "spec": {"metrics": [metric]}, "status": {"currentMetrics": [status]}}
        assert PRINTERS["horizontalpodautoscalers.autoscaling"].cells(obj, NOW)[2] == shown


def test_a_restarted_pod_says_when() -> None:
    state = {"terminated": {"finishedAt": "2026-11-24T11:06:26Z", "exitCode": 1}}
    status = {"phase": "Running", "containerStatuses": [{"restartCount": 3, "lastState": state, "state": {}}]}
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{}]}, "status": status}
    assert table("pods", [pod], {}, NOW)["rows"][0]["cells"][3] == "3 (5m ago)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"), (10800, "3h"), (10860, "3h1m"), (28800, "8h"), (172799, "47h"),
        (172800, "2d"), (176400, "2d1h"),
        (691200, "8d"), (62985600, "729d"), (63072000, "2y"), (63158400, "2y1d"), (252288000, "8y"),
    ],
)  # fmt: skip
def test_durations_read_as_kubectl_users_know_them(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def test_an_absent_or_broken_time_is_unknown() -> None:
    assert since(None, NOW) == since("", NOW) == since("soon", NOW) == "<unknown>"
