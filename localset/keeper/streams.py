"""Opens a process's standard streams: FIFOs beneath the keeper's directory, or a terminal.

FIFOs are opened for reading and writing on both sides, so that each side may die without the other noticing; they stay
on disk until the process is over, where the next keeper finds them. A terminal does not outlive its keeper: its master
side is a descriptor only, and the program gets SIGHUP (docs: `tty: true`). Where a container has a /dev/pts of its own
its terminal must be made in there, or it would have no name: the child makes it and sends us the master side.
"""

import contextlib
import os
import socket

from localset.keeper.child import NAMESPACES
from localset.keeper.journal import Fields
from localset.keeper.logs import LogFile, Pump
from localset.keeper.loop import Loop
from localset.keeper.record import Record

DIRECTORY = "streams"


def _path(run_id: str, name: str) -> str:
    return os.path.join(DIRECTORY, f"{run_id.replace('/', '_')}.{name}")


def _names(*, stdin: bool) -> list[str]:
    return ["out", "err", *(["in"] if stdin else [])]


def open_for_start(loop: Loop, record: Record) -> tuple[tuple[int, int, int], bool]:
    """Make the streams; return the child's three descriptors and whether they are a terminal. Starts the pumps."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    spec = record.spec
    is_awaited = bool(spec.get("stdin_once"))
    if spec.get("tty"):
        record.log = LogFile(spec["log_path"])
        if spec.get("isolation") == NAMESPACES:
            record.terminal_offer, theirs = socket.socketpair()
            given = theirs.detach()
            return (given, given, given), True
        master, slave = os.openpty()
        user = spec.get("user")
        if user is not None and os.geteuid() == 0:
            os.fchown(slave, user, -1)
        _start_terminal(loop, record, master)
        return (slave, slave, slave), True
    for name in _names(stdin=bool(spec.get("stdin"))):
        path = _path(record.run_id, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        # The program may open /dev/stdout again as whatever user it has become; the directory is 0700.
        os.chmod(path, 0o666)  # noqa: S103
    out, err = (os.open(_path(record.run_id, name), os.O_RDWR | os.O_CLOEXEC) for name in ("out", "err"))
    if spec.get("stdin"):
        path = _path(record.run_id, "in")
        stdin = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if spec.get("stdin_once"):
            record.stdin = stdin  # ours alone: once it is closed, the program has read its stdin to the end
            stdin = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    else:
        stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    _start_pumps(loop, record, spec, is_awaited=is_awaited)
    return (stdin, out, err), False


def _start_terminal(loop: Loop, record: Record, master: int) -> None:
    os.set_blocking(master, False)
    record.terminal = master
    if record.log is not None:
        is_awaited = bool(record.spec.get("stdin_once"))
        record.pumps = [Pump(loop, os.dup(master), record.log, 1, is_terminal=True, is_awaited=is_awaited)]


def take_terminal(loop: Loop, record: Record) -> None:
    """Take the master side that the child has sent before its exec; nothing where there is none."""
    offer, record.terminal_offer = record.terminal_offer, None
    if offer is None:
        return
    with offer, contextlib.suppress(OSError):
        offer.setblocking(False)
        _, descriptors, _, _ = socket.recv_fds(offer, 1, 1)
        for master in descriptors:
            os.set_inheritable(master, False)
            _start_terminal(loop, record, master)


def open_again(loop: Loop, record: Record) -> None:
    """Start the pumps on the FIFOs that are on disk; a terminal has none."""
    spec = record.spec
    if spec.get("tty"):
        return
    if record.stdin < 0 and spec.get("stdin_once") and not record.fields.get("stdin_ended"):
        with contextlib.suppress(OSError):
            record.stdin = os.open(_path(record.run_id, "in"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    _start_pumps(loop, record, spec)


def _start_pumps(loop: Loop, record: Record, spec: Fields, *, is_awaited: bool = False) -> None:
    for number, name in ((1, "out"), (2, "err")):
        try:
            descriptor = os.open(_path(record.run_id, name), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        record.log = record.log or LogFile(spec["log_path"])
        record.pumps.append(Pump(loop, descriptor, record.log, number, is_awaited=is_awaited))


def open_input(record: Record, *, stdin: bool) -> int | None:
    """Return a new descriptor of the terminal, where the program has one, else one that writes to its stdin, if wanted.

    None where there is none of them, or stdin has ended.
    """
    if record.terminal >= 0:
        return os.dup(record.terminal)
    if not stdin or not record.spec.get("stdin") or record.fields.get("stdin_ended"):
        return None
    try:
        return os.open(_path(record.run_id, "in"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def end_stdin(record: Record) -> None:
    """End a program's stdin for good; one that is a terminal has no end."""
    record.fields["stdin_ended"] = True
    if record.stdin >= 0:
        os.close(record.stdin)
        record.stdin = -1


def finish(record: Record) -> None:
    """Write what is left to the log, close all and remove the FIFOs."""
    for pump in record.pumps:
        pump.finish()
    record.pumps = []
    for attachment in list(record.attachments):
        attachment.finish()
    if record.stdin >= 0:
        os.close(record.stdin)
        record.stdin = -1
    if record.log is not None:
        record.log.close()
        record.log = None
    if record.terminal_offer is not None:
        record.terminal_offer.close()
        record.terminal_offer = None
    if record.terminal >= 0:
        os.close(record.terminal)
        record.terminal = -1
    for name in ("out", "err", "in"):
        with contextlib.suppress(OSError):
            os.unlink(_path(record.run_id, name))


def remove_strays(known: set[str]) -> None:
    """Remove FIFOs of runs that are on no record."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(DIRECTORY):
            if name.rsplit(".", 1)[0] not in known:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(DIRECTORY, name))
