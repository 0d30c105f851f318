"""Bad input: a clear message, an exit code that is not 0, and nothing half-made."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.house import House, until

GOOD = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: good
data: {a: b}
"""

SET = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: NAME
spec:
  serviceName: s
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: c
        image: IMAGE
        command: COMMAND
        ports: PORTS
"""

REFUSED = {
    "a wrong field": (GOOD + "dataa: {x: y}\n", 'unknown field "dataa"'),
    "a wrong field deep inside": (
        SET.replace("NAME", "web")
        .replace("IMAGE", "host")
        .replace("COMMAND", "[sleep, inf]")
        .replace("ports: PORTS", "portz: []"),
        'unknown field "spec.template.spec.containers[0].portz"',
    ),
    "a wrong kind": (GOOD.replace("ConfigMap", "ConfigMop"), 'no matches for kind "ConfigMop"'),
    "a wrong apiVersion": (GOOD.replace("apiVersion: v1", "apiVersion: v7"), 'in version "v7"'),
    "a wrong name": (GOOD.replace("name: good", "name: Not_Good"), "RFC 1123"),
    "a key that stands twice": (GOOD + "data: {c: d}\n", "stands twice"),
    "a YAML bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
        "standard input",
    ),
    "a wrong type": (GOOD.replace("{a: b}", "[a, b]"), "data"),
    "no YAML at all": ("a: [b\n", "line"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("bad")
    house = House(directory / "d")
    house.up()
    yield house
    house.down()


@pytest.mark.parametrize("case", REFUSED)
def test_a_manifest_is_refused_with_a_clear_message_and_nothing_is_made(shared: House, case: str) -> None:
    bad, message = REFUSED[case]
    done = shared.run("apply", "-f", "-", stdin=f"{GOOD.replace('good', 'first')}---\n{bad}", check=False)
    assert done.returncode != 0
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    names = [item["metadata"]["name"] for item in shared.json("configmaps")["items"]]
    assert "first" not in names


def test_nothing_is_made_when_an_object_in_a_namespace_of_the_same_file_is_wrong(shared: House) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n"
    bad = GOOD.replace("name: good", "name: good\n  namespace: fresh") + "dataa: {x: y}\n"
    done = shared.run("apply", "-f", "-", stdin=f"{namespace}---\n{bad}", check=False)
    assert done.returncode != 0
    assert 'unknown field "dataa"' in done.stderr
    assert shared.run("get", "ns", "fresh", check=False).returncode != 0


def _set(name: str, image: str, command: list[str], ports: str = "[]") -> str:
    filled = SET.replace("NAME", name).replace("IMAGE", image).replace("COMMAND", json.dumps(command))
    return filled.replace("PORTS", ports)


def _events(house: House, pod: str) -> str:
    return house.run("events", "--for", f"pod/{pod}").stdout


def test_a_missing_image_says_what_to_do(shared: House) -> None:
    shared.run("apply", "-f", "-", stdin=_set("noimage", "example.com/never:1", ["x"]))
    until(lambda: "ErrImagePull" in str(shared.pod("noimage-0")) or "ImagePullBackOff" in str(shared.pod("noimage-0")))
    assert "localset image add" in _events(shared, "noimage-0") + str(shared.pod("noimage-0"))
    shared.run("delete", "sts", "noimage")


def test_an_absent_command_is_a_start_error(shared: House) -> None:
    shared.run("apply", "-f", "-", stdin=_set("nocommand", "host", ["no-such-program-anywhere"]))
    until(lambda: "StartError" in str(shared.pod("nocommand-0")), why="terminated with StartError")
    assert "no-such-program-anywhere" in _events(shared, "nocommand-0")
    shared.run("delete", "sts", "nocommand")


def test_a_busy_port_names_the_process_that_holds_it(shared: House) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shared.run("apply", "-f", "-", stdin=_set("busy", "host", ["sleep", "100"], f"[{{containerPort: {port}}}]"))
        until(lambda: str(os.getpid()) in _events(shared, "busy-0"), why="an event that names the holder")
    until(lambda: "ready" in str(shared.pod("busy-0")) and shared.pod("busy-0")["status"].get("phase") == "Running", 30)
    shared.run("delete", "sts", "busy")


def test_a_second_daemon_is_told_who_runs(shared: House) -> None:
    done = shared.run("up", "--foreground", check=False)
    assert done.returncode != 0
    assert f"pid {shared.status()['daemon']['pid']}" in done.stderr
    assert "already running" in shared.run("up").stdout


def test_an_unwritable_data_directory_is_refused(make_house: Callable[..., House], ordinary_user: str) -> None:
    house = make_house(user=ordinary_user)
    house.data = Path("/proc/localset")
    done = house.run("up", check=False)
    assert done.returncode != 0
    assert "/proc/localset" in done.stderr
    assert "hint" in done.stderr
    house.data = Path("/nowhere/that/may/be/made")
    done = house.run("up", check=False)
    assert done.returncode != 0
    assert "/nowhere" in done.stderr


def test_a_data_directory_of_a_newer_version_is_refused_untouched(house: House) -> None:
    house.data.mkdir(parents=True, mode=0o700)
    marker = house.data / "localset.json"
    marker.write_text('{"format": 999}')
    done = house.run("up", check=False)
    assert done.returncode != 0
    assert "newer" in done.stderr
    assert marker.read_text() == '{"format": 999}'
    marker.unlink()


def test_an_address_block_held_by_another_is_refused(make_house: Callable[..., House]) -> None:
    first, second = make_house(), make_house()
    first.up()
    second.data.mkdir(parents=True, mode=0o700)
    facts = json.loads((first.data / "localset.json").read_text())
    (second.data / "localset.json").write_text(json.dumps(facts))
    done = second.run("up", check=False)
    assert done.returncode != 0
    assert str(first.data) in done.stderr
    first.run("down", "--keep-running")
    done = second.run("up", check=False)  # the keeper holds on to it: the Pods that it keeps have those addresses
    assert done.returncode != 0
    assert str(first.data) in done.stderr
    first.up()
    (second.data / "localset.json").unlink()


def test_two_daemons_run_side_by_side_with_their_own_addresses(make_house: Callable[..., House]) -> None:
    first, second = make_house(), make_house()
    first.up()
    second.up()
    assert first.status()["addressBlock"] != second.status()["addressBlock"]
    first.run("apply", "-f", "-", stdin=GOOD)
    assert second.run("get", "cm", "good", check=False).returncode != 0


def test_commands_without_a_daemon_say_so(house: House) -> None:
    done = house.run("get", "pods", check=False)
    assert done.returncode != 0
    assert "not running" in done.stderr
    assert "hint" in done.stderr
    assert house.run("down").returncode == 0
