"""What this machine is, in the words that Go programs use for it: clients compare them with their own.

Asked by `/version` and by the Node. Pure but for `platform`.
"""

import platform
import sys


def operating_system() -> str:
    """Return `linux` or `darwin`."""
    return "darwin" if sys.platform == "darwin" else "linux"


def architecture() -> str:
    """Return `amd64`, `arm64`, or what Python calls it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
