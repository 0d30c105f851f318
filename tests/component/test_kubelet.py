"""The kubelet over a fake runtime and virtual time: start, readiness, restart, end, restore."""

from dataclasses import replace
from pathlib import Path

import pytest

from localset.client.client import DeleteOptions
from localset.kubelet.runtime import ExecResult, ProcessState
from localset.kubelet.settings import ProbeTiming
from tests.component.kubelet_house import (
    House,
    is_ready,
    make_container,
    make_pod,
    opened_house,
    state_of,
)

EXEC_READY = {"exec": {"command": ["ok"]}, "initialDelaySeconds": 15, "periodSeconds": 10}


@pytest.fixture
async def house(tmp_path: Path):
    async with opened_house(tmp_path) as opened:
        yield opened


async def start(house: House, pod: dict) -> dict:
    await house.client.create("pods", pod)
    return await house.until_pod(pod["metadata"]["name"], lambda p: (p.get("status") or {}).get("phase") == "Running")


async def test_a_bound_pod_runs_and_is_ready_with_an_address_of_its_own(house: House):
    pod = await start(house, make_pod())
    assert is_ready(pod)
    assert pod["status"]["podIP"].startswith("127.99.")
    assert state_of(pod)["state"]["running"]["startedAt"]
    pod = await house.until_pod("web-0", lambda p: p["metadata"].get("annotations"))
    assert pod["metadata"]["annotations"]["localset.dev/host-address"] == pod["status"]["podIP"]
    book = await house.client.get("configmaps", "kube-system", "localset-addresses")
    assert book["data"] == {"default.web-0": pod["status"]["podIP"]}


async def test_the_node_is_registered_and_ready(house: House):
    node = await house.client.get("nodes", "", "here")
    labels = node["metadata"]["labels"]
    assert labels["beta.kubernetes.io/os"] == labels["kubernetes.io/os"]
    assert is_ready(node)
    assert node["status"]["nodeInfo"]["bootID"]


async def test_nothing_is_written_while_idle(house: House):
    await start(house, make_pod())
    await house.settle()
    before = house.client._version
    await house.advance(600)
    await house.settle()
    assert house.client._version == before


async def test_readiness_is_believed_at_the_first_early_success(house: House):
    answers = iter([1, 1, 1, 0])
    house.runtime.on_exec = lambda _: ExecResult(next(answers, 0), b"")
    await house.client.create("pods", make_pod(containers=[make_container(readinessProbe=EXEC_READY)]))
    pod = await house.until_pod("web-0", lambda p: p["status"]["phase"] == "Running")
    assert not is_ready(pod)
    await house.advance(0.2)
    await house.until_pod("web-0", is_ready)
    assert len(house.runtime.executed) == 4


async def test_readiness_is_lost_after_failure_threshold_and_comes_back(house: House):
    code = [0]
    house.runtime.on_exec = lambda _: ExecResult(code[0], b"not\x1b[31m yet")
    await house.client.create("pods", make_pod(containers=[make_container(readinessProbe=EXEC_READY)]))
    await house.until_pod("web-0", is_ready)
    code[0] = 1
    await house.advance(25)
    assert is_ready(await house.pod("web-0"))
    await house.advance(10)
    pod = await house.until_pod("web-0", lambda p: not is_ready(p))
    assert pod["status"]["phase"] == "Running"
    assert "\x1b" not in await house.until_event("Unhealthy", "Readiness probe failed: not")
    code[0] = 0
    await house.advance(10)
    await house.until_pod("web-0", is_ready)


async def test_a_failing_liveness_probe_restarts_the_container(house: House):
    code = [1]
    house.runtime.on_exec = lambda _: ExecResult(code[0], b"dead")
    probe = {"exec": {"command": ["ok"]}, "periodSeconds": 10, "initialDelaySeconds": 15}
    pod = await start(house, make_pod(containers=[make_container(livenessProbe=probe)]))
    await house.advance(34)
    assert state_of(await house.pod("web-0"))["restartCount"] == 0
    await house.advance(2)
    pod = await house.until_pod("web-0", lambda p: state_of(p)["restartCount"] == 1)
    assert state_of(pod)["lastState"]["terminated"]["exitCode"] == 143
    await house.until_event("Killing", "Container main failed liveness probe, will be restarted")


