"""Faults that a Pod's annotations ask for (`apis.faults`), brought about and undone by the Runtime.

Called by `worker` in each round of a Pod that has, or had, any; loaded only then. Level-driven: what is in force is
kept beside the Pod's files before it is done, so that a daemon killed in between undoes what nobody wants any more.
Every change is told by an event: FaultInjected, FaultHealed, or FaultRefused with what would make it possible.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from localset.apis.faults import (
    CUT,
    DELAY,
    FILL,
    FREEZE,
    KILL,
    LOSS,
    NETWORK,
    PREFIX,
    Fault,
    FaultError,
    annotated,
    parse,
)
from localset.base.clock import rfc3339
from localset.base.files import open_beneath, opened_directory, write_atomically
from localset.client.client import PatchType
from localset.kubelet.context import KubeletContext
from localset.kubelet.records import ContainerRecord
from localset.kubelet.runtime import Isolation, NetworkShape
from localset.machinery.durations import parse_duration
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of
from localset.machinery.quantity import parse_quantity

FILE = "faults"
_BALLAST = ".localset-fill"
_BLOCK = 1 << 20
Records = Mapping[str, ContainerRecord]


class PodFaults:
    """The faults of one Pod. `in_force` is what has been done, by kind; the file holds the same."""

    def __init__(self, context: KubeletContext, directory: Path, on_written: Callable[[Object], None]) -> None:
        """Read from the Pod's `directory` what a former daemon has done; each new state of the Pod is given away."""
        self._on_written = on_written
        self._context = context
        self._directory = directory
        self._file = directory / FILE
        self.in_force: dict[str, Fault] = {}
        self._shaped: tuple[NetworkShape, frozenset[str]] | None = None
        self._cut: tuple[str, ...] = ()
        self._restore()

    def _restore(self) -> None:
        try:
            fields = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return
        self.in_force = {kind: parse(kind, text) for kind, text in fields["faults"].items()}
        self._cut = tuple(fields["cut"])

    def _save(self) -> None:
        if not self.in_force and not self._cut:
            self._file.unlink(missing_ok=True)
            return
        fields = {"faults": {kind: fault.text for kind, fault in self.in_force.items()}, "cut": self._cut}
        write_atomically(self._file, json.dumps(fields).encode(), is_durable=False)

    async def tend(self, pod: Object, records: Records, *, is_ending: bool) -> float | None:
        """Make the Pod as bad as it is asked to be; return after how many seconds something is due, None for never."""
        wanted, refused = ({}, {}) if is_ending else _wanted(pod)
        for kind, text in refused.items():
            self._tell(pod, "Warning", "FaultRefused", text)
            await self._annotate(pod, kind, None)
        now = self._context.clock.now()
        for kind, fault in list(wanted.items()):
            end = fault.ends_at()
            if end is not None and end <= now:
                del wanted[kind]
                await self._heal(pod, kind, records, "its time is over")
                await self._annotate(pod, kind, None)
        for kind in [kind for kind in self.in_force if kind not in wanted]:
            await self._heal(pod, kind, records, "the Pod ends" if is_ending else "healed")
        for kind, fault in wanted.items():
            if not _is_same(self.in_force.get(kind), fault):
                await self._inject(pod, kind, fault, records)
        if FREEZE in self.in_force:
            await self._end_freeze_of_restarted(pod, records)
        if not is_ending:
            await self._shape(pod, records)
        due = [end for fault in self.in_force.values() if (end := fault.ends_at()) is not None]
        return max((min(due) - now).total_seconds(), 0.0) if due else None

    # --- injecting ------------------------------------------------------------------------------------------------

    async def _inject(self, pod: Object, kind: str, fault: Fault, records: Records) -> None:
        running = [record for record in records.values() if record.is_running]
        if not running:
            return  # in force from the first process on
        before = self.in_force.get(kind)
        done = self._dated(fault, ",".join(sorted(record.run_id for record in running)) if kind == FREEZE else "")
        try:
            self._refuse_without_network(pod, fault)
            self.in_force[kind] = done
            self._save()
            if kind == KILL:
                await self._annotate(pod, kind, None)  # first: nothing is killed twice for one wish
                await self._kill(fault, running)
            elif kind == FREEZE:
                for record in running:
                    await self._context.runtime.freeze(record.run_id, frozen=True)
            elif kind == FILL:
                await self._fill(pod, fault)
            else:
                await self._shape(pod, records, is_asked=True)
        except OSError as error:
            self.in_force.pop(kind, None)
            if before is not None:
                self.in_force[kind] = before
            self._save()
            self._tell(pod, "Warning", "FaultRefused", f"{fault.about}: {error.strerror or error}")
            await self._annotate(pod, kind, None)
            return
        until = f" until {done.words['until']}" if "until" in done.words else ""
        self._tell(pod, "Warning", "FaultInjected", f"{fault.about}{until}")
        if kind == KILL:
            del self.in_force[kind]
            self._save()
        else:
            await self._annotate(pod, kind, done.text)

    def _dated(self, fault: Fault, of: str) -> Fault:
        now = self._context.clock.now()
        words = {key: value for key, value in fault.words.items() if key not in {"for", "since", "of"}}
        if "for" in fault.words:
            words["until"] = rfc3339(now + timedelta(seconds=parse_duration(fault.words["for"])))
        words["since"] = rfc3339(now)
        if of:
            words["of"] = of
        return Fault(fault.kind, words)

    def _refuse_without_network(self, pod: Object, fault: Fault) -> None:
        level = self._context.settings.isolation
        if fault.kind not in NETWORK:
            return
        if level is not Isolation.NAMESPACES:
            cure = "it needs --isolation=namespaces, see `localset doctor`"
            raise OSError(f"at level {level} Pods share the host's network; {cure}")
        if (pod.get("spec") or {}).get("hostNetwork"):
            raise OSError("the Pod has hostNetwork: true and so no network of its own")

    async def _kill(self, fault: Fault, running: list[ContainerRecord]) -> None:
        name = fault.words.get("container")
        chosen = [record for record in running if not name or record.name == name]
        if not chosen:
            raise OSError(f"no container {name} runs")
        for record in chosen:
            await self._context.runtime.kill(record.run_id)

    async def _end_freeze_of_restarted(self, pod: Object, records: Records) -> None:
        """Consider a freeze over when a frozen container has been replaced: what is new was never meant."""
        frozen = set(self.in_force[FREEZE].words.get("of", "").split(","))
        now = {record.run_id for record in records.values() if record.is_running}
        if not frozen <= now:
            await self._heal(pod, FREEZE, records, "its container was restarted")
            await self._annotate(pod, FREEZE, None)

    # --- the network ----------------------------------------------------------------------------------------------

    async def _shape(self, pod: Object, records: Records, *, is_asked: bool = False) -> None:
        """Have the network as the faults want it; anew with each new process, whose network may be a new one."""
        cut = self.in_force.get(CUT)
        loss, delay = self.in_force.get(LOSS), self.in_force.get(DELAY)
        if not (cut or loss or delay or self._cut or (self._shaped and self._shaped[0] != NetworkShape())):
            return
        running = frozenset(record.run_id for record in records.values() if record.is_running)
        if not running:
            return
        shape = NetworkShape(
            self._addresses(pod, cut) if cut else (),
            float(loss.words["percent"]) if loss else 0.0,
            parse_duration(delay.words["time"]) if delay else 0.0,
            parse_duration(delay.words.get("jitter", "0")) if delay else 0.0,
        )
        if self._shaped == (shape, running):
            return
        was = self._cut
        self._cut = tuple(sorted({*was, *shape.cut}))
        self._save()
        try:
            await self._context.runtime.shape(uid_of(pod), shape, was)
        except OSError as error:
            if is_asked:
                self._cut = was
                raise
            self._tell(pod, "Warning", "FaultRefused", error.strerror or str(error))
        self._shaped, self._cut = (shape, running), shape.cut
        self._save()

    def _addresses(self, pod: Object, cut: Fault) -> tuple[str, ...]:
        if not cut.peers:
            return ("",)
        namespace, found = namespace_of(pod), []
        for peer in cut.peers:
            host = self._context.addresses.known(namespace, peer)
            if not host:
                raise OSError(f"Pod {peer} has no address in namespace {namespace}")
            found.append(self._context.settings.pod_ip(host))
        return tuple(sorted(found))

    # --- filling --------------------------------------------------------------------------------------------------

    async def _fill(self, pod: Object, fault: Fault) -> None:
        """Fill size-limited volumes beyond their limit and do then what Kubernetes does: evict the Pod."""
        limits = size_limits(pod)
        name = fault.words.get("volume")
        if name and name not in limits:
            raise OSError(f"volume {name} is no emptyDir with a sizeLimit: only such a one can be filled without harm")
        if not limits:
            raise OSError("the Pod has no emptyDir with a sizeLimit: only such a one can be filled without harm")
        chosen = {key: value for key, value in limits.items() if not name or key == name}
        for volume, limit in chosen.items():
            self._add_ballast(volume, int(parse_quantity(limit)))
        volume, limit = next(iter(chosen.items()))
        message = f'Usage of EmptyDir volume "{volume}" exceeds the limit "{limit}". '
        self._tell(pod, "Warning", "Evicted", message)
        change = {"status": {"phase": "Failed", "reason": "Evicted", "message": message}}
        written = await self._context.client.patch(
            "pods", namespace_of(pod), name_of(pod), change, PatchType.MERGE, subresource="status"
        )
        self._on_written(written)

    def _add_ballast(self, volume: str, limit: int) -> None:
        root = self._directory / "volumes" / volume
        left = limit - usage_of(root) + 1
        with opened_directory(root) as directory:
            descriptor = open_beneath(directory, _BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                while left > 0:
                    left -= os.write(descriptor, bytes(min(left, _BLOCK)))
            finally:
                os.close(descriptor)

    # --- healing --------------------------------------------------------------------------------------------------

    async def _heal(self, pod: Object, kind: str, records: Records, why: str) -> None:
        fault = self.in_force.pop(kind, None)
        if fault is None:
            return
        if kind == FREEZE:
            for record in records.values():
                if record.is_running:
                    await self._context.runtime.freeze(record.run_id, frozen=False)
        elif kind == FILL:
            for volume in size_limits(pod):
                (self._directory / "volumes" / volume / _BALLAST).unlink(missing_ok=True)
        elif kind in NETWORK and why != "the Pod ends":
            await self._shape(pod, records)
        self._save()
        self._tell(pod, "Normal", "FaultHealed", f"{fault.about}: {why}")

    def _tell(self, pod: Object, kind: str, reason: str, text: str) -> None:
        self._context.recorder.event(pod, kind, reason, text)

    async def _annotate(self, pod: Object, kind: str, text: str | None) -> None:
        change = {"metadata": {"uid": uid_of(pod), "annotations": {PREFIX + kind: text}}}
        try:
            written = await self._context.client.patch("pods", namespace_of(pod), name_of(pod), change, PatchType.MERGE)
            self._on_written(written)
        except StatusError as error:
            if error.code not in {404, 409, 422}:
                raise


def _wanted(pod: Object) -> tuple[dict[str, Fault], dict[str, str]]:
    """Return the faults that are asked for and, for those that cannot be understood, why."""
    wanted: dict[str, Fault] = {}
    refused: dict[str, str] = {}
    for kind, text in annotated(pod).items():
        try:
            wanted[kind] = parse(kind, text)
        except FaultError as error:
            refused[kind] = str(error)
    return wanted, refused


def _is_same(done: Fault | None, asked: Fault) -> bool:
    """Tell whether what was done is what is asked; the words that the kubelet adds do not count.

    One that says `for` is new: what was done says `until`.
    """
    if done is None:
        return False
    ours = {"since", "of"}
    return {k: v for k, v in done.words.items() if k not in ours} == {
        k: v for k, v in asked.words.items() if k not in ours
    }


def size_limits(pod: Object) -> dict[str, str]:
    """Return {volume: sizeLimit} of the Pod's size-limited emptyDirs."""
    volumes: Iterable[Object] = (pod.get("spec") or {}).get("volumes") or []
    return {v["name"]: str(v["emptyDir"]["sizeLimit"]) for v in volumes if (v.get("emptyDir") or {}).get("sizeLimit")}


def usage_of(root: Path) -> int:
    """Return the bytes of the files beneath `root`; links are not followed."""
    total = 0
    for directory, _, names, number in os.fwalk(root, follow_symlinks=False):
        del directory
        for name in names:
            total += os.stat(name, dir_fd=number, follow_symlinks=False).st_size
    return total
