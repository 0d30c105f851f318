"""The golden traces of the StatefulSet controller, run over the pure plan."""

import pytest

from localset.controllers.statefulset.identity import parse_pod_name
from localset.controllers.statefulset.plan import max_unavailable_of
from localset.controllers.statefulset.revisions import hash_of
from tests.pure.statefulset_world import World, make_set

PARTITION_0 = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}


def up(**kwargs):
    return World(make_set(**kwargs)).settled()


def run(world, trace):
    """Perform `event → actions | counters cur/upd` lines; counters and revisions may be left out."""
    for number, line in enumerate(trace.strip().splitlines()):
        event, _, rest = line.partition("→")
        actions, _, shown = rest.partition("|")
        for one in event.split(","):
            happen(world, one.split())
        did = world.sync()
        wanted = shown.split()
        seen = [world.counters(), world.revisions_shown()][: len(wanted)]
        assert (did, seen) == (actions.strip(), wanted), f"line {number}: {line.strip()}"


def happen(world, words):
    match words:
        case []:
            pass
        case ["template", letter]:
            world.template(letter)
        case ["N", count]:
            world.change(replicas=int(count))
        case ["start", ordinal]:
            world.change(ordinals={"start": int(ordinal)})
        case ["partition", count]:
            world.change(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": int(count)}})
        case ["delete", ordinal]:
            world.delete(int(ordinal))
        case [ordinal, "gone"]:
            world.gone(int(ordinal))
        case [ordinal, "Running"] | [ordinal, "NotReady"]:
            world.running(int(ordinal))
        case [ordinal, "Ready"]:
            world.ready(int(ordinal))
        case [ordinal, "Failed"]:
            world.set_phase(int(ordinal), "Failed")
        case _:
            raise AssertionError(words)


T2 = """
template B → -2 | 3/3/2/0 A/B
2 gone → +2@B | 2/2/2/0
2 Ready → -1 | 3/3/1/1
1 gone → +1@B | 2/2/1/1
1 Ready → -0 | 3/3/0/2
0 gone → +0@B | 2/2/0/2
0 Ready → . | 3/3/3/3 B/B
"""

TRACES = {
    "T2 without rollingUpdate": (up, T2),
    "T2 with partition 0": (lambda: up(strategy=PARTITION_0), T2),
    "T1 create": (
        lambda: World(make_set()),
        """
        → +0@A | 0/0/0/0 A/A
        0 Running → . | 1/0/1/1
        0 Ready → +1@A | 1/1/1/1
        1 Running → . | 2/1/2/2
        1 Ready → +2@A | 2/2/2/2
        2 Running → . | 3/2/3/3
        2 Ready → . | 3/3/3/3
        """,
    ),
    "T3 maxUnavailable 2 in order": (
        lambda: up(strategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}}),
        """
        template B → -2 -1 | 3/3/1/0 A/B
        2 gone → . | 2/2/1/0
        1 gone → +1@B | 1/1/1/0
        1 Ready → +2@B | 2/2/1/1
        2 Ready → -0 | 3/3/0/2
        0 gone → +0@B | 2/2/0/2
        0 Ready → . | 3/3/3/3 B/B
        """,
    ),
    "T3b maxUnavailable 2 in parallel": (
        lambda: up(
            replicas=4,
            policy="Parallel",
            strategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}},
        ),
        """
        template B → -3 -2 | 4/4/2/0 A/B
        3 gone → +3@B | 3/3/2/0
        3 Ready → -1 | 4/4/1/1
        2 gone → +2@B | 3/3/1/1
        2 Running, 1 gone → +1@B | 3/2/1/2
        2 Ready → -0
        1 Ready → . | 4/4/0/3
        0 gone → +0@B | 3/3/0/3
        0 Ready → . | 4/4/4/4 B/B
        """,
    ),
    "T4 scale down": (
        up,
        """
        N 1 → -2 | 3/3/3/3
        2 gone → -1 | 2/2/2/2
        1 gone → . | 1/1/1/1
        """,
    ),
    "T4b scale down is blocked by two unready": (
        up,
        """
        1 NotReady, 2 NotReady, N 1 → . | 3/1/3/3
        2 Ready → -2 | 3/2/3/3
        1 Ready → .
        2 gone → -1
        """,
    ),
    "T4c the only unready goes at once": (
        up,
        """
        2 NotReady, N 2 → -2 | 3/2/3/3
        2 gone → . | 2/2/2/2
        """,
    ),
    "T5 forced rollback": (
        lambda: up(strategy=PARTITION_0),
        """
        template B → -2
        2 gone → +2@B
        2 Running → . | 3/2/2/1 A/B
        template A → . | 3/2/2/2 A/A
        → . | 3/2/2/2 A/A
        delete 2 → .
        2 gone → +2@A | 2/2/2/2
        2 Ready → . | 3/3/3/3
        """,
    ),
    "T6 third revision": (
        lambda: up(replicas=1, policy="Parallel"),
        """
        template B → -0 | 1/1/0/0 A/B
        0 gone → +0@B | 0/0/0/0
        0 Running → . | 1/0/0/1
        template C → -0 | 1/0/0/0 A/C
        0 gone → +0@C | 0/0/0/0 A/C
        0 Ready → . | 1/1/1/1 C/C
        """,
    ),
    "T7 OnDelete": (
        lambda: up(strategy={"type": "OnDelete"}),
        """
        template B → . | 3/3/3/0 A/B
        delete 1 → . | 3/3/2/0
        1 gone → +1@B | 2/2/2/0
        1 Ready → . | 3/3/2/1
        N 4 → +3@B
        3 Ready → . | 4/4/2/2
        delete 0 → .
        0 gone → +0@B
        0 Ready → .
        delete 2 → .
        2 gone → +2@B
        2 Ready → . | 4/4/0/4 A/B
        """,
    ),
    "T8 canary": (
        lambda: up(strategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}),
        """
        template B → -2 | 3/3/2/0 A/B
        2 gone → +2@B
        2 Ready → . | 3/3/2/1
        delete 0 → .
        0 gone → +0@A | 2/2/1/1
        0 Ready → . | 3/3/2/1
        partition 0 → -1 | 3/3/1/1
        1 gone → +1@B
        1 Ready → -0 | 3/3/0/2
        0 gone → +0@B
        0 Ready → . | 3/3/3/3 B/B
        """,
    ),
    "T9 predecessor dies": (
        up,
        """
        2 NotReady → . | 3/2/3/3
        delete 0 → .
        0 gone → +0@A | 2/1/2/2
        0 Ready → . | 3/2/3/3
        2 Ready → . | 3/3/3/3
        """,
    ),
    "T10 a failed Pod is replaced": (
        up,
        """
        1 Failed → -1 | 3/2/3/3
        1 gone → +1@A | 2/2/2/2
        1 Ready → . | 3/3/3/3
        """,
    ),
    "T11 in parallel": (
        lambda: World(make_set(policy="Parallel")),
        """
        → +0@A +1@A +2@A
        N 1 → -2 -1
        """,
    ),
    "T12 start moves": (
        lambda: up(replicas=2),
        """
        start 2 → +2@A | 2/2/2/2
        2 Ready → +3@A | 3/3/3/3
        3 Ready → -1 | 4/4/4/4
        1 gone → -0 | 3/3/3/3
        0 gone → . | 2/2/2/2
        """,
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_the_golden_trace_is_followed(name):
    make, trace = TRACES[name]
    run(make(), trace)


def test_claims_come_before_their_pod_and_are_named_by_it():
    world = up(replicas=2, claims=("data",))
    assert set(world.claims) == {"data-web-0", "data-web-1"}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}
    assert volume in world.pods[1]["spec"]["volumes"]


