"""Faults on purpose, as the kubelet brings them about: with a fake runtime and virtual time."""

import pytest

from localset.client.client import DeleteOptions, PatchType
from localset.kubelet.runtime import Isolation, NetworkShape
from tests.component.kubelet_house import make_pod, opened_house, state_of

FREEZE = "fault.localset.dev/freeze"
pytestmark = pytest.mark.asyncio


async def _annotate(house, kind: str, text: str | None, name: str = "web-0"):
    change = {"metadata": {"annotations": {f"fault.localset.dev/{kind}": text}}}
    await house.client.patch("pods", "default", name, change, PatchType.MERGE)


async def _running(house, **more):
    await house.client.create("pods", make_pod(**more))
    await house.until(lambda: house.runtime.spawned)
    return house.runtime.spawned[-1]


async def test_a_freeze_is_in_force_until_its_time_is_over(tmp_path):
    async with opened_house(tmp_path) as house:
        run_id = await _running(house)
        await _annotate(house, "freeze", "for=30s")
        assert "freeze until" in await house.until_event("FaultInjected")
        assert house.runtime.frozen == {run_id}
        pod = await house.until_pod("web-0", lambda p: "since=" in p["metadata"]["annotations"][FREEZE])
        assert "until=" in pod["metadata"]["annotations"][FREEZE]
        await house.advance(31)
        assert await house.until_event("FaultHealed") == "freeze: its time is over"
        await house.until_pod("web-0", lambda p: FREEZE not in p["metadata"]["annotations"])
        assert not house.runtime.frozen


async def test_a_daemon_that_died_undoes_what_was_healed_meanwhile(tmp_path):
    async with opened_house(tmp_path) as house:
        run_id = await _running(house)
        await _annotate(house, "freeze", "")
        await house.until_event("FaultInjected")
        await house.kubelet.aclose()
        await _annotate(house, "freeze", None)
        await house.restart_kubelet()
        await house.until(lambda: run_id not in house.runtime.frozen)
        assert not list(tmp_path.rglob("faults"))


async def test_a_freeze_ends_with_the_container_that_was_frozen(tmp_path):
    async with opened_house(tmp_path) as house:
        run_id = await _running(house)
        await _annotate(house, "freeze", "")
        await house.until_event("FaultInjected")
        house.runtime.end(run_id, 137, signal=9)
        assert await house.until_event("FaultHealed") == "freeze: its container was restarted"


async def test_a_kill_happens_once_and_leaves_no_trace_on_the_pod(tmp_path):
    async with opened_house(tmp_path) as house:
        await _running(house)
        await _annotate(house, "kill", "")
        await house.until_event("FaultInjected", "kill")
        await house.advance(15)
        pod = await house.until_pod("web-0", lambda p: state_of(p).get("restartCount") == 1)
        assert "fault.localset.dev/kill" not in pod["metadata"]["annotations"]
        assert len(house.runtime.spawned) == 2


async def test_a_pod_that_ends_is_thawed_first(tmp_path):
    async with opened_house(tmp_path) as house:
        await _running(house)
        await _annotate(house, "freeze", "")
        await house.until_event("FaultInjected")
        await house.client.delete("pods", "default", "web-0", DeleteOptions(grace_period_seconds=30))
        assert await house.until_event("FaultHealed") == "freeze: the Pod ends"
        assert not house.runtime.frozen


async def test_what_a_level_cannot_do_is_refused_with_what_would_make_it_possible(tmp_path):
    async with opened_house(tmp_path) as house:
        await _running(house)
        await _annotate(house, "cut", "from=web-1")
        assert "--isolation=namespaces" in await house.until_event("FaultRefused", "cut from web-1")
        await _annotate(house, "loss", "percent=200")
        await house.until_event("FaultRefused", "loss: percent")
        pod = await house.until_pod("web-0", lambda p: "fault" not in str(p["metadata"]["annotations"]))
        assert pod


async def test_a_cut_is_made_of_the_peers_addresses_and_undone_by_name(tmp_path):
    async with opened_house(tmp_path, isolation=Isolation.NAMESPACES, pod_subnet="10.9.0.0/16") as house:
        await _running(house)
        await _running(house, name="web-1")
        peer = (await house.until_pod("web-1", lambda p: p["status"].get("podIP")))["status"]["podIP"]
        await _annotate(house, "cut", "from=web-1")
        await house.until_event("FaultInjected", "cut from web-1")
        assert house.runtime.shapes[-1][1:] == (NetworkShape(cut=(peer,)), ())
        await _annotate(house, "cut", None)
        await house.until_event("FaultHealed", "cut from web-1")
        assert house.runtime.shapes[-1][1:] == (NetworkShape(), (peer,))


async def test_only_a_size_limited_volume_is_filled_and_its_pod_is_evicted(tmp_path):
    volumes = [{"name": "cache", "emptyDir": {"sizeLimit": "64Ki"}}, {"name": "free", "emptyDir": {}}]
    async with opened_house(tmp_path) as house:
        await _running(house, volumes=volumes)
        await _annotate(house, "fill", "volume=free")
        await house.until_event("FaultRefused", "fill of volume free")
        await _annotate(house, "fill", "volume=cache")
        pod = await house.until_pod("web-0", lambda p: p["status"]["phase"] == "Failed")
        assert pod["status"]["reason"] == "Evicted"
        assert 'Usage of EmptyDir volume "cache" exceeds the limit "64Ki"' in pod["status"]["message"]
        await house.until(lambda: house.runtime.stopped)


async def test_a_level_below_the_best_is_told_to_each_pod(tmp_path):
    reasons = ("namespaces: Operation not permitted (/proc)",)
    async with opened_house(tmp_path, isolation_reasons=reasons) as house:
        await _running(house)
        assert "Operation not permitted (/proc). `localset doctor`" in await house.until_event("IsolationLevel")
