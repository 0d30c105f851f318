"""Starts a keeper: one exec, awaited later.

The daemon calls `launch_keeper` first of all, so that the keeper comes up while the daemon still imports the rest of
itself (a tenth of the start); `KeeperRuntime` calls it when a keeper has died. Imports almost nothing for that reason.
NB: never fork here (reliability.md M9); a launch that nobody waits for leaves a zombie.
"""

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

LONGEST_SOCKET_NAME = 103


class KeeperError(Exception):
    """The keeper refused a request, or none can be started; the text is for the user."""


class Launch:
    """A keeper that is coming up."""

    def __init__(self, pid: int, errors: int) -> None:
        """Own the starting process and the pipe that its complaints come from."""
        self._pid = pid
        self._errors = errors

    async def wait(self) -> tuple[int, str]:
        """Return (exit code, complaints): 0 says that a keeper answers. Call once."""
        import asyncio  # not at the top: by the time one waits it is there

        text = b""
        loop = asyncio.get_running_loop()
        os.set_blocking(self._errors, False)
        readable = asyncio.Event()
        loop.add_reader(self._errors, readable.set)
        while True:
            await readable.wait()
            readable.clear()
            try:
                block = os.read(self._errors, 4096)
            except BlockingIOError:  # an event that was meant for a former descriptor of this number
                continue
            if not block:
                break
            text += block
        loop.remove_reader(self._errors)
        os.close(self._errors)
        _, status = os.waitpid(self._pid, 0)  # noqa: ASYNC222 - its end of the pipe is closed: it is at its last step
        return os.waitstatus_to_exitcode(status), text.decode("utf-8", "replace").strip()


def launch_keeper(
    data_directory: Path, held: Iterable[int] = (), namespaces: Iterable[int] = (), *, checks: bool = False
) -> Launch:
    """Start a keeper of `data_directory`, which keeps the descriptors `held` open for its whole life.

    `namespaces` are those of the Pods' network, kept from a keeper that has died. With `checks` it looks at once
    which isolation works, so that the question finds its answer ready.
    """
    import localset.keeper

    program = Path(localset.keeper.__file__).with_name("__main__.py")
    argv = [sys.executable, "-I", "-S", "-E", str(program), "--data-directory", str(data_directory)]
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    claims, network = list(held), list(namespaces)
    inherited = [*claims, *network]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        argv += ["--hold", ",".join(map(str, claims))] if claims else []
        argv += ["--namespaces", ",".join(map(str, network))] if network else []
        argv += ["--check", "yes"] if checks else []
        pid = os.posix_spawn(sys.executable, argv, dict(os.environ), file_actions=actions, setsid=True)
    except OSError as error:
        os.close(reading)
        raise KeeperError(f"no keeper can be started: {error}") from error
    finally:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
        os.close(writing)
        os.close(null)
    return Launch(pid, reading)


def dial_keeper(data_directory: Path, name: str = "keeper.sock") -> socket.socket | None:
    """Return a connection to the keeper of `data_directory`, or None when none answers.

    `name` may be another socket of its directory: the network holder's.
    """
    path = data_directory / "keeper" / name
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = -1
    try:
        address = str(path)
        if len(os.fsencode(address)) > LONGEST_SOCKET_NAME:
            if sys.platform != "linux":
                raise KeeperError(f"the path of the socket is too long for this system: {path}")
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{name}"
        sock.connect(address)  # a Unix socket connects at once or not at all
    except OSError:
        sock.close()
        return None
    finally:
        if directory >= 0:
            os.close(directory)
    return sock
