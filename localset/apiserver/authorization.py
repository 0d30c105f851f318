"""What somebody may do (design 3.10), and the words of the refusal.

`system:masters` and ServiceAccounts may do everything; any other authenticated user discovery, OpenAPI, health and
reviews of himself; nobody health and version. `attributes_of` reads a request's path as Kubernetes does, purely by its
form, so that an unknown resource is refused before it is looked up. `Impersonate-*` is under the same rule. Called by
`guard`; the reviews ask `is_allowed` too. Nothing here reads an object.

Source of the forms: apiserver/pkg/endpoints/request/requestinfo.go NewRequestInfo, handlers/responsewriters/errors.go
ForbiddenMessage, endpoints/filters/impersonation.go.
"""

import re
from urllib.parse import unquote

from aiohttp import web

from localset.apiserver.authentication import (
    ACCOUNT_PREFIX,
    ANONYMOUS,
    AUTHENTICATED,
    MASTERS,
    SERVICE_ACCOUNTS,
    UNAUTHENTICATED,
    Identity,
    account_identity,
    with_authenticated,
)
from localset.base.frozen import frozen, replace
from localset.machinery.errors import StatusError, bad_request

OWN_PATHS = "/localset"
PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
DISCOVERY_PATHS = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *PUBLIC_PATHS)
SELF_REVIEWS = {
    "authorization.k8s.io": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    "authentication.k8s.io": ("selfsubjectreviews",),
}
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_NAME_SELECTOR = re.compile(r"(?:^|,)metadata\.name==?([^,]+)")


@frozen
class Attributes:
    """What is asked for: a resource's verb, or a path's when `resource` is empty."""

    verb: str
    path: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def full_resource(self) -> str:
        """Return `pods/exec` or `pods`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def attributes_of(method: str, raw_path: str, request: web.BaseRequest | None = None) -> Attributes:
    """Return what a request asks for, by the form of its path alone; the request's query tells list from watch."""
    path = unquote(raw_path)
    parts = [unquote(part) for part in raw_path.strip("/").split("/")]
    other = Attributes(method.lower(), path=path)
    if len(parts) < 3 or parts[0] not in {"api", "apis"}:
        return other
    group, rest = "", parts[1:]
    if parts[0] == "apis":
        if len(rest) < 3:
            return other
        group, rest = rest[0], rest[1:]
    version, rest = rest[0], rest[1:]
    verb = _VERBS.get(method, "")
    if rest[0] == "watch" and len(rest) > 1:
        verb, rest = "watch", rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if not name and verb == "get":
        verb, name = _list_verb(request)
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Attributes(verb, path, group, version, rest[0], subresource, namespace, name)


def _list_verb(request: web.BaseRequest | None) -> tuple[str, str]:
    if request is None:
        return "list", ""
    watching = request.query.get("watch")
    verb = "list" if watching is None or watching.lower() in {"0", "false"} else "watch"
    named = _NAME_SELECTOR.search(request.query.get("fieldSelector", ""))
    return verb, named.group(1) if named else ""


def may_all(identity: Identity) -> bool:
    """Tell whether there are no limits for `identity` in the Kubernetes API."""
    return MASTERS in identity.groups or SERVICE_ACCOUNTS in identity.groups


def is_allowed(identity: Identity, asked: Attributes) -> bool:
    """Tell whether `identity` may do what is asked."""
    if MASTERS in identity.groups:
        return True
    if not asked.resource:
        if asked.path == OWN_PATHS or asked.path.startswith(OWN_PATHS + "/"):
            return False  # a program in a Pod must not take the daemon down
        if SERVICE_ACCOUNTS in identity.groups:
            return True
        if asked.verb != "get":
            return False
        return _is_path_of(asked.path, DISCOVERY_PATHS if AUTHENTICATED in identity.groups else PUBLIC_PATHS)
    if SERVICE_ACCOUNTS in identity.groups:
        return True
    is_own_review = asked.resource in SELF_REVIEWS.get(asked.group, ())
    return AUTHENTICATED in identity.groups and asked.verb == "create" and is_own_review


def _is_path_of(path: str, patterns: tuple[str, ...]) -> bool:
    return any(path.startswith(p[:-1]) if p.endswith("*") else path == p for p in patterns)


def refusal(identity: Identity, asked: Attributes) -> StatusError:
    """403 in upstream's words."""
    who = f'User "{identity.user}" cannot {asked.verb}'
    if not asked.resource:
        return StatusError(403, "Forbidden", f'forbidden: {who} path "{asked.path}"')
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    why = f'{who} resource "{asked.full_resource}" in API group "{asked.group}" {where}'
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    title = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f'{title} "{asked.name}"' if asked.name else title
    return StatusError(
        403, "Forbidden", f"{named} is forbidden: {why}", {key: value for key, value in details.items() if value}
    )


def require(identity: Identity, asked: Attributes) -> None:
    """Raise 403 unless `identity` may do what is asked."""
    if not is_allowed(identity, asked):
        raise refusal(identity, asked)


def impersonated(identity: Identity, request: web.BaseRequest) -> Identity:
    """Return whom the request wants to be, or `identity` itself; 403 for one who may not."""
    headers = request.headers
    users = headers.getall("Impersonate-User", [])
    groups = tuple(headers.getall("Impersonate-Group", []))
    uid = headers.get("Impersonate-Uid", "")
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers.items():
        if key.lower().startswith("impersonate-extra-"):
            name = unquote(key[len("impersonate-extra-") :].lower())
            extra[name] = (*extra.get(name, ()), value)
    if not users or not users[0]:
        if groups or uid or extra or users:
            raise bad_request("groups, a uid or extra values cannot be impersonated without a user")
        return identity
    user = users[0]
    if not all(
        _is_utf8(text) for text in (user, *groups, uid, *extra, *(v for values in extra.values() for v in values))
    ):
        raise bad_request("impersonation headers must be UTF-8")
    for asked in _impersonation_attributes(user, groups, uid, extra):
        require(identity, asked)
    if user.startswith(ACCOUNT_PREFIX) and user.count(":") == 3:
        namespace, name = user.removeprefix(ACCOUNT_PREFIX).split(":")
        account = account_identity(namespace, name, uid, extra)
        return replace(account, groups=with_authenticated(groups)) if groups else account
    if user == ANONYMOUS:
        return Identity(user, groups or (UNAUTHENTICATED,), uid, extra)
    return Identity(user, with_authenticated(groups), uid, extra)


def _is_utf8(text: str) -> bool:
    """Tell whether a header's text was valid; bytes that were not arrive as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _impersonation_attributes(
    user: str, groups: tuple[str, ...], uid: str, extra: dict[str, tuple[str, ...]]
) -> list[Attributes]:
    if user.startswith(ACCOUNT_PREFIX) and user.count(":") == 3:
        namespace, name = user.removeprefix(ACCOUNT_PREFIX).split(":")
        asked = [Attributes("impersonate", version="v1", resource="serviceaccounts", namespace=namespace, name=name)]
    else:
        asked = [Attributes("impersonate", version="v1", resource="users", name=user)]
    asked += [Attributes("impersonate", version="v1", resource="groups", name=group) for group in groups]
    special = "authentication.k8s.io"
    if uid:
        asked.append(Attributes("impersonate", group=special, version="v1", resource="uids", name=uid))
    for key, values in extra.items():
        asked += [
            Attributes("impersonate", "", special, "v1", "userextras", subresource=key, name=value) for value in values
        ]
    return asked
