"""Bytes held back for a full disk.

On a full device SQLite can write nothing, not even a removal (reliability M5), yet stopping and deleting must work
then. The store gives this file up when a commit meets a full device, and takes it again when there is clearly room.
Runs in the writer's thread; a ballast that cannot be made is no error, only less comfort.
"""

import os
from contextlib import suppress
from pathlib import Path

SIZE_BYTES = 2 * 1024 * 1024
"""The write-ahead log (about 512 KiB) must fit in beside what is still to be written; 128 KiB were not enough (M5)."""


class Ballast:
    """A file of SIZE_BYTES beside the database."""

    def __init__(self, path: Path) -> None:
        """Name the file; `ensure` makes it."""
        self._path = path

    def ensure(self) -> bool:
        """Make the file when it is absent and the device has room for several of it; tell whether it is there."""
        try:
            if self._path.stat().st_size >= SIZE_BYTES:
                return True
        except FileNotFoundError:
            pass
        if not self._has_room():
            return False
        try:
            with self._path.open("wb") as file:
                for _ in range(SIZE_BYTES // 65536):
                    file.write(os.urandom(65536))  # zeros would be stored as a hole on compressing file systems
        except OSError:
            self.release()
            return False
        return True

    def _has_room(self) -> bool:
        # Twice over: otherwise the room that the released ballast left would look like enough.
        try:
            free = os.statvfs(self._path.parent)
        except OSError:
            return False
        return free.f_bavail * free.f_frsize >= 2 * SIZE_BYTES

    def release(self) -> bool:
        """Remove the file; tell whether there was one to remove."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False
