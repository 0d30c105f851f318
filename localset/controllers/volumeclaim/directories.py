"""What the volumeclaim controller needs of whoever owns the disk.

Implemented by the daemon. A provisioned directory is made by the kubelet; here it only ever ends.
"""

from pathlib import Path
from typing import Protocol


class VolumeDirectories(Protocol):
    """The directories of provisioned volumes."""

    async def remove(self, path: Path) -> None:
        """Remove the directory with all in it and the marker `.<name>.made` beside it.

        Absent ones are no error. OSError when something cannot be removed; it is tried again.
        """
        ...
