"""Faults on purpose, as far as they are done to processes and to a Pod's network: freeze, thaw, kill, shape.

Called by `server`; the kubelet decides. A frozen set is thawed when it is asked to end. A Pod is cut off inside its own
network: what it sends to a peer goes nowhere, and what comes from there is dropped by the reverse-path check, both in
silence, as a broken cable does it. Loss and delay are the kernel's network emulation, on what the Pod sends.
"""

import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from localset.keeper import linux
from localset.keeper.journal import Fields
from localset.keeper.netlink import Netlink
from localset.keeper.registry import Registry

_INTERFACE = "eth0"
_ALL = ("0.0.0.0/1", "128.0.0.0/1")
_REVERSE_PATH = "/proc/sys/net/ipv4/conf/all/rp_filter"


def freeze(registry: Registry, run_id: str) -> None:
    """SIGSTOP everyone of a set, until nobody new is found; ESRCH when it does not run."""
    record = registry.records.get(run_id)
    if record is None or record.is_over:
        raise OSError(errno.ESRCH, "the process is over")
    registry.sets.freeze(record)


def thaw(registry: Registry, run_id: str) -> None:
    """SIGCONT everyone of a set that was frozen; nothing when it is over."""
    record = registry.records.get(run_id)
    if record is not None and not record.is_over:
        registry.sets.thaw(record)


def shape(registry: Registry, message: Fields, answer: Callable[..., None]) -> None:
    """Make the network of a Pod as `message` wants it: {pod_uid, cut, was, loss_percent, delay_seconds, …}."""
    namespaces = registry.pods.descriptors(message["pod_uid"])
    if not namespaces:
        raise OSError(errno.ESRCH, "the Pod has no network of its own")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        signal.set_wakeup_fd(-1)
        _shape(registry.network.user_namespace, namespaces[0], registry.network.gateway, message, writing)
    os.close(writing)

    def ended(_status: int) -> None:
        word = os.read(reading, 4096)
        os.close(reading)
        if word == b"ok":
            answer(None)
        else:
            answer(None, error=json.loads(word)["message"] if word else "the child that shapes the network died")

    registry.children[pid] = ended


def _shape(user: int, network: int, gateway: str, message: Fields, report: int) -> NoReturn:
    try:
        if user >= 0:
            linux.setns(user, linux.CLONE_NEWUSER)
        linux.setns(network, linux.CLONE_NEWNET)
        link = Netlink()
        _cut(link, gateway, list(message["cut"]), list(message["was"]))
        emulate(link, _INTERFACE, message)
        os.write(report, b"ok")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(report, json.dumps({"message": error.strerror or str(error)}).encode())
    finally:
        os._exit(0)


def _cut(link: Netlink, gateway: str, wanted: list[str], before: list[str]) -> None:
    """Lead the way to each address of `wanted` ("" for all but the gateway) into nothing; no longer that of others."""
    gone = [address for address in before if address not in wanted]
    for address in gone:
        for network in _networks(address):
            with contextlib.suppress(OSError):
                link.remove_route(network, "lo")
        if not address:
            with contextlib.suppress(OSError):
                link.remove_route(f"{gateway}/32", _INTERFACE)
    if wanted:
        with open(_REVERSE_PATH, "w", encoding="ascii") as file:
            file.write("1")
    for address in wanted:
        if not address:
            link.add_route(f"{gateway}/32", _INTERFACE)
        for network in _networks(address):
            link.add_route(network, "lo")


def _networks(address: str) -> list[str]:
    if address:
        return [f"{address}/32"]
    own = [line.split() for line in _lines("/proc/net/route")]
    base = next((f[1] for f in own if f[0] == _INTERFACE and f[7] == "0000FFFF"), None)
    if base is None:
        return list(_ALL)
    first = socket.inet_ntoa(bytes.fromhex(base)[::-1]).rsplit(".", 2)[0]
    return [f"{first}.0.0/17", f"{first}.128.0/17"]


def _lines(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()[1:]


def emulate(link: Netlink, interface: str, message: Fields) -> None:
    """Have loss and delay on `interface`, or neither. OSError that names what the kernel lacks."""
    loss, delay = float(message["loss_percent"]), float(message["delay_seconds"])
    if not loss and not delay:
        with contextlib.suppress(OSError):
            link.remove_emulation(interface)
        return
    try:
        link.emulate(interface, loss, delay, float(message["jitter_seconds"]))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        text = "this kernel has no network emulation (sch_netem); where it is a module: sudo modprobe sch_netem"
        raise OSError(errno.ENOENT, text) from error


def why_no_emulation() -> str:
    """Return why loss and delay cannot be had here, "" when they can; in a namespace of its own (`isolation`)."""
    wanted: Fields = {"loss_percent": 1, "delay_seconds": 0, "jitter_seconds": 0}
    try:
        emulate(Netlink(), "lo", wanted)
    except OSError as error:
        return error.strerror or str(error)
    return ""
