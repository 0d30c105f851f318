"""docs/tutorial.md, typed: each command prints what stands below it. `make docs` writes the outputs again."""

import os
from collections.abc import Callable

import pytest

from tests.e2e.example import needs_image
from tests.e2e.house import CHECKOUT, SEED, House
from tests.e2e.transcript import Walker, masked, needs_port, rewritten, steps_of

TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
IS_WRITING = bool(os.environ.get("LOCALSET_WRITE_DOCS"))
# Beside the seed document that one's test walks the same way; `make test` need not do so twice.
if SEED.is_dir() and not IS_WRITING:
    pytestmark = pytest.mark.slow


def test_the_tutorial_is_true(make_house: Callable[..., House]) -> None:
    for image in ("registry.k8s.io/nginx-slim", "busybox", "curlimages/curl"):
        needs_image(image)
    needs_port(80)
    house = make_house()
    house.up()
    walker = Walker(house)
    text = TUTORIAL.read_text()
    outputs = []
    for step in steps_of(text):
        done = walker.run(step)
        assert done.code == 0, (step.command, done)
        outputs.append(done.output)
        if not IS_WRITING:
            assert masked(done.output) == masked("\n".join(step.output)), step.command
        walker.settle()
    assert house.json("pvc")["items"] == []
    if IS_WRITING:
        TUTORIAL.write_text(rewritten(text, outputs))
