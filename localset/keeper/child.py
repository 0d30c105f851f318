"""What happens between fork and exec, in the child: namespaces, mounts, user, directory, descriptors, exec.

Called by `keeper.registry` and `keeper.commands` right after os.fork; never returns. Whatever fails is written to the
close-on-exec report pipe as JSON {errno, message}; `E` on it means that exec is about to be tried. At level
*namespaces* the child forks once more, because only a child enters a new PID namespace: it says the inner one's pid
(`P<pid>` and a newline) and ends, so that the keeper, as subreaper, becomes its parent (runtime.md 2.6).
"""

import contextlib
import errno
import json
import os
import resource
import signal
import socket
from typing import Any, NoReturn

from localset.keeper import devices, linux
from localset.keeper.mounts import Tree

Spec = dict[str, Any]
ABOUT_TO_EXEC = b"E"
LOOPBACK, NAMESPACES = "loopback", "namespaces"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONFIGURED_FAILURE = 127


class Parts:
    """Descriptors and facts that the child needs; all descriptors were opened by the parent."""

    __slots__ = (
        *("gate", "is_terminal", "limits", "makes_terminal", "namespaces", "privileged", "report", "streams"),
        "user_namespace",
    )

    def __init__(
        self, report: int, streams: tuple[int, int, int], *, gate: int = -1, is_terminal: bool = False
    ) -> None:
        """Keep them. `streams` become 0, 1, 2; `gate` is waited on for the parent's word."""
        self.report = report
        self.streams = streams
        self.gate = gate
        self.is_terminal = is_terminal
        self.makes_terminal = False  # in the container; `streams` are then the socket that its master side goes to
        self.limits: tuple[int, int] | None = None
        self.privileged = False
        self.namespaces: list[int] = []  # the Pod's: net, ipc, uts, and pid where its containers share that
        self.user_namespace = -1  # the outer one that owns them, where we are no root


def run(spec: Spec, parts: Parts, *, inside_pid: int | None = None) -> NoReturn:
    """Become the program of `spec`; `inside_pid` is the process whose surroundings to enter (exec)."""
    try:
        _become(spec, parts, inside_pid)
    except OSError as error:
        _report(parts.report, error)
    except BaseException as error:  # noqa: BLE001 - a forked child must never run its parent's code again
        _report(parts.report, OSError(errno.EINVAL, repr(error)))
    finally:
        os._exit(_CONFIGURED_FAILURE)


def _report(descriptor: int, error: OSError) -> None:
    text = error.strerror or str(error)
    if error.filename is not None:
        text = f"{text}: {os.fsdecode(error.filename)}"
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps({"errno": error.errno or 0, "message": text[:3000]}).encode())


