"""`exec`: a command inside a container, on a real terminal when asked; exits with the command's own code."""

from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import CommandError, fail
from localset.cli.pods import all_containers, container_meant, pod_meant, refuse_when_over
from localset.cli.sessions import carry, exit_code, open_session
from localset.cli.terminal import has_terminal


@click.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-i", "--stdin", "has_stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", "has_tty", is_flag=True, help="Standard input is a terminal.")
@click.option("-c", "--container", default="", help="Container; default: the only or the first.")
@click.option("-q", "--quiet", is_flag=True, help="Only what the command prints.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("--pod-running-timeout", hidden=True, expose_value=False)
@click.option("-f", "--filename", default="", help="File of the Pod, or of the set or Service that selects it.")
@click.argument("pod", default="")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(context: Context, /, pod: str, command: tuple[str, ...], **options: Any) -> int:
    """Run a command inside a container: `exec zk-0 -- zkOk.sh`, `exec -it zk/0 -- sh`."""
    if options["filename"]:
        pod, command = _named_in(context, options), ((pod, *command) if pod else ())
    elif not pod:
        fail("pod, type/name or --filename must be specified", hint="localset exec POD -- COMMAND")
    words, more = _split(command)
    options = {**options, **more}
    if not words:
        fail("you must specify at least one command for the container", hint=f"localset exec {pod} -- COMMAND")
    found = pod_meant(context, pod, options["namespace"])
    refuse_when_over(found, "exec into")
    _refuse_unknown(found, options["container"])
    container = container_meant(found, options["container"], is_quiet=options["quiet"])
    has_stdin, has_tty = options["has_stdin"], has_terminal(options["has_tty"])
    session = open_session(
        context, found, "exec", container, command=tuple(words), has_stdin=has_stdin, has_tty=has_tty
    )  # fmt: skip
    return exit_code(carry(session, has_stdin=has_stdin, has_tty=has_tty))


def _refuse_unknown(pod: dict[str, Any], container: str) -> None:
    names = all_containers(pod)
    if container and container not in names:
        why = f"container {container} is not valid for pod {pod['metadata']['name']}"
        hint = f"its containers are: {', '.join(names)}"
        raise CommandError(f"Error from server (BadRequest): {why}", hint=hint, prefix="")


def _named_in(context: Context, options: dict[str, Any]) -> str:
    """Return what the only object of a file is called, as `kind/name`; its namespace becomes that of `options`."""
    from localset.cli.manifests import read_manifests

    manifests = read_manifests(context, [options["filename"]], "", verb="exec")
    if len(manifests) > 1:
        fail("cannot exec into multiple objects at a time")
    options["namespace"] = manifests[0].namespace or options["namespace"]
    return f"{manifests[0].kind.resource.plural}/{manifests[0].name}"


_FLAGS = {
    "-i": ("has_stdin",),
    "--stdin": ("has_stdin",),
    "-t": ("has_tty",),
    "--tty": ("has_tty",),
    "-it": ("has_stdin", "has_tty"),
    "-ti": ("has_stdin", "has_tty"),
    "-q": ("quiet",),
    "--quiet": ("quiet",),
}
_VALUES = {"-c": "container", "--container": "container", "-n": "namespace", "--namespace": "namespace"}


def _split(words: tuple[str, ...]) -> tuple[list[str], dict[str, Any]]:
    """Return the command, and the options that stand between the Pod and `--`: kubectl takes them there too."""
    if "--" not in words:
        return list(words), {}
    at = words.index("--")
    given, options = list(words[:at]), dict[str, Any]()
    while given:
        word, equals, value = given.pop(0).partition("=")
        if word in _FLAGS and not equals:
            options.update(dict.fromkeys(_FLAGS[word], True))
        elif word in _VALUES and (equals or given):
            options[_VALUES[word]] = value if equals else given.pop(0)
        else:
            return list(words), {}  # a command of its own that has a `--` in it
    return list(words[at + 1 :]), options
