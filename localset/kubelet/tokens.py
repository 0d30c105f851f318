"""The tokens that stand in Pods' projected volumes: asked for once, kept, and renewed before they expire.

`volumes` asks while it writes a volume; `Kubelet` runs `follow` and is told which Pod's volumes to write again. A token
is renewed at 80 % of its life or after a day, as Kubernetes does (pkg/kubelet/token/token_manager.go). Nothing is
stored: a restarted kubelet asks anew.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from localset.base.clock import Clock
from localset.base.frozen import frozen
from localset.client.tokens import IssuedToken, PodReference, TokenIssuer
from localset.machinery.metadata import Object, name_of, namespace_of, uid_of

DEFAULT_SECONDS = 3600
LONGEST_USE = timedelta(hours=24)
LOOK_SECONDS = 600.0
"""At most so long between two looks: a laptop's sleep does not count in the monotonic clock."""


@frozen
class _Wish:
    """What a volume asks for."""

    uid: str
    audience: str
    seconds: int


class PodTokens:
    """All tokens of the node's Pods."""

    def __init__(self, issuer: TokenIssuer, clock: Clock) -> None:
        """Ask `issuer`."""
        self._issuer = issuer
        self._clock = clock
        self._kept: dict[_Wish, IssuedToken] = {}
        self._added = asyncio.Event()

    def token_for(self, pod: Object, source: Object) -> bytes:
        """Return the token of a `serviceAccountToken` source, a fresh one when it is due; StatusError as the issuer."""
        audience = str(source.get("audience") or "")
        seconds = int(source.get("expirationSeconds") or DEFAULT_SECONDS)
        wish = _Wish(uid_of(pod), audience, seconds)
        kept = self._kept.get(wish)
        if kept is None or self._due(kept) <= self._clock.now():
            account = (pod.get("spec") or {}).get("serviceAccountName") or "default"
            kept = self._issuer.issue(
                namespace_of(pod),
                account,
                audiences=[audience] if audience else [],
                expiration_seconds=seconds,
                pod=PodReference(name_of(pod), uid_of(pod)),
            )
            self._kept[wish] = kept
            self._added.set()
        return kept.token.encode()

    def forget(self, uid: str) -> None:
        """Drop the tokens of a Pod that has ended."""
        for wish in [wish for wish in self._kept if wish.uid == uid]:
            del self._kept[wish]

    @staticmethod
    def _due(token: IssuedToken) -> datetime:
        return min(token.issued + (token.expires - token.issued) * 0.8, token.issued + LONGEST_USE)

    async def follow(self, write_again: Callable[[str], None]) -> None:
        """Call `write_again(uid)` for each Pod with a token that is due, for ever. Idle while there is none."""
        while True:
            if not self._kept:
                self._added.clear()
                await self._added.wait()
            now = self._clock.now()
            for uid in {wish.uid for wish, token in self._kept.items() if self._due(token) <= now}:
                write_again(uid)
            await self._clock.sleep(LOOK_SECONDS)
