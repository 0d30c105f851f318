"""Where the data directory and its API socket are, as plain text: `base.directories` gives the same as paths.

Imports next to nothing: `cli.quick` answers a person before `pathlib` would be loaded.
"""

import os
import sys

ENVIRONMENT_VARIABLE = "LOCALSET_DATA_DIR"
LONGEST_SOCKET_PATH = 100
"""A Unix socket's path has at most 103 bytes on every system (107 on Linux)."""


def source_tree() -> str:
    """Return the checkout that this package is imported from, or "" when it is installed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    is_tree = os.path.isfile(os.path.join(root, "pyproject.toml")) and os.path.isdir(os.path.join(root, "var"))
    return root if is_tree else ""


def default_data_directory() -> str:
    """Return `var/` of the source tree, else the XDG state directory (macOS: Application Support)."""
    tree = source_tree()
    if tree:
        return os.path.join(tree, "var")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Application Support/localset")
    state = os.environ.get("XDG_STATE_HOME", "")
    base = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
    return os.path.join(base, "localset")


def data_directory(option: str | None) -> str:
    """Return the data directory: `--data-dir`, then the environment, then the default. Absolute, links resolved."""
    chosen = option or os.environ.get(ENVIRONMENT_VARIABLE)
    return os.path.realpath(os.path.expanduser(chosen) if chosen else default_data_directory())


def inner_api_socket(data_directory: str) -> str:
    """Return the API socket inside the data directory, or "" when its path is too long for one."""
    inside = os.path.join(data_directory, "run", "api.sock")
    return inside if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH else ""


def namespace_file(data_directory: str) -> str:
    """Return the file that holds the namespace which commands use when none is given; absent for `default`."""
    return os.path.join(data_directory, "namespace")