async def test_the_first_crash_restarts_at_once_and_later_ones_back_off(house: House):
    await start(house, make_pod())
    house.runtime.end(house.runtime.spawned[-1], 1)
    await house.until_pod("web-0", lambda p: state_of(p)["restartCount"] == 1 and is_ready(p))
    house.runtime.end(house.runtime.spawned[-1], 7)
    pod = await house.until_pod("web-0", lambda p: "waiting" in state_of(p)["state"])
    waiting = state_of(pod)["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"].startswith("back-off 10s restarting failed container=main pod=web-0_default(")
    assert state_of(pod)["lastState"]["terminated"]["exitCode"] == 7
    assert pod["status"]["phase"] == "Running"
    await house.advance(9.5)
    assert len(house.runtime.spawned) == 2
    await house.advance(0.6)
    await house.until(lambda: len(house.runtime.spawned) == 3)
    house.runtime.end(house.runtime.spawned[-1], 7)
    await house.until_pod("web-0", lambda p: "20s" in str(state_of(p)["state"]))


async def test_a_bare_pod_with_policy_never_ends_in_its_phase(house: House):
    await start(house, make_pod("ok", restartPolicy="Never"))
    house.runtime.end(house.runtime.spawned[-1], 0)
    await house.until_pod("ok", lambda p: p["status"]["phase"] == "Succeeded")
    await start(house, make_pod("bad", restartPolicy="OnFailure"))
    house.runtime.end(house.runtime.spawned[-1], 2)
    await house.until_pod("bad", lambda p: state_of(p)["restartCount"] == 1)


async def test_deletion_stops_with_the_grace_and_removes_object_files_and_record(house: House):
    pod = await start(house, make_pod())
    directory = house.settings.pods_directory / pod["metadata"]["uid"]
    assert directory.is_dir()
    await house.client.delete("pods", "default", "web-0")
    await house.until(lambda: not directory.exists())
    assert await house.pod("web-0") == {}
    assert house.runtime.stopped[0][1] == pytest.approx(30, abs=0.1)
    assert house.runtime.reports == {}


async def test_a_second_deletion_with_less_grace_shortens_the_first(house: House):
    house.runtime.obeys_stop = False
    await start(house, make_pod())
    await house.client.delete("pods", "default", "web-0")
    await house.until(lambda: house.runtime.stopped)
    await house.client.delete("pods", "default", "web-0", DeleteOptions(grace_period_seconds=5))
    await house.until(lambda: len(house.runtime.stopped) == 2)
    assert house.runtime.stopped[1][1] == pytest.approx(5, abs=0.1)


async def test_a_successor_waits_until_the_forced_out_predecessor_is_over(house: House):
    house.runtime.obeys_stop = False
    await start(house, make_pod())
    first = house.runtime.spawned[0]
    await house.client.delete("pods", "default", "web-0", DeleteOptions(grace_period_seconds=0))
    await house.client.create("pods", make_pod())
    await house.until(lambda: house.runtime.stopped)
    await house.settle()
    assert house.runtime.spawned == [first]
    house.runtime.end(first, 137, signal=9)
    await house.until(lambda: len(house.runtime.spawned) == 2)


async def test_prestop_runs_first_and_uses_up_the_grace(house: House):
    hooks = {"preStop": {"sleep": {"seconds": 8}}}
    await start(house, make_pod(containers=[make_container(lifecycle=hooks)]))
    await house.client.delete("pods", "default", "web-0")
    await house.settle()
    assert house.runtime.stopped == []
    await house.advance(9)
    await house.until(lambda: house.runtime.stopped)
    assert house.runtime.stopped[0][1] == pytest.approx(22, abs=0.5)


