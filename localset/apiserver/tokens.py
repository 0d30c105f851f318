"""ServiceAccount tokens: JSON Web Tokens signed by this installation's own key, for TokenRequest and the kubelet.

Bound to an audience, to the account's uid and mostly to a Pod's, and expiring: `identify` looks all of them up again,
so that a token dies with its Pod or account. Signed with HMAC-SHA256 and not, as upstream, with a key pair: nobody else
verifies them, and the cryptography library stays out of the daemon. NB: a token never goes into a log or an error.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from localset.apiserver.authentication import CREDENTIAL_ID, Identity, account_identity
from localset.base.clock import Clock
from localset.base.files import write_atomically
from localset.client.tokens import IssuedToken, PodReference
from localset.machinery.errors import bad_request, conflict, not_found
from localset.machinery.metadata import Object, uid_of

ISSUER = "https://kubernetes.default.svc.cluster.local"
KEY_BYTES = 32
MAX_TOKEN_BYTES = 16 * 1024
AUTOMATIC_SECONDS = 3607
"""What admission asks for in every Pod; those tokens are valid a year, for programs that read the file only once.

Source: pkg/serviceaccount.WarnOnlyBoundTokenExpirationSeconds, ExpirationExtensionSeconds.
"""
EXTENDED = timedelta(days=365)
DYING_POD = timedelta(seconds=60)
_CLAIMS = "kubernetes.io"
_HEADER = {"alg": "HS256", "kid": "", "typ": "JWT"}


class Objects(Protocol):
    """Where accounts and Pods are looked up; `registry.House` is one."""

    def find(self, resource: str, namespace: str, name: str) -> Object | None:
        """Return the newest state, or None."""
        ...


def load_key(path: Path) -> bytes:
    """Return the signing key in `path`, made there the first time."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = os.urandom(KEY_BYTES)
        write_atomically(path, key)
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} is not a signing key")
    return key


class Tokens:
    """Signs and knows tokens."""

    def __init__(self, objects: Objects, clock: Clock, key: bytes) -> None:
        """`key` is `KEY_BYTES` long."""
        self._objects = objects
        self._clock = clock
        self._key = key
        header = {**_HEADER, "kid": hashlib.sha256(key).hexdigest()[:16]}
        self._header = _encoded(json.dumps(header, separators=(",", ":")).encode())

    def issue(
        self, namespace: str, account: str, *, audiences: list[str], expiration_seconds: int, pod: PodReference | None
    ) -> IssuedToken:
        """Return a new token; see `client.tokens.TokenIssuer`. An empty uid of `pod` is looked up."""
        found = self._objects.find("serviceaccounts", namespace, account)
        if found is None:
            raise not_found("serviceaccounts", account)
        now = self._clock.now().astimezone(UTC).replace(microsecond=0)
        expires = now + timedelta(seconds=expiration_seconds)
        bound: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid_of(found)}}
        if pod is not None:
            bound |= self._bind(namespace, account, pod)
        is_automatic = expiration_seconds == AUTOMATIC_SECONDS and pod is not None and set(audiences) <= {ISSUER}
        if is_automatic:
            bound["warnafter"] = int(expires.timestamp())
        claims = {
            "aud": audiences or [ISSUER],
            "exp": int((now + EXTENDED if is_automatic else expires).timestamp()),
            "iat": int(now.timestamp()),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            _CLAIMS: bound,
            "nbf": int(now.timestamp()),
            "sub": f"system:serviceaccount:{namespace}:{account}",
        }
        signed = f"{self._header}.{_encoded(json.dumps(claims, separators=(',', ':')).encode())}"
        return IssuedToken(f"{signed}.{self._signature(signed)}", now, expires)

    def _bind(self, namespace: str, account: str, pod: PodReference) -> dict[str, Any]:
        found = self._objects.find("pods", namespace, pod.name)
        if found is None:
            raise not_found("pods", pod.name)
        spec = found.get("spec") or {}
        if (spec.get("serviceAccountName") or "default") != account:
            raise bad_request("cannot bind token for serviceaccount to pod running with different serviceaccount name.")
        if pod.uid and pod.uid != uid_of(found):
            why = (
                f"the UID in the bound object reference ({pod.uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict("pods", pod.name, why)
        bound: dict[str, Any] = {"pod": {"name": pod.name, "uid": uid_of(found)}}
        if spec.get("nodeName"):
            node = self._objects.find("nodes", "", spec["nodeName"])
            bound["node"] = {"name": spec["nodeName"], **({"uid": uid_of(node)} if node else {})}
        return bound

    def identify(self, token: str) -> Identity | None:
        """Return whose token for the API this is; None for any other."""
        claims = self._verified(token)
        return self._identity(claims) if claims is not None and ISSUER in claims["aud"] else None

    def review(self, token: str, audiences: list[str]) -> tuple[Identity, list[str]] | None:
        """Return (whose token it is, those of `audiences` that it is for); None when it is for none of them."""
        claims = self._verified(token)
        if claims is None:
            return None
        common = [audience for audience in (audiences or [ISSUER]) if audience in claims["aud"]]
        identity = self._identity(claims) if common else None
        return (identity, common) if identity is not None else None

    def _signature(self, signed: str) -> str:
        return _encoded(hmac.digest(self._key, signed.encode(), "sha256"))

    def _verified(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that we signed and that is valid now."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            return None
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        # NB: the header must be ours, byte for byte; nobody may choose the algorithm.
        if header != self._header or not hmac.compare_digest(signature, self._signature(signed)):
            return None
        try:
            claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (ValueError, binascii.Error):
            return None
        return claims if claims["nbf"] <= self._clock.now().timestamp() < claims["exp"] else None

    def _identity(self, claims: dict[str, Any]) -> Identity | None:
        """Return the account's identity while it, and the Pod, are the ones that the token was made for."""
        bound = claims[_CLAIMS]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        found = self._objects.find("serviceaccounts", namespace, account["name"])
        if found is None or uid_of(found) != account["uid"]:
            return None
        extra = {CREDENTIAL_ID: (f"JTI={claims['jti']}",)}
        pod = bound.get("pod")
        if pod is not None:
            if not self._is_alive(namespace, pod):
                return None
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        node = bound.get("node")
        if node is not None:
            extra["authentication.kubernetes.io/node-name"] = (node["name"],)
            if node.get("uid"):
                extra["authentication.kubernetes.io/node-uid"] = (node["uid"],)
        return account_identity(namespace, account["name"], account["uid"], extra)

    def _is_alive(self, namespace: str, pod: dict[str, str]) -> bool:
        """Tell whether the Pod is there and not dead for more than a minute past its grace period."""
        found = self._objects.find("pods", namespace, pod["name"])
        if found is None or uid_of(found) != pod["uid"]:
            return False
        deletion = found["metadata"].get("deletionTimestamp")
        return not deletion or self._clock.now() < datetime.fromisoformat(deletion) + DYING_POD


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
