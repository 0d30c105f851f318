"""`localset`'s changing commands against the real kubectl: the same words in two namespaces leave the same twins."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House
from tests.e2e.side_by_side import SideBySide

SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, labels: {app: web}}
spec:
  serviceName: web
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: host
        command: [sleep, '3600']
        ports: [{containerPort: 80, name: web}]
        env: [{name: A, value: b}, {name: B, value: c}]
      - {name: d, image: host, command: [sleep, '3600']}
      volumes: [{name: e, emptyDir: {}}, {name: f, emptyDir: {}}]
"""
CHANGED = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: d, image: host, command: [sleep, '3600']}
      - {name: n, image: host, command: [sleep, '3600']}
      - {name: c, image: host, command: [sleep, '1'], env: [{name: B, value: d}, {name: Z, value: '9'}]}
      volumes: [{name: e, configMap: {name: x}}, {name: g, emptyDir: {}}]
"""


def _map(name: str, data: str = "", metadata: str = "") -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{metadata}}}\n{data}"


def _service(spec: str) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{{spec}}}\n"


APPLY = [
    ("apply", ""),
    ("apply foo", ""),
    ("apply -f /nope", ""),
    ("apply -f", ""),
    ("apply -f -", ""),
    ("apply -f -", _map("a", 'data: {a: "<1>", b: "2"}', ", labels: {x: y1}, annotations: {n: o}")),
    ("apply -f -", _map("a", 'data: {a: "<1>", b: "2"}', ", labels: {x: y1}, annotations: {n: o}")),
    ("apply -f -", _map("a", 'data: {a: "3"}')),
    ("apply -f - --dry-run=client", _map("a", 'data: {a: "4"}')),
    ("apply -f - --dry-run=server", _map("a", 'data: {a: "4"}')),
    ("apply -f - -o yaml", _map("a", 'data: {a: "4"}')),
    ("apply -f - -o name", _map("a", 'data: {a: "4"}')),
    ("apply -f -", SET),
    ("apply -f -", SET),
    ("apply -f -", CHANGED),
    ("apply -f -", CHANGED.replace("serviceName: web", "serviceName: other")),
    ("apply -f -", _service("selector: {a: b}, ports: [{port: 80, name: a}, {port: 81, name: b}]")),
    ("apply -f -", _service("selector: {a: c}, ports: [{port: 81, name: b}, {port: 82, name: c}]")),
    ("apply -f -", _service("clusterIP: None, selector: {a: c}, ports: [{port: 81, name: b}]")),
    ("apply --server-side -f -", _map("a", 'data: {a: "5"}')),
    ("apply --server-side --field-manager=other -f -", _map("a", 'data: {a: "6"}')),
    ("apply --server-side --field-manager=other --force-conflicts -f -", _map("a", 'data: {a: "6"}')),
    ("apply --server-side -f -", _map("new")),
    ("apply --force-conflicts -f -", _map("new")),
    ("apply --validate=foo -f -", _map("new")),
    ("apply --dry-run=foo -f -", _map("new")),
    ("create", ""),
    ("create -f -", _map("new")),
    ("create -f -", _map("new2")),
    ("create --save-config -f -", _map("new3")),
    ("create -f - -o yaml --dry-run=client", _map("new4")),
    ("create -f - --dry-run=server", _map("new4")),
    ("apply -f -", _map("new2", "data: {a: b}")),
    ("apply -f -", "kind: ConfigMap\nmetadata: {name: x}"),
    ("apply -f -", "apiVersion: v1\nmetadata: {name: x}"),
    ("apply -f -", "apiVersion: v1\nkind: Foo\nmetadata: {name: x}"),
    ("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}"),
    ("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}"),
    ("apply -f -", "just text"),
    ("apply -f -", _map("X_1")),
    ("apply -f -", _map("a", "data: {a: 1}")),
    ("apply -f -", f"apiVersion: v1\nkind: List\nitems: [{{{_map('l1').replace(chr(10), ', ').rstrip(', ')}}}]"),
]
CHANGES = """
annotate cm a q=r s=t
annotate cm a q=u
annotate cm a foo
annotate a=b
annotate cm a q=b q-
annotate cm a nope-
annotate cm new new2 q=r
label cm a 'a=b c'
label cm a a=b foo
label cm a x=y
label cm a x=y
label cm a x=z w=v
label cm a x=z w=v --overwrite -o name
label cm a w- nope-
label cm nope a=b
label cm -l a=nope a=b
label cm a a=b --dry-run=client
label cm a a=b --resource-version=1
patch cm a -p '{"data":{"x":"y"}}'
patch cm a -p '{"data":{"x":"y"}}'
patch cm a --type=json -p '[{"op":"add","path":"/data/q","value":"r"}]'
patch cm a --type=foo -p '{}'
patch cm a --type=json -p '{}'
patch cm a -p '{'
patch cm a -p '{"data":{"x":"z"}}' --dry-run=server
patch cm a
patch cm nope -p '{}'
patch sts web --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'
scale sts web --replicas=0
scale sts web
scale sts web --replicas=-1
scale sts web --replicas=0 --current-replicas=5
scale sts nope --replicas=0
scale sts/web sts/nope --replicas=0
scale cm a --replicas=1
set image sts/web c=img:2
set image sts/web c=img:2
set image sts/web '*=img:3'
set image sts/web nope=img:3
set image sts/web
set image cm/a c=d
set env sts/web C=d B-
set env sts/web -c d X=y
set env sts/web --list
set env sts/web -c nope X=y
set resources sts/web -c c --requests=cpu=100m
set resources sts/web
set serviceaccount sts/web robot
set foo
rollout history sts/web
rollout history sts/web --revision=2
rollout history sts/web --revision=99
rollout undo sts/web --dry-run=client
rollout undo sts/web
rollout undo sts/web --to-revision=1
rollout undo sts/web --to-revision=77
rollout restart sts web
rollout restart cm a
rollout pause sts/web
rollout status sts/web
rollout status cm/a
rollout status
wait sts/web --for=jsonpath={.spec.replicas}=0
wait sts/web --for=jsonpath={.spec.replicas}=7 --timeout=1s
wait sts/nope --for=delete
wait sts/nope --for=condition=Ready --timeout=1s
wait sts/web --for=foo
wait sts/web --for=create
wait cm -l a=nope --for=condition=Ready
delete
delete cm
delete cm x
delete cm,secret x y
delete cm new x
delete cm new2 -o name
delete cm new3 --cascade=foo
delete cm new3 --force --grace-period=5
delete cm new3 --dry-run=client
delete cm --all -l a=b
delete cm -l a=nope
delete podz x
delete svc --all
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    directory = tmp_path_factory.mktemp("cli")
    house = House(directory / "d")
    home = directory / "home"
    home.mkdir()
    sides = SideBySide(house, home)
    house.up()
    try:
        for namespace in ("kube", "ours"):
            sides.kubectl.out("create", "namespace", namespace)
        yield sides
    finally:
        house.down()


