"""Who asks: the peer of the Unix socket, a client certificate, a ServiceAccount's token, or nobody.

`guard` calls `authenticate` on every request of every listener, before anything else looks at it, and leaves the answer
in `request[IDENTITY]`. Wrong credentials are 401, whatever they are for; none at all are `system:anonymous`. Nothing
here decides what somebody may do: that is `authorization`.
"""

import asyncio
import hashlib
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from aiohttp import web

from localset.base.frozen import frozen
from localset.client.tokens import IssuedToken, PodReference
from localset.machinery.errors import StatusError

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"
SERVICE_ACCOUNTS = "system:serviceaccounts"
ACCOUNT_PREFIX = "system:serviceaccount:"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


@frozen
class Identity:
    """A user as Kubernetes knows one."""

    user: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def is_anonymous(self) -> bool:
        """Tell whether no credentials came with the request."""
        return self.user == ANONYMOUS

    def to_user_info(self) -> dict[str, Any]:
        """Return the wire form, `authentication.k8s.io/v1` UserInfo."""
        info: dict[str, Any] = {"username": self.user}
        if self.uid:
            info["uid"] = self.uid
        info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in sorted(self.extra.items())}
        return info


class TokenAuthenticator(Protocol):
    """Knows bearer tokens and signs them; `tokens.Tokens` is one."""

    def identify(self, token: str) -> Identity | None:
        """Return whose valid token for the API this is, or None."""
        ...

    def review(self, token: str, audiences: list[str]) -> tuple[Identity, list[str]] | None:
        """Return (whose token it is, those of `audiences` that it is for); None when it is for none of them."""
        ...

    def issue(
        self, namespace: str, account: str, *, audiences: list[str], expiration_seconds: int, pod: PodReference | None
    ) -> IssuedToken:
        """Return a new token; see `client.tokens.TokenIssuer`."""
        ...


IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)
TOKENS: web.AppKey[TokenAuthenticator] = web.AppKey("tokens", TokenAuthenticator)

OWNER = Identity("localset:owner", (MASTERS, AUTHENTICATED))
NOBODY = Identity(ANONYMOUS, (UNAUTHENTICATED,))


def unauthorized() -> StatusError:
    """401."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def is_local_socket(transport: asyncio.Transport) -> bool:
    """Tell whether a connection came over a Unix socket, whose peer the listener has checked."""
    peer = transport.get_extra_info("socket")
    return peer is not None and peer.family == getattr(socket, "AF_UNIX", None)


def authenticate(request: web.Request) -> Identity:
    """Return who asks; 401 for credentials that are wrong. A certificate goes before a token, as upstream."""
    transport = request.transport
    if transport is not None:
        if transport not in _known:
            _known[transport] = _connection_identity(transport)
        found = _known[transport]
        if found is not None:
            return found
    headers = request.headers.getall("Authorization", [])
    if not headers:
        return NOBODY
    scheme, _, token = headers[0].strip().partition(" ")
    if len(headers) > 1:
        raise unauthorized()
    if scheme.lower() != "bearer":
        return NOBODY  # upstream: schemes that nobody handles are no credentials
    tokens = request.app.get(TOKENS)
    identity = tokens.identify(token.strip()) if tokens is not None else None
    if identity is None:
        raise unauthorized()
    return identity


_known: "WeakKeyDictionary[asyncio.Transport, Identity | None]" = WeakKeyDictionary()
"""Whose connection it is, told once: reading a certificate costs as much as all else that the guard does."""


def _connection_identity(transport: asyncio.Transport) -> Identity | None:
    """Return whose connection it is: the owner's, or his whom the certificate names. The TLS handshake has verified it
    against our authority.
    """
    if is_local_socket(transport):
        return OWNER
    connection: Any = transport.get_extra_info("ssl_object")
    return _peer_identity(connection) if connection is not None else None


def _peer_identity(connection: Any) -> Identity | None:
    certificate = connection.getpeercert()
    if not certificate:
        return None
    pairs = [pair for element in certificate.get("subject", ()) for pair in element]
    user = next((value for key, value in pairs if key == "commonName"), "")
    if not user:
        raise unauthorized()
    groups = tuple(dict.fromkeys(value for key, value in pairs if key == "organizationName"))
    digest = hashlib.sha256(connection.getpeercert(binary_form=True)).hexdigest()
    return Identity(user, with_authenticated(groups), extra={CREDENTIAL_ID: (f"X509SHA256={digest}",)})


def with_authenticated(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return `groups` with the one that every authenticated user has."""
    return groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED)


def account_identity(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]]) -> Identity:
    """Return the identity of a ServiceAccount."""
    groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}", AUTHENTICATED)
    return Identity(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, extra)
