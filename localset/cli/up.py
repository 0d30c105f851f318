"""`up`: start the daemon, in the background unless told otherwise. The only module of cli that may start one."""

import os
import sys
from typing import Any

from localset.base.directories import daemon_lock, daemon_log, import_path
from localset.cli.context import Context
from localset.cli.flags import Flag, Flags, Given
from localset.cli.output import fail, put, say
from localset.cli.transport import DaemonNotRunningError

START_SECONDS = 30.0


def _chosen(name: str, default: str, choices: tuple[str, ...], about: str) -> Flag:
    return Flag(name, "text", default, f"One of {', '.join(choices)}. {about}", choices=choices)


_HIDDEN = (
    Flag("ready-descriptor", "int", None, "Where to say that the daemon is ready."),
    Flag("supervised", "bool", False, "Started by the keeper."),
)
FLAGS = Flags(
    "up",
    "up [flags]",
    "Start the daemon of the data directory.",
    Flag("foreground", "bool", False, "Stay; Ctrl-C is `down`, a second one kills."),
    _chosen("isolation", "", ("auto", "namespaces", "loopback", "plain"), "Default: as before, else auto."),
    _chosen("probe-timing", "eager", ("eager", "strict"), "Probe early until the first success, or as Kubernetes."),
    _chosen("scheduling", "relaxed", ("relaxed", "strict"), "Run what a cluster could not place, or leave it Pending."),
    _chosen("host-path", "allow", ("allow", "deny"), "Volumes of the host's own paths."),
    _chosen("dns-forward", "on", ("on", "off"), "Answer Pods for names outside the zone."),
    _chosen("egress", "auto", ("auto", "off", "nat"), "Let Pods with a network of their own reach the outside."),
    _chosen("log-level", "INFO", ("DEBUG", "INFO", "WARNING"), "What daemon.log tells."),
    Flag("max-processes", "int", 200, "Pods that may run at once."),
)
_ALL_FLAGS = Flags("up", FLAGS.usage, FLAGS.about, *FLAGS.all[:-1], *_HIDDEN)


def main(context: Context, arguments: list[str]) -> int:
    """Run `up ARGUMENTS`. NB: a daemon starts through here, and waits for whatever this module imports."""
    given = _ALL_FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    if given.words:
        raise FLAGS.error(f"unexpected argument: {given.words[0]}")
    if given["foreground"]:
        return _foreground(context, given)
    status = _status(context)
    if status is not None:
        put(f"already running: pid {status['daemon']['pid']}, data directory {status['dataDirectory']}")
        return 0
    start_daemon(context, _arguments(given))
    status = _status(context)
    if status is None:
        fail("the daemon ended right after its start", hint=f"see {daemon_log(context.data_directory)}")
    put(
        f"localset is up: pid {status['daemon']['pid']}, isolation {status['isolation']}, "
        f"data directory {status['dataDirectory']}"
    )
    return 0


def ensure_daemon(context: Context) -> None:
    """Start a daemon with the default options unless one answers."""
    if _status(context) is None:
        start_daemon(context, [])
        say(f"started the daemon, data directory {context.data_directory}")


def _status(context: Context) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = context.api.request("GET", "/localset/v1/status").body
    except DaemonNotRunningError:
        return None
    return body


def _arguments(given: Given) -> list[str]:
    return [f"--{flag.name}={given[flag.name]}" for flag in FLAGS.all if flag.kind != "bool" and given[flag.name]]


def start_daemon(context: Context, arguments: list[str]) -> None:
    """Start a daemon in a session of its own and wait until it says that it is ready, or why it is not."""
    data = context.data_directory
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o711 if os.getuid() == 0 else 0o700)
        log = os.open(daemon_log(data), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        fail(f"cannot use the data directory {data}: {error.strerror}", hint="choose another with --data-dir DIR")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    environment = dict(os.environ)
    path = import_path()
    if path is not None:
        environment["PYTHONPATH"] = path
    argv = [
        sys.executable,
        "-m",
        "localset",
        "--data-dir",
        str(data),
        "up",
        "--foreground",
        f"--ready-descriptor={writing}",
        *arguments,
    ]
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    os.posix_spawn(sys.executable, argv, environment, file_actions=actions, setsid=True)
    for descriptor in (writing, log, null):
        os.close(descriptor)
    _wait_until_ready(context, reading)


def _other_becomes_ready(context: Context) -> bool:
    """Wait for the daemon that holds the lock, as one that the keeper is just starting again does."""
    import select

    from localset.cli.down import wait_until_free

    lock = daemon_lock(context.data_directory)
    for _ in range(int(START_SECONDS / 0.05)):
        if _status(context) is not None:
            return True
        try:
            if wait_until_free(lock, 0):
                return False
        except OSError:  # not ours to open: the daemon's own words say so
            return False
        select.select([], [], [], 0.05)
    return False


def _wait_until_ready(context: Context, descriptor: int) -> None:
    import select

    data = context.data_directory
    message = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], START_SECONDS)
        if not ready:
            fail(f"the daemon did not become ready within {START_SECONDS:.0f} s", hint=f"see {daemon_log(data)}")
        chunk = os.read(descriptor, 4096)
        message += chunk
        if not chunk or message.endswith(b"ready\n"):
            break
    os.close(descriptor)
    if message == b"ready\n" or _other_becomes_ready(context):
        return
    if not message:
        fail("the daemon ended during its start", hint=f"see {daemon_log(data)}")
    text, _, hint = message.decode(errors="replace").partition("\nhint: ")
    fail(text.strip(), hint=hint.strip())


def _log_to_file(context: Context) -> None:
    """A daemon that the keeper started again goes on in the same log."""
    log = os.open(daemon_log(context.data_directory), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _foreground(context: Context, given: Given) -> int:
    from localset.daemon.start import Settings, run

    if given["supervised"]:
        _log_to_file(context)
    settings = Settings(
        data_directory=context.data_directory,
        isolation=given["isolation"] or None,
        probe_timing=given["probe-timing"],
        scheduling=given["scheduling"],
        host_path=given["host-path"],
        dns_forward=given["dns-forward"] == "on",
        egress=given["egress"],
        max_processes=given["max-processes"],
        log_level=given["log-level"],
        is_foreground=given["ready-descriptor"] is None and not given["supervised"],
        ready_descriptor=given["ready-descriptor"],
    )
    return int(run(settings))
