"""`down`: end every Pod in order, then daemon and keeper. Exit 0 only when no process is left."""

import fcntl
import json
import os
import select
import time
from pathlib import Path

import click

from localset.base.directories import daemon_lock
from localset.cli.context import Context
from localset.cli.output import fail, put, say
from localset.cli.transport import DaemonNotRunningError


@click.command()
@click.option("--timeout", type=float, default=90.0, show_default=True, help="Seconds until what is left is killed.")
@click.option("--keep-running", is_flag=True, help="End the daemon only; the next one reattaches the processes.")
@click.pass_obj
def down(context: Context, timeout: float, *, keep_running: bool) -> int:
    """End every Pod in order, then the daemon. No spec changes: the next `up` brings all back."""
    body = {"keepRunning": keep_running, "timeoutSeconds": timeout}
    try:
        context.api.request("POST", "/localset/v1/shutdown", body)
    except DaemonNotRunningError:
        return _without_daemon(context, keep_running=keep_running)
    if not wait_until_free(daemon_lock(context.data_directory), timeout + 30):
        fail(f"the daemon of {context.data_directory} still runs", hint="see its daemon.log")
    left = _left_processes(context.data_directory)
    if left and not keep_running:
        fail(f"processes are left: {', '.join(map(str, left))}")
    put("daemon ended; its processes run on for the next one" if keep_running else "down: no process is left")
    return 0


def _without_daemon(context: Context, *, keep_running: bool) -> int:
    """A crashed daemon may have left a keeper with processes: a daemon is started only to end them in order."""
    if keep_running or not _left_processes(context.data_directory):
        say(f"nothing runs for {context.data_directory}")
        return 0
    from localset.cli.up import ensure_daemon

    say("the daemon is not running but processes are left; ending them")
    ensure_daemon(context)
    result: int = down.callback(90.0, keep_running=False)  # type: ignore[misc]
    return result


def wait_until_free(lock: Path, seconds: float) -> bool:
    """Wait until nobody holds the daemon's lock: then its process has gone."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    return False
                select.select([], [], [], 0.02)
            else:
                return True
    finally:
        os.close(descriptor)


def _left_processes(data_directory: Path) -> list[int]:
    """Return the pids of this data directory's keeper, of the leaders in its journal, and of what carries their run id.

    NB: both are needed: nginx writes its title over the environment, and a stray has another pid.
    """
    import psutil

    keeper = data_directory / "keeper"
    found = set() if wait_until_free(keeper / "lock", 0) else {_pid_in(keeper / "lock")}
    leaders = _journalled(keeper / "journal")
    found |= {pid for pid, started in leaders.values() if pid and _lives(pid, started)}
    for process in psutil.process_iter():
        try:
            run_id = process.environ().get("LOCALSET_RUN_ID", "")
        except (psutil.Error, OSError):
            continue
        if run_id in leaders:
            found.add(process.pid)
    return sorted(found)


def _journalled(journal: Path) -> dict[str, tuple[int, int]]:
    """Return run id → (pid, start in ticks since boot) of what the keeper has on record; (0, 0) before a start."""
    found: dict[str, tuple[int, int]] = {}
    try:
        lines = journal.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a keeper that was killed while writing it
        fields = entry.get("set")
        if isinstance(fields, dict):
            found[entry["run"]] = (fields.get("pid") or 0, fields.get("start_time") or 0)
        else:
            found.pop(entry.get("run", ""), None)
    return found


def _lives(pid: int, started: int) -> bool:
    """Tell whether `pid` is still the process that began at `started`; a zombie is not."""
    import psutil

    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return not Path("/proc/self").exists() and psutil.pid_exists(pid)  # macOS has no /proc
    return fields[0] not in {"Z", "X"} and int(fields[19]) == started


def _pid_in(lock: Path) -> int:
    try:
        return int(lock.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
