"""`cp`: files and directories into a container and out of it, by a tar in the container over exec, as kubectl does.

What comes out of a container is not trusted: nothing is written outside the destination, and links are not made.
"""

import os
import sys
import tarfile
import threading
from pathlib import Path, PurePosixPath
from typing import Any, cast

import click

from localset.cli.context import Context
from localset.cli.output import fail, say
from localset.cli.pods import container_meant, pod_meant
from localset.cli.sessions import code_in, open_session
from localset.cli.websocket import CLOSE, STATUS, STDERR, STDIN, STDOUT, WebSocket

_CHUNK = 32 * 1024


class _Remote:
    """A place in a container: `pod:path`, `namespace/pod:path`, `set/0:path`."""

    def __init__(self, text: str, namespace: str) -> None:
        self.pod, _, self.path = text.partition(":")
        self.namespace = namespace
        first, slash, rest = self.pod.partition("/")
        if slash and not rest.isdecimal() and first not in {"pod", "pods"}:
            self.namespace, self.pod = first, rest
        if not self.path:
            fail("filepath can not be empty")


def _is_remote(text: str) -> bool:
    return ":" in text and not text.startswith((".", "/"))


@click.command()
@click.argument("source", default="")
@click.argument("destination", default="")
@click.option("-c", "--container", default="", help="Container; default: the only or the first.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("--no-preserve", is_flag=True, help="Do not keep owner and permissions in the container.")
@click.option("--retries", hidden=True, expose_value=False)
@click.pass_obj
def cp(context: Context, /, source: str, destination: str, **options: Any) -> int:
    """Copy files: `cp page.html web-0:/usr/share/nginx/html/`, `cp web-0:/etc/nginx nginx`."""
    namespace = options["namespace"]
    if not destination:
        fail("source and destination are required", hint="localset cp FILE POD:/path, or localset cp POD:/path FILE")
    if _is_remote(source) and _is_remote(destination):
        fail("one of src or dest must be a local file specification")
    if _is_remote(destination):
        return _into(context, Path(source), _Remote(destination, namespace), options)
    if not _is_remote(source):
        fail("one of src or dest must be a remote file specification", hint="as POD:/path")
    return _out_of(context, _Remote(source, namespace), Path(destination), options)


def _session(
    context: Context, place: _Remote, options: dict[str, Any], command: list[str], **streams: bool
) -> WebSocket:
    pod = pod_meant(context, place.pod, place.namespace)
    container = container_meant(pod, options["container"])
    return open_session(
        context, pod, "exec", container, command=tuple(command), has_tty=False,
        has_stdin=streams.get("has_stdin", False),
    )  # fmt: skip


def _into(context: Context, source: Path, place: _Remote, options: dict[str, Any]) -> int:
    if not source.exists() and not source.is_symlink():
        fail(f"{source} doesn't exist in local filesystem")
    target = PurePosixPath(place.path)
    quiet = {**options, "container": options["container"]}
    if (
        place.path.endswith("/")
        or _Reader(_session(context, place, quiet, ["test", "-d", place.path])).ends_with() == 0
    ):
        target /= source.resolve().name
    flags = ["--no-same-permissions", "--no-same-owner"] if options["no_preserve"] else []
    words = ["tar", *flags, "-xmf", "-", "-C", str(target.parent)]
    session = _session(context, place, options, words, has_stdin=True)
    failures: list[BaseException] = []

    def send() -> None:
        try:
            with tarfile.open(fileobj=cast("Any", _Writer(session)), mode="w|", bufsize=_CHUNK) as archive:
                archive.add(source, arcname=target.name, filter=_as_is)
            session.send(CLOSE, bytes([STDIN]))
        except (OSError, tarfile.TarError) as error:
            failures.append(error)
            session.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        code = _Reader(session).ends_with()
    except OSError:
        thread.join()
        if not failures:
            raise
        code = 1
    if failures and not isinstance(failures[0], ConnectionError):
        fail(f"{source} cannot be read: {failures[0]}")
    if code:
        fail(f"tar in the container ended with exit code {code}", code=code)
    return 0


def _as_is(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Keep what a copy can hold: files, directories and symbolic links."""
    return member if member.isfile() or member.isdir() or member.issym() else None


def _out_of(context: Context, place: _Remote, destination: Path, options: dict[str, Any]) -> int:
    reader = _Reader(_session(context, place, options, ["tar", "cf", "-", place.path]))
    prefix = _inside(place.path)
    if destination.is_dir() and prefix.name:
        destination /= prefix.name
    try:
        with tarfile.open(fileobj=cast("Any", reader), mode="r|", bufsize=_CHUNK) as archive:
            for member in archive:
                _write(archive, member, prefix, destination)
    except tarfile.ReadError as error:
        if reader.ends_with() == 0:
            fail(f"the container's tar sent what is no archive: {error}")
    except OSError as error:
        reader.close()
        fail(f"{error.filename or destination} cannot be written: {error.strerror or error}")
    code = reader.ends_with()
    if code:
        fail(f"tar in the container ended with exit code {code}", code=code)
    return 0


def _inside(path: str) -> PurePosixPath:
    """Return `path` as tar names its members: without a leading slash, and with no way up."""
    return PurePosixPath(os.path.normpath("/" + path.lstrip("/"))).relative_to("/")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, prefix: PurePosixPath, destination: Path) -> None:
    name = _inside(member.name)
    if not name.is_relative_to(prefix):
        fail("tar contents corrupted", hint=f"the container sent {member.name}, which nobody asked for")
    target = destination / name.relative_to(prefix)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isfile():
        say(f'warning: skipping symlink: "{target}" -> "{member.linkname}"')
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(destination.parent.resolve()):
        say(f'warning: file "{target}" is outside target destination, skipping')
        return
    content = archive.extractfile(member)
    assert content is not None
    with target.open("wb") as file:
        while data := content.read(_CHUNK):
            file.write(data)
    target.chmod(member.mode & 0o777)


class _Writer:
    """A session's standard input, as a file."""

    def __init__(self, session: WebSocket) -> None:
        self._session = session

    def write(self, data: bytes) -> int:
        self._session.send(STDIN, data)
        return len(data)


class _Reader:
    """A session's standard output, as a file; what it says on standard error is passed on."""

    def __init__(self, session: WebSocket) -> None:
        self._session = session
        self._buffer = b""
        self._status: dict[str, Any] | None = None
        self._is_open = True

    def _step(self) -> bool:
        import json

        message = self._session.receive() if self._is_open else None
        if message is None:
            self._is_open = False
            return False
        channel, data = message
        if channel == STDOUT:
            self._buffer += data
        elif channel == STDERR:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        elif channel == STATUS:
            self._status, self._is_open = json.loads(data), False
        return self._is_open

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size and self._step():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def ends_with(self) -> int:
        """Wait for the end and return the command's exit code."""
        while self._step():
            self._buffer = b""
        self.close()
        if self._status is None:
            fail("the connection was closed before the copy ended")
        return code_in(self._status)

    def close(self) -> None:
        self._is_open = False
        self._session.close()
