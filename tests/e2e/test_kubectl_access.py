"""The real kubectl gets in with our kubeconfig, others do not, and a program in a Pod finds the API as in a cluster."""

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from localset.apiserver.certificates import CertificateFiles, make_client
from localset.base.clock import SystemClock
from localset.daemon.kubeconfig import kubeconfig
from tests.e2e.house import House, until
from tests.e2e.kubectls import Kubectl, find_kubectl, newest_kubectl

INSIDE = """
import json
from kubernetes import client, config
config.load_incluster_config()
pods = client.CoreV1Api().list_namespaced_pod("default").items
me = client.AuthenticationV1Api().create_self_subject_review({}).status.user_info
verified = client.Configuration.get_default_copy().verify_ssl
print(json.dumps({"me": me.username, "found": "inside" in [p.metadata.name for p in pods], "verified": verified}))
"""


def config_of(house: House) -> dict[str, Any]:
    return yaml.safe_load((house.data / "kubeconfig").read_text())


def test_kubectl_works_with_the_kubeconfig_and_nobody_else_gets_in(house: House, tmp_path: Path) -> None:
    house.up()
    own = Kubectl(newest_kubectl(), tmp_path, house.data / "kubeconfig")
    assert "Server Version: v1.37.0+localset." in own.out("version")
    assert "namespace/default" in own.out("get", "namespaces", "-o", "name")
    assert own.out("get", "--raw", "/livez/ping") == "ok"
    config = config_of(house)
    server = config["clusters"][0]["cluster"]["server"]
    assert server in own.out("cluster-info")
    assert (house.data / "kubeconfig").stat().st_mode & 0o777 == 0o600

    wrong = {**config, "users": [{"name": config["users"][0]["name"], "user": {"token": "wrong"}}]}
    (tmp_path / "wrong").write_text(yaml.safe_dump(wrong))
    refused = Kubectl(own.program, tmp_path, tmp_path / "wrong").run("get", "pods")
    assert (refused.returncode, "You must be logged in to the server" in refused.stderr) == (1, True)

    files = CertificateFiles(house.data / "tls")
    certificate, key = make_client(files, "bob", (), SystemClock().now())
    (tmp_path / "bob").write_text(kubeconfig("bob", server, files.ca.read_text(), certificate, key))
    refused = Kubectl(own.program, tmp_path, tmp_path / "bob").run("get", "pods")
    assert refused.stderr == (
        'Error from server (Forbidden): pods is forbidden: User "bob" cannot list resource "pods" in API group "" '
        'in the namespace "default"\n'
    )


def test_auth_commands_say_who_one_is_and_what_one_may(house: House, tmp_path: Path) -> None:
    house.up()
    for program in (find_kubectl("1.29"), newest_kubectl()):  # they ask in JSON, and in protobuf
        ask_who_and_what(Kubectl(program, tmp_path, house.data / "kubeconfig"))
    before_v1 = Kubectl(find_kubectl("1.27"), tmp_path, house.data / "kubeconfig")
    assert "localset-admin" in before_v1.out("auth", "whoami")


def ask_who_and_what(own: Kubectl) -> None:
    assert own.out("auth", "can-i", "create", "pods") == "yes\n"
    assert "localset-admin" in own.out("auth", "whoami")
    assert "*.*" in own.out("auth", "can-i", "--list")
    denied = own.run("auth", "can-i", "create", "pods", "--as=bob")
    assert (denied.returncode, denied.stdout) == (1, "no\n")
    token = own.out("create", "token", "default", "--duration=10m").strip()
    bare = yaml.safe_load(own.config.read_text())
    bare["users"][0]["user"] = {"token": token}
    config = own.home / "bare"
    config.write_text(yaml.safe_dump(bare))
    assert "system:serviceaccount:default:default" in Kubectl(own.program, own.home, config).out("auth", "whoami")


def test_the_kubeconfig_is_printed_written_merged_and_stays_right_after_a_restart(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.up()
    before = config_of(house)
    assert yaml.safe_load(house.run("kubeconfig").stdout) == before
    written = tmp_path / "written"
    house.run("kubeconfig", f"--write={written}")
    assert (written.stat().st_mode & 0o777, yaml.safe_load(written.read_text())) == (0o600, before)
    program = find_kubectl("1.32")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "merged"))
    (tmp_path / "merged").write_text("contexts:\n- {name: work, context: {cluster: work}}\ncurrent-context: work\n")
    house.run("kubeconfig", "--merge", "--context=mine")
    listed = Kubectl(program, tmp_path, tmp_path / "merged").out("config", "get-contexts", "-o", "name")
    assert set(listed.split()) == {"work", "mine"}
    assert "default" in house.run("kubectl", "get", "namespaces").stdout
    house.run("down")
    house.run("up")
    assert config_of(house) == before
    assert "namespace/default" in Kubectl(program, tmp_path, written).out("get", "ns", "-o", "name")


def pod(name: str, command: list[str], **spec: Any) -> str:
    environment = [{"name": "PYTHONPATH", "value": sysconfig.get_paths()["purelib"]}]
    # A checkout beneath /tmp, which is the Pod's own at level namespaces, would not be seen.
    mounts = [{"name": "python", "mountPath": sys.prefix, "readOnly": True}]
    container = {"name": "c", "image": "host", "command": command, "env": environment, "volumeMounts": mounts}
    volumes = [{"name": "python", "hostPath": {"path": sys.prefix}}]
    made = {"restartPolicy": "Never", "containers": [container], "volumes": volumes, **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": made})


def ended(house: House, name: str) -> str:
    until(lambda: (house.pod(name) or {}).get("status", {}).get("phase") in {"Succeeded", "Failed"}, 60, name)
    return house.run("logs", name).stdout


def test_a_program_in_a_pod_finds_the_api_as_in_a_cluster(house: House) -> None:
    house.up()
    if house.status()["isolation"] == "plain":
        pytest.skip("a Pod's files at their own paths need the loopback level")
    house.run("apply", "-f", "-", stdin=pod("inside", [sys.executable, "-c", INSIDE]))
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    look = ["/bin/sh", "-c", f"ls {folder}/ca.crt {folder}/namespace {folder}/token && cat {folder}/namespace"]
    house.run("apply", "-f", "-", stdin=pod("closed", look, automountServiceAccountToken=False))
    assert json.loads(ended(house, "inside").strip().splitlines()[-1]) == {
        "me": "system:serviceaccount:default:default",
        "found": True,
        "verified": True,
    }
    ended(house, "closed")
    assert (house.pod("closed") or {})["status"]["phase"] == "Failed"
