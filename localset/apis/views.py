"""Both views of an address (design 3.6): what Pods see is in status and spec, an annotation leads the host there."""

from localset.machinery.metadata import Object, annotations_of

HOST_ADDRESS = "localset.dev/host-address"


def host_address_of(pod: Object) -> str:
    """Return where the host reaches a Pod, "" while it has no address."""
    inside = str((pod.get("status") or {}).get("podIP") or "")
    return annotations_of(pod).get(HOST_ADDRESS) or inside
