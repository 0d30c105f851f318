"""examples/nats: three real NATS servers with JetStream, asked in their own protocol."""

import base64
import json
import socket
from typing import Any

import pytest

from tests.e2e.example import Example, answer_of
from tests.e2e.house import House, until


@pytest.fixture
def nats(house: House) -> Example:
    return Example(house, "nats", "nats:2")


def request(address: str, subject: str, payload: str) -> dict[str, Any]:
    """Return the JSON that comes back for a request, empty when nothing does in time."""
    try:
        with socket.create_connection((address, 4222), timeout=3) as connection:
            stream = connection.makefile("rwb")
            assert stream.readline().startswith(b"INFO ")
            options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
            stream.write(f"CONNECT {json.dumps(options)}\r\nSUB inbox.x 1\r\n".encode())
            stream.write(f"PUB {subject} inbox.x {len(payload)}\r\n{payload}\r\n".encode())
            stream.flush()
            while (line := stream.readline()) and not line.startswith(b"MSG "):
                if line.startswith(b"HMSG"):  # no responders
                    return {}
            return answer_of(stream.read(int(line.split()[-1])).decode()) if line else {}
    except OSError:
        return {}


def make_stream(address: str) -> None:
    wanted = json.dumps({"name": "words", "subjects": ["words.*"], "num_replicas": 3, "storage": "file"})
    until(lambda: "config" in request(address, "$JS.API.STREAM.CREATE.words", wanted), 30, "a stream on three servers")


def publish(address: str, word: str) -> None:
    until(lambda: "seq" in request(address, "words.new", word), 30, f"{word} is stored")


def read(address: str, sequence: int) -> str:
    answer = request(address, "$JS.API.STREAM.MSG.GET.words", json.dumps({"seq": sequence}))
    return base64.b64decode(answer.get("message", {}).get("data", "")).decode()


def leader(address: str) -> str:
    return request(address, "$JS.API.STREAM.INFO.words", "").get("cluster", {}).get("leader", "")


def test_a_nats_stream_outlives_the_server_that_leads_it(nats: Example) -> None:
    nats.apply()
    nats.resolves()
    addresses = nats.addresses()
    make_stream(addresses["nats-0"])
    publish(addresses["nats-1"], "hello")
    assert until(lambda: read(addresses["nats-2"], 1), 20) == "hello"
    victim = until(lambda: leader(addresses["nats-0"]), 20, "a leader of the stream")
    nats.kill(victim)
    assert until(lambda: read(addresses[victim], 1), 30, "the message through the killed server") == "hello"
    nats.delete()


@pytest.mark.slow
def test_nats_rolls_and_takes_a_fourth(nats: Example) -> None:
    nats.apply()
    addresses = nats.addresses()
    make_stream(addresses["nats-0"])
    publish(addresses["nats-0"], "kept")
    nats.roll()
    assert until(lambda: read(addresses["nats-1"], 1), 30) == "kept"
    nats.scale(4)
    fourth = nats.addresses()["nats-3"]
    assert until(lambda: read(fourth, 1), 30, "the message through the fourth") == "kept"
    nats.scale(3)
    nats.delete()
    nats.apply()
    assert until(lambda: read(addresses["nats-2"], 1), 60) == "kept"
