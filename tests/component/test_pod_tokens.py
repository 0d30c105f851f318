"""Tokens in Pods' volumes: written, renewed in time, dropped; and the daemon's port when it is taken."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from localset.base.clock import ManualClock, SystemClock
from localset.client.tokens import IssuedToken, PodReference
from localset.daemon.access import Access
from localset.daemon.directory import DataDirectory
from localset.daemon.settings import StartError
from localset.kubelet.kubelet import Kubelet
from localset.kubelet.tokens import PodTokens
from localset.machinery.errors import not_found
from tests.component.kubelet_house import House, make_container, make_pod, opened_house

VOLUME = {
    "name": "access",
    "projected": {
        "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}],
        "defaultMode": 420,
    },
}


@dataclass
class CountingIssuer:
    """Numbers its tokens."""

    clock: ManualClock
    asked: list[tuple[str, str, tuple[str, ...], int, PodReference | None]] = field(default_factory=list)
    lacks_account: bool = False

    def issue(
        self, namespace: str, account: str, *, audiences: list[str], expiration_seconds: int, pod: PodReference | None
    ) -> IssuedToken:
        if self.lacks_account:
            raise not_found("serviceaccounts", account)
        self.asked.append((namespace, account, tuple(audiences), expiration_seconds, pod))
        now = self.clock.now()
        return IssuedToken(f"token-{len(self.asked)}", now, now + timedelta(seconds=expiration_seconds))


async def test_a_token_is_asked_for_once_and_again_at_four_fifths_of_its_life() -> None:
    clock = ManualClock()
    issuer = CountingIssuer(clock)
    tokens = PodTokens(issuer, clock)
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"serviceAccountName": "robot"}}
    source = {"path": "token", "expirationSeconds": 1000, "audience": "vault"}
    assert tokens.token_for(pod, source) == tokens.token_for(pod, source) == b"token-1"
    assert issuer.asked == [("n", "robot", ("vault",), 1000, PodReference("p", "u"))]
    await clock.advance(799)
    assert tokens.token_for(pod, source) == b"token-1"
    await clock.advance(2)
    assert tokens.token_for(pod, source) == b"token-2"
    long = {"path": "long", "expirationSeconds": 10_000_000}
    assert tokens.token_for(pod, long) == b"token-3"
    await clock.advance(86_401)
    assert tokens.token_for(pod, long) == b"token-4"
    tokens.forget("u")
    assert tokens.token_for(pod, long) == b"token-5"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House, None]:
    async with opened_house(tmp_path) as opened:
        yield opened


async def test_a_pods_token_file_is_written_and_renewed_while_it_runs(house: House) -> None:
    issuer = CountingIssuer(house.clock)
    await house.kubelet.aclose()
    house.kubelet = Kubelet(house.client, house.runtime, house.catalogue, house.clock, house.settings, tokens=issuer)
    await house.kubelet.start()
    mount = {"name": "access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    await house.client.create("pods", make_pod(containers=[make_container(volumeMounts=[mount])], volumes=[VOLUME]))
    found = await house.until_pod("web-0", lambda pod: (pod.get("status") or {}).get("phase") == "Running")
    file = house.settings.pods_directory / found["metadata"]["uid"] / "volumes" / "access" / "token"
    assert file.read_text() == "token-1"
    assert file.stat().st_mode & 0o077 == 0
    for _ in range(5):
        await house.advance(600)
    await house.until(lambda: file.read_text() == "token-2", "the token was renewed")


async def test_a_pod_whose_account_is_missing_waits_and_says_so(house: House) -> None:
    issuer = CountingIssuer(house.clock, lacks_account=True)
    await house.kubelet.aclose()
    house.kubelet = Kubelet(house.client, house.runtime, house.catalogue, house.clock, house.settings, tokens=issuer)
    await house.kubelet.start()
    await house.client.create("pods", make_pod(volumes=[VOLUME]))
    text = await house.until_event("FailedMount")
    assert text.endswith('failed to fetch token: serviceaccounts "default" not found')
    issuer.lacks_account = False
    await house.advance(3)
    await house.until_pod("web-0", lambda pod: (pod.get("status") or {}).get("phase") == "Running")


async def test_a_port_that_is_taken_stops_the_start_and_names_the_holder(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    try:
        first = Access(directory, SystemClock())
        first.begin("127.99.25.1")
        port = first.port
        await first.aclose()
        with socket.create_server(("127.0.0.1", port)):
            second = Access(directory, SystemClock())
            with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port}: .*held by \S+ \(pid \d+\)"):
                second.begin("127.99.25.1")
            await second.aclose()
        third = Access(directory, SystemClock())
        third.begin("127.99.25.1")
        assert (third.port, third.url) == (port, f"https://127.0.0.1:{port}")
        async with asyncio.timeout(30):
            assert (await third.ready()).startswith("-----BEGIN CERTIFICATE-----")
        await third.aclose()
    finally:
        directory.close()
