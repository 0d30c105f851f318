"""Makes one Pod's namespaces: network, IPC and hostname, shared by its containers. Runs in a forked child.

Called by `keeper.pods`, which opens the namespaces through /proc while the child waits, and keeps them by descriptor:
no process of ours stays in a Pod (runtime.md 2.7).
"""

import contextlib
import errno
import json
import os
import signal
import socket
from typing import Any, NoReturn

from localset.keeper import linux
from localset.keeper.bridge import LINK, free_low_ports
from localset.keeper.netlink import Netlink, hardware_address

Plan = dict[str, Any]
"""{hostname, address, gateway, alias, shares_processes}."""

_INTERFACE = "eth0"
_NAMESPACES = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS


def link_name(address: str) -> str:
    """Return the name of a Pod's link in the bridge namespace: one address, one link."""
    third, fourth = address.split(".")[2:]
    return f"v{third}.{fourth}"


def run(plan: Plan, namespaces: list[int], report: int, gate: int) -> NoReturn:
    """Make the namespaces of `plan`, say `ok`, wait for the gate's end and end.

    `namespaces` are the bridge's network and, rootless, the outer user namespace. What fails is told as JSON. With
    `shares_processes` in the plan the PID of a first process is said after `ok`.
    """
    try:
        _build(plan, namespaces)
        first = _start_first(report, gate) if plan["shares_processes"] else 0
        os.write(report, b"ok%d" % first)
        os.close(report)
        os.read(gate, 1)
    except OSError as error:
        text = {"errno": error.errno or 0, "message": f"Pod network: {error.strerror or error}"}
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(text).encode())
    finally:
        os._exit(0)


def open_terminal(pid: int, *, is_privileged: bool) -> tuple[int, int]:
    """Return (master, slave) of a terminal that has its name in the container whose first process is `pid`.

    Made in a child, which must enter; waits for it, some milliseconds. OSError when it cannot.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            signal.set_wakeup_fd(-1)
            entry = os.pidfd_open(pid)
            linux.setns(entry, linux.CLONE_NEWNS | (0 if is_privileged else linux.CLONE_NEWUSER))
            socket.send_fds(theirs, [b"t"], list(os.openpty()))
        except OSError:
            pass
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        ours.settimeout(2.0)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 2)
    if len(descriptors) != 2:
        raise OSError(errno.ENXIO, "no terminal can be made in the container")
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors[0], descriptors[1]


def give_socket(user: int, network: int, to: socket.socket) -> NoReturn:
    """Send a TCP socket made in the network namespace `network` and end; `user` is the outer namespace, or -1."""
    try:
        if user >= 0:
            linux.setns(user, linux.CLONE_NEWUSER)
        linux.setns(network, linux.CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
            socket.send_fds(to, [b"s"], [made.fileno()])
    except OSError:
        pass
    finally:
        os._exit(0)


def _start_first(report: int, gate: int) -> int:
    """Make a process table with a first process that only reaps: it must outlive each of the containers in it."""
    linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in (report, gate):
            os.close(number)
        os.closerange(0, min(os.sysconf("SC_OPEN_MAX"), 1 << 20))
        os.chdir("/")
        linux.name_process("pause")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            signal.sigwait({signal.SIGCHLD})
    finally:
        os._exit(1)


def _build(plan: Plan, namespaces: list[int]) -> None:
    for user in namespaces[1:]:
        linux.setns(user, linux.CLONE_NEWUSER)
    linux.setns(namespaces[0], linux.CLONE_NEWNET)
    outside = Netlink()
    bridge = socket.if_nametoindex(LINK)
    linux.unshare(_NAMESPACES)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    address = plan["address"]
    name = link_name(address)
    # The link of a former life goes at once: the kernel removes it some time after the last process (runtime.md 3.5).
    try:
        outside.delete(name)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    outside.add_pair(name, bridge, _INTERFACE, own, hardware_address(address), plan["alias"])
    outside.close()
    inside = Netlink()
    inside.set_up("lo")
    inside.set_up(_INTERFACE)
    inside.add_address(_INTERFACE, address, 16)
    inside.add_default_route(_INTERFACE, plan["gateway"])
    inside.close()
    free_low_ports()
    socket.sethostname(plan["hostname"])