async def test_a_failing_poststart_hook_restarts_the_container(house: House):
    house.runtime.on_exec = lambda _: ExecResult(3, b"no")
    hooks = {"postStart": {"exec": {"command": ["hook"]}}}
    await house.client.create("pods", make_pod(containers=[make_container(lifecycle=hooks)]))
    await house.until(lambda: len(house.runtime.spawned) == 2)
    await house.until_event("FailedPostStartHook", "PostStartHook failed: no")


async def test_init_containers_run_one_after_the_other_before_the_main_one(house: House):
    inits = [make_container("first"), make_container("side", restartPolicy="Always"), make_container("second")]
    await house.client.create("pods", make_pod(initContainers=inits))
    await house.until(lambda: len(house.runtime.spawned) == 1)
    pod = await house.until_pod("web-0", lambda p: p["status"].get("conditions"))
    assert pod["status"]["phase"] == "Pending"
    house.runtime.end(house.runtime.spawned[0], 0)
    await house.until(lambda: len(house.runtime.spawned) == 3)
    names = [house.runtime.specs[run].container for run in house.runtime.spawned]
    assert names == ["first", "side", "second"]
    house.runtime.end(house.runtime.spawned[2], 0)
    await house.until_pod("web-0", is_ready)
    assert house.runtime.specs[house.runtime.spawned[3]].container == "main"


async def test_an_image_edit_restarts_the_container_in_place(house: House):
    pod = await start(house, make_pod())
    changed = {**pod, "spec": {**pod["spec"], "containers": [make_container(image="app:2")]}}
    changed["metadata"] = {k: v for k, v in pod["metadata"].items() if k != "resourceVersion"}
    await house.client.update("pods", changed)
    pod = await house.until_pod("web-0", lambda p: state_of(p)["restartCount"] == 1 and is_ready(p))
    assert state_of(pod)["image"] == "app:2"


async def test_an_unknown_image_says_what_to_do_and_starts_once_it_is_added(house: House):
    await house.client.create("pods", make_pod(containers=[{"name": "main", "image": "strange:1"}]))
    pod = await house.until_pod("web-0", lambda p: "waiting" in state_of(p)["state"])
    waiting = state_of(pod)["state"]["waiting"]
    assert waiting["reason"] == "ErrImagePull"
    assert "localset image add" in waiting["message"]
    house.catalogue.images["strange:1"] = house.catalogue.images["app:1"]
    await house.advance(31)
    await house.until_pod("web-0", is_ready)


async def test_an_absent_command_is_a_start_error_with_code_128(house: House):
    house.runtime.failing["nothere"] = "ENOENT: no such file: nothere"
    await house.client.create("pods", make_pod(containers=[make_container(command=["nothere"])]))
    pod = await house.until_pod("web-0", lambda p: "CrashLoopBackOff" in str(state_of(p)["state"]))
    ended = state_of(pod)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    await house.until_event("Failed", "Error: ENOENT: no such file: nothere")


async def test_a_missing_config_map_holds_the_container_until_it_is_there(house: House):
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}]
    await house.client.create("pods", make_pod(containers=[make_container(env=env)]))
    pod = await house.until_pod("web-0", lambda p: "CreateContainerConfigError" in str(state_of(p)["state"]))
    assert state_of(pod)["state"]["waiting"]["message"] == 'configmap "conf" not found'
    conf = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}}
    await house.client.create("configmaps", {**conf, "data": {"a": "1"}})
    await house.until_pod("web-0", is_ready)
    assert house.runtime.specs[house.runtime.spawned[0]].environment["A"] == "1"


