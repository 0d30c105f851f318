"""Where this installation keeps its things: the data directory and the runtime directory.

Shared by daemon and cli, so that both find the same daemon. The working directory never counts (issue 4, point 2).
"""

import os
import re
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


def runtime_directory() -> Path:
    """Return the user's one directory outside the data directory: block claims and sockets whose path is too long.

    `$XDG_RUNTIME_DIR/localset`; root without one: `/run/localset`; others: beneath the state directory. Not created
    here.
    """
    configured = os.environ.get("XDG_RUNTIME_DIR")
    if configured and Path(configured).is_dir() and Path(configured).stat().st_uid == os.getuid():
        return Path(configured) / "localset"
    if os.getuid() == 0 and sys.platform == "linux":
        return Path("/run/localset")
    return Path.home() / ".local" / "state" / "localset-run"


def api_socket(data_directory: Path) -> Path:
    """Return the daemon's API socket: inside the data directory, or in the runtime directory when that path is too
    long.

    A Unix socket's path has at most 103 bytes on every system (107 on Linux).
    """
    inside = data_directory / "run" / "api.sock"
    if len(os.fsencode(inside)) <= 100:
        return inside
    import hashlib  # not above: a quick command's socket rarely needs it

    digest = hashlib.sha256(os.fsencode(data_directory)).hexdigest()[:16]
    return runtime_directory() / f"{digest}.sock"


def daemon_lock(data_directory: Path) -> Path:
    """Return the file whose flock means: a daemon of this data directory runs. It holds the daemon's pid."""
    return data_directory / "run" / "daemon.lock"


def daemon_log(data_directory: Path) -> Path:
    """Return the file that a background daemon's messages go to."""
    return data_directory / "daemon.log"


def kubeconfig_file(data_directory: Path) -> Path:
    """Return the kubeconfig that each start of the daemon writes."""
    return data_directory / "kubeconfig"


def namespace_file(data_directory: Path) -> Path:
    """Return the file that holds the namespace which commands use when none is given; absent for `default`."""
    return data_directory / "namespace"


def context_name(data_directory: Path) -> str:
    """Return the name of the data directory in kubeconfigs: `localset`, for others with name and digest behind."""
    if data_directory == default_data_directory().resolve():
        return "localset"
    import hashlib

    digest = hashlib.sha256(os.fsencode(data_directory)).hexdigest()[:4]
    return f"localset-{re.sub('[^A-Za-z0-9]+', '-', data_directory.name).strip('-') or 'data'}-{digest}"


def import_path() -> str | None:
    """Return the PYTHONPATH that another process of ours needs to import this very package, or None for none."""
    given = os.environ.get("PYTHONPATH", "")
    tree = source_tree()
    parts = [part for part in ([str(tree)] if tree else []) + given.split(os.pathsep) if part]
    return os.pathsep.join(dict.fromkeys(parts)) or None