def test_changing_commands_say_and_do_what_kubectls_do(sides: SideBySide) -> None:
    changes = [(line, "") for line in CHANGES.strip().splitlines()]
    for line, stdin in [*APPLY, *changes]:
        theirs, ours = sides.both(*shlex.split(line), stdin=stdin, twins=True)
        assert ours == theirs, (line, stdin)
    for kind, name in (("cm", "a"), ("cm", "l1"), ("cm", "new3"), ("sts", "web")):
        theirs, ours = sides.twin(kind, name, "kube"), sides.twin(kind, name, "ours")
        assert ours.splitlines() == theirs.splitlines(), (kind, name)


WIDGETS = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: w}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets, singular: widget}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
RUNS = """
run p --image=host --expose --port=80
run p --image=host --expose
run q --image=host --expose --port=80 --dry-run=client
run q --image=host --expose --port=80 --dry-run=server
run q --image=host '--overrides={"spec":{"restartPolicy":"Never","nodeName":"nowhere"}}'
run r --image=host '--overrides=[{"op":"add","path":"/spec/nodeName","value":"nowhere"}]' --override-type=json
run s --image=i --override-type=strategic '--overrides={"spec":{"nodeName":"n","containers":[{"name":"s","tty":true}]}}'
run t --image=host --overrides=nope
run t --image=host --overrides={} --override-type=foo
exec
"""


def _spec(sides: SideBySide, kind: str, name: str, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(sides.kubectl.out("get", kind, name, "-n", namespace, "-o", "json"))["spec"]
    return spec


def test_run_with_overrides_and_a_service_is_kubectls(sides: SideBySide) -> None:
    for line in RUNS.strip().splitlines():
        theirs, ours = sides.both(*shlex.split(line), twins=True)
        assert ours == theirs, line
    for kind, name in (("svc", "p"), ("pod", "q"), ("pod", "r"), ("pod", "s")):
        theirs, ours = (_spec(sides, kind, name, namespace) for namespace in ("kube", "ours"))
        for spec in (theirs, ours):  # each Service has an address of its own, each Pod its token's volume
            for field in ("clusterIP", "clusterIPs", "volumes"):
                spec.pop(field, None)
            for container in spec.get("containers", []):
                container.pop("volumeMounts", None)
        assert ours == theirs, (kind, name)


def test_nodes_are_cordoned_and_drained_on_trial(sides: SideBySide) -> None:
    node = sides.kubectl.out("get", "nodes", "-o", "name").split()[0]
    for verb in ("cordon", "uncordon", "drain --force"):
        for trial in ("client", "server"):
            theirs, ours = sides.both(*verb.split(), node, f"--dry-run={trial}")
            assert sorted(ours.out.splitlines()) == sorted(theirs.out.splitlines()), (verb, trial)
            assert ours.code == theirs.code == 0
    assert sides.house.json(*node.split("/"))["spec"].get("unschedulable") is None


def test_a_definition_and_its_objects_may_stand_in_one_file(sides: SideBySide) -> None:
    refused = sides.ours("apply", "--dry-run=server", "-f", "-", stdin=WIDGETS)
    assert refused.code == 1
    assert "ensure CRDs are installed first" in refused.err
    for words in (("apply", "-f", "-"), ("create", "-f", "-")):
        done = sides.ours(*words, stdin=WIDGETS)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines() == [
            "customresourcedefinition.apiextensions.k8s.io/widgets.example.com created",
            "widget.example.com/w created",
        ]
        sides.ours("delete", "crd", "widgets.example.com")


def test_edit_sends_what_changed_and_keeps_what_was_refused(
    sides: SideBySide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/^  a: .*/  a: $VALUE/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sides.kubectl.out("create", "cm", "edited", "--from-literal=a=1")
    monkeypatch.setenv("VALUE", "two")
    assert sides.ours("edit", "cm", "edited").out == "configmap/edited edited\n"
    assert sides.house.json("cm", "edited")["data"] == {"a": "two"}
    done = sides.ours("edit", "cm", "edited")
    assert (done.code, done.err) == (0, "Edit cancelled, no changes made.\n")
    monkeypatch.setenv("VALUE", "[]")
    done = sides.ours("edit", "cm", "edited")
    assert done.code == 1
    assert "no valid changes were saved" in done.err
    kept = next(path for path in tmp_path.rglob("localset-edit-*"))
    assert "data.a" in kept.read_text().split("apiVersion")[0]
