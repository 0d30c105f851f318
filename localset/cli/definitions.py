"""CustomResourceDefinitions that stand in the same files as objects of their kinds, for `apply` and `create`.

kubectl refuses such files until the definitions have been there for a while. Here the definitions go first, and the
objects follow as soon as their kind is served. Imported only for files that hold a definition.
"""

import time
from typing import Any

from localset.apis.resources import BY_NAME, Resource
from localset.cli.context import Context
from localset.cli.output import fail
from localset.cli.transport import path_of

KIND = "CustomResourceDefinition"
_DEFINITIONS = BY_NAME["customresourcedefinitions.apiextensions.k8s.io"]
_SECONDS = 30.0


def kinds_of(documents: list[Any]) -> list[Resource]:
    """Return the kinds that the definitions among `documents` would make; a malformed one makes none."""
    made = []
    for document in documents:
        if not isinstance(document, dict) or document.get("kind") != KIND:
            continue
        spec = document.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        names, versions = spec.get("names"), spec.get("versions")
        if not isinstance(names, dict) or not isinstance(versions, list):
            continue
        served = tuple(v["name"] for v in versions if isinstance(v, dict) and v.get("served") and "name" in v)
        plural, kind, group = names.get("plural"), names.get("kind"), spec.get("group")
        if isinstance(plural, str) and isinstance(kind, str) and isinstance(group, str) and served:
            singular = names.get("singular") or kind.lower()
            made.append(Resource(plural, singular, kind, group, served, spec.get("scope") == "Namespaced", (), (), ()))
    return made


def wait_until_served(context: Context, resource: Resource, version: str) -> None:
    """Return once the kind's definition is established and the daemon serves it; CommandError after half a minute."""
    deadline = time.monotonic() + _SECONDS
    path = path_of(_DEFINITIONS, "")
    definition = context.api.request("GET", path_of(_DEFINITIONS, "", resource.name)).body
    while not _is_established(definition):
        left = deadline - time.monotonic()
        if left <= 0:
            fail(f"timed out waiting for the condition on customresourcedefinitions/{resource.name}")
        query = {
            "fieldSelector": f"metadata.name={resource.name}",
            "resourceVersion": definition["metadata"]["resourceVersion"],
            "timeoutSeconds": max(1, int(left + 0.999)),
        }
        for event in context.api.watch(path, query=query):
            definition = event["object"]
            if event["type"] == "DELETED":
                fail(f"customresourcedefinitions/{resource.name} was deleted")
            if _is_established(definition):
                break
    context.api.request("GET", path_of(resource, "", version=version), query={"limit": "1"})


def _is_established(definition: dict[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
