"""`attach`: to the process that already runs in a container, its output and its input if it was started with one."""

from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import fail, say
from localset.cli.pods import all_containers, container_meant, pod_meant, refuse_when_over
from localset.cli.sessions import carry, exit_code, open_session
from localset.cli.terminal import has_terminal

PROMPT_HINT = "If you don't see a command prompt, try pressing enter."


@click.command()
@click.option("-i", "--stdin", "has_stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", "has_tty", is_flag=True, help="Standard input is a terminal.")
@click.option("-c", "--container", default="", help="Container; default: the only or the first.")
@click.option("-q", "--quiet", is_flag=True, help="Only what the process prints.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("--pod-running-timeout", hidden=True, expose_value=False)
@click.argument("pod", default="")
@click.pass_obj
def attach(context: Context, /, pod: str, **options: Any) -> int:
    """Attach to a running container: `attach web-0`, `attach -it dns-test`."""
    if not pod:
        fail("at least 1 argument is required for attach", hint="localset attach POD")
    found = pod_meant(context, pod, options["namespace"])
    refuse_when_over(found, "attach")
    names = all_containers(found)
    if options["container"] and options["container"] not in names:
        why = f"container {options['container']} not found in pod {found['metadata']['name']}"
        fail(f"cannot attach to the container: {why}", hint=f"its containers are: {', '.join(names)}")
    container = container_meant(found, options["container"], is_quiet=options["quiet"])
    return exit_code(attach_to(context, found, container, options))


def attach_to(context: Context, pod: dict[str, Any], container: str, options: dict[str, Any]) -> dict[str, Any]:
    """Attach to one container until its process ends; return the session's status."""
    spec = next(
        c for f in ("containers", "initContainers", "ephemeralContainers") for c in pod["spec"].get(f) or []
        if c["name"] == container
    )  # fmt: skip
    has_tty, has_stdin = has_terminal(options["has_tty"]), options["has_stdin"]
    if has_tty and not spec.get("tty"):
        say(f"error: Unable to use a TTY - container {container} did not allocate one")
        has_tty = False
    session = open_session(context, pod, "attach", container, has_stdin=has_stdin, has_tty=has_tty)
    if not options["quiet"]:
        say(PROMPT_HINT)
    return carry(session, has_stdin=has_stdin, has_tty=has_tty, is_attached=True)
