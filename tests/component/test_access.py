"""TLS, certificates, identities, reviews and tokens over a real listener."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apiserver_house import open_registry

from localset.apiserver import listener
from localset.apiserver.certificates import CertificateFiles, ensure_certificates, is_fresh
from localset.apiserver.tls import use_certificate
from localset.apiserver.tokens import ISSUER, Tokens
from localset.base.clock import ManualClock, SystemClock
from localset.client.tokens import PodReference
from localset.machinery.errors import StatusError
from localset.registry.bootstrap import ensure_kubernetes, kubernetes_address
from localset.registry.registry import Registry
from tests.component.tls_house import POD_ADDRESS, Caller, TlsHouse, make_files, open_tls_house

SSAR = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
SAR = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TOKEN_REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_files(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture
async def house(tmp_path: Path, files: CertificateFiles) -> AsyncGenerator[TlsHouse, None]:
    async with open_registry() as registry, open_tls_house(tmp_path, files, registry) as opened:
        await registry.create("serviceaccounts", account())
        yield opened


def account(name: str = "default", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, **more}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "host", "command": ["true"]}]
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


# -- TLS and certificates


async def test_a_strict_client_accepts_the_certificate_under_every_name(house: TlsHouse) -> None:
    def shake(address: str, name: str) -> str:
        context = house.caller("admin").context  # verifies strictly, as Python does since 3.13
        with (
            socket.create_connection((address, house.port), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=name) as secured,
        ):
            secured.sendall(f"GET /version HTTP/1.1\r\nHost: {name}:{house.port}\r\nConnection: close\r\n\r\n".encode())
            return secured.recv(4096).decode().split("\r\n")[0]

    for name in ("127.0.0.1", "localhost"):
        assert await asyncio.to_thread(shake, "127.0.0.1", name) == "HTTP/1.1 200 OK"
    for name in (POD_ADDRESS, "kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"):
        assert await asyncio.to_thread(shake, POD_ADDRESS, name) == "HTTP/1.1 200 OK"
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(shake, POD_ADDRESS, "evil.example")


async def test_old_tls_and_plain_http_are_refused(house: TlsHouse) -> None:
    def attempt(caller: Caller) -> None:
        caller.context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            caller.context.minimum_version = caller.context.maximum_version = ssl.TLSVersion.TLSv1_1
        caller.call("GET", "/version")

    with pytest.raises(OSError, match=r"(?i)alert|reset|protocol|version|closed|EOF"):
        await house.run(attempt)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"HTTP/1.1 2" not in await reader.read()
    writer.close()


async def test_a_certificate_of_another_authority_opens_nothing(house: TlsHouse, tmp_path: Path) -> None:
    stranger = make_files(tmp_path / "stranger")

    def attempt(caller: Caller) -> None:
        caller.context.load_cert_chain(stranger.admin)
        caller.call("GET", "/api")

    with pytest.raises(OSError, match=r"(?i)alert|reset|unknown|closed|EOF"):
        await house.run(attempt)


async def test_a_certificate_is_renewed_while_serving(house: TlsHouse, files: CertificateFiles) -> None:
    def serial() -> Any:
        with (
            socket.create_connection(("127.0.0.1", house.port), timeout=10) as connection,
            house.caller().context.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            return (secured.getpeercert() or {})["serialNumber"]

    before = await asyncio.to_thread(serial)
    ensure_certificates(files, ["127.0.0.1", "localhost", POD_ADDRESS, "kubernetes"], SystemClock().now())
    use_certificate(house.context, files.server)
    assert await asyncio.to_thread(serial) != before
    assert (await house.ask("admin", "GET", "/api")).status == 200


def test_keys_are_private_and_the_authority_is_kept(tmp_path: Path) -> None:
    files, now = CertificateFiles(tmp_path / "tls"), datetime(2026, 1, 1, tzinfo=UTC)
    ensure_certificates(files, ["localhost"], now)
    authority = files.ca.read_bytes()
    assert is_fresh(files, now + timedelta(hours=1))
    assert not is_fresh(files, now + timedelta(days=2))
    assert not is_fresh(files, now - timedelta(days=2))  # made while the clock was wrong
    ensure_certificates(files, ["localhost"], now + timedelta(days=2))
    assert files.ca.read_bytes() == authority
    assert files.directory.stat().st_mode & 0o077 == 0
    assert not [path for path in files.directory.iterdir() if path.stat().st_mode & 0o077]


async def test_one_connection_too_many_is_closed_and_the_owner_still_gets_in(
    house: TlsHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 2)

    def crowd() -> list[int | str]:
        callers = [house.caller("admin") for _ in range(3)]
        seen: list[int | str] = []
        for caller in callers:
            try:
                seen.append(caller.call("GET", "/version").status)
            except OSError:
                seen.append("closed")
        for caller in callers:
            caller.close()
        return seen

    assert await asyncio.to_thread(crowd) == [200, 200, "closed"]
    reader, writer = await asyncio.open_unix_connection(house.unix)
    writer.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


# -- identities


async def test_a_certificate_names_user_and_groups(house: TlsHouse) -> None:
    for who, user, groups in (
        ("admin", "localset-admin", ["system:masters", "system:authenticated"]),
        ("bob", "bob", ["people", "system:authenticated"]),
    ):
        found = await house.ask(who, "POST", WHOAMI, {})
        info = found.body["status"]["userInfo"]
        assert (found.status, info["username"], info["groups"]) == (201, user, groups)


async def test_refusals_have_upstreams_words(house: TlsHouse) -> None:
    found = await house.ask("bob", "PATCH", "/apis/apps/v1/namespaces/n/statefulsets/web/scale", {})
    assert found.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'statefulsets.apps "web" is forbidden: User "bob" cannot patch resource "statefulsets/scale" in API '
        'group "apps" in the namespace "n"',
        "reason": "Forbidden",
        "details": {"name": "web", "group": "apps", "kind": "statefulsets"},
        "code": 403,
    }
    found = await house.ask("", "GET", "/api")
    assert found.body["message"] == 'forbidden: User "system:anonymous" cannot get path "/api"'
    assert found.body["details"] == {}
    found = await house.ask("bob", "GET", f"{PODS}?watch=1")
    assert 'User "bob" cannot watch resource "pods" in API group ""' in found.body["message"]
    found = await house.ask("bob", "DELETE", PODS)
    assert 'User "bob" cannot deletecollection resource "pods"' in found.body["message"]
    found = await house.ask("bob", "GET", "/api/v1/nodes/x")
    assert found.body["message"].endswith('cannot get resource "nodes" in API group "" at the cluster scope')
    found = await house.ask("", "GET", PODS, headers={"Authorization": "Basic YTpi"})
    assert (found.status, found.body["message"].split(":", 1)[0]) == (403, "pods is forbidden")


async def test_the_owner_may_be_somebody_else_and_others_may_not(house: TlsHouse) -> None:
    found = await house.ask("admin", "GET", PODS, headers={"Impersonate-User": "bob"})
    assert (found.status, 'User "bob" cannot list' in found.body["message"]) == (403, True)
    headers = {"Impersonate-User": "eve", "Impersonate-Group": "system:masters", "Impersonate-Extra-Scopes": "all"}
    info = (await house.ask("admin", "POST", WHOAMI, {}, headers=headers)).body["status"]["userInfo"]
    assert info == {
        "username": "eve",
        "groups": ["system:masters", "system:authenticated"],
        "extra": {"scopes": ["all"]},
    }
    found = await house.ask("bob", "GET", PODS, headers={"Impersonate-User": "alice"})
    assert found.body["message"] == (
        'users "alice" is forbidden: User "bob" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )
    assert (await house.ask("admin", "GET", PODS, headers={"Impersonate-Group": "x"})).status == 400
    assert (await house.ask("", "GET", "/version", headers={"Impersonate-User": "x"})).status == 403
    odd = await house.ask("bob", "GET", PODS, headers={"Impersonate-User": "\xff"})
    assert (odd.status, odd.body["reason"]) == (400, "BadRequest")


# -- reviews


async def test_access_reviews_answer_for_oneself_and_others(house: TlsHouse) -> None:
    attributes = {"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}}
    found = await house.ask("admin", "POST", SSAR, {"spec": attributes})
    assert (found.status, found.body["spec"], found.body["status"]) == (201, attributes, {"allowed": True})
    assert (await house.ask("bob", "POST", SSAR, {"spec": attributes})).body["status"] == {"allowed": False}
    other = {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}
    assert (await house.ask("bob", "POST", SSAR, {"spec": other})).body["status"]["allowed"] is True
    found = await house.ask("admin", "POST", SAR, {"spec": {"user": "bob", **attributes}})
    assert found.body["status"] == {"allowed": False}
    found = await house.ask("admin", "POST", SAR, {"spec": {"groups": ["system:masters"], **attributes}})
    assert found.body["status"] == {"allowed": True}
    local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    found = await house.ask("admin", "POST", local, {"spec": {"user": "bob", **attributes}})
    assert (found.status, found.body["metadata"]["namespace"]) == (201, "default")
    elsewhere = {"resourceAttributes": {"namespace": "x", "verb": "get", "resource": "pods"}, "user": "bob"}
    assert (await house.ask("admin", "POST", local, {"spec": elsewhere})).status == 422


async def test_reviews_without_what_they_need_are_refused_as_upstream_does(house: TlsHouse) -> None:
    found = await house.ask("admin", "POST", SSAR, {"spec": {}})
    assert (found.status, found.body["message"]) == (
        422,
        '.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: "null": exactly one of '
        "nonResourceAttributes or resourceAttributes must be specified",
    )
    found = await house.ask("admin", "POST", RULES, {"spec": {}})
    assert (found.status, found.body["message"]) == (400, "no namespace on request")
    assert (await house.ask("admin", "GET", SSAR)).status == 405
    assert (await house.ask("admin", "GET", f"{SSAR}/x")).status == 404
    for spec in (
        "x",
        {"resourceAttributes": "x"},
        {"resourceAttributes": {"verb": []}},
        {"nonResourceAttributes": {"path": 5}},
    ):
        assert (await house.ask("admin", "POST", SSAR, {"spec": spec})).status == 400


async def test_a_rules_review_lists_what_one_may(house: TlsHouse) -> None:
    rules = (await house.ask("admin", "POST", RULES, {"spec": {"namespace": "default"}})).body["status"]
    assert rules["resourceRules"][0] == {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    rules = (await house.ask("bob", "POST", RULES, {"spec": {"namespace": "default"}})).body["status"]
    assert {group for rule in rules["resourceRules"] for group in rule["apiGroups"]} == {
        "authentication.k8s.io",
        "authorization.k8s.io",
    }
    assert rules["incomplete"] is False


async def test_reviews_are_in_discovery_and_carry_no_storage_hash(house: TlsHouse) -> None:
    listed = (await house.ask("bob", "GET", "/apis/authorization.k8s.io/v1")).body["resources"]
    assert listed[0] == {
        "name": "localsubjectaccessreviews",
        "singularName": "localsubjectaccessreview",
        "namespaced": True,
        "kind": "LocalSubjectAccessReview",
        "verbs": ["create"],
    }
    assert [entry["name"] for entry in listed[1:]] == [
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "subjectaccessreviews",
    ]


# -- tokens


async def test_a_requested_token_opens_the_api_and_is_reviewed(house: TlsHouse) -> None:
    found = await house.ask("admin", "POST", TOKEN, {"spec": {"expirationSeconds": 600}})
    assert (found.status, found.body["kind"], found.body["spec"]["audiences"]) == (201, "TokenRequest", [ISSUER])
    token = found.body["status"]["token"]
    assert (await house.ask("", "GET", PODS, token=token)).status == 200
    info = (await house.ask("", "POST", WHOAMI, {}, token=token)).body["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:default"
    assert "system:serviceaccounts:default" in info["groups"]
    review = await house.ask("admin", "POST", TOKEN_REVIEW, {"spec": {"token": token}})
    assert (review.status, review.body["status"]["authenticated"]) == (201, True)
    assert review.body["status"]["user"]["username"] == info["username"]
    bad = await house.ask("admin", "POST", TOKEN_REVIEW, {"spec": {"token": "nope"}})
    assert bad.body["status"] == {"user": {}, "error": "invalid bearer token"}


async def test_a_token_for_another_audience_does_not_open_the_api(house: TlsHouse) -> None:
    found = await house.ask("admin", "POST", TOKEN, {"spec": {"audiences": ["vault"]}})
    token = found.body["status"]["token"]
    assert (await house.ask("", "GET", PODS, token=token)).status == 401
    review = await house.ask("admin", "POST", TOKEN_REVIEW, {"spec": {"token": token, "audiences": ["vault", "x"]}})
    assert (review.body["status"]["authenticated"], review.body["status"]["audiences"]) == (True, ["vault"])


async def test_a_pod_cannot_take_the_daemon_down(house: TlsHouse) -> None:
    token = (await house.ask("admin", "POST", TOKEN, {})).body["status"]["token"]
    assert (await house.ask("", "POST", "/localset/v1/shutdown", {}, token=token)).status == 403
    assert house.control.shutdowns == []


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"expirationSeconds": 599}, 422),
        ({"expirationSeconds": 2**33}, 422),
        ({"expirationSeconds": "x"}, 400),
        ({"audiences": "x"}, 400),
        ({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s"}}, 400),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "absent"}}, 404),
        ("x", 400),
    ],
)
async def test_an_impossible_token_request_is_refused(house: TlsHouse, spec: Any, status: int) -> None:
    assert (await house.ask("admin", "POST", TOKEN, {"spec": spec})).status == status


async def test_a_token_of_an_unknown_account_cannot_be_had(house: TlsHouse) -> None:
    found = await house.ask("admin", "POST", TOKEN.replace("/default/token", "/absent/token"), {})
    assert (found.status, found.body["message"]) == (404, 'serviceaccounts "absent" not found')


async def test_a_token_dies_with_time_its_pod_and_its_account(registry: Registry) -> None:
    clock = ManualClock()
    tokens = Tokens(registry, clock, b"k" * 32)
    await registry.create("serviceaccounts", account())
    await registry.create("pods", pod("p"))
    free = tokens.issue("default", "default", audiences=[], expiration_seconds=600, pod=None).token
    bound = tokens.issue("default", "default", audiences=[], expiration_seconds=3607, pod=PodReference("p", "")).token
    assert tokens.identify(free)
    found = tokens.identify(bound)
    assert found is not None
    assert found.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    await clock.advance(601)
    assert tokens.identify(free) is None
    await clock.advance(86_400)
    assert tokens.identify(bound), "the automatic token lives a year, for programs that read it only once"
    with pytest.raises(StatusError, match="does not match the UID"):
        tokens.issue("default", "default", audiences=[], expiration_seconds=600, pod=PodReference("p", "other"))
    await registry.delete("pods", "default", "p")
    assert tokens.identify(bound) is None
    again = tokens.issue("default", "default", audiences=[], expiration_seconds=600, pod=None).token
    await registry.delete("serviceaccounts", "default", "default")
    await registry.create("serviceaccounts", account())
    assert tokens.identify(again) is None


async def test_a_forged_token_is_nobodys(registry: Registry) -> None:
    import base64

    clock = SystemClock()
    tokens = Tokens(registry, clock, b"k" * 32)
    await registry.create("serviceaccounts", account())
    token = tokens.issue("default", "default", audiences=[], expiration_seconds=600, pod=None).token
    header, payload, signature = token.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    other = Tokens(registry, clock, b"x" * 32)
    stolen = other.issue("default", "default", audiences=[], expiration_seconds=600, pod=None).token
    forged = (
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload[:-2]}.{signature}",
        f"{header}.{payload}.{signature}x",
        stolen,
        "",
        "...",
        "ä.ö.ü",
        "x" * 100_000,
    )
    assert tokens.identify(token)
    assert [tokens.identify(text) for text in forged] == [None] * len(forged)


# -- what Pods are given


async def test_a_pod_gets_the_volume_with_its_token(registry: Registry) -> None:
    await registry.create("serviceaccounts", account(imagePullSecrets=[{"name": "pull"}]))
    made = await registry.create("pods", pod("p"))
    volume = made["spec"]["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert made["spec"]["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": path}
    ]
    assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]


async def test_a_pod_that_wants_no_token_gets_none(registry: Registry) -> None:
    await registry.create("serviceaccounts", account())
    await registry.create("serviceaccounts", account("quiet", automountServiceAccountToken=False))
    made = await registry.create("pods", pod("a", automountServiceAccountToken=False))
    assert "volumes" not in made["spec"]
    made = await registry.create("pods", pod("b", serviceAccountName="quiet"))
    assert "volumes" not in made["spec"]
    made = await registry.create("pods", pod("c", serviceAccountName="quiet", automountServiceAccountToken=True))
    assert len(made["spec"]["volumes"]) == 1
    own = {"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    container = {"name": "c", "image": "host", "command": ["true"], "volumeMounts": [own]}
    made = await registry.create("pods", pod("d", containers=[container], volumes=[{"name": "mine", "emptyDir": {}}]))
    assert [volume["name"] for volume in made["spec"]["volumes"]] == ["mine"]


async def test_the_service_of_the_api_leads_to_its_port_and_is_put_right_at_each_start(registry: Registry) -> None:
    address = await kubernetes_address(registry, "127.96.128.99")
    await ensure_kubernetes(registry, address, 443, ("127.0.0.1", 1234))
    version = registry.resource_version
    await ensure_kubernetes(registry, address, 443, ("127.0.0.1", 1234))
    assert registry.resource_version == version, "nothing changed, so nothing is written"
    await ensure_kubernetes(registry, address, 1235, ("127.0.0.1", 1235))
    assert await kubernetes_address(registry, "127.96.128.100") == address
    service = await registry.get("services", "default", "kubernetes")
    assert (service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]) == (address, 1235)
    endpoints = await registry.get("endpoints", "default", "kubernetes")
    assert endpoints["subsets"][0]["ports"][0]["port"] == 1235
    endpoint_slice = await registry.get("endpointslices.discovery.k8s.io", "default", "kubernetes")
    assert endpoint_slice["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert endpoint_slice["ports"][0]["port"] == 1235
