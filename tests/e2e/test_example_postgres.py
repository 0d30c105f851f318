"""examples/postgres: a real primary and its streaming replicas."""

import pytest

from tests.e2e.example import Example
from tests.e2e.house import House, until


@pytest.fixture
def postgres(house: House) -> Example:
    return Example(house, "postgres", "postgres:15")


def sql(postgres: Example, pod: str, statement: str) -> str:
    return postgres.run(pod, "psql", "-U", "postgres", "-d", "app", "-Atqc", statement, check=False).strip()


def has(postgres: Example, pod: str, words: str) -> bool:
    return sql(postgres, pod, "SELECT string_agg(word, ' ' ORDER BY word) FROM words") == words


@pytest.mark.slow
def test_postgres_replicates_and_outlives_its_primary(postgres: Example) -> None:
    # One replica is enough to prove it, and a database is slow to make.
    hurry = "            - { name: POSTGRES_INITDB_ARGS, value: --no-sync }\n            - name: POSTGRES_USER\n"
    postgres.manifest = postgres.manifest.replace("  replicas: 3\n", "  replicas: 2\n")
    postgres.manifest = postgres.manifest.replace("            - name: POSTGRES_USER\n", hurry)
    postgres.apply()
    postgres.resolves()
    sql(postgres, "postgres-0", "CREATE TABLE words (word text)")
    sql(postgres, "postgres-0", "INSERT INTO words VALUES ('first')")
    until(lambda: has(postgres, "postgres-1", "first"), 30, "the row is on the replica")
    assert sql(postgres, "postgres-1", "SELECT pg_is_in_recovery()") == "t"
    postgres.kill("postgres-0")
    sql(postgres, "postgres-0", "INSERT INTO words VALUES ('second')")
    until(lambda: has(postgres, "postgres-1", "first second"), 30, "replication goes on")
    postgres.delete()


@pytest.mark.slow
def test_the_password_counts_over_the_network(postgres: Example) -> None:
    postgres.manifest = postgres.manifest.replace("  replicas: 3\n", "  replicas: 1\n")
    postgres.apply()
    ask = ["psql", "-w", "-h", "postgres-0.postgres", "-U", "postgres", "-d", "app", "-Atqc", "SELECT 1"]
    assert postgres.run("postgres-0", *ask, check=False) == ""
    assert postgres.run("postgres-0", "env", "PGPASSWORD=change-me", *ask).strip() == "1"


@pytest.mark.slow
def test_postgres_rolls_and_gets_another_replica(postgres: Example) -> None:
    postgres.apply()
    sql(postgres, "postgres-0", "CREATE TABLE words AS SELECT 'kept'::text AS word")
    postgres.roll()
    assert has(postgres, "postgres-0", "kept")
    postgres.scale(4)
    until(lambda: has(postgres, "postgres-3", "kept"), 30, "the new replica has the data")
    standbys = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    until(lambda: sql(postgres, "postgres-0", standbys) == "3", 30, "three follow the primary")
    postgres.scale(2)
    postgres.delete()
    postgres.apply()
    assert has(postgres, "postgres-0", "kept")
