"""Things a Pod's owner is told once: what this machine cannot give, and what a cluster would have needed.

Called by `worker` at a Pod's first preparation; `Demand` keeps the node's running sum of requests, so that the notice
costs O(1) per Pod.
"""

from fractions import Fraction

from localset.kubelet.context import KubeletContext
from localset.kubelet.identity import asks_for_identity
from localset.kubelet.runtime import Isolation
from localset.machinery.metadata import Object, uid_of
from localset.machinery.quantity import parse_quantity

_MEBI = 1024 * 1024


def tell_once(context: KubeletContext, pod: Object) -> None:
    """Emit the notices that apply to this Pod."""
    settings, spec = context.settings, pod.get("spec") or {}
    if asks_for_identity(pod) and not settings.is_root:
        how = "the program sees that uid, files are yours" if settings.has_own_mounts else "everything runs as you"
        text = f"runAsUser/fsGroup was not applied: the daemon does not run as root; {how}"
        context.recorder.event(pod, "Warning", "SecurityContextNotApplied", text)
    if settings.isolation_reasons:
        why = "; ".join(settings.isolation_reasons)
        text = f"runs at level {settings.isolation}: {why}. `localset doctor` says what would change it"
        context.recorder.event(pod, "Normal", "IsolationLevel", text)
    if settings.dns_address is None and spec.get("subdomain"):
        where = "their hosts file" if settings.isolation is not Isolation.PLAIN else "LOCALSET_HOSTS_FILE"
        text = (
            f"programs find names by {where}; direct DNS clients (nslookup, SRV) need port 53 "
            f"(sudo sysctl net.ipv4.ip_unprivileged_port_start=53) or the namespaces level"
        )
        context.recorder.event(pod, "Normal", "NoDirectDNS", text)
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        image = context.images.find(container.get("image") or "")
        if image is not None and image.notice:
            text = f'image "{container["image"]}": {image.notice}'
            context.recorder.event(pod, "Normal", "HostPrograms", text)
    for volume in spec.get("volumes") or []:
        if volume.get("hostPath"):
            text = f"volume {volume['name']} shows the host's own {volume['hostPath'].get('path')}"
            context.recorder.event(pod, "Normal", "HostPath", text)


class Demand:
    """The sum of what this node's Pods request."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._by_pod: dict[str, tuple[Fraction, Fraction]] = {}
        self._cpu = Fraction(0)
        self._memory = Fraction(0)

    def add(self, pod: Object, allocatable: dict[str, str]) -> str:
        """Count a Pod; return the sentence to tell when the sum has come to exceed the machine, else empty."""
        asked = requests_of(pod)
        if uid_of(pod) in self._by_pod:
            return ""
        self._by_pod[uid_of(pod)] = asked
        self._cpu += asked[0]
        self._memory += asked[1]
        cpu = parse_quantity(allocatable.get("cpu", "0"))
        memory = parse_quantity(allocatable.get("memory", "0"))
        if (not asked[0] or self._cpu <= cpu) and (not asked[1] or self._memory <= memory):
            return ""
        return (
            f"a cluster would have needed {_cpus(self._cpu)} CPUs and {_mebi(self._memory)} for the requests up to "
            f"this Pod; this machine has {_cpus(cpu)} and {_mebi(memory)}. localset starts it all the same"
        )

    def remove(self, pod_uid: str) -> None:
        """Stop counting a Pod."""
        cpu, memory = self._by_pod.pop(pod_uid, (Fraction(0), Fraction(0)))
        self._cpu -= cpu
        self._memory -= memory


def requests_of(pod: Object) -> tuple[Fraction, Fraction]:
    """Return (CPUs, bytes of memory) that the Pod's main containers request; limits count where requests are absent."""
    cpu, memory = Fraction(0), Fraction(0)
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        cpu += _quantity(asked.get("cpu"))
        memory += _quantity(asked.get("memory"))
    return cpu, memory


def _quantity(text: str | int | None) -> Fraction:
    try:
        return parse_quantity(str(text)) if text is not None else Fraction(0)
    except ValueError:
        return Fraction(0)


def _cpus(value: Fraction) -> str:
    return f"{float(value):g}"


def _mebi(value: Fraction) -> str:
    return f"{int(value) // _MEBI}Mi"
