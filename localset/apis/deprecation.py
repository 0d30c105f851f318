"""What a server says on each use of an old version (kube-api.md 2). Pure."""

from localset.apis.resources import Resource

_GONE = {
    ("apps", "v1beta1"): ("v1.8", "v1.16"),
    ("apps", "v1beta2"): ("v1.9", "v1.16"),
    ("policy", "v1beta1"): ("v1.21", "v1.25"),
}


def deprecation_warning(resource: Resource, version: str) -> str | None:
    """Return the Warning text for a request in this version, or None."""
    gone = _GONE.get((resource.group, version))
    if gone is None:
        return None
    old, new = resource.api_version(version), resource.api_version()
    return f"{old} {resource.kind} is deprecated in {gone[0]}+, unavailable in {gone[1]}+; use {new} {resource.kind}"
