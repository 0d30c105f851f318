"""Reviews: who am I, may I, may he, what may I, whose token is this. Answered on the spot, nothing is stored.

One handler per kind of `apis.reviews`; `application` sends POST there. Rights are `authorization`'s, tokens
`authentication`'s: nothing here decides. NB: a TokenReview's body holds a token, and is never logged.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from localset.apis.reviews import REVIEWS
from localset.apiserver import authorization, bodies, objects, responses
from localset.apiserver.authentication import IDENTITY, TOKENS, Identity
from localset.apiserver.authorization import Attributes
from localset.apiserver.house import HOUSE
from localset.apiserver.negotiation import PLAIN
from localset.apiserver.routes import Match
from localset.base.clock import rfc3339
from localset.machinery.errors import Cause, StatusError, bad_request
from localset.machinery.metadata import Object

NAMES = frozenset(resource.name for resource in REVIEWS)
_EVERYTHING = "*"
_TEXTS = frozenset({"verb", "path", "group", "version", "resource", "subresource", "namespace", "name"})


async def create(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer POST of a review: 201 and the review with its status."""
    form = objects.accepted(request, PLAIN)
    options = objects.options_of(request)
    api_version = match.resource.api_version(match.version)
    obj, warnings = await bodies.read_object(request, api_version, match.resource.kind, options.field_validation)
    objects.check_metadata(obj)
    obj = objects.check_namespace(obj, match.namespace)
    spec = obj.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request("spec must be an object")
    status = _HANDLERS[match.resource.plural](request, spec, match)
    metadata = {"creationTimestamp": None, **(obj.get("metadata") or {})}
    made: Object = {"kind": match.resource.kind, "apiVersion": api_version, "metadata": metadata}
    if match.resource.plural == "selfsubjectreviews":
        made["metadata"] = {**metadata, "creationTimestamp": rfc3339(request.app[HOUSE].clock.now())}
    else:
        made["spec"] = spec if match.resource.plural != "selfsubjectrulesreviews" else {}
    return await responses.answer(request, {**made, "status": status}, status=201, form=form, warnings=warnings)


def _self_subject(request: web.Request, spec: Object, match: Match) -> Object:
    return {"userInfo": request[IDENTITY].to_user_info()}


def _self_access(request: web.Request, spec: Object, match: Match) -> Object:
    return _access(request[IDENTITY], spec, match)


def _subject_access(request: web.Request, spec: Object, match: Match) -> Object:
    if match.namespace:
        attributes = spec.get("resourceAttributes")
        if not isinstance(attributes, dict) or (attributes.get("namespace") or "") != match.namespace:
            why = f"must match metadata.namespace: {match.namespace}"
            raise _invalid(match, "spec.resourceAttributes.namespace", _quoted(attributes), why)
    user, groups = spec.get("user") or "", spec.get("groups") or []
    if not user and not groups:
        raise _invalid(match, "spec.user", '""', "at least one of user or group must be specified")
    if not isinstance(user, str) or not isinstance(groups, list):
        raise bad_request("user must be a text and groups a list")
    return _access(Identity(user, tuple(str(group) for group in groups)), spec, match)


def _quoted(attributes: Any) -> str:
    namespace = attributes.get("namespace") if isinstance(attributes, dict) else ""
    return f'"{namespace or ""}"'


def _access(identity: Identity, spec: Object, match: Match) -> Object:
    asked = _asked(spec, match)
    if authorization.is_allowed(identity, asked):
        return {"allowed": True}
    return {"allowed": False}


def _asked(spec: Object, match: Match) -> Attributes:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (other is None):
        shown = '"null"' if resource is None else '"…"'
        where = "spec.resourceAttributes" if resource is None else "spec.nonResourceAttributes"
        what = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        if resource is not None:
            what = "cannot be specified in combination with resourceAttributes"
        raise _invalid(match, where, shown, what)
    given = resource if resource is not None else other
    if not isinstance(given, dict) or not all(isinstance(given[key], str | None) for key in given.keys() & _TEXTS):
        raise bad_request("attributes must be an object of texts")
    if resource is None:
        return Attributes(given.get("verb") or "", path=given.get("path") or "")
    return Attributes(
        given.get("verb") or "",
        group=given.get("group") or "",
        version=given.get("version") or "",
        resource=given.get("resource") or _EVERYTHING,
        subresource=given.get("subresource") or "",
        namespace=given.get("namespace") or "",
        name=given.get("name") or "",
    )


def _invalid(match: Match, field: str, shown: str, why: str) -> StatusError:
    """422 in upstream's odd form, with neither kind nor name."""
    group = match.resource.group
    cause = Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", field)
    message = f'.{group} "" is invalid: {field}: {cause.message}'
    return StatusError(422, "Invalid", message, {"group": group, "causes": [cause.to_json()]})


def _self_rules(request: web.Request, spec: Object, match: Match) -> Object:
    if not spec.get("namespace"):
        raise bad_request("no namespace on request")
    resource_rules: list[Object] = []
    other_rules: list[Object] = []
    if authorization.may_all(request[IDENTITY]):
        resource_rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        other_rules.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    for group, resources in authorization.SELF_REVIEWS.items():
        resource_rules.append({"verbs": ["create"], "apiGroups": [group], "resources": list(resources)})
    other_rules.append({"verbs": ["get"], "nonResourceURLs": list(authorization.DISCOVERY_PATHS)})
    return {"resourceRules": resource_rules, "nonResourceRules": other_rules, "incomplete": False}


def _token(request: web.Request, spec: Object, match: Match) -> Object:
    token, audiences = spec.get("token"), spec.get("audiences") or []
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    if not isinstance(token, str) or not isinstance(audiences, list):
        raise bad_request("token must be a text and audiences a list")
    tokens = request.app.get(TOKENS)
    found = tokens.review(token, [str(audience) for audience in audiences]) if tokens is not None else None
    if found is None:
        return {"user": {}, "error": "invalid bearer token"}
    identity, common = found
    return {"authenticated": True, "user": identity.to_user_info(), "audiences": common}


_HANDLERS: dict[str, Callable[[web.Request, Object, Match], Object]] = {
    "selfsubjectreviews": _self_subject,
    "selfsubjectaccessreviews": _self_access,
    "selfsubjectrulesreviews": _self_rules,
    "subjectaccessreviews": _subject_access,
    "localsubjectaccessreviews": _subject_access,
    "tokenreviews": _token,
}
