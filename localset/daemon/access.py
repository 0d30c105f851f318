"""How others reach the API: the TLS port, its certificates, and the kubeconfig.

The daemon calls `begin` early, because a port that is taken must be said before anything runs and the first start of a
data directory has certificates to make; `ready` before anybody needs the authority; `serve` once HTTP is there.
Certificates are made in a short process of their own (`apiserver.certificates`): a daemon that starts warm never loads
the cryptography library.
"""

import asyncio
import hashlib
import logging
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from localset.apiserver.certificates import SERVER_NAMES, CertificateFiles, has_names, is_complete, is_fresh, split_pem
from localset.apiserver.listener import Connections, TlsListener
from localset.apiserver.tls import make_context, use_certificate
from localset.apiserver.tokens import load_key
from localset.base.clock import Clock
from localset.base.directories import context_name, import_path, kubeconfig_file
from localset.base.files import make_private_directory, write_atomically
from localset.base.tasks import Tasks
from localset.daemon.directory import DataDirectory
from localset.daemon.kubeconfig import kubeconfig
from localset.daemon.settings import StartError
from localset.dns.settings import find_holder

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
HTTPS_PORT = 443
FIRST_PORT, LAST_PORT = 20_000, 29_999
PORT_FACT = "apiPort"
RENEW_SECONDS = 7 * 86_400.0


class Access:
    """The TLS side of one daemon."""

    def __init__(self, directory: DataDirectory, clock: Clock) -> None:
        """Name what is used; nothing is touched before `begin`."""
        self._directory = directory
        self._clock = clock
        self._files = CertificateFiles(directory.path / "tls")
        self._tasks = Tasks("access")
        self._names: Sequence[str] = ()
        self._making: asyncio.Task[None] | None = None
        self._context: ssl.SSLContext
        self._listener = TlsListener()

    @property
    def files(self) -> CertificateFiles:
        """Return where the certificates are."""
        return self._files

    @property
    def port(self) -> int:
        """Return the data directory's port."""
        return int(str(self._directory.facts[PORT_FACT]))

    @property
    def url(self) -> str:
        """Return where clients on this machine find the API."""
        return f"https://{HOST}:{self.port}"

    def begin(self, pod_address: str, forwarded_to: str = "") -> int:
        """Take the ports, and start to make certificates when the server cannot do without; raises StartError.

        Returns the port at which Pods find the API on `pod_address`: 443 where that can be had. Where Pods have a
        network of their own the forwarder leads from there to our port on `forwarded_to`.
        """
        if PORT_FACT not in self._directory.facts:
            self._directory.facts[PORT_FACT] = _free_port(self._directory.path)
            self._directory.save()
        pod_port = self._bind(forwarded_to or pod_address)
        self._names = (*SERVER_NAMES, pod_address)
        if not is_complete(self._files) or not has_names(self._files, self._names):
            self._making = self._tasks.spawn(self._make(), "make certificates")
        return HTTPS_PORT if forwarded_to else pod_port

    def _bind(self, pod_address: str) -> int:
        try:
            self._listener.bind(HOST, self.port)
        except OSError as error:
            holder = find_holder(HOST, self.port, "TCP")
            held = f", held by {holder}" if holder else ""
            raise StartError(
                f"cannot listen on {HOST}:{self.port}: {error.strerror or error}{held}\n"
                "hint: end that program; a data directory keeps its port, so that kubeconfigs stay right"
            ) from error
        found = self.port
        for port in (self.port, HTTPS_PORT):
            try:
                self._listener.bind(pod_address, port)
                found = port
            except OSError as error:
                if port != HTTPS_PORT:
                    log.warning("the API cannot be reached from Pods at %s:%d: %s", pod_address, port, error)
        return found

    def token_key(self) -> bytes:
        """Return the key that ServiceAccounts' tokens are signed with, made the first time. Raises StartError."""
        make_private_directory(self._files.directory)
        try:
            return load_key(self._files.directory / "tokens.key")
        except (OSError, ValueError) as error:
            raise StartError(f"the key of tokens cannot be used: {error}") from error

    async def ready(self) -> str:
        """Wait for the certificates, and return the authority's in PEM. StartError when they cannot be made."""
        if self._making is not None:
            await self._making
            self._making = None
        try:
            self._context = make_context(self._files.server, self._files.ca)
            return self._files.ca.read_text()
        except (OSError, ValueError) as error:
            raise StartError(
                f"the certificates in {self._files.directory} cannot be used: {error}\n"
                "hint: remove that directory, and new ones are made; kubeconfigs merged before must be merged again"
            ) from error

    def serve(self, server: web.Server, connections: Connections) -> None:
        """Answer, and write the kubeconfig."""
        self._listener.serve(server, connections, self._context)
        write_atomically(kubeconfig_file(self._directory.path), self._kubeconfig().encode(), is_durable=False)

    def renew_later(self) -> None:
        """Keep the server's certificate young, from now on; in the background."""
        self._tasks.spawn(self._renew(), "renew the certificate")

    async def _renew(self) -> None:
        while True:
            if not is_fresh(self._files, self._clock.now()):
                try:
                    await self._make()
                    use_certificate(self._context, self._files.server)
                except (OSError, StartError) as error:
                    log.warning("the server's certificate could not be renewed: %s", error)
            await self._clock.sleep(RENEW_SECONDS)

    async def _make(self) -> None:
        path = import_path()
        environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "localset.apiserver.certificates",
            str(self._files.directory),
            self._clock.now().isoformat(),
            *self._names,
            env=environment,
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode != 0:
            words = errors.decode(errors="replace").strip().splitlines()
            raise StartError(f"certificates cannot be made: {words[-1] if words else process.returncode}")

    def _kubeconfig(self) -> str:
        certificate, key = split_pem(self._files.admin.read_text())
        name = context_name(self._directory.path)
        return kubeconfig(name, self.url, self._files.ca.read_text(), certificate, key)

    async def aclose(self) -> None:
        """Stop listening and renewing. Idempotent."""
        await self._tasks.aclose()
        await self._listener.aclose()


def _free_port(data_directory: Path) -> int:
    """Return a free port: tried first is the one that the directory's name gives, the same at every try."""
    count = LAST_PORT - FIRST_PORT + 1
    start = int.from_bytes(hashlib.sha256(os.fsencode(data_directory)).digest()[4:8], "big")
    for step in range(count):
        port = FIRST_PORT + (start + step) % count
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
    raise StartError(f"all ports from {FIRST_PORT} to {LAST_PORT} are taken")
