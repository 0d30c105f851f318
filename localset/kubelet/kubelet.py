"""The kubelet of one node: Pods that are bound to it become processes, and processes become status.

Made by daemon (or a test); it meets everybody else only in objects. One `PodWorker` per Pod; this file routes what
happens (objects, runtime reports) to the workers, restores them after a restart, and keeps a successor of the same
name waiting until the predecessor's last process is over (I1). It is also the `PodStreams` of this node.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterable, Sequence

from localset.base.clock import Clock
from localset.base.files import make_private_directory, opened_directory, remove_tree_beneath
from localset.base.tasks import Tasks
from localset.client.client import Client, DeleteOptions
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.client.streams import LogOptions, Session, UsageReport
from localset.client.tokens import TokenIssuer
from localset.kubelet.addresses import AddressBook
from localset.kubelet.context import Caches, ImageSource, KubeletContext
from localset.kubelet.dialling import Dialler
from localset.kubelet.hosts import HostsFiles
from localset.kubelet.node import boot_id, capacity_of_machine, register_node
from localset.kubelet.notices import Demand
from localset.kubelet.records import LABEL_NODE, LABEL_POD_UID, pod_uid_of
from localset.kubelet.restore import Restored, ghost_pod, restore_records
from localset.kubelet.runtime import ProcessReport, Runtime
from localset.kubelet.settings import KubeletSettings
from localset.kubelet.streams import Streams
from localset.kubelet.tokens import PodTokens
from localset.kubelet.worker import PodWorker
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Key, Object, controller_of, key_of, name_of, namespace_of, uid_of

log = logging.getLogger(__name__)

_RESUBSCRIBE_SECONDS = 0.2


class Kubelet:
    """Runs the Pods of `settings.node_name`. `start`, then `aclose`; processes live on after `aclose`."""

    def __init__(  # noqa: PLR0913 - the rooms it stands on
        self,
        client: Client,
        runtime: Runtime,
        catalogue: ImageSource,
        clock: Clock,
        settings: KubeletSettings,
        *,
        informers: InformerFactory | None = None,
        tokens: TokenIssuer | None = None,
        dialler: Dialler | None = None,
    ) -> None:
        """`informers` shares watches with others in the same daemon; its owner closes it.

        Without `tokens` projected volumes come without ServiceAccount tokens. `dialler` reaches the Pods where they
        have a network of their own.
        """
        self._owns_informers = informers is None
        self._informers = informers or InformerFactory(client, clock)
        of = self._informers.of
        caches = Caches(
            pods=of("pods"),
            endpoints=of("endpoints"),
            config_maps=of("configmaps"),
            secrets=of("secrets"),
            services=of("services"),
            claims=of("persistentvolumeclaims"),
        )
        self._context = KubeletContext(
            client=client,
            runtime=runtime,
            images=catalogue,
            clock=clock,
            settings=settings,
            recorder=EventRecorder(client, clock, "kubelet", settings.node_name),
            addresses=AddressBook(client, settings.address_block),
            hosts=HostsFiles(settings.cluster_domain, carries_names=settings.carries_names_in_hosts),
            caches=caches,
            tokens=PodTokens(tokens, clock) if tokens is not None else None,
            dialler=dialler or Dialler(),
        )
        self._workers: dict[str, PodWorker] = {}
        self._by_key: dict[Key, list[PodWorker]] = {}
        self._users: dict[tuple[str, str, str], set[str]] = {}
        self._demand = Demand()
        self._is_paused = False
        self._is_open = False
        self._tasks = Tasks(f"kubelet {settings.node_name}")
        self._streams = Streams(runtime, clock, settings.pods_directory, self._workers.get, self._context.dialler)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register the Node, reattach what lives, then follow the objects. Returns when all workers run."""
        context, settings = self._context, self._context.settings
        for directory in (settings.pods_directory, settings.volumes_directory):
            make_private_directory(directory, mode=settings.directory_mode)
        context.allocatable = capacity_of_machine(settings)
        stored_boot = await register_node(context.client, context.clock, settings, context.allocatable)
        await context.addresses.load()
        await self._informers.start()
        self._tasks.spawn(self._follow_runtime(), "runtime events")
        if context.tokens is not None:
            self._tasks.spawn(context.tokens.follow(self._on_token_due), "tokens")
        await asyncio.sleep(0)  # NB: the generator subscribes at its first step, and that must come before `list`
        reports = self._own(await context.runtime.list())
        finished = self._restore(reports, has_booted=bool(stored_boot) and stored_boot != boot_id())
        self._is_open = True
        context.caches.endpoints.add_handler(context.hosts.apply)
        context.caches.pods.add_handler(self._on_pod)
        context.caches.config_maps.add_handler(lambda old, new: self._on_referenced("configmaps", old, new))
        context.caches.secrets.add_handler(lambda old, new: self._on_referenced("secrets", old, new))
        context.caches.claims.add_handler(lambda old, new: self._on_referenced("claims", old, new))
        for run_id in finished:
            await context.runtime.forget(run_id)
        self._remove_strange_directories()

    def pause(self) -> None:
        """Start no more containers; stopping and reporting go on. For `down`."""
        self._is_paused = True

    async def aclose(self) -> None:
        """Stop following; processes are left running for the next kubelet."""
        self._is_open = False
        await self._tasks.aclose()
        for worker in list(self._workers.values()):
            await worker.aclose()
        if self._owns_informers:
            await self._informers.aclose()
        await self._context.addresses.aclose()
        await self._context.recorder.aclose()

    # -- restoring -------------------------------------------------------------------------------------------------

    def _own(self, reports: Iterable[ProcessReport]) -> list[ProcessReport]:
        node = self._context.settings.node_name
        return [report for report in reports if report.labels.get(LABEL_NODE, node) == node]

    def _restore(self, reports: list[ProcessReport], *, has_booted: bool) -> list[str]:
        """Make the workers of all Pods and of processes without a Pod; return run ids that may be forgotten."""
        by_uid: dict[str, list[ProcessReport]] = {}
        for report in reports:
            by_uid.setdefault(report.labels.get(LABEL_POD_UID, ""), []).append(report)
        pods = {uid_of(pod): pod for pod in self._context.caches.pods.list() if self._is_ours(pod)}
        finished: list[str] = []
        for uid, listed in by_uid.items():
            if uid in pods:
                continue
            if all(report.state.is_over for report in listed):
                finished += [report.run_id for report in listed]
                continue
            pod = ghost_pod(listed)
            log.warning("stopping what is left of pod %s, which is gone", key_of(pod))
            self._add(pod, restore_records(pod, listed, self._context.clock.monotonic()), is_gone=True)
        for uid, pod in pods.items():
            restored = restore_records(pod, by_uid.get(uid, []), self._context.clock.monotonic())
            has_run = bool((pod.get("status") or {}).get("containerStatuses"))
            if has_booted and has_run and controller_of(pod) is not None and not restored.has_living:
                self._tasks.spawn(self._remove_after_boot(pod), f"after boot {key_of(pod)}")
            self._add(pod, restored if has_run or uid in by_uid else None, may_start=not has_booted or not has_run)
        return finished

    async def _remove_after_boot(self, pod: Object) -> None:
        """The machine was started anew: a set brings its Pods back in order, so none may come up by itself."""
        options = DeleteOptions(grace_period_seconds=0, uid=uid_of(pod))
        try:
            await self._context.client.delete("pods", namespace_of(pod), name_of(pod), options)
        except StatusError as error:
            if error.code not in {404, 409}:
                raise

    def _remove_strange_directories(self) -> None:
        """Remove Pod directories that belong to no worker: their Pods were gone before this start."""
        directory = self._context.settings.pods_directory
        with opened_directory(directory) as root:
            for name in os.listdir(root):  # noqa: PTH208 - by descriptor
                if name not in self._workers:
                    self._remove_directory(root, name)

    def _remove_directory(self, root: int, name: str) -> None:
        try:
            remove_tree_beneath(root, name)
        except OSError as error:
            log.warning("cannot remove the directory of pod %s: %s", name, error)

    # -- routing ---------------------------------------------------------------------------------------------------

    def _is_ours(self, pod: Object) -> bool:
        return (pod.get("spec") or {}).get("nodeName") == self._context.settings.node_name

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            worker = self._workers.get(uid_of(old))
            if worker is not None:
                worker.note_deleted()
        if new is None or not self._is_ours(new):
            return
        worker = self._workers.get(uid_of(new))
        if worker is not None:
            worker.update(new)
        else:
            self._add(new, None)

    def _add(self, pod: Object, restored: Restored | None, *, is_gone: bool = False, may_start: bool = True) -> None:
        worker = PodWorker(
            self._context,
            pod,
            restored=restored,
            is_gone=is_gone,
            must_wait=self._must_wait,
            may_start=lambda: not self._is_paused and (may_start or controller_of(pod) is None),
            on_end=self._on_end,
        )
        self._workers[worker.uid] = worker
        self._by_key.setdefault(worker.key, []).append(worker)
        for user in self._used_by(worker):
            self._users.setdefault(user, set()).add(worker.uid)
        if not is_gone:
            text = self._demand.add(pod, self._context.allocatable)
            if text and restored is None:
                self._context.recorder.event(pod, "Warning", "BeyondThisMachine", text)
        self._tasks.spawn(worker.run(), f"pod {worker.key}")

    def _used_by(self, worker: PodWorker) -> set[tuple[str, str, str]]:
        namespace = namespace_of(worker.pod)
        used = {(kind, namespace, name) for kind, name in worker.references}
        for volume in (worker.pod.get("spec") or {}).get("volumes") or []:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim:
                used.add(("claims", namespace, claim))
        return used

    def _must_wait(self, worker: PodWorker) -> bool:
        """Tell whether an earlier Pod of the same name still has processes or files here."""
        return self._by_key[worker.key][0] is not worker

    def _on_end(self, worker: PodWorker) -> None:
        """A worker is done: clean up behind it and let a successor of the name begin."""
        self._context.hosts.drop(worker.files.hosts, namespace_of(worker.pod))
        for user in self._used_by(worker):
            users = self._users.get(user)
            if users is not None:
                users.discard(worker.uid)
                if not users:
                    del self._users[user]
        self._demand.remove(worker.uid)
        if self._context.tokens is not None:
            self._context.tokens.forget(worker.uid)
        self._workers.pop(worker.uid, None)
        self._tasks.spawn(self._clean_up(worker), f"clean up {worker.key}")

    async def _clean_up(self, worker: PodWorker) -> None:
        await worker.aclose()
        await asyncio.to_thread(self._remove_files, worker)
        queue = self._by_key[worker.key]
        if len(queue) == 1:
            await self._context.addresses.release_bare(worker.pod)
        queue.remove(worker)
        if queue:
            queue[0].wake()
        else:
            del self._by_key[worker.key]

    def _remove_files(self, worker: PodWorker) -> None:
        with opened_directory(self._context.settings.pods_directory) as root:
            self._remove_directory(root, worker.uid)

    def _on_referenced(self, kind: str, old: Object | None, new: Object | None) -> None:
        subject = new if new is not None else old
        if subject is None:
            return
        for uid in self._users.get((kind, namespace_of(subject), name_of(subject)), ()):
            worker = self._workers.get(uid)
            if worker is not None:
                worker.note_references_changed()

    def _on_token_due(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.note_references_changed()

    async def _follow_runtime(self) -> None:
        """Hand reports to workers for ever; after a cut, look at everything once."""
        runtime = self._context.runtime
        while True:
            try:
                async for report in runtime.events():
                    self._on_report(report)
            except OSError as error:
                log.warning("the runtime's events were cut: %s", error)
            await self._context.clock.sleep(_RESUBSCRIBE_SECONDS)
            self._tasks.spawn(self._look_at_all(), "look at all processes")

    async def _look_at_all(self) -> None:
        """Take up what happened while no events came. NB: runs beside the new subscription, never before it."""
        try:
            for report in await self._context.runtime.list():
                self._on_report(report)
        except OSError as error:
            log.warning("the runtime cannot be asked: %s", error)

    def _on_report(self, report: ProcessReport) -> None:
        worker = self._workers.get(pod_uid_of(report.run_id)) if self._is_open else None
        if worker is not None:
            worker.note_report(report)

    # -- PodStreams ------------------------------------------------------------------------------------------------

    def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """See `client.streams.PodStreams`."""
        return self._streams.logs(pod, options)

    def require_reachable(self, pod: Object) -> None:
        """See `client.streams.PodStreams`."""
        self._streams.require_reachable(pod)

    async def dial(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `client.streams.PodStreams`."""
        return await self._streams.dial(pod, port)

    def require_running(self, pod: Object, container: str) -> None:
        """See `client.streams.PodStreams`."""
        self._streams.require_running(pod, container)

    async def execute(self, pod: Object, container: str, command: list[str], *, stdin: bool, tty: bool) -> Session:
        """See `client.streams.PodStreams`."""
        return await self._streams.execute(pod, container, command, stdin=stdin, tty=tty)

    async def attach(self, pod: Object, container: str, *, stdin: bool, tty: bool) -> Session:
        """See `client.streams.PodStreams`."""
        return await self._streams.attach(pod, container, stdin=stdin, tty=tty)

    async def usage(self, pods: Sequence[Object]) -> UsageReport:
        """See `client.streams.PodStreams`."""
        return await self._streams.usage(pods)
