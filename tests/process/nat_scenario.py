"""`--egress=nat` on a host of its own: `unshare -n python nat_scenario.py DIRECTORY NFT` (see `test_egress`).

Prints nothing and ends with 0 when all is as it should be.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from localset.base.clock import SystemClock
from localset.keeper.netlink import Netlink
from localset.kubelet.holder_client import HolderClient
from localset.kubelet.runtime import Isolation
from tests.process.runtime_contract import PYTHON, bench, until

FAR = """
import socket, sys
from localset.keeper.netlink import Netlink
print("here", flush=True)
sys.stdin.readline()
link = Netlink()
link.set_up("far0")
link.add_address("far0", "203.0.113.2", 24)
server = socket.create_server(("203.0.113.2", 80))
print("listening", flush=True)
connection, peer = server.accept()
connection.send(b"outside")
print(peer[0], flush=True)
"""
ASK = "import socket; print(socket.create_connection(('203.0.113.2', 80), 5).recv(9).decode())"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def changes(nft: str) -> list[str]:
    """Return what this host has that it had not."""
    tables = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=True).stdout.split()
    links = [name for _, name in socket.if_nameindex() if name.startswith("lsnat")]
    return [*tables, *links, *(["forwards"] if FORWARD.read_text().strip() != "0" else [])]


def outside() -> subprocess.Popen[str]:
    """Start a machine of its own beside this host, with a server; it prints who asks."""
    far = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-c", FAR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert far.stdout is not None
    assert far.stdin is not None
    assert far.stdout.readline() == "here\n"
    namespace = os.open(f"/proc/{far.pid}/ns/net", os.O_RDONLY)
    link = Netlink()
    link.set_up("lo")
    link.add_pair("out0", 0, "far0", namespace, b"\x0a\x58\x01\x02\x03\x04", "")
    link.add_address("out0", "203.0.113.1", 24)
    link.close()
    os.close(namespace)
    far.stdin.write("\n")
    far.stdin.flush()
    assert far.stdout.readline() == "listening\n"
    return far


async def main(directory: Path, nft: str) -> None:
    """Out and back, a killed holder, and the end."""
    FORWARD.write_text("0")  # noqa: ASYNC240 - one byte, nobody waits
    with outside() as far:
        assert far.stdout is not None
        async with bench(directory, Isolation.NAMESPACES) as house:
            client = HolderClient(directory, SystemClock())
            client.start()

            async def egress(how: str, program: str):
                with contextlib.suppress(OSError):  # the holder has just died
                    return (await client.request({"do": "egress", "how": how, "program": program}))[0]

            assert await egress("nat", nft) == {"how": "nat", "reason": ""}
            await house.spawn("out", PYTHON, "-c", ASK)
            assert (await house.over("out")).exit_code == 0, house.lines("out")
            assert (house.lines("out"), far.stdout.readline()) == (["outside"], "203.0.113.1\n")
            assert len(changes(nft)) > 3, changes(nft)
            hello, _ = await client.request({"do": "hello"})
            os.kill(hello["pid"], signal.SIGKILL)
            assert (await until(lambda: egress("off", ""), "the next holder"))["how"] == "off"
            assert changes(nft) == []
            refused = await egress("nat", "/bin/false")
            assert refused == {"how": "off", "reason": "--egress=nat: nft: it ended with 1"}
            assert changes(nft) == []
            assert await egress("nat", nft) == {"how": "nat", "reason": ""}
            await client.aclose()
        await until(lambda: changes(nft) == [], "a host as it was")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
