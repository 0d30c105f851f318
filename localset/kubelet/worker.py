"""The worker of one Pod: brings its processes to what the object asks, and the status to what they are.

One task per Pod, made by `Kubelet`. Each round: snapshot → `plan_pod` → steps → status. Woken by events only (object,
runtime, probe, referenced objects, a due back-off); a lost wake-up costs time, never correctness. Starts come before
the status write, because a replacement must not wait for a commit (P1).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from localset.apis.views import HOST_ADDRESS
from localset.base.clock import parse_rfc3339, rfc3339
from localset.base.frozen import replace
from localset.base.tasks import Signal, Tasks
from localset.client.client import DeleteOptions, PatchType
from localset.kubelet.addresses import BlockFullError
from localset.kubelet.care import MINIMUM_GRACE_SECONDS, ContainerCare
from localset.kubelet.context import KubeletContext, NotYetError
from localset.kubelet.environment import references_in
from localset.kubelet.identity import owner_of
from localset.kubelet.notices import tell_once
from localset.kubelet.plan import Finish, PodView, Start, Step, Stop, WaitUntil, is_complete, plan_pod
from localset.kubelet.records import (
    ContainerKind,
    ContainerRecord,
    container_of,
    containers_of,
    definition_hash,
    field_path,
)
from localset.kubelet.restore import Restored, fresh_records
from localset.kubelet.runtime import ProcessReport, ProcessState
from localset.kubelet.starter import (
    PodFiles,
    Starter,
    Surroundings,
    check_ports,
    find_image,
    image_user,
    level_of,
    write_pod_files,
)
from localset.kubelet.status import TERMINAL_PHASES, StatusFacts, go_duration, make_status, terminated_state
from localset.kubelet.volumes import MountedVolume, Volumes, references_of
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    annotations_of,
    is_being_deleted,
    key_of,
    name_of,
    namespace_of,
    uid_of,
    version_of,
)

if TYPE_CHECKING:
    from localset.kubelet.faults import PodFaults

log = logging.getLogger(__name__)

_RETRY_FIRST_SECONDS = 0.5
_RETRY_LAST_SECONDS = 30.0
_CONFLICT_RETRIES = 8


class PodWorker:
    """Everything about one Pod on this node, from its binding to the removal of its last file."""

    __slots__ = (
        "_address",
        "_backoff_messages",
        "_cares",
        "_context",
        "_ends_at",
        "_failures",
        "_faults",
        "_has_asked_removal",
        "_hashed_pod",
        "_hashes",
        "_is_restored",
        "_is_stale",
        "_last_grace",
        "_last_status",
        "_may_start",
        "_must_wait",
        "_on_end",
        "_starter",
        "_superseded",
        "_tasks",
        "_timer",
        "_volumes",
        "_wakeup",
        "files",
        "is_gone",
        "key",
        "pod",
        "records",
        "references",
        "uid",
    )

    def __init__(  # noqa: PLR0913 - one Pod and its place in the house
        self,
        context: KubeletContext,
        pod: Object,
        *,
        restored: Restored | None = None,
        is_gone: bool = False,
        must_wait: Callable[["PodWorker"], bool],
        may_start: Callable[[], bool],
        on_end: Callable[["PodWorker"], None],
    ) -> None:
        """`restored` brings living processes; `is_gone` says that the object is no longer there."""
        self._context = context
        self.pod = pod
        self.uid = uid_of(pod)
        self.key: Key = key_of(pod)
        self.is_gone = is_gone
        self.records: dict[str, ContainerRecord] = restored.records if restored else fresh_records(pod)
        self.references = references_of(pod) | references_in(pod)
        self.files = PodFiles(context.settings.pods_directory / self.uid)
        self._superseded: list[str] = restored.superseded if restored else []
        self._is_restored = restored is not None
        self._must_wait = must_wait
        self._may_start = may_start
        self._on_end = on_end
        self._cares: dict[str, ContainerCare] = {}
        self._starter = Starter(context, self.files)
        self._volumes: dict[str, MountedVolume] | None = None
        self._address = context.addresses.known(namespace_of(pod), name_of(pod)) or ""
        self._is_stale = False
        self._backoff_messages: dict[str, str] = {}
        self._failures = 0
        self._faults: PodFaults | None = None
        self._has_asked_removal = False
        self._ends_at: float | None = None
        self._last_grace = 0.0
        self._hashes: dict[str, str] = {}
        self._hashed_pod: Object | None = None
        self._wakeup = Signal()
        self._timer: tuple[float, asyncio.Task[None]] | None = None
        self._tasks = Tasks(f"pod {self.key}")
        self._last_status: tuple[str, Object] | None = None
        self.wake()

    # -- being told ------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Ask for another round."""
        self._wakeup.set()

    def update(self, pod: Object) -> None:
        """Take up a newer state of the object."""
        if int(version_of(pod) or 0) > int(version_of(self.pod) or 0):
            self.pod = pod
            self.wake()

    def note_deleted(self) -> None:
        """The object is gone: what still runs is stopped."""
        self.is_gone = True
        self.wake()

    def note_references_changed(self) -> None:
        """A ConfigMap or Secret that a volume shows has changed."""
        self._is_stale = True
        self.wake()

    def note_report(self, report: ProcessReport) -> None:
        """Take up a change of one of this Pod's processes."""
        record = self.record_of(report.run_id)
        if record is None or record.report is None or record.report.state.is_over:
            return
        record.report = report
        if report.state.is_over:
            self._note_over(record)
            self.wake()
        elif report.state is ProcessState.DRAINING:
            self._note_draining(record)
            self.wake()

    def _note_draining(self, record: ContainerRecord) -> None:
        """The leader has gone and the rest of its set has not: it is not ready, and gets the Pod's grace to follow."""
        record.is_ready = False
        care = self._cares.get(record.name)
        if care is not None and not record.stop_asked:
            grace = (self.pod.get("spec") or {}).get("terminationGracePeriodSeconds") or MINIMUM_GRACE_SECONDS
            care.drain(float(grace))

    def _note_over(self, record: ContainerRecord) -> None:
        record.over_at = self._context.clock.monotonic()
        record.is_ready = record.is_started = False
        record.stop_asked = False
        record.restart_reason = ""
        care = self._cares.pop(record.name, None)
        if care is not None:
            self._tasks.spawn(care.aclose(), f"close {record.name}")

    def surroundings_of(self, container: str) -> Surroundings | None:
        """Return what commands in the container are given, or None when it does not run."""
        care = self._cares.get(container)
        return care.surroundings if care is not None else None

    def record_of(self, run_id: str) -> ContainerRecord | None:
        """Return the record whose present process is `run_id`."""
        return next((record for record in self.records.values() if record.run_id == run_id), None)

    @property
    def address(self) -> str:
        """Return the Pod's sticky address on the host, "" before it has one."""
        return self._address

    @property
    def pod_ip(self) -> str:
        """Return the address that Pods see, "" before there is one: the sticky one but for level *namespaces*."""
        settings = self._context.settings
        return settings.pod_ip(self._address) if level_of(self.pod, settings) is settings.isolation else self._address

    @property
    def has_processes(self) -> bool:
        """Tell whether any process of the Pod may live."""
        return any(record.is_running for record in self.records.values())

    # -- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the Pod is gone and cleaned up."""
        self._resume()
        delay = _RETRY_FIRST_SECONDS
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            try:
                if await self._round():
                    return
                delay = _RETRY_FIRST_SECONDS
            except Exception as error:
                is_expected = isinstance(error, (StatusError, OSError))
                log.warning("pod %s: %s; again in %.1f s", self.key, error, delay, exc_info=not is_expected)
                self._wake_in(delay)
                delay = min(delay * 2, _RETRY_LAST_SECONDS)

    async def aclose(self) -> None:
        """Stop working; processes are left as they are."""
        for care in list(self._cares.values()):
            await care.aclose()
        self._cares.clear()
        await self._tasks.aclose()

    async def _round(self) -> bool:
        """Do one round; return whether the worker is done for good."""
        if self._must_wait(self):
            return False
        self._note_end_time()
        self._note_new_containers()
        if self._is_stale and (self._volumes is not None or self.has_processes):
            self._is_stale = False
            self._volume_maker().refresh(self.pod, self._context.sources_for(self.pod, self.pod_ip))
        self._backoff_messages.clear()
        await self._tend_faults()
        for step in plan_pod(self._view()):
            if isinstance(step, Finish):
                return await self._finish()
            await self._perform(step)
        if not self._wakeup.is_set() or self._is_worth_telling():
            await self._write_status()
        await self._annotate()
        return False

    async def _tend_faults(self) -> None:
        """Have the faults that the Pod's annotations ask for, no others; before the plan, for what ends is thawed."""
        if self._faults is None:
            if not self.files.may_have_faults(self.pod, is_restored=self._is_restored):
                return
            from localset.kubelet.faults import PodFaults  # most Pods have none

            self._faults = PodFaults(self._context, self.files.directory, self._take)
        is_ending = self.is_gone or is_being_deleted(self.pod)
        due = await self._faults.tend(self.pod, self.records, is_ending=is_ending)
        if due is not None:
            self._wake_in(due)

    def _note_new_containers(self) -> None:
        """Take up ephemeral containers, which a Pod gains while it runs."""
        for container, kind in containers_of(self.pod):
            if container["name"] not in self.records:
                self.records[container["name"]] = ContainerRecord(
                    container["name"], kind, image=container.get("image") or ""
                )
                self.references |= references_in(self.pod)

    def _is_worth_telling(self) -> bool:
        """A round that only waits for the next one to go on starting containers need not write a status."""
        return not any(r.kind is ContainerKind.MAIN and r.report is None for r in self.records.values())

    def _view(self) -> PodView:
        terminating = self.is_gone or is_being_deleted(self.pod)
        phase = (self.pod.get("status") or {}).get("phase")
        view = PodView(
            records=self.records,
            restart_policy=(self.pod.get("spec") or {}).get("restartPolicy") or "Always",
            wanted_hashes=self._wanted_hashes(),
            is_terminating=terminating,
            is_finished=phase in TERMINAL_PHASES,
            may_start=self._may_start(),
            now=self._context.clock.monotonic(),
        )
        if not terminating and not view.is_finished and is_complete(view):
            return replace(view, is_finished=True)
        return view

    def _wanted_hashes(self) -> dict[str, str]:
        if self._hashed_pod is not self.pod:
            self._hashes = {c["name"]: definition_hash(c) for c, _ in containers_of(self.pod)}
            self._hashed_pod = self.pod
        return self._hashes

    async def _perform(self, step: Step) -> None:
        if isinstance(step, Start):
            await self._start(self.records[step.name])
        elif isinstance(step, Stop):
            self._stop(self.records[step.name], step.message)
        elif isinstance(step, WaitUntil):
            self._back_off(self.records[step.name], step.due)

    def _wake_in(self, seconds: float) -> None:
        due = self._context.clock.monotonic() + seconds
        if self._timer is not None and not self._timer[1].done():
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        self._timer = (due, self._tasks.spawn(self._wake_later(seconds), "timer"))

    async def _wake_later(self, seconds: float) -> None:
        await self._context.clock.sleep(seconds)
        self._timer = None
        self.wake()

    # -- starting --------------------------------------------------------------------------------------------------

    async def _start(self, record: ContainerRecord) -> None:
        container = container_of(self.pod, record.name)
        if container is None:
            return
        try:
            volumes = await self._prepare_pod()
            self._check_ports(container)
            attempt = record.attempt + 1 if record.report is not None else record.attempt
            spec, surroundings = self._starter.prepare(self.pod, container, attempt, self.pod_ip, volumes)
        except NotYetError as error:
            self._wait_for(record, container, error)
            return
        self._failures = 0
        report = await self._context.runtime.spawn(spec)
        now = self._context.clock.monotonic()
        if record.report is not None:
            record.last_termination = terminated_state(record)
            record.backoff.note_restart(record.over_at, now)
            self._superseded.append(record.run_id)
        record.attempt, record.run_id, record.report = attempt, spec.run_id, report
        record.spec_hash, record.image = definition_hash(container), container.get("image") or ""
        record.waiting_reason = record.waiting_message = record.restart_reason = ""
        record.stop_asked = record.has_post_started = record.is_started = record.is_ready = False
        self._tell_started(record, container, report)
        self.files.prune_logs(record.name, attempt)
        if report.state.is_over:
            self._note_over(record)
            self.wake()
            return
        care = self._care_of(record, container, surroundings)
        care.begin()
        self.wake()

    def _care_of(self, record: ContainerRecord, container: Object, surroundings: Surroundings) -> ContainerCare:
        care = ContainerCare(self._context, lambda: self.pod, container, record, surroundings, self.pod_ip, self.wake)
        self._cares[record.name] = care
        return care

    def _resume(self) -> None:
        """Take up what lives: its hosts file is kept current again, its volumes catch up, its probes go on."""
        if self.has_processes and self._address and not self.is_gone:
            write_pod_files(self._context, self.pod, self.files, self.pod_ip)
            self._is_stale = True
        for record in self.records.values():
            container = container_of(self.pod, record.name)
            if not record.is_running or container is None:
                continue
            found = self._starter.saved(record.name) or Surroundings({}, "/")
            self._care_of(record, container, found).resume()

    def _tell_started(self, record: ContainerRecord, container: Object, report: ProcessReport) -> None:
        path = field_path(record.name, record.kind)
        recorder, image = self._context.recorder, container.get("image") or "host"
        skipped = self._starter.skipped_variables
        if skipped:
            text = (
                f"Keys [{', '.join(skipped)}] were skipped since they are considered invalid environment variable names"
            )
            recorder.event(self.pod, "Warning", "InvalidEnvironmentVariableNames", text)
        if report.state is ProcessState.FAILED:
            recorder.event(self.pod, "Warning", "Failed", f"Error: {report.error}", field_path=path)
            return
        text = f'Container image "{image}" already present on machine'
        recorder.event(self.pod, "Normal", "Pulled", text, field_path=path)
        recorder.event(self.pod, "Normal", "Created", f"Created container {record.name}", field_path=path)
        recorder.event(self.pod, "Normal", "Started", f"Started container {record.name}", field_path=path)

    async def _prepare_pod(self) -> dict[str, MountedVolume]:
        """Make address, files and volumes; once per worker."""
        if self._volumes is not None:
            return self._volumes
        try:
            self._address = await self._context.addresses.allocate(namespace_of(self.pod), name_of(self.pod))
        except BlockFullError as error:
            raise NotYetError("", str(error), event_reason="FailedCreatePodSandBox", retry_seconds=5.0) from error
        write_pod_files(self._context, self.pod, self.files, self.pod_ip)
        sources = self._context.sources_for(self.pod, self.pod_ip)
        volumes = await self._volume_maker().prepare(self.pod, sources)
        if not self._is_restored:
            tell_once(self._context, self.pod)
        self._volumes = volumes
        return volumes

    def _volume_maker(self) -> Volumes:
        containers = (self.pod.get("spec") or {}).get("containers") or [{}]
        try:
            user, _ = image_user(find_image(self._context, containers[0]))
        except NotYetError:
            user = None
        return Volumes(self._context, self.files.volumes, owner_of(self.pod, user))

    def _check_ports(self, container: Object) -> None:
        if self.pod_ip != self._address:
            return  # every port is free in a network of one's own; the host's side is the forwarder's
        message, is_fatal = check_ports(self._address, container)
        if is_fatal:
            raise NotYetError("CreateContainerError", message, event_reason="PortConflict", retry_seconds=1.0)
        if message:
            self._context.recorder.event(self.pod, "Warning", "PrivilegedPort", message)

    def _wait_for(self, record: ContainerRecord, container: Object, error: NotYetError) -> None:
        reason, message = error.reason, error.message
        if reason == "ErrImagePull" and record.waiting_reason in {"ErrImagePull", "ImagePullBackOff"}:
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{container.get("image")}": {message}'
        record.waiting_reason, record.waiting_message = reason, message
        if not reason:
            record.waiting_reason = "ContainerCreating"
        if error.event_reason:
            text = f"Error: {error.message}" if error.event_reason == "Failed" else error.message
            self._context.recorder.event(self.pod, "Warning", error.event_reason, text)
        if error.retry_seconds is not None:
            self._wake_in(min(error.retry_seconds * 2.0 ** min(self._failures, 10), _RETRY_LAST_SECONDS))
            self._failures += 1

    def _back_off(self, record: ContainerRecord, due: float) -> None:
        seconds = record.backoff.delay
        who = f"pod={name_of(self.pod)}_{namespace_of(self.pod)}({self.uid})"
        message = f"back-off {go_duration(seconds)} restarting failed container={record.name} {who}"
        self._backoff_messages[record.name] = message
        text = f"Back-off restarting failed container {record.name} in pod {who[4:]}"
        if record.waiting_message != message:
            path = field_path(record.name, record.kind)
            self._context.recorder.event(self.pod, "Warning", "BackOff", text, field_path=path)
        record.waiting_reason, record.waiting_message = "CrashLoopBackOff", message
        self._wake_in(max(due - self._context.clock.monotonic(), 0.0))

    # -- stopping --------------------------------------------------------------------------------------------------

    def _note_end_time(self) -> None:
        """Fix the moment by which everything must have ended; a second deletion may only bring it forward."""
        if not is_being_deleted(self.pod) and not self.is_gone:
            return
        clock = self._context.clock
        metadata = self.pod["metadata"]
        grace = 0.0 if self.is_gone else float(metadata.get("deletionGracePeriodSeconds") or 0)
        if self._ends_at is None:
            if self._is_restored and not self.is_gone:
                until = (parse_rfc3339(metadata["deletionTimestamp"]) - clock.now()).total_seconds()
                grace = min(max(until, 0.0), grace)
            self._ends_at = clock.monotonic() + grace
            self._last_grace = grace
        elif grace < self._last_grace:
            self._ends_at += grace - self._last_grace
            self._last_grace = grace
            for record in self.records.values():
                care = self._cares.get(record.name)
                if record.stop_asked and care is not None:
                    care.shorten(self._ends_at - clock.monotonic())

    def _stop(self, record: ContainerRecord, message: str) -> None:
        care = self._cares.get(record.name)
        if care is None:
            container = container_of(self.pod, record.name) or {"name": record.name}
            care = self._care_of(record, container, Surroundings({}, "/"))
        if self._ends_at is not None:
            grace = max(self._ends_at - self._context.clock.monotonic(), 0.0)
        else:
            spec = self.pod.get("spec") or {}
            grace = float(spec.get("terminationGracePeriodSeconds") or MINIMUM_GRACE_SECONDS)
            probe = "livenessProbe" if "liveness" in record.restart_reason else "startupProbe"
            if "probe" in record.restart_reason:
                own = ((container_of(self.pod, record.name) or {}).get(probe) or {}).get(
                    "terminationGracePeriodSeconds"
                )
                grace = float(own) if own else grace
        record.restart_reason = ""
        care.stop(message, grace)

    async def _finish(self) -> bool:
        """Everything has ended: tell so, have the object removed, and once it is gone clean up."""
        if not self.is_gone:
            await self._write_status(has_ended=True)
        if not self.is_gone and not self._has_asked_removal:
            options = DeleteOptions(grace_period_seconds=0, uid=self.uid)
            try:
                await self._context.client.delete("pods", namespace_of(self.pod), name_of(self.pod), options)
                self._has_asked_removal = True
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise
                self.is_gone = True
        if not self.is_gone:
            return False
        for record in self.records.values():
            if record.report is not None:
                self._superseded.append(record.run_id)
        await self._forget_superseded()
        self._on_end(self)
        return True

    async def _forget_superseded(self) -> None:
        while self._superseded:
            await self._context.runtime.forget(self._superseded[-1])
            self._superseded.pop()

    # -- telling ---------------------------------------------------------------------------------------------------

    async def _write_status(self, *, has_ended: bool = False) -> None:
        for _ in range(_CONFLICT_RETRIES):
            if self.is_gone:
                return
            status = make_status(self.pod, list(self.records.values()), self._facts(has_ended=has_ended))
            if status == (self.pod.get("status") or {}) or self._last_status == (version_of(self.pod), status):
                break
            try:
                written = await self._context.client.update_status("pods", {**self.pod, "status": status})
            except StatusError as error:
                if error.code not in {404, 409}:
                    raise
                await self._look_again()
                continue
            self._take(written)
            self._last_status = (version_of(written), status)
            break
        await self._forget_superseded()

    def _facts(self, *, has_ended: bool) -> StatusFacts:
        view = self._view()
        return StatusFacts(
            now=rfc3339(self._context.clock.now()),
            host_ip=self._context.settings.node_address,
            pod_ip=self.pod_ip,
            is_complete=view.is_finished and not self.has_processes,
            has_ended=has_ended,
            is_prepared=self._volumes is not None or self.has_processes,
            backoff_messages=self._backoff_messages,
        )

    async def _look_again(self) -> None:
        try:
            found = await self._context.client.get("pods", namespace_of(self.pod), name_of(self.pod))
        except StatusError as error:
            if error.code != 404:
                raise
            self.note_deleted()
            return
        if uid_of(found) != self.uid:
            self.note_deleted()
            return
        self._take(found)
        self.wake()

    def _take(self, pod: Object) -> None:
        if int(version_of(pod) or 0) > int(version_of(self.pod) or 0):
            self.pod = pod

    async def _annotate(self) -> None:
        """Say where the host reaches the Pod; off the path to readiness, once."""
        if self.is_gone or not self._address or annotations_of(self.pod).get(HOST_ADDRESS) == self._address:
            return
        patch = {"metadata": {"uid": self.uid, "annotations": {HOST_ADDRESS: self._address}}}
        namespace, name = namespace_of(self.pod), name_of(self.pod)
        try:
            self._take(await self._context.client.patch("pods", namespace, name, patch, PatchType.MERGE))
        except StatusError as error:
            if error.code not in {404, 409, 422}:
                raise
