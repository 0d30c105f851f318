"""One contract of `Runtime` over all levels of isolation, as whoever runs the tests and as an ordinary user."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import localset
from localset.base.clock import SystemClock
from localset.kubelet.isolation import IsolationCheck, probe_isolation
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import Isolation
from tests.process import runtime_contract
from tests.process.runtime_contract import CONTRACT, NEEDS_MOUNTS, NEEDS_NAMESPACES, PATH

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LEVELS = list(Isolation)
CASES = [
    (part, level)
    for part in CONTRACT
    for level in LEVELS
    if not (part in NEEDS_NAMESPACES and level is not Isolation.NAMESPACES)
    and not (part in NEEDS_MOUNTS and level is Isolation.PLAIN)
]


@pytest.fixture(scope="session")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> IsolationCheck:
    """Return what this machine allows to this user, as the daemon would find out."""

    async def ask() -> IsolationCheck:
        runtime = KeeperRuntime(tmp_path_factory.mktemp("check"), SystemClock())
        await runtime.start()
        try:
            return await probe_isolation(runtime)
        finally:
            await runtime.shutdown_keeper(force=True)
            await runtime.aclose()

    return asyncio.run(ask())


@pytest.mark.parametrize(("part", "level"), CASES, ids=[f"{level}-{part.__name__}" for part, level in CASES])
async def test_the_contract_holds(tmp_path: Path, allowed: IsolationCheck, part, level: Isolation) -> None:
    if not allowed.allows(level):
        pytest.skip(f"this machine does not allow level {level}: {'; '.join(allowed.reasons)}")
    await part(tmp_path, level)


@pytest.mark.needs_root
@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="needs root to become another user"
)
def test_the_contract_holds_for_an_ordinary_user() -> None:
    base = Path("/var/tmp") / f"localset-test-{os.getpid()}"
    base.mkdir(mode=0o755)
    try:
        package = Path(localset.__file__).parent
        shutil.copytree(package, base / "localset", ignore=shutil.ignore_patterns("__pycache__", "images"))
        work = base / "w"
        work.mkdir()
        os.chown(work, 65534, 65534)
        script = shutil.copy(runtime_contract.__file__, base)
        subprocess.run(["chmod", "-R", "a+rX", str(base)], check=True)
        done = subprocess.run(
            ["/usr/bin/python3", "-B", script, str(work), "loopback", "namespaces"], cwd=base, user=65534, group=65534,
            extra_groups=[], check=False, capture_output=True, text=True, timeout=60,
            env={**PATH, "PYTHONPATH": str(base)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        shutil.rmtree(base)
