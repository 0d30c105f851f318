"""Lifecycle hooks: postStart and preStop, by exec, httpGet or sleep.

Called by `worker`; each returns what went wrong as text, empty on success. tcpSocket is accepted by the API and
unsupported at run time, as in Kubernetes.
"""

from localset.base.clock import Clock
from localset.kubelet.actions import http_get, port_number, run_command
from localset.kubelet.dialling import Dialler
from localset.kubelet.runtime import Runtime
from localset.kubelet.starter import Surroundings
from localset.machinery.metadata import Object

POST_START_SECONDS = 3600.0


async def run_hook(  # noqa: PLR0913, PLR0917 - a hook and where it runs
    hook: Object,
    container: Object,
    run_id: str,
    surroundings: Surroundings,
    address: str,
    runtime: Runtime,
    clock: Clock,
    timeout_seconds: float,
    dialler: Dialler,
) -> str:
    """Run one hook to its end or to the timeout; return the failure, empty when it succeeded."""
    if hook.get("exec"):
        spec = surroundings.exec_spec(run_id, list(hook["exec"].get("command") or []))
        result = await run_command(runtime, spec, timeout_seconds)
        return "" if result.has_succeeded else result.output
    if hook.get("httpGet"):
        action = hook["httpGet"]
        try:
            port = port_number(container, action.get("port"))
        except ValueError as error:
            return str(error)
        result = await http_get(action, address, port, "kube-lifecycle", timeout_seconds, dialler)
        return "" if result.has_succeeded else result.output
    if hook.get("sleep"):
        await clock.sleep(min(float(hook["sleep"].get("seconds") or 0), timeout_seconds))
        return ""
    return "this kind of lifecycle hook is not supported"
