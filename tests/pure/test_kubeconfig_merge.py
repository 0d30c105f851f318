"""A context is added to the user's kubeconfig and nothing else in it changes."""

import base64

import pytest
import yaml

from localset.cli.kubeconfig import merged_config
from localset.cli.output import CommandError
from localset.daemon.kubeconfig import kubeconfig

MINE = kubeconfig("localset", "https://127.0.0.1:2", "CA", "CERT", "KEY")
THEIRS = """\
apiVersion: v1
kind: Config
current-context: work
clusters:
- cluster: {server: "https://work:6443", insecure-skip-tls-verify: yes}
  name: work
- name: localset
  cluster:
    server: https://127.0.0.1:1
contexts:
- context: {cluster: work, user: me, namespace: '0123'}
  name: work
users:
- name: me
  user:
    exec: {command: login, env: null}
    expiry: 2026-01-01T00:00:00Z
preferences: {colors: true}
extensions:
- name: kept
"""


def entry(config: dict, section: str, name: str) -> dict:
    (found,) = [entry for entry in config[section] if entry["name"] == name]
    return found


def test_a_kubeconfig_has_one_context_with_all_that_a_client_needs() -> None:
    config = yaml.safe_load(MINE)
    assert config["current-context"] == "localset"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:2"
    assert base64.b64decode(config["users"][0]["user"]["client-key-data"]) == b"KEY"


def test_an_empty_file_becomes_ours() -> None:
    for empty in ("", "# nothing yet\n"):
        assert yaml.safe_load(merged_config(empty, MINE)) == yaml.safe_load(MINE)


def test_the_rest_of_the_file_is_kept_and_the_old_entry_replaced() -> None:
    merged = merged_config(THEIRS, MINE)
    config, before, mine = yaml.safe_load(merged), yaml.safe_load(THEIRS), yaml.safe_load(MINE)
    assert entry(config, "clusters", "localset") == mine["clusters"][0]
    assert entry(config, "users", "localset") == mine["users"][0]
    assert entry(config, "contexts", "localset") == mine["contexts"][0]
    assert config["current-context"] == "work"
    assert [entry["name"] for entry in config["clusters"]] == ["work", "localset"]
    for section, name in (("clusters", "work"), ("contexts", "work"), ("users", "me")):
        assert entry(config, section, name) == entry(before, section, name)
    assert (config["preferences"], config["extensions"]) == ({"colors": True}, [{"name": "kept"}])
    # NB: the very spelling stays: another YAML reader may take `yes` and dates for texts.
    assert "insecure-skip-tls-verify: yes" in merged
    assert "expiry: 2026-01-01T00:00:00Z" in merged
    assert merged_config(merged, MINE) == merged


def test_sections_that_are_absent_or_null_are_made() -> None:
    merged = yaml.safe_load(merged_config("clusters: null\ncurrent-context: ''\n", MINE))
    assert merged["current-context"] == "localset"
    assert [len(merged[section]) for section in ("clusters", "users", "contexts")] == [1, 1, 1]


@pytest.mark.parametrize("text", ["[1, 2]", "{", "just words"])
def test_what_is_no_kubeconfig_is_left_alone(text: str) -> None:
    with pytest.raises(CommandError):
        merged_config(text, MINE)
