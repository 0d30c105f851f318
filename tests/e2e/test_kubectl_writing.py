"""Every command of kubectl that writes objects, old and new: create, apply, replace, diff, patch, set, edit, delete."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.house import until
from tests.e2e.resident import BEFORE, WEB, Resident

CHART = Path(__file__).parent / "manifests" / "chart.yaml"
STILL = WEB.replace("replicas: 2", "replicas: 0").replace("web", "still").replace("still-", "web-")
"""A set without Pods, for what needs none."""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, labels: {app: kept}}
data: {a: "1"}
"""
PAIR = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: pair-a, labels: {app: pair}}, data: {a: b}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: pair-b, labels: {app: pair}}, data: {a: b}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {helm.sh/chart: web-1.0.0}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""
INSTEAD = (
    'kind: Unsupported value: "Deployment": localset runs StatefulSets and Pods: '
    "write it as a StatefulSet (apps/v1) with the same selector and template and a serviceName"
)
FILE = ("-f", "-")


@pytest.fixture(scope="module", params=[*BEFORE, "newest"])
def kubectl(resident: Callable[[str], Resident], request: pytest.FixtureRequest) -> Iterator[Resident]:
    given = resident(request.param)
    given.quiet("apply", *FILE, stdin=STILL)
    yield given
    given.quiet("delete", *FILE, stdin=STILL)


def field(kubectl: Resident, path: str, *what: str) -> str:
    return kubectl.quiet("get", *what, "-o", f"jsonpath={{{path}}}")


CREATED = {
    "configmap {} --from-literal=a=b": "configmap/{}",
    "secret generic {} --from-literal=a=b": "secret/{}",
    "secret docker-registry {} --docker-username=a --docker-password=b --docker-email=c@d": "secret/{}",
    "service clusterip {} --tcp=80:80": "service/{}",
    "service nodeport {} --tcp=80:80": "service/{}",
    "service loadbalancer {} --tcp=80:80": "service/{}",
    "service externalname {} --external-name=a.b": "service/{}",
    "serviceaccount {}": "serviceaccount/{}",
    "poddisruptionbudget {} --selector=app=a --min-available=1": "poddisruptionbudget.policy/{}",
    "role {} --verb=get --resource=pods": "role.rbac.authorization.k8s.io/{}",
    "rolebinding {} --role=r --serviceaccount=default:default": "rolebinding.rbac.authorization.k8s.io/{}",
    "clusterrole {} --verb=get --resource=pods": "clusterrole.rbac.authorization.k8s.io/{}",
    "clusterrolebinding {} --clusterrole=r --user=x": "clusterrolebinding.rbac.authorization.k8s.io/{}",
    "quota {} --hard=pods=10": "resourcequota/{}",
    "priorityclass {} --value=10": "priorityclass.scheduling.k8s.io/{}",
    "ingress {} --rule=foo.com/=svc:80": "ingress.networking.k8s.io/{}",
}
DESCRIBED = ("ingress", "netpol", "role", "rolebinding", "secret", "pdb", "sa")
WITHOUT_EFFECT = ("role", "clusterrole", "quota", "priorityclass", "ingress")


def test_create_makes_each_kind_that_it_knows(kubectl: Resident) -> None:
    made = []
    for number, (words, shown) in enumerate(CREATED.items()):
        name = f"made-{number}-{kubectl.namespace}"
        done = kubectl.run("create", *words.format(name).split())
        assert (done.returncode, done.stdout) == (0, f"{shown.format(name)} created\n"), done.stderr
        warned = r"Warning: \w+: no effect here: .*\n" if words.startswith(WITHOUT_EFFECT) else ""
        if words.startswith("poddisruptionbudget") and kubectl.is_old:
            warned = "Warning: policy/v1beta1 PodDisruptionBudget is deprecated in v1.21.*\n"
        assert re.fullmatch(warned, done.stderr), done.stderr
        made.append(shown.format(name))
    assert kubectl.quiet("get", *made[-2:], "-o", "name").split() == made[-2:]
    assert kubectl.quiet("delete", *made).count(" deleted") == len(made)


