"""System calls that the keeper makes by itself, past what Python repeats for its own."""

import os
import signal
import sys

import pytest

from localset.keeper import linux

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes are copied by tee on Linux only")


def test_a_copy_that_a_signal_interrupts_is_asked_for_again() -> None:
    """Children end at any moment; the end of a process's output was lost when another's end came in between."""
    source, full = os.pipe()
    target, end = os.pipe()
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        while len(heard) < 300:
            with pytest.raises(BlockingIOError):
                linux.tee(source, end, 100)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        for descriptor in (source, full, target, end):
            os.close(descriptor)
