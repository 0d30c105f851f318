"""PATCH: which kind of patch a request carries, what may be said with it, and the way to the registry.

Called by the handlers of objects and of scale. Server-side apply is a PATCH that may create; its body is YAML, in which
kubectl sends JSON.
"""

from typing import Any

from aiohttp import web

from localset.apis.scheme import FieldValidation
from localset.apiserver import bodies
from localset.apiserver.house import HOUSE
from localset.apiserver.routes import Match
from localset.client.client import PatchType
from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.errors import Cause, bad_request, invalid, not_allowed, required
from localset.registry.registry import WriteOptions, Written


async def write(request: web.Request, match: Match, options: WriteOptions) -> Written:
    """Read the patch and let the registry apply it; 415, 400 and 422 for what cannot be one."""
    patch_type = _type_of(request, match)
    _check_options(request, patch_type)
    place = (match.resource.name, match.namespace, match.name)
    registry = request.app[HOUSE].registry
    if patch_type is PatchType.APPLY:
        config, warnings = _decode_config(await bodies.read(request), options.field_validation)
        written = await registry.write_apply(*place, config, match.version, options, subresource=match.subresource)
        return written._replace(warnings=[*warnings, *written.warnings])
    patch = bodies.decode_patch(await bodies.read(request), patch_type)
    return await registry.write_patch(*place, patch, patch_type, match.version, options, subresource=match.subresource)


def _type_of(request: web.Request, match: Match) -> PatchType:
    patch_type = PatchType(bodies.media_type_of(request))
    if patch_type is PatchType.STRATEGIC and not match.resource.is_built_in:
        raise bodies.unsupported_media_type(tuple(t.value for t in PatchType if t is not PatchType.STRATEGIC))
    return patch_type


def _check_options(request: web.Request, patch_type: PatchType) -> None:
    causes: list[Cause] = []
    if patch_type is PatchType.APPLY:
        if not request.query.get("fieldManager"):
            causes.append(required("fieldManager", "is required for apply patch"))
    elif "force" in request.query:
        causes.append(not_allowed("force", "may not be specified for non-apply patch"))
    if causes:
        raise invalid("PatchOptions", "meta.k8s.io", "", causes)


def _decode_config(data: bytes, validation: FieldValidation) -> tuple[dict[str, Any], list[str]]:
    """Return an applied configuration and warnings about keys that stand twice."""
    try:
        value, duplicates = _decode_yaml(data)
    except DecodeError as error:
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: yaml: {error}") from error
    if value is None:
        value = {}
    if not isinstance(value, dict):
        kind = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        why = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}")
    if not duplicates or validation is FieldValidation.IGNORE:
        return value, []
    told = [f'key "{path.rpartition(".")[2]}" already set in map' for path in duplicates]
    if validation is FieldValidation.STRICT:
        why = "\n  ".join(["yaml: unmarshal errors:", *told])
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {why}")
    return value, told


def _decode_yaml(data: bytes) -> tuple[Any, list[str]]:
    if data.lstrip()[:1] == b"{":
        try:  # what kubectl sends; YAML says the same, ten times slower
            return decode_json(data)
        except DecodeError:
            pass
    from localset.machinery.yaml_decoding import decode_yaml  # lazily: the YAML reader is seldom needed

    documents = decode_yaml(data)
    return (documents[0].value, documents[0].duplicates) if documents else (None, [])
