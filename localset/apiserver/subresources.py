"""The subresources that are not streams: scale, binding, eviction, token.

`status` and `finalize` are verbs of `objects`."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from localset.apis.scheme import FieldValidation
from localset.apiserver import bodies, objects, patches, responses
from localset.apiserver.authentication import TOKENS
from localset.apiserver.discovery import subresource_kind
from localset.apiserver.house import HOUSE
from localset.apiserver.negotiation import PLAIN, TABLE_FORMS
from localset.apiserver.options import delete_options
from localset.apiserver.routes import Match
from localset.apiserver.tokens import ISSUER
from localset.base.clock import rfc3339
from localset.client.tokens import PodReference
from localset.machinery.errors import StatusError, bad_request, bad_value, raise_if, required
from localset.machinery.metadata import Object


def _success(code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


async def _read(request: web.Request, group: str, version: str, kind: str) -> tuple[Object, list[str]]:
    api_version = f"{group}/{version}" if group else version
    return await bodies.read_object(request, api_version, kind, FieldValidation.WARN)


async def scale(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer GET, PUT and PATCH on `…/scale`."""
    form = objects.accepted(request, TABLE_FORMS)  # asked for a Table, upstream still gives the Scale
    registry = request.app[HOUSE].registry
    warnings: list[str] = []
    if request.method == "GET":
        made = await registry.read_scale(match.resource.name, match.namespace, match.name, match.version)
    elif request.method == "PUT":
        options = objects.options_of(request)
        obj, warnings = await _read(request, *subresource_kind(match.resource, match.version, "scale"))
        objects.check_name(obj, match.name)
        written = await registry.write_scale(
            match.resource.name, match.namespace, match.name, obj, match.version, options
        )
        made = written.object
    else:
        written = await patches.write(request, match, objects.options_of(request))
        warnings = written.warnings
        made = written.object
    return await objects.show(request, match, made, form, warnings=warnings)


async def binding(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer POST on `pods/…/binding`: the Pod goes to a node."""
    form = objects.accepted(request, PLAIN)
    obj, warnings = await _read(request, "", "v1", "Binding")
    target: Any = obj.get("target")
    node = target.get("name") if isinstance(target, dict) else None
    raise_if("Binding", "", match.name, [] if node else [required("target.name")])
    await request.app[HOUSE].registry.bind_pod(match.namespace, match.name, str(node))
    return await responses.answer(request, _success(201), status=201, form=form, warnings=warnings)


async def eviction(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer POST on `pods/…/eviction`: the Pod is deleted unless its disruption budget forbids it (429)."""
    form = objects.accepted(request, PLAIN)
    data = await bodies.read(request)
    value, _ = bodies.decode(data, bodies.media_type_of(request)) if data.strip() else ({}, [])
    if not isinstance(value, dict):
        raise bad_request("an Eviction must be an object")
    kind, api_version = value.get("kind") or "Eviction", value.get("apiVersion") or "policy/v1"
    if kind != "Eviction" or api_version not in ("policy/v1", "policy/v1beta1"):
        raise bad_request(f"{kind} in version {api_version} cannot be handled as an Eviction")
    objects.check_metadata(value)
    if (value.get("metadata") or {}).get("name") not in (None, "", match.name):
        raise bad_request("name in URL does not match name in Eviction object")
    given = value.get("deleteOptions") or {}
    options = delete_options({"dryRun": request.query.getall("dryRun", []), **given}, {}, [])
    status = await request.app[HOUSE].registry.evict_pod(match.namespace, match.name, options)
    return await responses.answer(request, status, status=201, form=form)


async def token(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer POST on `serviceaccounts/…/token`: 201 and a TokenRequest with the token."""
    form = objects.accepted(request, PLAIN)
    options = objects.options_of(request)
    obj, warnings = await _read(request, "authentication.k8s.io", "v1", "TokenRequest")
    objects.check_metadata(obj)
    if (obj.get("metadata") or {}).get("name") not in (None, "", match.name):
        raise bad_request("name in URL does not match name in TokenRequest object")
    objects.check_namespace(obj, match.namespace)
    issuer = request.app.get(TOKENS)
    if issuer is None:
        raise StatusError(404, "NotFound", "the server could not find the requested resource")
    wanted = token_request(obj.get("spec") or {})
    issued = issuer.issue(match.namespace, match.name, **wanted)
    spec = {
        "audiences": wanted["audiences"] or [ISSUER],
        "expirationSeconds": wanted["expiration_seconds"],
        "boundObjectRef": (obj.get("spec") or {}).get("boundObjectRef"),
    }
    metadata = {"name": match.name, "namespace": match.namespace, "creationTimestamp": rfc3339(issued.issued)}
    shown = "" if options.dry_run else issued.token
    made = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": spec,
        "status": {"token": shown, "expirationTimestamp": rfc3339(issued.expires)},
    }
    return await responses.answer(request, made, status=201, form=form, warnings=warnings)


def token_request(spec: Any) -> dict[str, Any]:
    """Return the arguments of `TokenIssuer.issue` that a TokenRequest's spec means; 400 or 422."""
    if not isinstance(spec, dict):
        raise bad_request("spec must be an object")
    audiences, seconds = spec.get("audiences") or [], spec.get("expirationSeconds")
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise bad_request("spec.audiences must be a list of texts")
    seconds = 3600 if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise bad_request("spec.expirationSeconds must be a whole number")
    why = ""
    if seconds < 600:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > 2**32:
        why = "may not specify a duration larger than 2^32 seconds"
    causes = [bad_value("spec.expirationSeconds", seconds, why)] if why else []
    raise_if("TokenRequest", "authentication.k8s.io", "", causes)
    reference = spec.get("boundObjectRef")
    pod = None
    if reference is not None:
        if not isinstance(reference, dict) or (reference.get("kind"), reference.get("apiVersion")) != ("Pod", "v1"):
            raise bad_request("cannot bind token to object of this type: only a Pod of v1 can be named here")
        pod = PodReference(str(reference.get("name") or ""), str(reference.get("uid") or ""))
    return {"audiences": audiences, "expiration_seconds": seconds, "pod": pod}


HANDLERS: dict[str, Callable[[web.Request, Match], Awaitable[web.StreamResponse]]] = {
    "scale": scale,
    "binding": binding,
    "eviction": eviction,
    "token": token,
}
