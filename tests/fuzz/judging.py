"""Sends requests to a real daemon over TLS as its administrator, and says what must not be (reliability G12).

Not answered within five seconds, a 5xx that is not on the closed list, a refusal that is no Status, an answer that is
not what its type says; and at the end, a traceback in the daemon's log.
"""

import base64
import http.client
import json
import re
import ssl
import tempfile
import time
from typing import Any
from urllib.parse import urlsplit

import psutil
import yaml

from tests.e2e.house import House
from tests.fuzz.generated import Operation
from tests.fuzz.mutations import JSON, NO_METHOD, Mutations, Sent, collection, manifests

HANG_SECONDS = 5.0
ALARMS = ("Traceback (most recent call last)", " ERROR ", "Task exception was never retrieved")
PLAIN_REFUSALS = (b"404 page not found", b'{"paths"', b'{\n  "paths"')
LONGEST_LINE = 8190


class _Connection(http.client.HTTPSConnection):
    """Reads the answer of a server that refused the head of a request and closed before the rest was sent."""

    def send(self, data: Any) -> None:
        """Send what can be sent; a connection that is closed before its first byte is an error."""
        is_rest = self.sock is not None and self._begun
        self._begun = True
        try:
            super().send(data)
        except (ssl.SSLError, ConnectionError):
            if not is_rest:
                raise

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        """Begin a request."""
        self._begun = False
        super().putrequest(*arguments, **options)


class Target:
    """The daemon of a house that is up, and what was wrong so far."""

    def __init__(self, house: House) -> None:
        self.house = house
        config = yaml.safe_load((house.data / "kubeconfig").read_text())
        self.server = config["clusters"][0]["cluster"]["server"]
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        decode = lambda text: base64.b64decode(text).decode()  # noqa: E731
        self.context = ssl.create_default_context(cadata=decode(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(decode(user["client-certificate-data"]) + decode(user["client-key-data"]))
            pair.flush()
            self.context.load_cert_chain(pair.name)
        self.problems: list[str] = []
        self.count = 0
        self.statuses: dict[int, int] = {}
        self.pid = house.status()["daemon"]["pid"]
        self._connection: http.client.HTTPSConnection | None = None

    def send(self, sent: Sent) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request on a connection that is kept; again when the server had closed it."""
        for attempt in (1, 2):
            if self._connection is None:
                parts = urlsplit(self.server)
                self._connection = _Connection(
                    parts.hostname or "", parts.port, context=self.context, timeout=HANG_SECONDS
                )
            try:
                self._connection.request(sent.method, sent.path, sent.body, sent.headers)
                response = self._connection.getresponse()
                content = response.read()
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
                self.close()
                if attempt == 2:
                    raise
            else:
                if response.will_close:
                    self.close()
                return response.status, response.headers, content
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def judge(self, sent: Sent, operation: Operation | None = None) -> int:
        """Send one request and note what is wrong about the answer; return its status, 0 for none.

        `operation`: what the schema says about it.
        """
        begun = time.monotonic()
        try:
            status, headers, content = self.send(sent)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self.note(sent, f"no answer after {time.monotonic() - begun:.1f} s: {error!r}")
            return 0
        self.count += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        content_type = headers.get("Content-Type") or ""
        contradictions = operation.contradictions(status, content_type) if operation is not None else []
        for problem in [*problems_of(sent, status, content_type, content), *contradictions]:
            self.note(sent, problem)
        return status

    def note(self, sent: Sent, problem: str) -> None:
        """Remember a problem with the request that makes it again."""
        self.problems.append(
            f"{problem}\n    {sent.method} {sent.path[:300]} {sent.headers} {(sent.body or b'')[:600]!r}"
        )

    def alarms(self) -> list[str]:
        """Return the lines of the daemon's log that no request may cause."""
        lines = (self.house.data / "daemon.log").read_text(errors="replace").splitlines()
        return [line for line in lines if any(alarm in line for alarm in ALARMS)]

    def memory(self) -> float:
        """Return the daemon's resident megabytes."""
        return psutil.Process(self.pid).memory_info().rss / 2**20


def problems_of(sent: Sent, status: int, content_type: str, content: bytes) -> list[str]:
    """Return what is wrong about one answer."""
    if status >= 500 and not is_allowed(sent, status, content):
        return [f"{status}: {content[:300]!r}"]
    if sent.method == "HEAD" or status in {101, 204, 304}:
        return []
    found: Any = None
    if JSON in content_type:
        try:
            found = json.loads(content)
        except ValueError as error:
            return [f"{status} with JSON that is none: {error}: {content[:300]!r}"]
    if is_no_http(sent) and status == 400:
        return []
    if status == 406 and sent.path.startswith("/openapi/"):
        return []  # as upstream's
    if status >= 400 and not content.startswith(PLAIN_REFUSALS):
        if not isinstance(found, dict) or found.get("kind") != "Status" or found.get("code") != status:
            return [f"{status} that is no Status: {content[:300]!r}"]
        if re.search(r"object at 0x|Traceback|KeyError|TypeError|AttributeError", found.get("message") or ""):
            return [f"{status} that speaks of our insides: {content[:300]!r}"]
    if (
        status < 300
        and sent.method in {"POST", "PUT", "PATCH"}
        and JSON in content_type
        and "kind" not in (found or {})
    ):
        return [f"{status} without a kind: {content[:300]!r}"]
    return []


def is_no_http(sent: Sent) -> bool:
    """Tell whether the request is refused before anybody looks at what it asks for."""
    return sent.method == NO_METHOD or len(sent.path) > LONGEST_LINE - len(sent.method) - len("  HTTP/1.1")


def is_allowed(sent: Sent, status: int, content: bytes) -> bool:
    """Tell whether a 5xx is on the closed list: a future version, or a Pod under several budgets."""
    if status == 504:
        return sent.method == "GET" and "resourceVersion=" in sent.path and b"Too large resource version" in content
    return (
        status == 500
        and sent.path.split("?")[0].endswith("/eviction")
        and b"more than one PodDisruptionBudget" in content
    )


def prepare(target: Target) -> None:
    """Make the objects around which the requests go, where they are not there."""
    for body in manifests():
        sent = Sent("POST", collection(body), json.dumps(body).encode(), {"Content-Type": JSON})
        status, _, content = target.send(sent)
        assert status in {201, 409}, (body, content)


def send_mutations(target: Target, seed: int, count: int) -> None:
    """Send `count` hostile requests; the objects that they lose are made again."""
    restore_every = 200
    for number, sent in enumerate(Mutations(seed)):
        if number == count:
            return
        target.judge(sent)
        if number % restore_every == restore_every - 1:
            prepare(target)
