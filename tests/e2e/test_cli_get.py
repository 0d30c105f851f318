"""`localset get` and `describe` against the real kubectl, byte for byte."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, until
from tests.e2e.side_by_side import SideBySide

OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: texts, labels: {app: web, tier: a}}
data:
  a: "1"
  b: "two\\nlines\\n"
  c: "yes"
  d: " lead"
  e: "trail \\nx"
  f: "<a&b>"
  g: "0x1f"
  h: "1:30"
  i: ""
  j: "a long text that goes on and on and on and on, so that it is folded by whoever folds lines at eighty"
  k: "quote ' \\" both: # hash"
  l: "smile \\U0001F600 \\u00e9"
  m: "2001-01-01"
  "n": "~"
  o: "- a"
  p: "tab\\there"
  q: "=1"
  r: "a: b"
  s: "1e3"
  t: ".5"
  u: "+1"
  v: "1_000"
  w: "null"
  x: "\\n"
  "y": "\\n lead"
  z: "end\\nhere"
  a10: "0o17"
  a9: "0b1"
  A: "<<"
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80, name: web}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: host, command: [sleep, '3600'], ports: [{containerPort: 80, name: web}]}]
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
"""

RICH = """
apiVersion: v1
kind: Secret
metadata: {name: words}
stringData: {pw: abc}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, labels: {a: b}}
secrets: [{name: words}]
---
apiVersion: v1
kind: Service
metadata: {name: many, annotations: {note: hello}}
spec:
  type: NodePort
  selector: {app: rich}
  ports: [{port: 80, name: web, targetPort: 8080}, {port: 53, name: dns, protocol: UDP, targetPort: named}]
---
apiVersion: v1
kind: Pod
metadata: {name: rich, labels: {app: rich}, annotations: {multi: "a\\nb", empty: ""}}
spec:
  serviceAccountName: robot
  terminationGracePeriodSeconds: 1
  tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 30}, {operator: Exists}]
  containers:
  - name: one
    image: host
    command: [sh, -c]
    args: ["sleep 1000\\ntrue"]
    ports: [{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]
    resources: {requests: {cpu: 100m, memory: 1Mi}}
    livenessProbe: {exec: {command: [sh, -c, "true"]}, initialDelaySeconds: 30}
    env:
    - {name: PLAIN, value: x}
    - {name: MULTI, value: "a\\nb"}
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: RES, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
    - {name: SEC, valueFrom: {secretKeyRef: {name: words, key: pw}}}
    envFrom: [{configMapRef: {name: none, optional: true}, prefix: P_}, {secretRef: {name: words}}]
    volumeMounts: [{name: e, mountPath: /tmp/e, subPath: sub}, {name: c, mountPath: /tmp/c, readOnly: true}]
  volumes:
  - {name: e, emptyDir: {sizeLimit: 1Gi}}
  - {name: c, configMap: {name: none, optional: true}}
  - {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
"""

DESCRIBED = """
describe
describe pod nope
describe pod rich
describe pods web
describe pod/web-0 --show-events=false
describe sts web
describe svc
describe pvc
describe pv
describe node
describe ns default
describe pdb
describe secret words
describe sa
describe sc
describe controllerrevision
describe pods -l app=nope
describe lease
describe role reader
describe rolebinding readers
describe clusterrole wide
describe clusterrolebinding everyone
describe priorityclass high
describe quota,limits
describe ingress
describe ingressclass plain
describe netpol closed
describe ep outside
describe endpointslice part
describe hpa grow
"""

TABLES = """
get
get podz
get pods,svc
get pod x
get pod web-0 x y
get pod/web-0 svc
get pods -l app=nope
get pods -A -l app=nope
get pvc,cm -l app=nope
get all
get all -A
get pod/web-0 svc/web
get pods --foo
get pods -z
get pods -o
get pods -o foo
get pods --watch=x
get pods a/b/c
get pods -L app,tier --show-labels
get pods,cm --no-headers
get pods -owide
get pods -A
get nodes -A
get ns x
get pod q -n nope
get pods -n nope
get pod web-0 -A
get pods --sort-by=.metadata.name
get pods --sort-by=.nope
get pods.v1.
get statefulsets.v1.apps
get pods,svc web-0
get pod,svc/x
get pods,
get sts.ap
get ns,nodes,sc,pv -o wide
get events --sort-by=.metadata.name
get pods --show-kind
get pod web-0 -l a=b
get pods --field-selector=foo=bar
get pods -l =
get pods,svc -w
get pod nope --ignore-not-found
"""

OBJECTS_PRINTED = r"""
get cm texts -o yaml
get cm texts -o json
get sts web -o yaml
get sts web -o yaml --show-managed-fields
get pods -o json
get pod web-0 nope -o yaml
get pods -l a=b -o yaml
get pod nope --ignore-not-found -o yaml
get po,sts -o name
get sts,svc -Ao=name
get pods -o 'jsonpath={.items[*].metadata.name}'
get pods -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}'
get pods -o 'jsonpath={.items[0].metadata.labels}'
get sts web -o 'jsonpath={.spec.replicas}{.foo}{.spec.template.spec.containers[?(@.name=="c")].image}'
get sts web -o 'jsonpath={.foo'
get sts web -o 'jsonpath={..image}'
get sts web -o 'jsonpath={.nope}' --allow-missing-template-keys=false
get pods -o 'jsonpath={.items[5].metadata.name}'
get pods -o 'jsonpath-as-json={.items[*].metadata.labels}'
get pods -o 'custom-columns=A:.metadata.labels,B:.nope,C:.spec.containers[*].name'
get pods -l a=b -o custom-columns=A:.x
get pods -o custom-columns=foo
get pods -o custom-columns=
get sts web -o jsonpath
get sts web '--template={{.foo}}{{.spec}}'
get pods '--template={{range $i, $p := .items}}{{$i}} {{$p.metadata.name}}{{"\n"}}{{else}}none{{end}}'
get sts web --template '{{if .spec.replicas}}yes{{else}}no{{end}}'
get sts web --template '{{.metadata.name'
get sts web --subresource=scale
get --raw /healthz
get --raw /nope
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
        sides.kubectl.out("apply", "-f", "-", stdin=OBJECTS)
        sides.kubectl.out("apply", "-f", "-", stdin=RICH)
        sides.kubectl.out("apply", "-f", str(Path(__file__).with_name("manifests") / "without_effect.yaml"))
        sides.kubectl.out("wait", "pod/rich", "--for=condition=Ready")
        until(lambda: house.json("sts", "web")["status"].get("readyReplicas") == 2)
        yield sides
    finally:
        house.down()


@pytest.mark.parametrize("lines", [TABLES, OBJECTS_PRINTED, DESCRIBED], ids=["tables", "objects", "described"])
def test_reading_commands_print_what_kubectls_print(sides: SideBySide, lines: str) -> None:
    for line in lines.strip().splitlines():
        theirs, ours = sides.both(*shlex.split(line))
        if "HOST-ADDRESS" in ours.out:  # a column of our own, where it says something that IP does not
            rows = [re.sub(r" (HOST-ADDRESS|127\.\d+\.\d+\.\d+|<none>)$", "", row) for row in ours.out.splitlines()]
            ours = ours._replace(out="".join(f"{row}\n" for row in rows))
        assert ours == theirs, f"{line}\n{theirs.out}\n{ours.out}"


def test_a_typo_gets_the_nearest_match_as_a_hint(sides: SideBySide) -> None:
    assert 'hint: did you mean "pod"?' in sides.ours("get", "podz").err
    assert "beyond localset's go-template" in sides.ours("get", "cm", "--template={{len .items}}").err
