"""Which names rest after their Pod has gone."""

from datetime import UTC, datetime

from localset.base.clock import ManualClock
from localset.controllers.statefulset.resting import REST_SECONDS, RestingNames

POD = {"metadata": {"namespace": "default", "name": "web-0", "uid": "1"}}


async def test_a_name_rests_after_a_deletion_by_others_and_never_after_our_own():
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    resting = RestingNames(clock)
    resting.note_own_deletion("1")
    resting.note_gone(POD)
    assert resting.of("default") == {}
    resting.note_gone(POD)
    assert resting.of("default") == {"web-0": REST_SECONDS}
    assert resting.of("other") == {}
    await clock.advance(REST_SECONDS)
    assert resting.of("default") == {}