def test_a_claim_that_is_being_deleted_holds_up_its_pod():
    world = up(replicas=1, claims=("data",))
    world.gone(0)
    world.claims["data-web-0"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert world.sync() == "."
    del world.claims["data-web-0"]
    assert world.sync() == "+0@A"


def test_a_set_that_is_being_deleted_only_counts():
    world = up()
    world.owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.gone(1)
    assert world.sync() == "."
    assert world.counters() == "2/2/2/2"


@pytest.mark.parametrize(
    ("name", "parsed"),
    [("foo-1-0", ("foo-1", 0)), ("foo", ("", -1)), ("foo-99999999999", ("", -1)), ("web-a-0", ("web-a", 0))],
)
def test_a_pod_name_is_parsed_greedily(name, parsed):
    assert parse_pod_name(name) == parsed


@pytest.mark.parametrize(("value", "count"), [(None, 1), (2, 2), ("50%", 1), ("10%", 1), ("100%", 3)])
def test_max_unavailable_is_rounded_down_but_never_below_one(value, count):
    owner = make_set(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}})
    assert max_unavailable_of(owner) == count


def test_a_revision_hash_has_no_vowels_and_depends_on_the_collision_count():
    data = {"spec": {"template": {"a": 1}}}
    assert set(hash_of(data, 0)) <= set("456789bcdf")
    assert hash_of(data, 0) != hash_of(data, 1)