def test_create_refuses_what_runs_nothing_here_and_says_what_to_write_instead(kubectl: Resident) -> None:
    for words, kind in (
        (("deployment", "d", "--image=nginx"), "Deployment.apps"), (("job", "j", "--image=nginx"), "Job.batch"),
    ):  # fmt: skip
        told = kubectl.refusal("create", *words)
        assert told.startswith(f'error: failed to create {words[0]}: {kind} "{words[1]}" is invalid: kind: Unsupported')
        assert "localset runs StatefulSets and Pods: write " in told
    for words in (("create",), ("apply",), ("apply", "--server-side")):
        if not (kubectl.is_old and len(words) > 1):
            told = kubectl.refusal(*words, *FILE, stdin=DEPLOYMENT)
            assert told in {
                f'The Deployment "web" is invalid: {INSTEAD}\n',
                f'Deployment.apps "web" is invalid: {INSTEAD}\n',
            }


def test_files_literals_certificates_and_tokens_are_created(kubectl: Resident, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("text\n")
    assert kubectl.quiet("create", "cm", "of-file", f"--from-file={tmp_path}/some.txt") == "configmap/of-file created\n"
    assert field(kubectl, r".data.some\.txt", "cm", "of-file") == "text\n"
    users = yaml.safe_load(kubectl.config.read_text())["users"][0]["user"]
    for key, suffix in (("client-certificate-data", "crt"), ("client-key-data", "key")):
        (tmp_path / f"tls.{suffix}").write_bytes(base64.b64decode(users[key]))
    pair = (f"--cert={tmp_path}/tls.crt", f"--key={tmp_path}/tls.key")
    assert kubectl.quiet("create", "secret", "tls", "pair", *pair) == "secret/pair created\n"
    assert field(kubectl, ".type", "secret", "pair") == "kubernetes.io/tls"
    for how, created in (("server", r'creationTimestamp: "20'), ("client", "creationTimestamp: null")):
        shown = kubectl.quiet("create", "cm", "dry", "--from-literal=a=b", f"--dry-run={how}", "-o", "yaml")
        assert created in shown or (how == "client" and "creationTimestamp" not in shown)
        assert ("uid: " in shown) is (how == "server")
    again = kubectl.refusal("create", "cm", "of-file")
    assert again.endswith('configmaps "of-file" already exists\n')
    assert kubectl.refusal("-n", "nonesuch", "create", "cm", "a").endswith('namespaces "nonesuch" not found\n')
    if not kubectl.is_old:
        assert len(kubectl.quiet("create", "token", "default", "--duration=1h").split(".")) == 3


def test_apply_creates_changes_and_leaves_alone(kubectl: Resident) -> None:
    apply = ("apply", *FILE)
    for how, shown in (("server", "created (server dry run)"), ("client", "created (dry run)")):
        assert kubectl.quiet(*apply, f"--dry-run={how}", stdin=CONFIG_MAP) == f"configmap/kept {shown}\n"
    assert kubectl.quiet(*apply, stdin=CONFIG_MAP) == "configmap/kept created\n"
    assert kubectl.quiet(*apply, stdin=CONFIG_MAP) == "configmap/kept unchanged\n"
    changed = CONFIG_MAP.replace('"1"', '"2"')
    shown = kubectl.run("diff", *FILE, stdin=changed)
    assert (shown.returncode, shown.stderr) == (1, "")
    assert '-  a: "1"\n+  a: "2"\n' in shown.stdout
    assert kubectl.quiet(*apply, stdin=changed) == "configmap/kept configured\n"
    assert kubectl.quiet("diff", *FILE, stdin=changed) == ""
    assert 'a: "2"' in kubectl.quiet("apply", "view-last-applied", "cm", "kept")
    assert kubectl.quiet("apply", "set-last-applied", *FILE, stdin=CONFIG_MAP) == "configmap/kept configured\n"
    assert kubectl.quiet(*apply, stdin=PAIR) == "configmap/pair-a created\nconfigmap/pair-b created\n"
    prune = "--prune-whitelist" if kubectl.is_old else "--prune-allowlist"
    one = CONFIG_MAP.replace("{name: kept", "{name: pair-b").replace("kept", "pair")
    pruned = kubectl.quiet(*apply, "--prune", "-l", "app=pair", f"{prune}=core/v1/ConfigMap", stdin=one)
    assert pruned == "configmap/pair-b configured\nconfigmap/pair-a pruned\n"
    if not kubectl.is_old:  # 1.20 prunes CronJobs of batch/v1beta1, which a new server does not know
        kubectl.quiet(*apply, stdin=PAIR)
        done = kubectl.run(*apply, "--prune", "-l", "app=pair", stdin=one)
        assert (done.returncode, done.stdout) == (0, "configmap/pair-b configured\nconfigmap/pair-a pruned\n")
    kubectl.quiet("create", "cm", "bare")
    bare = kubectl.run(*apply, stdin=CONFIG_MAP.replace("kept", "bare"))
    assert bare.stdout == "configmap/bare configured\n"
    assert "missing the kubectl.kubernetes.io/last-applied-configuration annotation" in bare.stderr


def test_apply_on_the_server_tells_conflicts(kubectl: Resident) -> None:
    apply = ("apply", "--server-side", *FILE)
    ours = CONFIG_MAP.replace("kept", "shared")
    assert kubectl.quiet(*apply, stdin=ours) == "configmap/shared serverside-applied\n"
    theirs = ours.replace('"1"', '"2"')
    told = kubectl.refusal(*apply, "--field-manager=other", stdin=theirs)
    assert re.match('(error: )?Apply failed with 1 conflict: conflict with "kubectl".*: .data.a', told)
    assert kubectl.quiet(*apply, "--field-manager=other", "--force-conflicts", stdin=theirs) == (
        "configmap/shared serverside-applied\n"
    )
    done = kubectl.run("diff", "--server-side", "--force-conflicts", *FILE, stdin=ours.replace('"1"', '"3"'))
    assert (done.returncode, done.stderr) == (1, "")
    assert '+  a: "3"' in done.stdout


def test_kustomizations_are_applied_and_deleted(kubectl: Resident, tmp_path: Path) -> None:
    (tmp_path / "cm.yaml").write_text(CONFIG_MAP)
    generator = "configMapGenerator: [{name: gen, literals: [a=b]}]"
    (tmp_path / "kustomization.yaml").write_text(f"namePrefix: k-\nresources: [cm.yaml]\n{generator}\n")
    applied = kubectl.quiet("apply", "-k", str(tmp_path))
    assert re.fullmatch(r"configmap/k-gen-\w+ created\nconfigmap/k-kept created\n", applied)
    assert "k-kept" in kubectl.quiet("delete", "-k", str(tmp_path))


def test_replace_wants_what_is_there_and_force_makes_it_anew(kubectl: Resident) -> None:
    there = CONFIG_MAP.replace("kept", "there")
    assert kubectl.refusal("replace", *FILE, stdin=there) == (
        'Error from server (NotFound): error when replacing "STDIN": configmaps "there" not found\n'
    )
    assert kubectl.quiet("create", *FILE, stdin=there) == "configmap/there created\n"
    uid = field(kubectl, ".metadata.uid", "cm", "there")
    assert kubectl.quiet("replace", *FILE, stdin=there) == "configmap/there replaced\n"
    assert field(kubectl, ".metadata.uid", "cm", "there") == uid
    forced = kubectl.quiet("replace", "--force", *FILE, stdin=there)
    assert forced == 'configmap "there" deleted\nconfigmap/there replaced\n'
    assert field(kubectl, ".metadata.uid", "cm", "there") != uid


def test_unknown_fields_are_refused_or_warned_of(kubectl: Resident) -> None:
    odd = CONFIG_MAP.replace("kept", "odd") + "bogus: 1\n"
    for words in (("create",), ("apply",), ("apply", "--server-side")):
        assert "bogus" in kubectl.refusal(*words, *FILE, stdin=odd)
    if kubectl.is_old:
        assert kubectl.out("create", "--validate=false", *FILE, stdin=odd) == "configmap/odd created\n"
    else:
        done = kubectl.run("create", "--validate=warn", *FILE, stdin=odd)
        assert (done.stdout, done.stderr) == ("configmap/odd created\n", 'Warning: unknown field "bogus"\n')


def test_each_kind_of_patch_changes_and_says_so(kubectl: Resident) -> None:
    patch = ("patch", "sts", "still")
    changed = "statefulset.apps/still patched\n"
    same = "statefulset.apps/still patched (no change)\n"
    container = '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"IMAGE"}]}}}}'
    assert kubectl.quiet(*patch, "-p", container.replace("IMAGE", "busybox")) == changed
    assert kubectl.quiet(*patch, "-p", container.replace("IMAGE", "busybox")) == same
    assert field(kubectl, ".spec.template.spec.containers[0].command[0]", "sts", "still") == "sh"
    assert kubectl.quiet(*patch, "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}') == changed
    json_patch = '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"host"}]'
    assert kubectl.quiet(*patch, "--type=json", "-p", json_patch) == changed
    assert kubectl.refusal(*patch, "-p", '{"spec":') == "Error from server (BadRequest): unexpected EOF\n"
    told = kubectl.refusal(*patch, "-p", '{"spec":{"serviceName":"x"}}')
    assert told.startswith(
        'The StatefulSet "still" is invalid: spec: Forbidden: updates to statefulset spec for fields'
    )
    if not kubectl.is_old:
        scale = ("--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}')
        assert kubectl.quiet(*patch, *scale) == "scale.autoscaling/still patched (no change)\n"
        status = ("--subresource=status", "--type=merge", "-p", '{"status":{"replicas":0}}')
        assert kubectl.quiet(*patch, *status) == same


def test_set_changes_images_variables_resources_accounts_and_selectors(kubectl: Resident) -> None:
    done = "statefulset.apps/still {} updated\n".format
    assert kubectl.quiet("set", "image", "sts/still", "main=busybox") == done("image")
    assert kubectl.quiet("set", "env", "sts/still", "FOO=bar") == done("env")
    assert kubectl.quiet("set", "env", "sts/still", "--list") == "# StatefulSet still, container main\nFOO=bar\n"
    assert kubectl.quiet("set", "resources", "sts/still", "--requests=cpu=1m") == done("resource requirements")
    assert kubectl.quiet("set", "serviceaccount", "sts", "still", "default") == done("serviceaccount")
    assert kubectl.quiet("set", "selector", "svc", "still", "app=still") == "service/still selector updated\n"
    limited = kubectl.run("set", "resources", "sts/still", "--limits=cpu=1")
    assert limited.stdout == done("resource requirements")
    assert limited.stderr == (
        "Warning: spec.template.spec.containers[0].resources.limits: no effect here: processes share the machine "
        "unlimited\n"
    )
    without = '[{"op":"remove","path":"/spec/template/spec/containers/0/resources/limits"}]'
    kubectl.quiet("patch", "sts", "still", "--type=json", "-p", without)


def test_labels_and_annotations_are_set_kept_and_removed(kubectl: Resident) -> None:
    label = ("label", "sts", "still")
    assert kubectl.quiet(*label, "tier=a") == "statefulset.apps/still labeled\n"
    assert kubectl.refusal(*label, "tier=b") == "error: 'tier' already has a value (a), and --overwrite is false\n"
    assert kubectl.quiet(*label, "tier=b", "--overwrite") == "statefulset.apps/still labeled\n"
    assert "tier=b" in kubectl.quiet(*label, "--list")
    removed = "statefulset.apps/still {}\n".format("labeled" if kubectl.is_old else "unlabeled")
    assert kubectl.quiet(*label, "tier-") == removed
    assert kubectl.quiet("annotate", "sts", "still", "note=x", "--overwrite") == "statefulset.apps/still annotated\n"
    assert "note=x" in kubectl.quiet("annotate", "sts", "still", "--list")


def test_edit_writes_what_the_editor_leaves(kubectl: Resident, tmp_path: Path) -> None:
    editor = tmp_path / "editor"

    def edited(script: str) -> dict[str, str]:
        editor.write_text(f'#!/bin/sh\nsed -i "{script}" "$1"\n')
        editor.chmod(0o755)
        return {"KUBE_EDITOR": str(editor), "TMPDIR": str(tmp_path)}

    edit = ("edit", "sts", "still")
    change = edited("s/terminationGracePeriodSeconds: 2/terminationGracePeriodSeconds: 3/")
    assert kubectl.quiet(*edit, **change) == "statefulset.apps/still edited\n"
    assert field(kubectl, ".spec.template.spec.terminationGracePeriodSeconds", "sts", "still") == "3"
    assert kubectl.run(*edit, **change).stderr == "Edit cancelled, no changes made.\n"
    told = kubectl.refusal(*edit, **edited("s/serviceName: still/serviceName: other/"))
    assert re.fullmatch(
        'error: statefulsets.apps "still" is invalid\nA copy of your changes has been stored to ".*"\n'
        "error: Edit cancelled, no valid changes were saved.\n", told,
    )  # fmt: skip


def test_delete_takes_files_names_labels_and_paths(kubectl: Resident, tmp_path: Path) -> None:
    kubectl.quiet("apply", *FILE, stdin=PAIR)
    for how, shown in (("server", "deleted (server dry run)"), ("client", "deleted (dry run)")):
        assert kubectl.quiet("delete", "cm", "pair-a", f"--dry-run={how}") == f'configmap "pair-a" {shown}\n'
    assert kubectl.quiet("delete", "cm", "-l", "app=pair") == 'configmap "pair-a" deleted\nconfigmap "pair-b" deleted\n'
    assert kubectl.refusal("delete", "cm", "pair-a") == (
        'Error from server (NotFound): configmaps "pair-a" not found\n'
    )
    assert kubectl.quiet("delete", "cm", "pair-a", "--ignore-not-found") == ""
    assert 'configmap "kube-root-ca.crt" deleted\n' in kubectl.quiet("delete", "cm", "--all")
    raw = tmp_path / "raw.json"
    raw.write_text('{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"raw"}}')
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    assert json.loads(kubectl.quiet("create", "--raw", path, "-f", str(raw)))["metadata"]["name"] == "raw"
    assert json.loads(kubectl.quiet("delete", "--raw", f"{path}/raw"))["status"] == "Success"


def test_autoscale_makes_what_has_no_effect_in_the_version_that_it_speaks(kubectl: Resident) -> None:
    made = kubectl.run("autoscale", "sts/still", "--min=1", "--max=3", "--cpu-percent=60")
    assert made.stdout == "horizontalpodautoscaler.autoscaling/still autoscaled\n"
    assert made.stderr.startswith("Warning: HorizontalPodAutoscaler: no effect here: ")
    assert kubectl.table("get", "hpa", "still")[1][:5] == ["still", "StatefulSet/still", "cpu: <unknown>/60%", "1", "3"]
    in_v1 = ("horizontalpodautoscalers.v1.autoscaling", "still")
    assert field(kubectl, ".spec.targetCPUUtilizationPercentage", *in_v1) == "60"
    kubectl.quiet("delete", "hpa", "still")


def test_a_rendered_chart_applies_but_for_what_runs_nothing_here_and_warns_of_what_has_no_effect(
    kubectl: Resident,
) -> None:
    chart = CHART.read_text().replace("NAMESPACE", kubectl.namespace)
    applied = kubectl.run("apply", *FILE, stdin=f"{chart}---{DEPLOYMENT}")
    assert applied.returncode == 1
    assert [line.rpartition(" ")[2] for line in applied.stdout.splitlines()] == ["created"] * 13
    kinds = re.findall(r"Warning: (\w+): no effect here: \S.*\n", applied.stderr)
    assert kinds == ["NetworkPolicy", "Role", "RoleBinding", "HorizontalPodAutoscaler", "Ingress", "PriorityClass"]
    *_, last = applied.stderr.splitlines()
    assert last == f'The Deployment "web" is invalid: {INSTEAD}'
    assert applied.stderr.count("\n") == len(kinds) + 1
    kubectl.quiet("rollout", "status", "sts/release-store", "--timeout=30s")
    again = kubectl.quiet("apply", *FILE, stdin=chart)
    assert "created" not in again
    assert kubectl.quiet("diff", *FILE, stdin=chart) == ""
    budget = ["release-store", "N/A", "1", "1", "AGE"]
    until(lambda: kubectl.table("get", "pdb", "release-store")[1] == budget, why="the budget's count")
    described = kubectl.out("describe", *(f"{kind}/release-store" for kind in DESCRIBED))
    for text in (
        "release-store:tcp-store", "To Port: 7000/TCP", "endpoints  []", "password:  6 bytes",
        "Allowed disruptions:  1",
    ):  # fmt: skip
        assert text in described
    target = r"Target CPU utilization:\s+80%" if kubectl.is_old else "<unknown> / 80%"
    assert re.search(target, kubectl.quiet("describe", "hpa", "release-store"))
    assert kubectl.quiet("delete", *FILE, stdin=chart).count(" deleted") == 13
