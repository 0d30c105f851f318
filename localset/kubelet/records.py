"""What the kubelet knows of a Pod's containers between two looks: plain records, no I/O.

The worker fills them from runtime reports, stored status and probe results; `plan` and `status` read them. Back-off
arithmetic (semantics 3.4) lives here because both the plan and the message need it.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from localset.kubelet.runtime import ProcessReport, ProcessState
from localset.machinery.metadata import Object

BACKOFF_INITIAL_SECONDS = 10.0
BACKOFF_MAXIMUM_SECONDS = 300.0
BACKOFF_RESET_SECONDS = 2 * BACKOFF_MAXIMUM_SECONDS
STATUS_UNKNOWN_CODE = 137
START_ERROR_CODE = 128

LABEL_POD_UID = "localset.dev/pod-uid"
LABEL_NAMESPACE = "localset.dev/namespace"
LABEL_POD = "localset.dev/pod"
LABEL_CONTAINER = "localset.dev/container"
LABEL_ATTEMPT = "localset.dev/attempt"
LABEL_SPEC_HASH = "localset.dev/spec-hash"
LABEL_NODE = "localset.dev/node"


class ContainerKind(StrEnum):
    """The lives a container can lead; an ephemeral one is added to a Pod that runs, and never runs again."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"


_FIELDS = {ContainerKind.MAIN: "containers", ContainerKind.EPHEMERAL: "ephemeralContainers"}


@dataclass(slots=True)
class Backoff:
    """Restart delay of one container: `delay` is what the *next* restart must wait; 0 before the first crash."""

    delay: float = 0.0
    updated_at: float = 0.0

    def due_after(self, finished_at: float) -> float:
        """Return when a container that ended at `finished_at` (monotonic seconds) may start again."""
        if self.delay == 0.0 or finished_at - self.updated_at > BACKOFF_RESET_SECONDS:
            return finished_at
        return finished_at + self.delay

    def note_restart(self, finished_at: float, now: float) -> None:
        """Remember a restart at `now`: the next one waits 10 s, then double, up to 300 s."""
        if self.delay == 0.0 or finished_at - self.updated_at > BACKOFF_RESET_SECONDS:
            self.delay = BACKOFF_INITIAL_SECONDS
        else:
            self.delay = min(self.delay * 2, BACKOFF_MAXIMUM_SECONDS)
        self.updated_at = now


@dataclass(slots=True)
class ContainerRecord:
    """One container's present process and its past. `attempt` is restartCount; `over_at` is monotonic."""

    name: str
    kind: ContainerKind
    attempt: int = 0
    run_id: str = ""
    report: ProcessReport | None = None
    spec_hash: str = ""
    image: str = ""
    is_ready: bool = False
    is_started: bool = False
    has_post_started: bool = False
    stop_asked: bool = False
    restart_reason: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    over_at: float = 0.0
    last_termination: Object | None = None
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def is_running(self) -> bool:
        """Tell whether a process of the set may still live."""
        return self.report is not None and not self.report.state.is_over

    @property
    def is_over(self) -> bool:
        """Tell whether the last process set has ended."""
        return self.report is not None and self.report.state.is_over

    @property
    def exit_code(self) -> int:
        """Return the exit code as Kubernetes shows it; never 0 when unknown."""
        report = self.report
        if report is None or report.state is ProcessState.UNKNOWN:
            return STATUS_UNKNOWN_CODE
        if report.state is ProcessState.FAILED:
            return START_ERROR_CODE
        return STATUS_UNKNOWN_CODE if report.exit_code is None else report.exit_code

    @property
    def has_succeeded(self) -> bool:
        """Tell whether the last process ended with 0."""
        return self.is_over and self.exit_code == 0


def containers_of(pod: Object) -> list[tuple[Object, ContainerKind]]:
    """Return the Pod's containers in start order with their kinds."""
    spec = pod.get("spec") or {}
    found: list[tuple[Object, ContainerKind]] = []
    for container in spec.get("initContainers") or []:
        is_sidecar = container.get("restartPolicy") == "Always"
        found.append((container, ContainerKind.SIDECAR if is_sidecar else ContainerKind.INIT))
    found.extend((container, ContainerKind.MAIN) for container in spec.get("containers") or [])
    found.extend((container, ContainerKind.EPHEMERAL) for container in spec.get("ephemeralContainers") or [])
    return found


def field_path(name: str, kind: ContainerKind) -> str:
    """Return a container's fieldPath in events."""
    return f"spec.{_FIELDS.get(kind, 'initContainers')}{{{name}}}"


def container_of(pod: Object, name: str) -> Object | None:
    """Return the spec of the container `name`, or None."""
    return next((container for container, _ in containers_of(pod) if container.get("name") == name), None)


def definition_hash(container: Object) -> str:
    """Return the digest of what the API lets change on a live Pod and needs a new process: the image."""
    text = f"{container.get('name')}\0{container.get('image')}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def run_id_of(pod_uid: str, container: str, attempt: int) -> str:
    """Return the run id: the same for the same start, so that a repeated spawn after a crash starts nothing twice."""
    return f"{pod_uid}.{container}.{attempt}"


def pod_uid_of(run_id: str) -> str:
    """Return the uid of the Pod that a run belongs to."""
    return run_id.partition(".")[0]
