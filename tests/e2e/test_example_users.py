"""The examples as an ordinary user, who has no root to give up and one uid only."""

from collections.abc import Callable

import pytest

from tests.e2e.example import Example
from tests.e2e.house import House

PROOF = {
    "etcd": ("quay.io/coreos/etcd", "etcd-1", ["etcdctl", "endpoint", "health", "--cluster"], ""),
    "nats": ("nats:2", "nats-1", ["curl", "-sf", "http://nats-2.nats:8222/healthz"], "ok"),
    "redis": ("redis:7", "redis-3", ["redis-cli", "-c", "set", "a", "b"], "OK"),
    "postgres": ("postgres:15", "postgres-1", ["psql", "-U", "postgres", "-Atc", "SELECT pg_is_in_recovery()"], "t"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROOF)
def test_an_example_runs_as_an_ordinary_user(make_house: Callable[..., House], ordinary_user: str, name: str) -> None:
    image, pod, command, expected = PROOF[name]
    example = Example(make_house(user=ordinary_user, isolation="loopback"), name, image)
    example.apply()
    example.resolves()
    assert expected in example.run(pod, *command)
    example.kill(f"{name}-0")
    example.delete()