async def test_a_restarted_kubelet_reattaches_without_losing_readiness(house: House):
    house.runtime.on_exec = lambda _: ExecResult(0, b"")
    await house.client.create("pods", make_pod(containers=[make_container(readinessProbe=EXEC_READY)]))
    pod = await house.until_pod("web-0", is_ready)
    await house.settle()
    house.runtime.on_exec = lambda _: ExecResult(1, b"slow")
    await house.restart_kubelet()
    await house.settle()
    again = await house.pod("web-0")
    assert is_ready(again)
    assert again["status"]["containerStatuses"] == pod["status"]["containerStatuses"]
    assert len(house.runtime.spawned) == 1


async def test_an_exit_while_the_kubelet_was_away_is_told_with_its_true_code(house: House):
    await start(house, make_pod("job", restartPolicy="Never"))
    await house.kubelet.aclose()
    house.runtime.end(house.runtime.spawned[0], 41)
    await house.restart_kubelet()
    pod = await house.until_pod("job", lambda p: p["status"]["phase"] == "Failed")
    assert state_of(pod)["state"]["terminated"]["exitCode"] == 41


async def test_a_process_that_nobody_remembers_is_reported_unknown_never_zero(house: House):
    await start(house, make_pod())
    await house.kubelet.aclose()
    house.runtime.reports.clear()
    await house.restart_kubelet()
    pod = await house.until_pod("web-0", lambda p: state_of(p)["restartCount"] == 1)
    ended = state_of(pod)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


async def test_processes_of_a_pod_that_went_meanwhile_are_stopped(house: House):
    await start(house, make_pod())
    await house.kubelet.aclose()
    await house.client.delete("pods", "default", "web-0", DeleteOptions(grace_period_seconds=0))
    await house.restart_kubelet()
    await house.until(lambda: house.runtime.reports == {})


async def test_after_a_reboot_set_owned_pods_are_removed_so_that_their_set_orders_them(house: House):
    pod = make_pod()
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    await start(house, pod)
    await start(house, make_pod("bare"))
    await house.kubelet.aclose()
    house.runtime.reports.clear()
    node = await house.client.get("nodes", "", "here")
    info = {**node["status"]["nodeInfo"], "bootID": "another"}
    await house.client.update_status("nodes", {**node, "status": {**node["status"], "nodeInfo": info}})
    await house.restart_kubelet()
    await house.until_pod("web-0", lambda p: p == {})
    await house.until_pod("bare", lambda p: state_of(p)["restartCount"] == 1)
    started = [house.runtime.specs[run].pod for run in house.runtime.spawned]
    assert started.count("web-0") == 1


async def test_an_address_survives_deletion_of_a_set_owned_pod_and_a_bare_one_gives_it_back(house: House):
    owned = make_pod()
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": True}
    owned["metadata"]["ownerReferences"] = [owner]
    first = await start(house, owned)
    await start(house, make_pod("bare"))
    for name in ("web-0", "bare"):
        await house.client.delete("pods", "default", name)
        await house.until_pod(name, lambda p: p == {})
    await house.until(lambda: house.kubelet._workers == {} and not house.kubelet._by_key)
    again = await start(house, owned)
    assert again["status"]["podIP"] == first["status"]["podIP"]
    book = await house.client.get("configmaps", "kube-system", "localset-addresses")
    assert list(book["data"]) == ["default.web-0"]


async def test_a_paused_kubelet_starts_nothing_but_still_stops(house: House):
    await start(house, make_pod())
    house.kubelet.pause()
    await house.client.create("pods", make_pod("web-1"))
    await house.client.delete("pods", "default", "web-0")
    await house.until_pod("web-0", lambda p: p == {})
    assert len(house.runtime.spawned) == 1


async def test_a_container_whose_leader_left_children_behind_is_not_ready_and_gets_a_deadline(house: House):
    await start(house, make_pod())
    run = house.runtime.spawned[0]
    house.runtime.obeys_stop = False
    house.runtime._tell(replace(house.runtime.reports[run], state=ProcessState.DRAINING))
    pod = await house.until_pod("web-0", lambda p: not is_ready(p))
    assert "running" in state_of(pod)["state"]
    await house.until(lambda: house.runtime.stopped == [(run, 30.0)])
    house.runtime.end(run, 3)
    await house.until(lambda: len(house.runtime.spawned) == 2)


