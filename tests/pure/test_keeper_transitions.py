"""The keeper's table, all pairs; its log lines and its frames."""

import itertools

import pytest

from localset.keeper import wire
from localset.keeper.logs import LINE_LIMIT, format_lines
from localset.keeper.transitions import FINAL, TABLE, Action, Event, State, step


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_has_an_answer_and_a_final_state_is_left_by_forgetting_only(state, event):
    after, actions = step(state, event)
    assert isinstance(after, State)
    if (state, event) not in TABLE:
        assert (after, actions) == (state, ())
    if state in FINAL:
        assert after is (State.ABSENT if event is Event.FORGOTTEN else state)


@pytest.mark.parametrize(("state", "event"), list(TABLE))
def test_a_change_of_state_is_recorded_and_an_end_is_recorded_before_it_is_told(state, event):
    after, actions = step(state, event)
    if after is not state and after is not State.ABSENT:
        assert Action.RECORD in actions
    if after in FINAL and after is not state:
        assert actions.index(Action.RECORD) < actions.index(Action.REPORT)


def test_an_unfinished_line_is_left_and_a_long_one_is_cut_in_parts():
    output, length = format_lines(b"one\ntw", b"stdout", 0, is_last=False)
    assert (output, length) == (b"1970-01-01T00:00:00.000000000Z stdout F one\n", 4)
    long = b"x" * (LINE_LIMIT + 5) + b"\n"
    output, length = format_lines(long, b"stderr", 0, is_last=False)
    first, second = output.splitlines()
    assert length == len(long)
    assert first.split(b" ", 3)[2:] == [b"P", b"x" * LINE_LIMIT]
    assert second.split(b" ", 3)[2:] == [b"F", b"xxxxx"]
    assert format_lines(b"a\rb\n\nc", b"stdout", 0, is_last=True)[1] == 6


def test_garbage_and_missing_descriptors_are_refused_and_half_frames_wait():
    decoder = wire.Decoder()
    frame = wire.encode({"id": 1})
    assert decoder.feed(frame[:3], []) == []
    assert decoder.feed(frame[3:], []) == [({"id": 1}, [])]
    for bad in (b"\xff\xff\xff\xff", wire.encode({"fds": 1}), b"\0\0\0\2[]", b"\0\0\0\1{"):
        with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
            wire.Decoder().feed(bad, [])
