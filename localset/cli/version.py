"""`version`: of this client and of the daemon, in kubectl's words."""

from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import fail, put, to_json, to_yaml


@click.command()
@click.option("--client", "is_client_only", is_flag=True, help="Ask no daemon.")
@click.option("-o", "--output", default="", help="yaml or json.")
@click.pass_obj
def version(context: Context, output: str, *, is_client_only: bool) -> int:
    """Print the versions of client and daemon."""
    if output not in {"", "yaml", "json"}:
        fail("--output must be 'yaml' or 'json'")
    found: dict[str, Any] = {"clientVersion": {"gitVersion": own_version(), "platform": _platform()}}
    if output:
        if not is_client_only:
            found["serverVersion"] = context.api.request("GET", "/version").body
        put(to_json(found) if output == "json" else to_yaml(found).rstrip("\n"))
        return 0
    put(f"Client Version: {found['clientVersion']['gitVersion']}")
    if not is_client_only:
        put(f"Server Version: {context.api.request('GET', '/version').body['gitVersion']}")
    return 0


def own_version() -> str:
    """Return the version of this installation."""
    from importlib.metadata import version as installed

    return f"v{installed('localset')}"


def _platform() -> str:
    import os

    system = os.uname()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    return f"{system.sysname.lower()}/{machine}"