async def test_strict_timing_asks_for_readiness_only_after_the_initial_delay(tmp_path: Path):
    async with opened_house(tmp_path, probe_timing=ProbeTiming.STRICT) as house:
        await start(house, make_pod(containers=[make_container(readinessProbe=EXEC_READY)]))
        await house.advance(14.9)
        assert house.runtime.executed == []
        await house.advance(0.2)
        await house.until_pod("web-0", is_ready)
        assert len(house.runtime.executed) == 1


async def test_a_startup_probe_holds_readiness_and_liveness_back(house: House):
    code = {"start": 1}
    house.runtime.on_exec = lambda spec: ExecResult(code.get(spec.argv[0], 0), b"")
    probes = {
        "startupProbe": {"exec": {"command": ["start"]}, "periodSeconds": 5, "failureThreshold": 10},
        "readinessProbe": {"exec": {"command": ["ready"]}},
        "livenessProbe": {"exec": {"command": ["live"]}},
    }
    await start(house, make_pod(containers=[make_container(**probes)]))
    await house.advance(12)
    assert {spec.argv[0] for spec in house.runtime.executed} == {"start"}
    assert state_of(await house.pod("web-0"))["started"] is False
    code["start"] = 0
    await house.advance(5)
    pod = await house.until_pod("web-0", is_ready)
    assert state_of(pod)["started"] is True


async def test_a_startup_probe_that_gives_up_restarts_the_container(house: House):
    house.runtime.on_exec = lambda _: ExecResult(1, b"")
    probe = {"exec": {"command": ["start"]}, "periodSeconds": 5, "failureThreshold": 3}
    await start(house, make_pod(containers=[make_container(startupProbe=probe)]))
    await house.advance(16)
    await house.until_pod("web-0", lambda p: state_of(p)["restartCount"] == 1)


async def test_a_stopped_pod_keeps_its_deadline_across_a_kubelet_restart(house: House):
    house.runtime.obeys_stop = False
    hooks = {"preStop": {"sleep": {"seconds": 25}}}
    await start(house, make_pod(containers=[make_container(lifecycle=hooks)]))
    await house.client.delete("pods", "default", "web-0")
    await house.advance(10)
    assert house.runtime.stopped == []
    await house.restart_kubelet()
    await house.advance(21)
    await house.until(lambda: house.runtime.stopped)
    assert house.runtime.stopped[0][1] == pytest.approx(2, abs=0.1)
    house.runtime.end(house.runtime.spawned[0], 137, signal=9)
    await house.until_pod("web-0", lambda p: p == {})


async def test_an_ephemeral_container_joins_a_running_pod_and_never_runs_again(house: House):
    pod = await start(house, make_pod())
    added = {"name": "debugger", "image": "app:1", "command": ["debug"]}
    await house.client.update("pods", {**pod, "spec": {**pod["spec"], "ephemeralContainers": [added]}})

    def debugger(pod: dict) -> dict:
        return next(iter((pod.get("status") or {}).get("ephemeralContainerStatuses") or []), {}).get("state", {})

    pod = await house.until_pod("web-0", lambda p: "running" in debugger(p))
    assert is_ready(pod)
    run_id = f"{pod['metadata']['uid']}.debugger.0"
    house.runtime.end(run_id, 3)
    pod = await house.until_pod("web-0", lambda p: "terminated" in debugger(p))
    assert debugger(pod)["terminated"]["exitCode"] == 3
    assert (pod["status"]["phase"], is_ready(pod)) == ("Running", True)
    await house.restart_kubelet()
    await house.advance(600)
    assert [r for r in house.runtime.living() if "debugger" in r] == []
    assert "terminated" in debugger(await house.pod("web-0"))
