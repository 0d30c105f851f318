"""The Pods' way out: a real slirp4netns in the bridge namespace of a real holder, and a Pod that uses it."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from localset.base.clock import SystemClock
from localset.kubelet.holder_client import HolderClient
from localset.kubelet.runtime import Isolation
from tests.process.runtime_contract import PYTHON, Bench, bench, until

SLIRP = shutil.which("slirp4netns") or ""
NFT = shutil.which("nft") or ""
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not Path(PYTHON).exists(), reason="makes network namespaces"
)
needs_slirp = pytest.mark.skipif(
    not SLIRP or not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="needs slirp4netns and /dev/net/tun"
)
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(9).decode())"


@asynccontextmanager
async def holding(directory: Path) -> AsyncIterator[tuple[Bench, HolderClient]]:
    async with bench(directory, Isolation.NAMESPACES) as house:
        client = HolderClient(directory, SystemClock())
        client.start()
        try:
            yield house, client
        finally:
            await client.aclose()


async def egress(client: HolderClient, program: str) -> dict[str, Any]:
    """Ask as the daemon does: again when the holder has just died."""

    async def ask() -> dict[str, Any] | None:
        try:
            return dict((await client.request({"do": "egress", "program": program}))[0])
        except OSError:
            return None

    state: dict[str, Any] = await until(ask, "a state", 20)
    return state


def outward_address() -> str:
    """Return an address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address: str = probe.getsockname()[0]
        return address


def slirps(directory: Path) -> list[int]:
    """Return the processes of slirp4netns that work in the directory: the holder's, as they inherit it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_one = (process / "comm").read_text().strip() == "slirp4netns"
            if is_one and str((process / "cwd").readlink()).startswith(str(directory)):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@needs_slirp
async def test_a_pod_reaches_the_outside_but_not_the_loopback_of_the_host(tmp_path: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside")
        writer.close()

    outer = outward_address()
    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    port = str(server.sockets[0].getsockname()[1])
    async with server, holding(tmp_path) as (house, client):
        assert await egress(client, SLIRP) == {"how": "slirp4netns", "reason": ""}
        await house.spawn("out", PYTHON, "-c", ASK, outer, port)
        assert (await house.over("out")).exit_code == 0, house.lines("out")
        assert house.lines("out") == ["outside"]
        await house.spawn("loopback", PYTHON, "-c", ASK, "198.19.255.2", port, pod=3)
        assert (await house.over("loopback")).exit_code != 0
        # It dies: another one takes its place, and the same Pods reach the outside again.
        (first,) = slirps(tmp_path)
        os.kill(first, signal.SIGKILL)
        await until(lambda: [pid for pid in slirps(tmp_path) if pid != first], "another one")
        assert (await egress(client, SLIRP))["how"] == "slirp4netns"
        await house.spawn("again", PYTHON, "-c", ASK, outer, port)
        assert (await house.over("again")).exit_code == 0, house.lines("again")
        # The holder is killed: none is left behind, whoever starts the next.
        (second,) = slirps(tmp_path)
        hello, _ = await client.request({"do": "hello"})
        os.kill(hello["pid"], signal.SIGKILL)
        await until(lambda: second not in slirps(tmp_path), "the end of the holder's")
        assert (await egress(client, SLIRP))["how"] == "slirp4netns"
    await until(lambda: not slirps(tmp_path), "the end of all")


async def test_a_program_that_fails_is_told_with_its_words_and_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "failing"
    program.write_text("#!/bin/sh\necho 'tun: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    tries = tmp_path / "tries"
    async with holding(tmp_path) as (_, client):
        assert await egress(client, str(program)) == {"how": "off", "reason": "tun: Permission denied"}
        program.write_text(f"#!/bin/sh\necho try >> {tries}\nexit 1\n")
        await until(tries.exists, "another try")
        assert await egress(client, str(tmp_path / "nowhere")) == {
            "how": "off",
            "reason": f"{tmp_path / 'nowhere'}: No such file or directory",
        }
        assert await egress(client, "") == {"how": "off", "reason": ""}


@pytest.mark.skipif(not NFT or not shutil.which("unshare"), reason="needs nft and unshare")
def test_translation_by_the_host_works_and_leaves_the_host_as_it_was(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.process.nat_scenario", str(tmp_path), NFT],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
