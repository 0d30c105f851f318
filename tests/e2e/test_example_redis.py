"""examples/redis: a real Redis Cluster of three masters and three replicas."""

import pytest

from tests.e2e.example import Example
from tests.e2e.house import House, until


@pytest.fixture
def redis(house: House) -> Example:
    return Example(house, "redis", "redis:7")


def ask(redis: Example, pod: str, *words: str) -> str:
    return redis.run(pod, "redis-cli", "-c", *words, check=False).strip()


def nodes(redis: Example, pod: str = "redis-0") -> list[list[str]]:
    """Return the fields of `cluster nodes`, with the Pod's name in place of the id."""
    names = {pod["status"].get("podIP", ""): name for name, pod in redis.pods().items()}
    lines = [line.split() for line in ask(redis, pod, "cluster", "nodes").splitlines()]
    return [[names.get(line[1].partition(":")[0], "?"), *line[1:]] for line in lines]


def masters(redis: Example, pod: str = "redis-0") -> list[str]:
    return sorted(n[0] for n in nodes(redis, pod) if "master" in n[2] and "fail" not in n[2])


def put(redis: Example, count: int) -> None:
    script = f"for n in $(seq 0 {count - 1}); do redis-cli -c set key$n value$n; done"
    until(
        lambda: redis.run("redis-0", "sh", "-c", script, check=False).split() == ["OK"] * count, 30, "all keys written"
    )


def has_all(redis: Example, pod: str, count: int) -> bool:
    script = f"for n in $(seq 0 {count - 1}); do redis-cli -c get key$n; done"
    return redis.run(pod, "sh", "-c", script, check=False).split() == [f"value{number}" for number in range(count)]


@pytest.mark.slow
def test_the_redis_cluster_forms_and_outlives_a_master(redis: Example) -> None:
    redis.apply()
    redis.resolves()
    until(lambda: len(masters(redis)) == 3, 20, "three masters")
    assert "cluster_slots_ok:16384" in ask(redis, "redis-3", "cluster", "info")
    put(redis, 4)
    victim = next(name for name in masters(redis) if name != "redis-0")
    redis.kill(victim)
    until(lambda: has_all(redis, victim, 4), 30, "all keys through the killed member")
    redis.delete()


@pytest.mark.slow
def test_the_redis_cluster_rolls_and_takes_a_seventh(redis: Example) -> None:
    redis.apply()
    put(redis, 6)
    redis.roll()
    until(lambda: has_all(redis, "redis-5", 6), 30, "all keys after the roll")
    redis.scale(7)
    until(lambda: any(n[0] == "redis-6" and "slave" in n[2] for n in nodes(redis)), 30, "the seventh is a replica")
    redis.scale(6)
    redis.delete()
    redis.apply()
    until(lambda: has_all(redis, "redis-0", 6), 60, "all keys after delete and apply")
