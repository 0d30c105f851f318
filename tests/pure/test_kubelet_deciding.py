"""The kubelet's pure parts: expansion, environment, plan, status, hosts, eager delays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.kubelet.environment import ConfigError, Sources, build_environment, field_value, service_variables
from localset.kubelet.expansion import expand
from localset.kubelet.hosts import HostEntry, HostsTable, hosts_header, resolv_conf
from localset.kubelet.identity import identity_of, owner_of
from localset.kubelet.plan import Finish, PodView, Start, Stop, WaitUntil, plan_pod
from localset.kubelet.probes import eager_delay
from localset.kubelet.records import Backoff, ContainerKind, ContainerRecord
from localset.kubelet.runtime import ProcessReport, ProcessState
from localset.kubelet.status import StatusFacts, make_status
from localset.machinery.metadata import condition_of

NOW = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$(LOOP)", "$(A)"),
        ("", ""),
    ],
)
def test_variables_expand_as_kubernetes_does(text: str, outcome: str):
    assert expand(text, {"A": "1", "LOOP": "$(A)"}) == outcome


@given(st.text(alphabet="$()AB"))
def test_expansion_of_any_text_ends_and_leaves_text_without_dollars_alone(text: str):
    outcome = expand(text, {"A": "x"})
    if "$" not in text:
        assert outcome == text


def sources(**more) -> Sources:
    found = {
        "find_config_map": lambda name: {"data": {"k": "v", "bad=": "x"}} if name == "conf" else None,
        "find_secret": lambda name: {"data": {"p": "c2VjcmV0"}} if name == "sec" else None,
        "services": [],
        "host_ip": "127.0.0.1",
        "pod_ip": "127.99.0.10",
        "allocatable": {"cpu": "2"},
    }
    return Sources(**{**found, **more})


POD = {
    "metadata": {"name": "web-0", "namespace": "default", "uid": "u", "labels": {"a": "1"}, "annotations": {}},
    "spec": {"hostname": "web-0", "subdomain": "web", "containers": [{"name": "c"}]},
}


def test_environment_order_is_base_services_from_sources_then_own_entries():
    container = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "conf"}, "prefix": "P_"}, {"secretRef": {"name": "sec"}}],
        "env": [
            {"name": "P_k", "value": "own"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "BOTH", "value": "$(P_k)/$(IP)/$(p)"},
            {"name": "EMPTY"},
        ],
    }
    built = build_environment(POD, container, {"PATH": "/bin"}, sources())
    assert built.variables == {
        "PATH": "/bin",
        "P_k": "own",
        "p": "secret",
        "IP": "127.99.0.10",
        "BOTH": "own/127.99.0.10/secret",
        "EMPTY": "",
    }
    assert built.skipped == ["bad="]


def test_a_missing_reference_is_an_error_unless_optional():
    entry = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}
    with pytest.raises(ConfigError, match='secret "none" not found'):
        build_environment(POD, {"name": "c", "env": [entry]}, {}, sources())
    entry["valueFrom"]["secretKeyRef"]["optional"] = True
    assert build_environment(POD, {"name": "c", "env": [entry]}, {}, sources()).variables == {}


def test_headless_services_give_no_variables_and_others_give_all_forms():
    metadata = {"name": "my-db", "namespace": "default"}
    service = {"metadata": metadata, "spec": {"clusterIP": "127.1.0.1", "ports": [{"name": "sql", "port": 5432}]}}
    found = service_variables(POD, [service, {**service, "spec": {**service["spec"], "clusterIP": "None"}}])
    assert found["MY_DB_SERVICE_HOST"] == "127.1.0.1"
    assert found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert found["MY_DB_PORT_5432_TCP"] == "tcp://127.1.0.1:5432"
    assert len(found) == 8


def test_downward_fields_and_subscripts():
    assert field_value(POD, "metadata.labels['a']", "", "") == "1"
    assert field_value(POD, "metadata.annotations['none']", "", "") == ""
    assert field_value(POD, "metadata.labels", "", "") == 'a="1"'
    with pytest.raises(ConfigError):
        field_value(POD, "spec.containers", "", "")


def record(name: str = "c", kind: ContainerKind = ContainerKind.MAIN, state: ProcessState | None = None, code: int = 1):
    made = ContainerRecord(name, kind)
    if state is not None:
        exit_code = code if state is ProcessState.EXITED else None
        made.report = ProcessReport(f"u.{name}.0", state, exit_code=exit_code, started_at=0.0, finished_at=1.0)
        made.run_id = made.report.run_id
        made.has_post_started = made.is_started = made.is_ready = state is ProcessState.RUNNING
    return made


def view(*records: ContainerRecord, **more) -> PodView:
    base = {
        "records": {r.name: r for r in records},
        "restart_policy": "Always",
        "wanted_hashes": {},
        "is_terminating": False,
        "is_finished": False,
        "may_start": True,
        "now": 100.0,
    }
    return PodView(**{**base, **more})


def test_plan_starts_in_order_and_waits_for_poststart():
    first, second = record("a"), record("b")
    assert plan_pod(view(first, second)) == [Start("a")]
    first = record("a", state=ProcessState.RUNNING)
    first.has_post_started = False
    assert plan_pod(view(first, second)) == []
    first.has_post_started = True
    assert plan_pod(view(first, second)) == [Start("b")]


def test_plan_waits_out_the_backoff_of_a_crashed_container():
    crashed = record("a", state=ProcessState.EXITED)
    crashed.over_at = 95.0
    crashed.backoff = Backoff(10.0, 90.0)
    assert plan_pod(view(crashed)) == [WaitUntil("a", 105.0)]
    assert plan_pod(view(crashed, now=105.0)) == [Start("a")]


def test_plan_ends_sidecars_last_and_in_reverse():
    one = record("s1", ContainerKind.SIDECAR, ProcessState.RUNNING)
    two = record("s2", ContainerKind.SIDECAR, ProcessState.RUNNING)
    main = record("m", state=ProcessState.RUNNING)
    assert [s.name for s in plan_pod(view(one, two, main, is_terminating=True))] == ["m"]
    main = record("m", state=ProcessState.EXITED)
    assert [s.name for s in plan_pod(view(one, two, main, is_terminating=True))] == ["s2"]
    two.stop_asked = True
    assert plan_pod(view(one, two, main, is_terminating=True)) == []


def test_plan_finishes_only_when_nothing_lives():
    assert plan_pod(view(record(state=ProcessState.EXITED), is_terminating=True)) == [Finish()]
    draining = record(state=ProcessState.DRAINING)
    draining.stop_asked = True
    assert plan_pod(view(draining, is_terminating=True)) == []


@given(
    st.lists(st.sampled_from([None, *ProcessState]), min_size=1, max_size=4),
    st.sampled_from(["Always", "OnFailure", "Never"]),
    st.booleans(),
    st.booleans(),
)
def test_a_terminating_pod_never_starts_and_no_running_container_is_started_twice(states, policy, terminating, paused):
    records = [record(f"c{i}", state=state) for i, state in enumerate(states)]
    steps = plan_pod(view(*records, restart_policy=policy, is_terminating=terminating, may_start=not paused))
    started = [step.name for step in steps if isinstance(step, Start)]
    assert not ((terminating or paused) and started)
    living = {r.name for r in records if r.is_running}
    assert living.isdisjoint(started)
    assert all(step.name in living for step in steps if isinstance(step, Stop))
    assert not (living and Finish() in steps)


def test_backoff_doubles_to_five_minutes_and_resets_after_ten():
    backoff, now, delays = Backoff(), 0.0, []
    for _ in range(8):
        due = backoff.due_after(now)
        delays.append(due - now)
        backoff.note_restart(now, due)
        now = due + 1
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.due_after(now + 700) == now + 700


def test_transition_times_move_only_when_a_condition_flips_and_foreign_conditions_stay():
    pod = {**POD, "status": {"conditions": [{"type": "mine", "status": "True"}]}}
    running = [record(state=ProcessState.RUNNING)]
    pod["status"] = make_status(pod, running, StatusFacts(NOW, "127.0.0.1", "127.9.9.9"))
    assert pod["status"]["phase"] == "Running"
    assert condition_of(pod, "mine") is not None
    later = make_status(pod, running, StatusFacts("2026-01-01T01:00:00Z", "127.0.0.1", "127.9.9.9"))
    assert later == pod["status"]
    running[0].is_ready = False
    flipped = {"status": make_status(pod, running, StatusFacts("2026-01-01T02:00:00Z", "h", "p"))}
    assert condition_of(flipped, "Ready")["lastTransitionTime"] == "2026-01-01T02:00:00Z"
    assert condition_of(flipped, "Initialized")["lastTransitionTime"] == NOW
    assert condition_of(flipped, "Ready")["message"] == "containers with unready status: [c]"


def test_an_unknown_end_is_never_code_zero():
    lost = record(state=ProcessState.UNKNOWN)
    status = make_status(POD, [lost], StatusFacts(NOW, "h", "p"))
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


ENTRIES = st.builds(
    HostEntry,
    st.sampled_from(["127.0.0.1", "127.100.200.250"]),
    st.sampled_from(["zk-0", "zk-1", "zk-10"]),
    st.just("zk"),
    st.sampled_from(["default", "other"]),
)


@given(st.lists(st.tuples(st.booleans(), st.sets(ENTRIES)), max_size=30))
def test_hosts_writes_applied_one_by_one_give_the_same_file_as_writing_anew(changes):
    table, file, live = HostsTable("default", "cluster.local"), bytearray(), set()
    for is_coming, entries in changes:
        writes = table.update([] if is_coming else entries, entries if is_coming else [])
        live = live | entries if is_coming else live - entries
        if writes is None:
            file = bytearray(table.content)
        for offset, data in writes or []:
            file[offset : offset + len(data)] = data
        assert file == table.content
    shown = {line.split()[1] + line.split()[0] for line in file.decode().splitlines() if not line.startswith("#")}
    assert shown == {f"{e.hostname}.zk.{e.namespace}.svc.cluster.local{e.address}" for e in live}


def test_the_hosts_file_begins_with_the_pods_own_line_and_full_name():
    lines = hosts_header(POD, "127.9.9.9", "cluster.local").decode().splitlines()
    assert lines[0] == "127.9.9.9\tweb-0.web.default.svc.cluster.local web-0"
    assert "127.0.0.1\tlocalhost" in lines


def test_resolv_conf_searches_the_namespace_first():
    text = resolv_conf(POD, "127.9.0.3", "cluster.local", lambda: "")
    assert "nameserver 127.9.0.3\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n" in text
    assert "ndots:5" in text


@given(st.floats(0, 600), st.floats(0, 30), st.floats(1, 60))
def test_eager_tries_are_never_closer_than_50_ms_and_never_rarer_than_the_period(elapsed, took, period):
    assert 0.05 <= eager_delay(elapsed, took, period) <= period


def test_eager_tries_begin_at_50_ms_and_reach_the_period_after_a_minute():
    assert eager_delay(0.0, 0.001, 10) == 0.05
    assert eager_delay(0.0, 0.1, 10) == 0.4
    assert eager_delay(60.0, 0.001, 10) == 10


def test_users_come_from_the_container_then_the_pod_then_the_image():
    pod = {"spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 2000}, "containers": []}}
    assert identity_of(pod, {}, 5, 6).user == 1000
    assert identity_of(pod, {"securityContext": {"runAsUser": 7}}, 5, 6).user == 7
    assert identity_of({}, {}, 5, 6).group == 6
    assert identity_of(pod, {}, None, None).supplementary == (2000,)
    assert (owner_of(pod).uid, owner_of(pod).gid) == (1000, 2000)
