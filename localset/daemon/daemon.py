"""The daemon: wires the house together, starts it, and takes it down.

Order of start: data directory and lock → address block (both in `start`) → store and registry → API port → keeper →
DNS → kubelet → controllers → API socket and TLS → ready. Stop is the reverse. Everything that can refuse says so before
anything runs.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from localset import __version__
from localset.apiserver.application import make_application
from localset.apiserver.guard import FORWARDED_ADDRESS
from localset.apiserver.health import GIT_VERSION
from localset.apiserver.listener import CONNECTIONS, UnixListener
from localset.apiserver.tokens import Tokens
from localset.base.clock import SystemClock
from localset.base.directories import api_socket, import_path, kubeconfig_file
from localset.base.files import make_private_directory
from localset.base.log import LoopErrors, set_up
from localset.base.tasks import Tasks
from localset.client.informer import InformerFactory
from localset.controllers.start import Controllers, ControllerSettings
from localset.daemon.access import HOST, Access
from localset.daemon.blocks import BlockClaim, address
from localset.daemon.directory import DataDirectory
from localset.daemon.ending import Ending
from localset.daemon.network import DNS_PORT, FIRST_SERVICE, PodNetwork
from localset.daemon.settings import Settings, StartError
from localset.daemon.volumes import VolumeDirectories
from localset.dns.server import DnsBindError, DnsServer, DnsSettings
from localset.images.catalogue import Catalogue
from localset.kubelet.isolation import probe_isolation
from localset.kubelet.keeper_launch import KeeperError, Launch
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.kubelet import Kubelet
from localset.kubelet.runtime import Isolation
from localset.kubelet.settings import HostPathPolicy, KubeletSettings, ProbeTiming
from localset.registry.bootstrap import bootstrap, ensure_kubernetes, kubernetes_address, renumber_services
from localset.registry.registry import Registry
from localset.registry.settings import RegistrySettings, service_addresses
from localset.store.records import StoreRefusedError
from localset.store.store import Store

log = logging.getLogger(__name__)

ZONE = "cluster.local"
HIGH_DNS_PORT = 10_053


class Daemon:
    """One running daemon. Use `serve`."""

    def __init__(self, settings: Settings, directory: DataDirectory, claim: BlockClaim, launch: Launch | None) -> None:
        """Hold what `daemon.start` has prepared; nothing is touched before `run`."""
        self._settings = settings
        self._clock = SystemClock()
        self._directory = directory
        self._block = claim
        self._launch = launch
        self._access = Access(self._directory, self._clock)
        self._closing = contextlib.AsyncExitStack()
        self._end = asyncio.Event()
        self._tasks = Tasks("daemon")
        self._is_shutting_down = False
        self._keeps_running = True
        self._code = 0
        self._isolation = Isolation.PLAIN
        self._isolation_reasons: tuple[str, ...] = ()
        self._dns_problem = ""
        self._registry: Registry
        self._runtime = KeeperRuntime(settings.data_directory, self._clock, launch, claim.descriptors)
        self._network = PodNetwork(self._runtime, directory, self._clock, claim.block, settings.egress)
        self._forwarded_address = ""
        self._dns: DnsServer
        self._kubelet: Kubelet
        self._controllers: Controllers
        self._listener: UnixListener
        self._tokens: Tokens
        self._restore_api: Callable[[], Awaitable[None]]

    async def run(self) -> int:
        """Start, serve until asked to end, end; return the exit code. Raises StartError."""
        async with self._closing:
            try:
                await self._start()
            except (StoreRefusedError, StartError, KeeperError) as error:
                await self._end_unused_keeper()
                raise StartError(str(error)) from error
            self._announce()
            self._access.renew_later()
            gc.collect()
            gc.freeze()
            await self._end.wait()
        return self._code

    async def _end_unused_keeper(self) -> None:
        """A keeper that was set off for a daemon that cannot start goes again, unless it has processes to keep."""
        if self._launch is not None:
            with contextlib.suppress(KeeperError, ConnectionError):
                await self._runtime.start()
                await self._runtime.shutdown_keeper()

    # -- start -----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        data = self._settings.data_directory
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        self._closing.push_async_callback(self._runtime.aclose)
        store = Store.open(data / "state.db", self._clock, on_failure=self._on_store_failure)
        self._closing.push_async_callback(store.aclose)
        await self._runtime.start()
        await self._choose_isolation()
        self._closing.push_async_callback(self._network.aclose)
        if self._isolation is Isolation.NAMESPACES:
            await self._network.start_own()
        else:
            self._network.undo_nat()
        self._registry = Registry(store, self._clock, self._registry_settings())
        await bootstrap(self._registry)
        await self._begin_access()
        self._tokens = Tokens(self._registry, self._clock, self._access.token_key())
        self._closing.push_async_callback(self._tasks.aclose)
        informers = InformerFactory(self._registry, self._clock)
        self._closing.push_async_callback(informers.aclose)
        await self._start_dns()
        await self._start_kubelet(informers)
        root_ca = await self._access.ready()
        await self._start_controllers(informers, root_ca)
        await self._start_listener()
        await self._watch_over()
        self._handle_signals()

    async def _begin_access(self) -> None:
        """Take the API's ports, and tell Pods by the Service default/kubernetes."""
        self._closing.push_async_callback(self._access.aclose)
        await renumber_services(self._registry, self._network.is_of_another_level)
        preferred = self._network.pods_view(address(self._block.block, FIRST_SERVICE))
        pod_address = await kubernetes_address(self._registry, preferred)
        listening = self._network.host_view(pod_address)
        is_forwarded = listening != pod_address
        pod_port = self._access.begin(pod_address, listening if is_forwarded else "")
        target = (listening if is_forwarded else HOST, self._access.port)
        self._forwarded_address = pod_address if is_forwarded else ""
        self._restore_api = partial(ensure_kubernetes, self._registry, pod_address, pod_port, target)
        await self._restore_api()

    def _registry_settings(self) -> RegistrySettings:
        # The upper half of the block is the Services'; Pods probe from the lower end of the whole block.
        return RegistrySettings(
            max_processes=self._settings.max_processes,
            service_address=service_addresses(self._network.services),
            host_address=self._network.host_view,
        )

    async def _choose_isolation(self) -> None:
        """One level per data directory: the option, else what was recorded, else the best that works here."""
        wanted = self._settings.isolation
        recorded = self._directory.facts.get("isolation")
        if wanted in {None, "auto"} and not (recorded and wanted is None):
            check = await probe_isolation(self._runtime)
            self._isolation, self._isolation_reasons = check.level, check.reasons
        else:
            self._isolation = Isolation(str(wanted or recorded))
            if self._isolation is not Isolation.PLAIN:
                check = await probe_isolation(self._runtime)
                if not check.allows(self._isolation):
                    raise StartError(
                        f"isolation level {self._isolation} does not work here: {'; '.join(check.reasons)}\n"
                        "hint: `localset doctor` names what would change it; --isolation=auto takes the best that works"
                    )
            told = self._directory.facts.get("isolationReasons")
            if wanted is None and isinstance(told, list):
                self._isolation_reasons = tuple(told)
        facts = {"isolation": self._isolation.value, "isolationReasons": list(self._isolation_reasons)}
        if any(self._directory.facts.get(name) != value for name, value in facts.items()):
            self._directory.facts.update(facts)
            self._directory.save()

    async def _start_dns(self) -> None:
        host, pods = address(self._block.block, 1), address(self._block.block, 2)
        port = 53 if _can_bind(host, 53) else HIGH_DNS_PORT
        inside = await self._network.dns_sockets()
        settings = DnsSettings(
            host_address=host,
            host_port=port,
            pods_address=self._network.gateway or pods,
            pods_port=DNS_PORT if inside else port,
            pods_sockets=inside,
            zone=ZONE,
            forward=self._settings.dns_forward,
        )
        self._dns = DnsServer(self._registry, self._clock, settings)
        self._closing.push_async_callback(self._dns.aclose)
        try:
            await self._dns.start()
        except DnsBindError as error:
            self._dns_problem = str(error)
            log.warning("%s", error)

    def _dns_for(self, who: str) -> tuple[str, int] | None:
        for found in self._dns.addresses:
            if who in found.serves:
                return found.address, found.port
        return None

    async def _start_kubelet(self, informers: InformerFactory) -> None:
        pods = self._dns_for("pods")
        settings = KubeletSettings(
            data_directory=self._settings.data_directory,
            node_name=socket.gethostname().lower(),
            isolation=self._isolation,
            address_block=self._block.block,
            cluster_domain=ZONE,
            dns_address=pods[0] if pods and pods[1] == DNS_PORT else None,
            probe_timing=ProbeTiming(self._settings.probe_timing),
            host_path=HostPathPolicy(self._settings.host_path),
            is_root=os.getuid() == 0,
            max_processes=self._settings.max_processes,
            home=os.environ.get("HOME", "/"),
            language=os.environ.get("LANG", "C.UTF-8"),
            time_zone=os.environ.get("TZ", "UTC"),
            version=GIT_VERSION,
            user_id=os.getuid(),
            pod_subnet=self._network.subnet,
            isolation_reasons=self._isolation_reasons,
        )
        catalogue = Catalogue(self._settings.data_directory / "images")
        self._kubelet = Kubelet(
            self._registry,
            self._runtime,
            catalogue,
            self._clock,
            settings,
            informers=informers,
            tokens=self._tokens,
            dialler=self._network.dialler(),
        )
        await self._kubelet.start()
        self._closing.push_async_callback(self._kubelet.aclose)

    async def _start_controllers(self, informers: InformerFactory, root_ca: str) -> None:
        volumes = self._settings.data_directory / "volumes"
        settings = ControllerSettings(
            volumes,
            self._restore_api,
            self._settings.scheduling,
            root_ca,
            forward=self._network.forward,
            has_pod_network=bool(self._network.subnet),
        )
        self._controllers = Controllers(self._registry, self._clock, informers, settings, VolumeDirectories(volumes))
        self._network.follow(self._controllers.proxy)
        await self._controllers.start()
        self._closing.push_async_callback(self._controllers.aclose)

    async def _start_listener(self) -> None:
        path = api_socket(self._settings.data_directory)
        make_private_directory(path.parent)
        application = make_application(self._registry, self._kubelet, self._clock, self, self._tokens)
        self._listener = UnixListener(application, path)
        try:
            await self._listener.start()
        except OSError as error:
            raise StartError(f"cannot listen on {path}: {error}") from error
        self._closing.push_async_callback(self._listener.aclose)
        application[FORWARDED_ADDRESS] = self._forwarded_address
        self._access.serve(self._listener.http_server, application[CONNECTIONS])

    async def _watch_over(self) -> None:
        """Ask the keeper to start this daemon again should it die."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if key
            in {
                "PATH",
                "HOME",
                "LANG",
                "TZ",
                "XDG_RUNTIME_DIR",
                "XDG_STATE_HOME",
                "JAVA_HOME",
                "ZOOKEEPER_HOME",
                "USER",
                "LOGNAME",
            }
        }
        path = import_path()
        if path is not None:
            environment["PYTHONPATH"] = path
        argv = [sys.executable, "-m", "localset", *self._settings.arguments()]
        await self._runtime.set_daemon(argv, environment, "/", restart=not self._settings.is_foreground)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def _announce(self) -> None:
        text = f"localset {__version__}: data directory {self._settings.data_directory}, isolation {self._isolation}"
        log.info("%s, addresses %s, pid %d", text, self._block.block, os.getpid())
        if self._settings.ready_descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._settings.ready_descriptor, b"ready\n")
                os.close(self._settings.ready_descriptor)

    # -- end -------------------------------------------------------------------------------------------------------

    def _on_terminate(self) -> None:
        self._tasks.spawn(self._shut_down(keep_running=True, timeout_seconds=None), "terminate")

    def _on_interrupt(self) -> None:
        """Ctrl-C is `down`; a second one kills what still runs."""
        timeout = 0.0 if self._is_shutting_down else None
        self._is_shutting_down = False
        self._tasks.spawn(self._shut_down(keep_running=False, timeout_seconds=timeout), "interrupt")

    def _on_store_failure(self, error: BaseException) -> None:
        """A store that cannot write any more must not go on as if it could (reliability.md F31)."""
        log.critical("the database failed: %s; ending, processes run on", error)
        self._code = 1
        asyncio.get_running_loop().call_soon_threadsafe(self._end.set)

    async def _shut_down(self, *, keep_running: bool, timeout_seconds: float | None) -> None:
        if self._is_shutting_down:
            return
        self._is_shutting_down = True
        try:
            await self._runtime.set_daemon([], {}, "/", restart=False)
            if not keep_running:
                await self._controllers.pause()
                self._kubelet.pause()
                ending = Ending(self._registry, self._runtime, self._clock)
                if not await ending.run(timeout_seconds):
                    log.warning("down: some processes were killed")
                await self._runtime.shutdown_keeper(force=True)
        except Exception:
            log.exception("shutting down failed")
            self._code = 1
        self._end.set()

    # -- what apiserver asks (DaemonControl) --------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Return what `localset status -o json` prints."""
        host = self._dns_for("host")
        data = self._settings.data_directory
        return {
            "version": __version__,
            "daemon": {"pid": os.getpid()},
            "keeper": {"pid": self._runtime.keeper_pid},
            "apiSocket": str(api_socket(data)),
            "apiServer": self._access.url,
            "kubeconfig": str(kubeconfig_file(data)),
            "dns": {"address": f"{host[0]}:{host[1]}" if host else None, "zone": ZONE, "reason": self._dns_problem},
            "dataDirectory": str(data),
            "isolation": self._isolation.value,
            "isolationReasons": list(self._isolation_reasons),
            "addressBlock": self._block.block,
            "egress": self._network.egress,
        }

    async def shutdown(self, *, keep_running: bool, timeout_seconds: float | None) -> None:
        """Begin to shut down."""
        self._tasks.spawn(self._shut_down(keep_running=keep_running, timeout_seconds=timeout_seconds), "shutdown")

    async def query(self, name: str, record_type: str, /) -> dict[str, Any]:
        """Return what the zone answers."""
        return await self._dns.query(name, record_type)


def _can_bind(host: str, port: int) -> bool:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.bind((host, port))
    except PermissionError:
        return False
    except OSError:
        return True  # taken: DNS reports the holder
    finally:
        probe.close()
    return True


def serve(settings: Settings, directory: DataDirectory, claim: BlockClaim, launch: Launch | None) -> int:
    """Run a daemon in an opened data directory until it is asked to end; return its exit code. Raises StartError.

    `launch` is the keeper that is coming up; None: one already lives.
    """
    set_up(settings.log_level)
    return asyncio.run(_run(settings, directory, claim, launch))


async def _run(settings: Settings, directory: DataDirectory, claim: BlockClaim, launch: Launch | None) -> int:
    return await Daemon(settings, directory, claim, launch).run()
