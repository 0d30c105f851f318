"""Probes: one task per container and kind, with Kubernetes' thresholds and design 3.9's eager readiness.

`ContainerProbes` is made by `worker` when a container runs and closed when it ends. It only reports (`on_result`);
the worker decides. Eager readiness asks at once and often until the first success, counts an early success and
ignores early failures; liveness keeps Kubernetes' timing always.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from localset.base.clock import Clock
from localset.base.frozen import frozen
from localset.base.tasks import Tasks
from localset.kubelet.actions import ActionResult
from localset.machinery.metadata import Object

log = logging.getLogger(__name__)

EAGER_FIRST_SECONDS = 0.05
EAGER_GROWTH_SECONDS = 60.0
_ERROR_RETRIES = 3
_STALL_SECONDS = 5.0


class ProbeKind(StrEnum):
    """The three probes, as their spec fields begin."""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


@frozen
class ProbeTimes:
    """A probe's numbers with Kubernetes' defaults."""

    initial_delay: float
    timeout: float
    period: float
    success_threshold: int
    failure_threshold: int

    @staticmethod
    def of(probe: Object) -> "ProbeTimes":
        """Return the numbers of a probe's spec."""
        return ProbeTimes(
            initial_delay=float(probe.get("initialDelaySeconds") or 0),
            timeout=float(probe.get("timeoutSeconds") or 1),
            period=float(probe.get("periodSeconds") or 10),
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
        )


def eager_delay(elapsed: float, last_duration: float, period: float) -> float:
    """Return how long to wait before the next eager try.

    Max(50 ms, 4 × the last one), growing to the period in 60 s.
    """
    grown = period * min(1.0, elapsed / EAGER_GROWTH_SECONDS)
    return min(max(EAGER_FIRST_SECONDS, 4.0 * last_duration, grown), max(period, EAGER_FIRST_SECONDS))


Attempt = Callable[[ProbeKind, Object, float], Awaitable[ActionResult]]
OnResult = Callable[[ProbeKind, bool], None]
OnFailure = Callable[[ProbeKind, ActionResult], None]


class ContainerProbes:
    """The probes of one process of one container."""

    __slots__ = (
        "_attempt",
        "_clock",
        "_container",
        "_is_eager",
        "_killers",
        "_on_failure",
        "_on_result",
        "_tasks",
    )

    def __init__(
        self,
        container: Object,
        clock: Clock,
        attempt: Attempt,
        on_result: OnResult,
        on_failure: OnFailure,
        *,
        is_eager: bool,
    ) -> None:
        """`on_result` is called at each change of a probe's state, `on_failure` for each failure worth an event."""
        self._container = container
        self._clock = clock
        self._attempt = attempt
        self._on_result = on_result
        self._on_failure = on_failure
        self._is_eager = is_eager
        self._tasks = Tasks(f"probes {container.get('name')}")
        self._killers: list[asyncio.Task[None]] = []

    def start(self, *, was_ready: bool = False, was_started: bool = False) -> None:
        """Begin; after a reattach the earlier results stand until a probe says otherwise (reliability I10)."""
        startup = self._container.get("startupProbe")
        if startup and not was_started:
            self._killers.append(self._tasks.spawn(self._probe_startup(startup), "startup"))
        else:
            self._start_others(was_ready=was_ready)

    def end_liveness(self) -> None:
        """Stop startup and liveness probes: the Pod is terminating; readiness goes on until the exit."""
        for task in self._killers:
            task.cancel()

    async def aclose(self) -> None:
        """End all probing."""
        await self._tasks.aclose()

    def _start_others(self, *, was_ready: bool) -> None:
        readiness, liveness = self._container.get("readinessProbe"), self._container.get("livenessProbe")
        if readiness:
            self._tasks.spawn(self._probe_readiness(readiness, was_ready=was_ready), "readiness")
        if liveness:
            self._killers.append(self._tasks.spawn(self._probe_liveness(liveness), "liveness"))

    async def _probe_startup(self, probe: Object) -> None:
        times = ProbeTimes.of(probe)
        await self._clock.sleep(times.initial_delay)
        if await self._until_changed(ProbeKind.STARTUP, probe, times, is_positive=False):
            self._on_result(ProbeKind.STARTUP, True)
            self._start_others(was_ready=False)
        else:
            self._on_result(ProbeKind.STARTUP, False)

    async def _probe_liveness(self, probe: Object) -> None:
        times = ProbeTimes.of(probe)
        await self._clock.sleep(times.initial_delay)
        await self._until_changed(ProbeKind.LIVENESS, probe, times, is_positive=True)
        self._on_result(ProbeKind.LIVENESS, False)

    async def _probe_readiness(self, probe: Object, *, was_ready: bool) -> None:
        times = ProbeTimes.of(probe)
        is_ready = was_ready
        may_hurry = self._is_eager and times.success_threshold == 1 and not self._container.get("startupProbe")
        if not was_ready and may_hurry:
            await self._hurry(probe, times)
            is_ready = True
            self._on_result(ProbeKind.READINESS, True)
            await self._clock.sleep(times.period)
        elif not was_ready:
            await self._clock.sleep(times.initial_delay)
        while True:
            is_ready = await self._until_changed(ProbeKind.READINESS, probe, times, is_positive=is_ready)
            self._on_result(ProbeKind.READINESS, is_ready)
            await self._clock.sleep(times.period)

    async def _hurry(self, probe: Object, times: ProbeTimes) -> None:
        """Return at the first success. Failures are told only where Kubernetes would have probed as well."""
        begun = self._clock.monotonic()
        next_told = begun + times.initial_delay + times.period
        while True:
            asked_at = self._clock.monotonic()
            result = await self._try(ProbeKind.READINESS, probe, times)
            if result.has_succeeded:
                return
            now = self._clock.monotonic()
            if now >= next_told:
                self._on_failure(ProbeKind.READINESS, result)
                next_told = now + times.period
            await self._clock.sleep(eager_delay(now - begun, now - asked_at, times.period))

    async def _until_changed(self, kind: ProbeKind, probe: Object, times: ProbeTimes, *, is_positive: bool) -> bool:
        """Probe each period until enough results in a row contradict `is_positive`; return the new state.

        For startup: True at its first success, False when failureThreshold is reached. An attempt that could not
        be made says nothing.
        """
        successes = failures = 0
        while True:
            due = self._clock.monotonic() + times.period
            result = await self._try(kind, probe, times)
            if result.has_succeeded:
                successes, failures = successes + 1, 0
                if not is_positive and successes >= times.success_threshold:
                    return True
            else:
                self._on_failure(kind, result)
                if not result.is_error:
                    successes, failures = 0, failures + 1
                gives_up = is_positive or kind is ProbeKind.STARTUP
                if gives_up and failures >= times.failure_threshold:
                    return False
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))

    async def _try(self, kind: ProbeKind, probe: Object, times: ProbeTimes) -> ActionResult:
        begun = self._clock.monotonic()
        result = ActionResult(False, "not tried", is_error=True)
        for _ in range(_ERROR_RETRIES):
            try:
                result = await self._attempt(kind, probe, times.timeout)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.debug("probe %s could not be made", kind, exc_info=True)
                result = ActionResult(False, str(error) or type(error).__name__, is_error=True)
            if not result.is_error:
                break
        took = self._clock.monotonic() - begun
        if not result.has_succeeded and not result.is_error and took > times.timeout + _STALL_SECONDS:
            # The machine or the daemon stood still (F4, F23): the container is not to blame.
            return ActionResult(False, f"this machine stood still for {took:.0f}s", is_error=True)
        return result