def _become(spec: Spec, parts: Parts, inside_pid: int | None) -> None:
    _reset_signals()
    os.setsid()
    _keep_only(parts)
    level = spec.get("isolation")
    is_isolated = level in {LOOPBACK, NAMESPACES}
    if level != NAMESPACES:
        _wait_for_word(parts)
    if parts.limits is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, parts.limits)
    os.umask(0o022)
    if inside_pid is not None and is_isolated:
        _enter(inside_pid, is_privileged=parts.privileged, has_processes=level == NAMESPACES)
        if level == NAMESPACES:
            _be_inner_process(parts)
    elif is_isolated:
        _surround(spec, parts)
    if parts.makes_terminal:
        _make_terminal(spec, parts)
    _take_streams(parts)
    _drop_rights(spec, is_privileged=parts.privileged, level=level)
    _change_directory(spec, is_isolated=is_isolated)
    _exec(spec["argv"], spec["environment"], parts.report)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        if number not in {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a dead keeper must not kill us before the report pipe is closed


def _surround(spec: Spec, parts: Parts) -> None:
    """Give the container what its level has of its own, and show it the user of its manifest."""
    outer_ids = os.geteuid(), os.getegid()
    if spec.get("isolation") == NAMESPACES:
        _join(parts)
        _build_tree(spec, is_privileged=parts.privileged)
        if not spec.get("shares_processes"):
            linux.unshare(linux.CLONE_NEWPID)
        _be_inner_process(parts)
        devices.show_processes(is_privileged=parts.privileged)
    else:
        _isolate(spec, is_privileged=parts.privileged)
    if not parts.privileged:
        _look_like_the_manifests_user(spec, outer_ids)


def _make_terminal(spec: Spec, parts: Parts) -> None:
    """Make a terminal that has its name in the container's /dev/pts, and send its master side to the keeper."""
    master, slave = os.openpty()
    user = spec.get("user")
    if user is not None and parts.privileged:
        os.fchown(slave, user, -1)
    with socket.socket(fileno=parts.streams[0]) as keeper, contextlib.suppress(BrokenPipeError):
        socket.send_fds(keeper, [b"t"], [master])
    os.close(master)
    parts.streams = (slave, slave, slave)


def _take_streams(parts: Parts) -> None:
    if parts.is_terminal:
        import fcntl
        import termios

        fcntl.ioctl(parts.streams[0], termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(parts.streams[number], number)
    for number in set(parts.streams):
        if number > 2:
            os.close(number)


def _wait_for_word(parts: Parts) -> None:
    if parts.gate >= 0:
        if os.read(parts.gate, 1) != b"g":
            os._exit(_CONFIGURED_FAILURE)  # the keeper died before our pid was on record: never exec
        os.close(parts.gate)


def _be_inner_process(parts: Parts) -> None:
    """Fork into the PID namespace that was unshared or entered; only the child returns, once the keeper knows it."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(BrokenPipeError):
            os.write(parts.report, b"P%d\n" % pid)
        os._exit(0)
    os.setsid()
    _wait_for_word(parts)


def _keep_only(parts: Parts) -> None:
    """Close all but ours, the keeper's lock above all (reliability M9); move ours above the standard ones."""
    import fcntl

    ours = {parts.report, *parts.streams, parts.gate, *parts.namespaces, parts.user_namespace} - {-1}
    moved = {-1: -1, **{number: fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in ours}}
    # NB: a number below 10 may be ours still, and one above may be another of ours: close by what is kept.
    limit = min(os.sysconf("SC_OPEN_MAX"), 1 << 20)
    start = 3
    for number in sorted(number for number in moved.values() if number >= 0):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, limit)
    a, b, c = parts.streams
    parts.report, parts.gate, parts.user_namespace = moved[parts.report], moved[parts.gate], moved[parts.user_namespace]
    parts.streams = moved[a], moved[b], moved[c]
    parts.namespaces = [moved[number] for number in parts.namespaces]


def _join(parts: Parts) -> None:
    """Enter the Pod's namespaces, and take mounts of our own."""
    if parts.user_namespace >= 0:
        linux.setns(parts.user_namespace, linux.CLONE_NEWUSER)
    kinds = (linux.CLONE_NEWNET, linux.CLONE_NEWIPC, linux.CLONE_NEWUTS, linux.CLONE_NEWPID)
    for descriptor, kind in zip(parts.namespaces, kinds, strict=False):
        linux.setns(descriptor, kind)
        os.close(descriptor)
    linux.unshare(linux.CLONE_NEWNS)


def _isolate(spec: Spec, *, is_privileged: bool) -> None:
    if is_privileged:
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
    else:
        uid, gid = os.geteuid(), os.getegid()
        linux.new_user_namespace(linux.CLONE_NEWNS | linux.CLONE_NEWUTS, f"0 {uid} 1", f"0 {gid} 1")
    if spec.get("hostname"):
        socket.sethostname(spec["hostname"])
    _build_tree(spec, is_privileged=is_privileged)


def _build_tree(spec: Spec, *, is_privileged: bool) -> None:
    user, group = _ids(spec)
    tree = Tree(
        spec["private_directory"],
        is_privileged=is_privileged,
        shares_host=bool(spec.get("shares_host")),
        has_own_system=spec.get("isolation") == NAMESPACES,
    )
    tree.build(spec.get("mounts", []), spec.get("working_directory", ""), (user or 0, group or 0))


def _look_like_the_manifests_user(spec: Spec, outer_ids: tuple[int, int]) -> None:
    """Enter a second user namespace.

    It takes the rights over mounts and network away, and shows the user that the manifest names: as uid 0 a program
    would believe that it may setuid (runtime.md finding 11).
    """
    user, group = _ids(spec)
    user = outer_ids[0] if user is None else user
    group = outer_ids[1] if group is None else group
    linux.new_user_namespace(0, f"{user} 0 1", f"{group} 0 1")


def _enter(pid: int, *, is_privileged: bool, has_processes: bool) -> None:
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWUTS | (0 if is_privileged else linux.CLONE_NEWUSER)
    if has_processes:
        flags |= linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWPID
    descriptor = os.pidfd_open(pid)
    try:
        linux.setns(descriptor, flags)
    finally:
        os.close(descriptor)


def _ids(spec: Spec) -> tuple[int | None, int | None]:
    user, group = spec.get("user"), spec.get("group")
    return user, (user if group is None else group)


def _drop_rights(spec: Spec, *, is_privileged: bool, level: str | None) -> None:
    user, group = _ids(spec)
    if os.geteuid() == 0 and (is_privileged or level not in {LOOPBACK, NAMESPACES}):
        if level == NAMESPACES:
            linux.keep_container_capabilities()
        groups = list(spec.get("supplementary_groups") or ())
        if user is not None or group is not None or groups:
            os.setgroups(groups)
        if group is not None:
            os.setresgid(group, group, group)
        if user is not None:
            os.setresuid(user, user, user)
    elif linux.HAS_PRCTL:
        linux.forbid_new_privileges()


def _change_directory(spec: Spec, *, is_isolated: bool) -> None:
    directory = spec.get("working_directory") or "/"
    private = spec.get("private_directory") or ""
    if not is_isolated and private and os.path.normpath(directory).startswith(private.rstrip("/") + "/"):
        os.makedirs(directory, exist_ok=True)
    os.chdir(directory)


def _exec(argv: list[str], environment: dict[str, str], report: int) -> None:
    if not argv or not argv[0]:
        raise OSError(errno.ENOENT, "no command")
    with contextlib.suppress(BrokenPipeError):
        os.write(report, ABOUT_TO_EXEC)  # NB: nobody reads when the keeper has died since it let us go; we live on
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    program = argv[0]
    if "/" in program:
        os.execve(program, argv, environment)
    worst = OSError(errno.ENOENT, "no such file in PATH", program)
    for directory in environment.get("PATH", _DEFAULT_PATH).split(":"):
        try:
            os.execve(os.path.join(directory or ".", program), argv, environment)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                worst = error
    raise worst
