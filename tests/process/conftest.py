"""Tests of real processes, kept in one worker of pytest-xdist."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A keeper takes up or ends what carries its run ids, and these tests' ids are as short as `a`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("process"))
