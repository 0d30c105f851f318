"""The command line's entry: names, lazy loading, and the one place where errors become words and exit codes.

Commands are of two sorts: those that read their own flags (`main(context, arguments)`, see `cli.flags`) start without
click, the others are click commands. A command's module is imported only when that command is used. What goes wrong is
told here, by `failures`, which is imported only then.
"""

import importlib
import sys

from localset.cli.context import Context

_COMMANDS = {
    "annotate": ("localset.cli.labels", "main_annotate", "Set annotations of objects"),
    "apply": ("localset.cli.apply", "main_apply", "Create or change objects from files"),
    "attach": ("localset.cli.attach", "attach", "Attach to the process of a container"),
    "completion": ("localset.cli.completion", "completion", "Print what lets your shell complete"),
    "cordon": ("localset.cli.nodes", "cordon", "Let no new Pods come to a Node"),
    "cp": ("localset.cli.cp", "cp", "Copy files into a container and out of it"),
    "create": ("localset.cli.apply", "main_create", "Create objects from files"),
    "delete": ("localset.cli.delete", "main", "Delete objects by file, name or label"),
    "describe": ("localset.cli.describe", "main", "Show objects in detail, with their events"),
    "dns": ("localset.cli.dns", "dns", "Ask the resolver; make this machine use it"),
    "doctor": ("localset.cli.doctor", "doctor", "Say what this machine allows and what would change it"),
    "down": ("localset.cli.down", "down", "End every Pod in order, then the daemon"),
    "drain": ("localset.cli.drain", "drain", "Move every Pod off a Node"),
    "edit": ("localset.cli.edit", "main", "Change an object in your editor"),
    "events": ("localset.cli.events", "events", "List what happened"),
    "exec": ("localset.cli.exec", "exec_", "Run a command inside a container"),
    "fault": ("localset.cli.fault", "fault", "Let something go wrong on purpose; heal it"),
    "get": ("localset.cli.get", "main", "List objects"),
    "image": ("localset.cli.image", "image", "List, show and add local images"),
    "kubeconfig": ("localset.cli.kubeconfig", "kubeconfig", "Print, write or merge the kubeconfig"),
    "kubectl": ("localset.cli.kubectl", "main", "Run your kubectl against this daemon"),
    "label": ("localset.cli.labels", "main_label", "Set labels of objects"),
    "logs": ("localset.cli.logs", "logs", "Print the output of a container or of a whole set"),
    "ns": ("localset.cli.namespace", "ns", "Show or remember the namespace that commands use"),
    "open": ("localset.cli.open", "open_", "Show what to type to connect to a set"),
    "patch": ("localset.cli.patch", "main", "Change fields of an object"),
    "port-forward": ("localset.cli.portforward", "port_forward", "Forward ports of this machine to a Pod"),
    "reset": ("localset.cli.reset", "reset", "Give one ordinal fresh volumes; asks first"),
    "restart": ("localset.cli.lifecycle", "restart", "Run a set or one ordinal anew; data stays"),
    "rollout": ("localset.cli.rollout", "main", "Show, undo and restart rollouts"),
    "run": ("localset.cli.run", "run", "Run a Pod, attached when asked"),
    "scale": ("localset.cli.scale", "main", "Set the number of replicas"),
    "set": ("localset.cli.setting", "main", "Change images, environment and resources of containers"),
    "start": ("localset.cli.lifecycle", "start", "Bring a stopped set or ordinal back"),
    "status": ("localset.cli.status", "status", "Show the daemon and every set"),
    "stop": ("localset.cli.lifecycle", "stop", "End a set's Pods, or its first or last; data stays"),
    "top": ("localset.cli.top", "top", "Show what Pods and Nodes use"),
    "uncordon": ("localset.cli.nodes", "uncordon", "Let new Pods come to a Node again"),
    "up": ("localset.cli.up", "main", "Start the daemon"),
    "version": ("localset.cli.version", "version", "Print the versions of client and daemon"),
    "wait": ("localset.cli.waiting", "main", "Wait for a condition"),
    "watch": ("localset.cli.watch", "watch", "Show every set live"),
}
_PLAIN = "main"
"""What the attribute begins with that is a plain function instead of a click command."""

_COMPLETE = "__complete"
"""Asked by the scripts of `completion`; in no list of commands."""


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Never a traceback: a crash names the file that holds its
    report."""
    context = Context()
    try:
        result = _dispatched(context, arguments)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last boundary: a person gets a sentence, a report goes to a file
        from localset.cli.failures import tell

        return tell(context, error)
    finally:
        context.close()
    return result


def _dispatched(context: Context, arguments: list[str]) -> int:
    """Run a plain command at once; leave everything else, and what is before no command, to click."""
    rest = _leading_options(context, arguments)
    entry = _COMMANDS.get(rest[0]) if rest else None
    if rest[:1] == [_COMPLETE]:
        return int(importlib.import_module("localset.cli.completing").main(_COMMANDS, context, rest[1:]))
    if entry is not None and entry[1].startswith(_PLAIN):
        return int(getattr(importlib.import_module(entry[0]), entry[1])(context, rest[1:]))
    if rest and entry is None:
        from localset.cli.kubectl import FORWARDED, run_kubectl

        if rest[0] in FORWARDED:
            return run_kubectl(context, rest)
    from localset.cli.group import run_click

    return run_click(_COMMANDS, context, rest if entry else arguments)


def _leading_options(context: Context, arguments: list[str]) -> list[str]:
    """Take the options before the command into `context`; return what follows them."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word, equals, value = rest[0].partition("=")
        if word not in {"--data-dir", "--namespace", "-n"} or not (equals or len(rest) > 1):
            break
        del rest[0]
        value = value if equals else rest.pop(0)
        if word == "--data-dir":
            context.data_option = value
        else:
            context.namespace_option = value
    return rest
