"""What a server says on each use of an old version (kube-api.md 2). Pure."""

from localset.apis.resources import Resource

_GONE = {
    ("apps", "v1beta1"): ("v1.8", "v1.16"),
    ("apps", "v1beta2"): ("v1.9", "v1.16"),
    ("policy", "v1beta1"): ("v1.21", "v1.25"),
}


def deprecation_warning(resource: Resource, version: str, subresource: str = "") -> str | None:
    """Return the Warning text for a request in this version, or None. A Scale has a version of its own."""
    gone = _GONE.get((resource.group, version))
    if gone is None:
        return None
    old, new, kind = resource.api_version(version), resource.api_version(), resource.kind
    if subresource == "scale":
        new, kind = "autoscaling/v1", "Scale"
    return f"{old} {kind} is deprecated in {gone[0]}+, unavailable in {gone[1]}+; use {new} {kind}"
