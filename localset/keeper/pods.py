"""The Pods' namespaces at level *namespaces*: made once per Pod, kept by descriptor, let go with its last record.

Called by `registry` before it forks a container. Making them takes some milliseconds in a child; the keeper's loop goes
on meanwhile. After a keeper's death they are opened again through any living container of the Pod.
"""

import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Callable

from localset.keeper import processes, sandbox, wire
from localset.keeper.journal import Fields, Journal
from localset.keeper.loop import Loop, say
from localset.keeper.network import Network

KINDS = ("net", "ipc", "uts")
FIRST_KEY = "\0first/"
Then = Callable[[OSError | None], None]


class Pod:
    """One Pod's namespaces; `descriptors` in the order of KINDS, empty while they are being made.

    Where its containers share a process table that one is the last, and `first` is its first process.
    """

    __slots__ = ("address", "descriptors", "first", "name", "waiting")

    def __init__(self, name: str, address: str) -> None:
        """Know the Pod."""
        self.name = name
        self.address = address
        self.descriptors: list[int] = []
        self.first = 0
        self.waiting: list[Then] = []


class Pods:
    """By Pod uid."""

    def __init__(
        self, loop: Loop, journal: Journal, children: dict[int, Callable[[int], None]], network: Network
    ) -> None:
        """Know none yet."""
        self._loop = loop
        self._journal = journal
        self._children = children
        self._network = network
        self._pods: dict[str, Pod] = {}

    def listed(self) -> list[Fields]:
        """Return what has a network now."""
        return [
            {"pod_uid": uid, "pod": pod.name, "address": pod.address, "veth": sandbox.link_name(pod.address)}
            for uid, pod in self._pods.items()
            if pod.descriptors
        ]

    def descriptors(self, pod_uid: str) -> list[int]:
        """Return the namespaces of a Pod, which stay ours, or []."""
        pod = self._pods.get(pod_uid)
        return pod.descriptors if pod is not None else []

    def ensure(self, spec: Fields, then: Then) -> None:
        """Have the namespaces of the Pod of `spec`, then call `then(None)`, or with what went wrong."""
        uid = spec["pod_uid"]
        pod = self._pods.get(uid)
        if pod is not None and pod.descriptors:
            then(None)
            return
        if pod is not None:
            pod.waiting.append(then)
            return
        if not self._network.namespaces:
            then(OSError(errno.ENETDOWN, "the Pods' network is not up"))
            return
        pod = self._pods[uid] = Pod(spec["pod"], spec["address"])
        pod.waiting.append(then)
        try:
            self._make(uid, pod, spec)
        except OSError as error:
            self._made(uid, pod, error)

    def _make(self, uid: str, pod: Pod, spec: Fields) -> None:
        plan = {
            "hostname": spec["hostname"],
            "address": spec["address"],
            "gateway": self._network.gateway,
            "alias": spec["pod"],
            "shares_processes": bool(spec.get("shares_processes")),
        }
        reading, report = os.pipe()
        gate, holding = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(holding)
            signal.set_wakeup_fd(-1)
            sandbox.run(plan, self._network.namespaces, report, gate)
        os.close(report)
        os.close(gate)
        self._children[pid] = lambda _status: None
        os.set_blocking(reading, False)
        word = bytearray()

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                block = os.read(reading, 4096)
                word.extend(block)
                if block:
                    return
                self._loop.remove(reading)
                os.close(reading)
                text = bytes(word)
                error = self._take(uid, pod, pid, int(text[2:])) if text.startswith(b"ok") else _failure(text)
                os.close(holding)
                self._made(uid, pod, error)

        self._loop.add_reader(reading, heard)

    def _take(self, uid: str, pod: Pod, pid: int, first: int) -> OSError | None:
        error = self._open(pod, pid)
        if error is None and first:
            fields = {"pid": first, "start_time": processes.start_time(first), "boot": processes.boot_id()}
            try:
                self._journal.write(FIRST_KEY + uid, fields)
                self._share(pod, first)
            except OSError as caught:
                return caught
        return error

    def _share(self, pod: Pod, first: int) -> None:
        pod.first = first
        pod.descriptors.append(os.open(f"/proc/{first}/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
        self._children.setdefault(first, lambda _status: None)

    def _open(self, pod: Pod, pid: int) -> OSError | None:
        opened: list[int] = []
        try:
            for kind in KINDS:
                descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                opened.append(descriptor)
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            return error
        pod.descriptors = opened
        return None

    def _made(self, uid: str, pod: Pod, error: OSError | None) -> None:
        if error is not None:
            self._pods.pop(uid, None)
        waiting, pod.waiting = pod.waiting, []
        for then in waiting:
            then(error)

    def make_socket(self, pod_uid: str, answer: Callable[..., None]) -> None:
        """Answer with a TCP socket made inside the Pod; an error when it has no namespaces."""
        namespaces = self.descriptors(pod_uid)
        if not namespaces:
            raise OSError(errno.ESRCH, "the Pod has no network of its own")
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            ours.close()
            sandbox.give_socket(self._network.user_namespace, namespaces[0], theirs)
        theirs.close()
        self._children[pid] = lambda _status: None
        ours.setblocking(False)

        def heard() -> None:
            try:
                _, descriptors = wire.receive(ours)
            except BlockingIOError:
                return
            except OSError:
                descriptors = []
            self._loop.remove(ours.fileno())
            ours.close()
            if descriptors:
                answer(None, descriptors)
            else:
                answer(None, error="the Pod's network cannot be entered")

        self._loop.add_reader(ours.fileno(), heard)

    def find_again(self, spec: Fields, pid: int) -> bool:
        """Take up a Pod through its living process `pid`; tell whether its network is whole."""
        uid = spec["pod_uid"]
        pod = self._pods.get(uid)
        if pod is None:
            pod = Pod(spec["pod"], spec["address"])
            error = self._open(pod, pid)
            if error is not None:
                say(f"the namespaces of {spec['pod']} cannot be opened again: {error}")
                return False
            self._pods[uid] = pod
            first = self._first_of(uid)
            if first:
                self._share(pod, first)
        return True

    def _first_of(self, pod_uid: str) -> int:
        """Return the living first process that a former keeper made for a Pod, or 0."""
        fields = self._journal.records.get(FIRST_KEY + pod_uid)
        if fields is None or fields["boot"] != processes.boot_id():
            return 0
        pid = int(fields["pid"])
        return pid if processes.start_time(pid) == fields["start_time"] else 0

    def end_strays(self) -> None:
        """End the first processes of Pods that nothing lives in, after a keeper's death."""
        for key in [key for key in self._journal.records if key.startswith(FIRST_KEY)]:
            uid = key.removeprefix(FIRST_KEY)
            if uid not in self._pods:
                self._end_first(uid)

    def _end_first(self, pod_uid: str) -> None:
        pid = self._first_of(pod_uid)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if FIRST_KEY + pod_uid in self._journal.records:
            self._journal.write(FIRST_KEY + pod_uid, None)

    def release(self, pod_uid: str) -> None:
        """Let go of a Pod's namespaces; the kernel ends them with their last process."""
        pod = self._pods.pop(pod_uid, None)
        if pod is not None:
            for descriptor in pod.descriptors:
                os.close(descriptor)
            pod.descriptors = []
        self._end_first(pod_uid)


def _failure(word: bytes) -> OSError:
    try:
        fields = json.loads(word)
    except ValueError:
        return OSError(errno.ECHILD, "Pod network: the child that makes it died")
    return OSError(fields["errno"], fields["message"])
