"""Where this installation keeps its things: the data directory and the runtime directory.

Shared by daemon and cli, so that both find the same daemon. The working directory never counts (issue 4, point 2).
"""

import os
import re
import sys
from pathlib import Path

from localset.base import places


def source_tree() -> Path | None:
    """Return the checkout that this package is imported from, or None when it is installed."""
    tree = places.source_tree()
    return Path(tree) if tree else None


def default_data_directory() -> Path:
    """Return `var/` of the source tree, else the XDG state directory (macOS: Application Support)."""
    return Path(places.default_data_directory())


def data_directory(option: str | None) -> Path:
    """Return the data directory: `--data-dir`, then the environment, then the default. Absolute, links resolved."""
    return Path(places.data_directory(option))


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
    """
    inside = places.inner_api_socket(str(data_directory))
    if inside:
        return Path(inside)
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
    return Path(places.namespace_file(str(data_directory)))


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
