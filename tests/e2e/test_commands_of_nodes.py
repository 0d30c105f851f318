"""Namespaces remembered, versions, `top`, and Nodes cordoned and drained, as a person types them."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, surroundings, until

MANIFEST = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
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
      containers: [{name: c, image: host, command: [sleep, inf]}]
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: host, command: [sleep, inf]}]
"""


@pytest.fixture(scope="module")
def web() -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    house = House(directory / "data")
    try:
        house.run("apply", "-f", "-", "--wait", stdin=MANIFEST)
        yield house
    finally:
        house.down()


def test_a_namespace_is_remembered_until_another_is(web: House) -> None:
    assert web.run("ns").stdout == "default\n"
    wrong = web.run("ns", "kube-systm", check=False)
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (1, 'hint: did you mean "kube-system"?')
    web.run("ns", "kube-system")
    try:
        assert web.run("get", "sts").stderr == "No resources found in kube-system namespace.\n"
        assert "web-0" in web.run("get", "pods", "-n", "default").stdout
        assert "alone" in web.run("top", "pod", "-n", "default").stdout
    finally:
        web.run("ns", "default")
    assert not (web.data / "namespace").exists()


def test_versions_are_those_of_client_and_daemon(web: House) -> None:
    lines = web.run("version").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Client Version", "Server Version"]
    assert web.run("version", "--client").stdout == f"{lines[0]}\n"


def test_top_has_kubectls_columns(web: House) -> None:
    lines = web.run("top", "pod", "--sort-by=memory").stdout.splitlines()
    assert lines[0].split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert sorted(line.split()[0] for line in lines[1:]) == ["alone", "web-0", "web-1"]
    rows = web.run("top", "pods", "-A", "--containers", "--no-headers").stdout.splitlines()
    assert rows[0].split()[:3] == ["default", "alone", "c"]
    assert "CPU(%)" in web.run("top", "node").stdout
    wrong = web.run("top", "pod", "web-9", check=False)
    assert wrong.stderr.startswith('Error from server (NotFound): pods "web-9" not found\nhint: did you mean "web-')


def test_a_drain_asks_before_it_takes_and_waits_for_the_budget(web: House) -> None:
    (node,) = [n["metadata"]["name"] for n in web.json("nodes")["items"]]
    refused = web.run("drain", node, check=False)
    assert refused.returncode == 1
    assert "cannot delete Pods that declare no controller (use --force to override): default/alone" in refused.stderr
    assert web.pod("alone")
    late = web.run("drain", node, "--pod-selector=app=web", "--timeout=1s", check=False)
    assert late.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget" in late.stderr
    assert "global timeout reached: 1s" in late.stderr
    web.run("delete", "pdb", "web")
    done = web.run("drain", node, "--force")
    assert done.stdout.splitlines()[0] == f"node/{node} already cordoned"
    assert sorted(done.stdout.splitlines()[1:]) == sorted(
        [f"evicting pod default/{p}" for p in ("alone", "web-0", "web-1")]
        + [f"pod/{p} evicted" for p in ("alone", "web-0", "web-1")]
        + [f"node/{node} drained"]
    )
    assert web.run("uncordon", node).stdout == f"node/{node} uncordoned\n"
    until(lambda: web.json("sts", "web")["status"].get("readyReplicas") == 2)
    assert web.run("cordon", "nope", check=False).returncode == 1


def test_mistakes_get_a_sentence_and_a_hint(web: House) -> None:
    for words, text in (
        (["gte", "pods"], "hint: did you mean `localset get`?"),
        (["get", "pods", "--selectr=a"], "error: unknown flag: --selectr\nSee 'localset get --help' for usage."),
        (["get", "pod", "web-0", "-n", "kube-public", "-o", "yaml"], "hint: there is one in namespace default"),
        (["run", "x"], 'error: required flag(s) "image" not set\nhint: localset run [OPTIONS] NAME [WORDS]...'),
        (["stop"], "error: SET[/ORDINAL] must be specified\nSee 'localset stop --help' for usage.\nhint: "),
        (["drain", "x", "--timeout=soon"], '"soon" is not a duration such as 5s'),
    ):
        done = web.run(*words, check=False)
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_daemon_every_command_says_so(tmp_path: Path) -> None:
    done = House(tmp_path).run("top", "pod", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the daemon is not running\nhint: `localset up` starts it")


def test_a_reader_who_leaves_ends_the_command_quietly(web: House) -> None:
    python, path = surroundings(None)
    environment = {"PYTHONPATH": path, "LOCALSET_DATA_DIR": str(web.data)}
    words = [python, "-m", "localset", "get", "pods", "-o", "json"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr.read() == b""  # type: ignore[union-attr]
    assert process.returncode == 141


CRASH = "import localset.cli.namespace as n; from localset.cli.main import run; import sys;\
n.namespace_file = None; sys.exit(run(['--data-dir', sys.argv[1], 'ns', 'x']))"


def test_a_crash_says_where_its_report_is_and_shows_no_traceback(tmp_path: Path) -> None:
    python, path = surroundings(None)
    done = subprocess.run(
        [python, "-c", CRASH, str(tmp_path)], env={"PYTHONPATH": path}, text=True, capture_output=True, check=False
    )  # fmt: skip
    (report,) = tmp_path.glob("crash-*.txt")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"hint: the report is in {report}"
    assert "Traceback" not in done.stderr
    assert "Traceback" in report.read_text()
