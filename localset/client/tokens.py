"""The protocol by which the kubelet gets tokens for its Pods; daemon wires apiserver's body in.

It lives here because apiserver and kubelet share a floor and must not know each other.
"""

from datetime import datetime
from typing import Protocol

from localset.base.frozen import frozen


@frozen
class PodReference:
    """The Pod that a token dies with."""

    name: str
    uid: str


@frozen
class IssuedToken:
    """A signed token, and until when to use it (it may be valid longer, for programs that read it only once)."""

    token: str
    issued: datetime
    expires: datetime


class TokenIssuer(Protocol):
    """Signs tokens of ServiceAccounts."""

    def issue(
        self, namespace: str, account: str, *, audiences: list[str], expiration_seconds: int, pod: PodReference | None
    ) -> IssuedToken:
        """Return a new token; no audience means the API itself. StatusError 404 when account or Pod is absent."""
        ...
