"""Random lives of a StatefulSet over the pure plan: whatever happens, the invariants hold after every sync.

The invariants are those of semantics 8 (I1, I5-I9, I13, I18). A failing run prints its seed and what happened.
"""

import random

import pytest

from localset.controllers.statefulset.identity import facts_of
from localset.machinery.metadata import is_being_deleted, name_of
from tests.pure.statefulset_world import World, make_set

SEEDS = range(120)
STRATEGIES = (
    {"type": "RollingUpdate"},
    {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}},
)


def ready_ordinals(world):
    facts = [facts_of(pod, world.owner) for pod in world.pods.values()]
    return {f.ordinal for f in facts if f.is_ready and not f.is_terminating}


def bring_up(world, rng):
    """Advance one random Pod by one step: gone, Running or Ready. Return what was done."""
    ready = ready_ordinals(world)
    ended = {o for o, pod in world.pods.items() if (pod.get("status") or {}).get("phase") == "Failed"}
    todo = [o for o, pod in world.pods.items() if is_being_deleted(pod) or o not in ready | ended]
    if not todo:
        return ""
    ordinal = rng.choice(todo)
    pod = world.pods[ordinal]
    if is_being_deleted(pod):
        world.gone(ordinal)
        return f"{ordinal} gone"
    if (pod.get("status") or {}).get("phase") != "Running":
        world.running(ordinal)
        return f"{ordinal} Running"
    world.ready(ordinal)
    return f"{ordinal} Ready"


def disturb(world, rng):
    """Do one thing that a user or an accident does."""
    kind = rng.choice(["delete", "fail", "unready", "scale", "template"])
    alive = [o for o, pod in world.pods.items() if not is_being_deleted(pod)]
    if kind == "scale":
        world.change(replicas=rng.randrange(6))
    elif kind == "template":
        world.template(rng.choice("ABC"))
    elif alive:
        ordinal = rng.choice(alive)
        if kind == "delete":
            world.delete(ordinal)
        elif kind == "fail":
            world.set_phase(ordinal, "Failed")
        else:
            world.running(ordinal)
        return f"{kind} {ordinal}"
    return kind


def check_every_sync(world, before, actions, is_ordered):
    status = world.owner["status"]
    for counter in ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"):
        assert 0 <= status[counter] <= status["replicas"], counter
    for pod in world.pods.values():
        assert facts_of(pod, world.owner).is_identity_right, name_of(pod)
    created = [int(a[1:].partition("@")[0]) for a in actions.split() if a.startswith("+")]
    if is_ordered:
        assert len(created) <= 1
        for ordinal in created:
            # I1, I7, I9: a Pod is made only when all before it are Ready and none of them is going.
            assert set(range(ordinal)) <= before, f"{ordinal} was created before its predecessors were ready"


def heal(world, rng, log):
    """Let everything come up until nothing moves any more."""
    for _ in range(600):
        actions = world.sync()
        log.append(actions)
        did = bring_up(world, rng)
        log.append(did)
        if actions == "." and not did:
            return
    raise AssertionError("it never settles")


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_any_life_ends_with_all_replicas_ready_at_the_newest_template(policy):
    for seed in SEEDS:
        rng = random.Random(seed)
        # NB: a Parallel set without rollingUpdate can go round for ever by these rules: an unready old Pod is replaced
        # at once (2.6, phase 1) and comes back at the old revision (2.4, consequence A).
        strategies = STRATEGIES if policy == "OrderedReady" else STRATEGIES[1:]
        world = World(make_set(rng.randrange(1, 5), policy=policy, strategy=rng.choice(strategies), claims=("data",)))
        log = []
        try:
            live(world, rng, log, policy == "OrderedReady")
        except AssertionError as error:
            error.add_note(f"seed {seed}: {' · '.join(filter(None, log))[:2000]}")
            raise


def live(world, rng, log, is_ordered):
    for _ in range(rng.randrange(20, 60)):
        log.append(disturb(world, rng) if rng.random() < 0.25 else bring_up(world, rng))
        before = ready_ordinals(world)
        actions = world.sync()
        log.append(actions)
        check_every_sync(world, before, actions, is_ordered)
    heal(world, rng, log)
    count = world.owner["spec"]["replicas"]
    image = world.owner["spec"]["template"]["spec"]["containers"][0]["image"]
    # I5, I6, I13: all are there, Ready, and at the newest template.
    assert sorted(world.pods) == list(range(count))
    assert world.counters() == f"{count}/{count}/{count}/{count}"
    assert {world.letter_of(ordinal) for ordinal in world.pods} <= {image}
    assert world.revisions_shown() == f"{image}/{image}"
    # I18: a world that does not change is not written to.
    writes = world.status_writes
    assert world.sync() == "."
    assert world.status_writes == writes


def test_deleted_pods_come_back_one_by_one_from_the_lowest():
    world = World(make_set(5)).settled()
    for ordinal in (0, 2, 4):
        world.gone(ordinal)
    for ordinal in (0, 2, 4):
        assert world.sync() == f"+{ordinal}@A"
        world.running(ordinal)
        assert world.sync() == "."
        world.ready(ordinal)
    assert world.sync() == "."


def test_terminating_pods_beyond_the_range_are_left_alone():
    world = World(make_set(5)).settled()
    world.change(replicas=3)
    for ordinal in (3, 4):
        world.delete(ordinal)
    assert world.sync() == "."
    assert len(world.pods) == 5


def test_on_delete_replaces_only_what_the_user_deletes():
    world = World(make_set(3, strategy={"type": "OnDelete"})).settled()
    world.template("B")
    assert world.sync() == "."
    world.gone(1)
    world.change(replicas=4)
    assert world.sync() == "+1@B"
    world.ready(1)
    assert world.sync() == "+3@B"
    assert [world.letter_of(o) for o in range(4)] == ["A", "B", "A", "B"]
