"""`kubectl`, and every command that is kubectl's alone: the user's own kubectl, pointed at this data directory."""

import os
import shutil

from localset.cli.context import Context
from localset.cli.output import fail

FORWARDED = frozenset(
    (
        *("alpha", "api-resources", "api-versions", "auth", "autoscale", "certificate", "cluster-info", "config"),
        *("debug", "diff", "explain", "expose", "kustomize", "options", "plugin", "proxy", "replace", "taint"),
    )
)
"""Commands that are not written here: kubectl has them."""


def main(context: Context, arguments: list[str]) -> int:
    """Run `kubectl ARGUMENTS` against this daemon."""
    return run_kubectl(context, arguments)


def run_kubectl(context: Context, arguments: list[str]) -> int:
    """Become the user's kubectl; CommandError without one. The namespace is ours unless the words name one."""
    from localset.cli.kubeconfig import existing_kubeconfig

    path = existing_kubeconfig(context)
    program = shutil.which("kubectl")
    if program is None:
        fail(
            "kubectl is not on your PATH",
            hint=f"https://kubernetes.io/docs/tasks/tools/ says how to get it; any client works with KUBECONFIG={path}",
        )
    if context.namespace != "default" and not any(w.startswith(("-n", "--namespace")) for w in arguments):
        arguments = ["--namespace", context.namespace, *arguments]
    os.execve(program, ["kubectl", *arguments], {**os.environ, "KUBECONFIG": str(path)})  # noqa: S606 - no shell
