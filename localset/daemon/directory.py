"""The data directory: made, checked, locked.

One daemon per data directory: flock on `run/daemon.lock` is the only truth, pid files are for people
(reliability.md F37,
F38). A directory of a newer localset is refused untouched.
"""

import fcntl
import json
import os
import stat
from pathlib import Path

from localset.base.directories import daemon_lock
from localset.base.files import make_private_directory, write_atomically
from localset.daemon.settings import StartError

FORMAT = 1
MARKER = "localset.json"


class DataDirectory:
    """A prepared data directory with the daemon's lock held. Keep it alive as long as the daemon runs."""

    def __init__(self, path: Path) -> None:
        """Name the directory; `open` does the work."""
        self.path = path
        self._lock: int | None = None
        self.facts: dict[str, object] = {}

    def open(self) -> None:
        """Create what is missing, check owner, mode and format, take the lock. Raises StartError."""
        try:
            make_private_directory(self.path, mode=self.mode)
            make_private_directory(self.path / "run")
        except (OSError, ValueError) as error:
            raise StartError(
                f"cannot use the data directory {self.path}: {error}\n"
                "hint: choose another with --data-dir DIR or LOCALSET_DATA_DIR"
            ) from error
        self._check_owner()
        self._take_lock()
        self._read_marker()

    @property
    def mode(self) -> int:
        """0711 as root, so that a Pod's own user can reach its volume; the private rooms inside are 0700."""
        return 0o711 if os.getuid() == 0 else 0o700

    def _check_owner(self) -> None:
        status = self.path.stat()
        if status.st_uid != os.getuid():
            raise StartError(
                f"the data directory {self.path} belongs to uid {status.st_uid}, not to you ({os.getuid()})"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StartError(f"the data directory {self.path} can be written by others\nhint: chmod go-w {self.path}")
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StartError(f"cannot write to the data directory {self.path}")

    def _take_lock(self) -> None:
        lock = daemon_lock(self.path)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot write to the data directory {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartError(
                f"a daemon already runs for {self.path} (pid {holder})\n"
                "hint: `localset status` shows it, `localset down` ends it, --data-dir starts another beside it"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def _read_marker(self) -> None:
        marker = self.path / MARKER
        try:
            facts = json.loads(marker.read_bytes())
            number = int(facts["format"])
        except FileNotFoundError:
            if (self.path / "state.db").exists():
                raise StartError(f"{self.path} holds a database but no {MARKER}: not touching it") from None
            self.facts = {"format": FORMAT}
            self.save()
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StartError(f"{marker} cannot be read: {error}") from error
        if number > FORMAT:
            raise StartError(
                f"the data directory {self.path} was written by a newer localset "
                f"(format {number}, this one knows {FORMAT})\n"
                "hint: upgrade localset, or choose another directory with --data-dir"
            )
        self.facts = facts

    def save(self) -> None:
        """Write the facts (format, address block, isolation) durably."""
        write_atomically(self.path / MARKER, json.dumps(self.facts, indent=1).encode() + b"\n")

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None
