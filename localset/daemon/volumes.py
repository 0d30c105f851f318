"""Removing the directories of reclaimed volumes: the one place that deletes a user's data, and only beneath
`volumes/`."""

import asyncio
import contextlib
import os
from pathlib import Path

from localset.base.files import opened_directory, remove_tree_beneath


class VolumeDirectories:
    """The `VolumeDirectories` that the volume controller asks for."""

    def __init__(self, root: Path) -> None:
        """Serve the directories beneath `root`."""
        self._root = root

    async def remove(self, path: Path) -> None:
        """Remove a volume's directory and the marker beside it; nothing outside the root is touched. ValueError,
        OSError."""
        await asyncio.to_thread(self._remove, path)

    def _remove(self, path: Path) -> None:
        relative = path.relative_to(self._root)  # NB: ValueError for what does not lie beneath
        if len(relative.parts) != 2 or ".." in relative.parts:
            raise ValueError(f"{path} is not a volume of {self._root}")
        try:
            with opened_directory(self._root / relative.parts[0]) as parent:
                with contextlib.suppress(FileNotFoundError):
                    remove_tree_beneath(parent, relative.parts[1])
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f".{relative.parts[1]}.made", dir_fd=parent)
        except FileNotFoundError:
            return
