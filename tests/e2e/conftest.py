"""Real houses, taken down after each test with nothing left behind."""

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.resident import Resident

# A shell starts what it puts into the background deaf to Ctrl-C, and every command that a test starts would be so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each worker of pytest-xdist has its own user: one may still use what another is done with.
USER = "localset-test" + os.environ.get("PYTEST_XDIST_WORKER", "")
FREE = {"house", "make_house"}


@pytest.hookimpl(tryfirst=True)  # NB: before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a house in one worker; those that make their own may run anywhere."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not FREE & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def ordinary_user() -> Iterator[str]:
    """An ordinary user made for the tests, and removed after them; needs root."""
    if os.getuid() != 0:
        pytest.skip("needs root to make a user")
    try:
        pwd.getpwnam(USER)
    except KeyError:
        if shutil.which("useradd") is None:
            pytest.skip("needs useradd")
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
        yield USER
        subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)
    else:
        yield USER


@pytest.fixture
def make_house() -> Iterator[Callable[..., House]]:
    """Return a maker of houses; each is brought down and its directory removed at the end."""
    made: list[House] = []

    def make(*, user: str | None = None, isolation: str = "auto") -> House:
        directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
        if user:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        else:
            directory.chmod(0o711)
        house = House(directory / "data", user=user, isolation=isolation)
        made.append(house)
        return house

    yield make
    problems = []
    for house in made:
        try:
            house.down()
        except AssertionError as error:
            problems.append(str(error))
        shutil.rmtree(house.data.parent, ignore_errors=True)
    assert not problems, problems


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """One house as the user who runs the tests, at the best level."""
    return make_house()


@pytest.fixture(scope="session")
def living_house() -> Iterator[House]:
    """One house for all tests of kubectl's commands."""
    directory = Path(tempfile.mkdtemp(prefix="localset-e2e-"))
    directory.chmod(0o711)
    opened = House(directory / "data")
    try:
        opened.up()
        yield opened
    finally:
        opened.down()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def resident(living_house: House, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Resident]:
    """Return who gives the kubectl of a version, always the same, with a namespace of its own in the living house."""

    @functools.cache
    def give(minor: str) -> Resident:
        return Resident(minor, tmp_path_factory.mktemp("home"), living_house)

    return give
