"""`localset`'s words for running Pods and for nodes against the real kubectl: logs, exec, cp, top, events, drain."""

import shlex
from collections.abc import Iterator

import pytest

from tests.e2e.house import House, until
from tests.e2e.side_by_side import SideBySide

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: talk}
spec: {clusterIP: None, selector: {app: talk}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: talk, labels: {app: talk}}
spec:
  serviceName: talk
  replicas: 2
  selector: {matchLabels: {app: talk}}
  template:
    metadata: {labels: {app: talk}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: one, image: host, command: [sh, -c, "for i in 1 2 3; do echo one $HOSTNAME $i; done; exec sleep 1000"]}
      - {name: two, image: host, command: [sh, -c, "echo two >&2; exec sleep 1000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: wait, labels: {app: wait}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: first, image: host, command: [sh, -c, "echo not yet; exec sleep 1000"]}]
  containers: [{name: main, image: host, command: ["true"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: over, labels: {app: over}}
spec:
  restartPolicy: Never
  containers: [{name: main, image: host, command: [sh, -c, "echo said; exit 3"]}]
"""
LOGS = """
logs
logs nope
logs talk-0
logs talk-0 -c one
logs talk-0 two
logs talk-0 -c nope
logs talk-0 -c one --tail=1
logs talk-0 -c one --tail=0
logs talk-0 -c one --tail=x
logs talk-0 -c one --timestamps
logs talk-0 -c one --since=1h
logs talk-0 -c one --since=foo
logs talk-0 -c one --since-time=nope
logs talk-0 -c one --since=1h --since-time=2020-01-01T00:00:00Z
logs talk-0 -c one --limit-bytes=5
logs talk-0 -c one --previous
logs talk-0 --all-containers
logs sts/talk -c one --tail=1
logs sts/nope
logs cm/x
logs -l app=nope
logs -l app=talk -c one --prefix --tail=1
logs talk-0 -l app=talk
logs wait
logs wait -c first
logs wait -c main
logs over
logs over -f
logs over --previous
"""
COMMANDS = """
exec
exec talk-0
exec talk-0 --
exec nope -- true
exec talk-0 -c nope -- true
exec talk-0 -c one -- hostname
exec talk-0 -c one -- sh -c 'echo out; echo err >&2; exit 3'
exec talk-0 -c one -- nope
exec pod/talk-1 -c two -- hostname
exec sts/nope -- true
exec over -- true
exec wait -- true
exec cm/x -- true
attach
attach nope
attach over
attach talk-0 -c nope
cp
cp a
cp /nope/a talk-0:/tmp/a -c one
cp nope:/etc/hostname /tmp/localset-never
cp talk-0:/a talk-1:/b
port-forward
port-forward talk-0
port-forward nope 80
port-forward talk-0 foo
port-forward over 80
port-forward svc/nope 80
port-forward svc/talk 81
top foo
top pod nope
top pod -l app=nope
top node nope
wait pod/talk-0 --for=condition=Ready
wait pod/over --for=jsonpath={.status.phase}=Failed
wait pod -l app=talk --for=condition=Ready
wait pod/wait --for=condition=Ready --timeout=0s
wait pod/nope --for=delete
rollout status sts/talk
events --for pod/nope
events --for pod/over
events --types=Foo
events --types=Warning
events --for nope
events --no-headers --for pod/over
cordon
cordon nope
uncordon nope
drain
drain nope
completion foo
version --output=foo
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
        until(lambda: house.json("sts", "talk")["status"].get("readyReplicas") == 2)
        until(lambda: house.pod("over")["status"]["phase"] == "Failed")
        until(lambda: "not yet" in house.run("logs", "wait", "-c", "first", check=False).stdout)
        yield sides
    finally:
        house.down()


@pytest.mark.parametrize("lines", [LOGS, COMMANDS], ids=["logs", "commands"])
def test_words_for_running_pods_say_what_kubectls_say(sides: SideBySide, lines: str) -> None:
    different = []
    for line in lines.strip().splitlines():
        theirs, ours = sides.both(*shlex.split(line))
        if ours != theirs:
            different.append(f"{line}\n  kubectl  {theirs}\n  localset {ours}")
    assert not different, "\n".join(different)
