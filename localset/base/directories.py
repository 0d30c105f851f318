"""Where this installation keeps its things: the data directory and the runtime directory.

Shared by daemon and cli, so that both find the same daemon. The working directory never counts (issue 4, point 2).
"""

import os
import sys
from pathlib import Path

ENVIRONMENT_VARIABLE = "LOCALSET_DATA_DIR"


def source_tree() -> Path | None:
    """Return the checkout that this package is imported from, or None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "var").is_dir() else None


def default_data_directory() -> Path:
    """Return `var/` of the source tree, else the XDG state directory (macOS: Application Support)."""
    tree = source_tree()
    if tree is not None:
        return tree / "var"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "localset"
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "localset"


def data_directory(option: str | None) -> Path:
    """Return the data directory: `--data-dir`, then the environment, then the default. Absolute, links resolved."""
    chosen = option or os.environ.get(ENVIRONMENT_VARIABLE)
    path = Path(chosen).expanduser() if chosen else default_data_directory()
    return path.resolve()
