"""What component tests stand on: a clock, a store in memory, the real registry; and a guard for leaked tasks."""

import asyncio

import pytest

from localset.base.clock import SystemClock
from localset.registry.bootstrap import bootstrap
from localset.registry.registry import Registry
from localset.registry.settings import RegistrySettings
from localset.store.store import Store


@pytest.fixture(autouse=True)
async def no_task_is_left_behind():
    """Fail a test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done()} - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    assert not left, f"tasks left behind: {sorted(task.get_name() for task in left)}"


@pytest.fixture
def clock():
    return SystemClock()


@pytest.fixture
async def store(clock):
    opened = Store.open(None, clock)
    yield opened
    await opened.aclose()


@pytest.fixture
async def registry(store, clock):
    """The real registry over the store in memory, with its namespaces and storage classes."""
    made = Registry(store, clock, RegistrySettings())
    await bootstrap(made)
    return made
