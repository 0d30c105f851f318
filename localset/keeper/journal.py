"""The keeper's journal: one JSON line a change, on disk (fdatasync) before anyone is told.

A line holds a run id and the fields that changed; `null` forgets the run. The file is written anew when most of it is
history. A torn last line, from a kill in the middle of a write, was never acknowledged and is cut off.
"""

import contextlib
import json
import os
from typing import Any

_SLACK = 2000
Fields = dict[str, Any]


class Journal:
    """Records by run id, durable. `records` is what a restart would read."""

    def __init__(self, path: str) -> None:
        """Open `path`, reading what a former keeper wrote."""
        self._path = path
        self.records: dict[str, Fields] = {}
        self._lines = 0
        self._read()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.compact()

    def _read(self) -> None:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                self._apply(entry["run"], entry["set"])

    def _apply(self, run_id: str, fields: Fields | None) -> None:
        if fields is None:
            self.records.pop(run_id, None)
        else:
            self.records.setdefault(run_id, {}).update(fields)

    def write(self, run_id: str, fields: Fields | None) -> None:
        """Make a change durable; None forgets. Raises OSError when it could not (nothing has changed then)."""
        line = json.dumps({"run": run_id, "set": fields}, separators=(",", ":")).encode() + b"\n"
        end = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(28, "journal: no space left on device")  # noqa: TRY301 - one way out for both
            _datasync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise
        self._apply(run_id, fields)
        self._lines += 1
        if self._lines > _SLACK + 8 * len(self.records):
            with contextlib.suppress(OSError):
                self.compact()

    def compact(self) -> None:
        """Write the living records to a new file and put it in the old one's place."""
        new = self._path + ".new"
        descriptor = os.open(new, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for run_id, fields in self.records.items():
                line = json.dumps({"run": run_id, "set": fields}, separators=(",", ":")).encode() + b"\n"
                if os.write(descriptor, line) != len(line):
                    raise OSError(28, "journal: no space left on device")  # noqa: TRY301 - one way out
            _datasync(descriptor)
            os.replace(new, self._path)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._lines = len(self.records)
        directory = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _datasync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)
