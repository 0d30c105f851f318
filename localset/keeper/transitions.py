"""States and events of one kept process as a table (runtime.md 5.8): pure, no I/O.

`keeper.registry` asks `step` at every event and performs the actions it names. Every pair has an answer: what the table
does not list changes nothing, and a test walks all pairs.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a process is; the last three are final."""

    ABSENT = "absent"
    INTENDED = "intended"
    RUNNING = "running"
    STOPPING = "stopping"
    DRAINING = "draining"
    EXITED = "exited"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Event(StrEnum):
    """What can happen to it."""

    INTENT_WRITTEN = "intent written"
    EXEC_OK = "exec ok"
    EXEC_FAILED = "exec failed"
    LEADER_EXIT = "leader exit"
    SET_EMPTY = "set empty"
    STOP_ASKED = "stop asked"
    GRACE_OVER = "grace over"
    FOUND_ALIVE = "keeper restarted, leader found by identity"
    FOUND_REST = "keeper restarted, leader gone, others of the set live"
    FOUND_GONE = "keeper restarted, nothing found"
    FORGOTTEN = "forgotten"


class Action(StrEnum):
    """What the keeper does about it, in the order given."""

    RECORD = "record the new state durably"
    REPORT = "tell the subscribers"
    KILL_CHILD = "kill the child that has not reached exec"
    SIGNAL_LEADER = "send the stop signal to the leader and start the grace"
    SHORTEN = "shorten the grace, never extend it"
    TERM_REST = "send SIGTERM to what is left of the set"
    KILL_SET = "send SIGKILL to the set until it is empty"
    DROP = "remove record and layers"


FINAL = frozenset({State.EXITED, State.FAILED, State.UNKNOWN})

_RECORD = (Action.RECORD, Action.REPORT)

TABLE: dict[tuple[State, Event], tuple[State, tuple[Action, ...]]] = {
    (State.ABSENT, Event.INTENT_WRITTEN): (State.INTENDED, (Action.RECORD,)),
    (State.INTENDED, Event.EXEC_OK): (State.RUNNING, _RECORD),
    (State.INTENDED, Event.EXEC_FAILED): (State.FAILED, _RECORD),
    (State.INTENDED, Event.LEADER_EXIT): (State.FAILED, _RECORD),
    (State.INTENDED, Event.STOP_ASKED): (State.INTENDED, (Action.KILL_CHILD,)),
    (State.INTENDED, Event.FOUND_ALIVE): (State.RUNNING, _RECORD),
    (State.INTENDED, Event.FOUND_REST): (State.DRAINING, (*_RECORD, Action.TERM_REST)),
    (State.INTENDED, Event.FOUND_GONE): (State.FAILED, _RECORD),
    (State.RUNNING, Event.LEADER_EXIT): (State.DRAINING, (Action.RECORD, Action.TERM_REST)),
    (State.RUNNING, Event.STOP_ASKED): (State.STOPPING, (Action.SIGNAL_LEADER, *_RECORD)),
    (State.RUNNING, Event.FOUND_ALIVE): (State.RUNNING, ()),
    (State.RUNNING, Event.FOUND_REST): (State.DRAINING, (Action.RECORD, Action.TERM_REST)),
    (State.RUNNING, Event.FOUND_GONE): (State.UNKNOWN, _RECORD),
    (State.STOPPING, Event.LEADER_EXIT): (State.DRAINING, (Action.RECORD, Action.TERM_REST)),
    (State.STOPPING, Event.SET_EMPTY): (State.EXITED, _RECORD),
    (State.STOPPING, Event.STOP_ASKED): (State.STOPPING, (Action.SHORTEN, Action.RECORD)),
    (State.STOPPING, Event.GRACE_OVER): (State.STOPPING, (Action.KILL_SET,)),
    (State.STOPPING, Event.FOUND_ALIVE): (State.STOPPING, ()),
    (State.STOPPING, Event.FOUND_REST): (State.DRAINING, (Action.RECORD, Action.TERM_REST)),
    (State.STOPPING, Event.FOUND_GONE): (State.UNKNOWN, _RECORD),
    (State.DRAINING, Event.SET_EMPTY): (State.EXITED, _RECORD),
    (State.DRAINING, Event.STOP_ASKED): (State.DRAINING, (Action.SHORTEN, Action.RECORD)),
    (State.DRAINING, Event.GRACE_OVER): (State.DRAINING, (Action.KILL_SET,)),
    (State.DRAINING, Event.FOUND_ALIVE): (State.DRAINING, ()),
    (State.DRAINING, Event.FOUND_REST): (State.DRAINING, (Action.TERM_REST,)),
    (State.DRAINING, Event.FOUND_GONE): (State.EXITED, _RECORD),
    (State.EXITED, Event.FORGOTTEN): (State.ABSENT, (Action.DROP,)),
    (State.FAILED, Event.FORGOTTEN): (State.ABSENT, (Action.DROP,)),
    (State.UNKNOWN, Event.FORGOTTEN): (State.ABSENT, (Action.DROP,)),
}


def step(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """Return the next state and what to do; a pair that means nothing keeps the state and does nothing."""
    return TABLE.get((state, event), (state, ()))
