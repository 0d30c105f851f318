"""The keeper's program: `python -I -S -E <this file> --data-directory DIR`, and more options of `keeper_launch`.

Detaches itself, takes the lock, listens, and only then lets the caller go on: exit 0 says that one answers. What
`--hold` names stays open for its life: the claim of the address block, which must outlast a daemon; `--namespaces` are
those of the Pods' network as a former keeper had them; with `--check yes` it tries at once which isolation works.
Started by `kubelet.keeper_launch` alone, by exec and never by fork (reliability M9). With -S only the standard library
is on the path; our own package is put last.
"""

import contextlib
import os
import signal
import socket
import sys
import time

_OPTIONS = {"--data-directory", "--hold", "--namespaces", "--check"}


def main(argv: list[str]) -> int:
    """Run; 0 once a keeper answers, 1 with a sentence on stderr when none can."""
    options = dict(zip(argv[1::2], argv[2::2], strict=False))
    if len(argv) % 2 == 0 or "--data-directory" not in options or set(options) - _OPTIONS:
        sys.stderr.write("usage: keeper --data-directory DIR [--hold FD,FD] [--namespaces FD,FD] [--check yes]\n")
        return 2
    given = [int(number) for number in options.get("--namespaces", "").split(",") if number]
    for number in [*given, *(int(number) for number in options.get("--hold", "").split(",") if number)]:
        os.set_inheritable(number, False)  # ours, not our children's
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if root not in sys.path:
        sys.path.append(root)
    os.umask(0o077)
    directory = os.path.join(os.path.abspath(options["--data-directory"]), "keeper")
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        word = b""
        while block := os.read(reading, 4096):
            word += block
        if word == b"ok":
            return 0
        sys.stderr.write((word or b"the keeper died while it started; see keeper.log\n").decode("utf-8", "replace"))
        return 1
    os.close(reading)
    os.setsid()
    try:
        _keep(directory, writing, given, checks=options.get("--check") == "yes")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(writing, f"keeper: {error}\n".encode())
        return 1
    return 0


def _lock() -> int:
    """Take the lock for our life; wait a second for a keeper that is just ending."""
    import fcntl

    descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + 1.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise BlockingIOError(11, f"another keeper (pid {holder}) holds the lock of this directory") from None
            time.sleep(0.01)
        else:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor


def _keep(directory: str, ready: int, given: list[int], *, checks: bool) -> None:
    from localset.keeper import linux
    from localset.keeper.journal import Journal
    from localset.keeper.loop import Loop, say
    from localset.keeper.registry import Registry, raise_descriptor_limit
    from localset.keeper.server import Server
    from localset.keeper.supervision import Supervision

    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    os.chdir(directory)  # the socket's name is relative, so no length of the path is too long for it
    lock = _lock()
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open("keeper.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for number in {null, log} - {0, 1, 2}:
        os.close(number)
    limits = raise_descriptor_limit()
    linux.become_subreaper()
    loop = Loop()
    journal = Journal("journal")
    registry = Registry(loop, journal, limits, given)
    supervision = Supervision(loop, journal, registry)
    _hear_signals(loop, registry)
    registry.network.restore()
    registry.restore()
    supervision.restore()
    with contextlib.suppress(FileNotFoundError):
        os.unlink("keeper.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("keeper.sock")
    listener.listen(64)
    server = Server(loop, registry, supervision, listener)
    os.write(ready, b"ok")
    os.close(ready)
    say(f"started with {len(registry.records)} records")
    if checks:
        from localset.keeper.isolation import EarlyCheck

        server.early_check = EarlyCheck(registry, directory)
    loop.run()
    say("ended")
    journal.close()
    os.close(lock)


def _hear_signals(loop: "object", registry: "object") -> None:
    from localset.keeper.loop import Loop, say
    from localset.keeper.registry import Registry

    assert isinstance(loop, Loop)
    assert isinstance(registry, Registry)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def reap() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(reading, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            try:
                registry.reaped(pid, status)
            except Exception as error:  # noqa: BLE001 - one child's fault must not leave the others unreaped
                say(f"reaping {pid}: {error!r}")

    loop.add_reader(reading, reap)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # A keeper ends by request only: the terminal's or the session's end is nothing to it, and SIGTERM would orphan all.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
