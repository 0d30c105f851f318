"""The zone's records and codes, against the tables of statefulset-semantics 4.1 and 4.2."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localset.dns.records import Code, RecordType
from localset.dns.zone import View, Zone

Z = "cluster.local"


def service(name, namespace="default", annotations=None, **spec):
    return {"metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}}, "spec": spec}


def headless(name="zk-headless", namespace="default", ports=()):
    return service(name, namespace, clusterIP="None", ports=list(ports))


def address(ip, hostname=None, pod=None):
    entry = {"ip": ip}
    if hostname:
        entry["hostname"] = hostname
    if pod:
        entry["targetRef"] = {"kind": "Pod", "namespace": "default", "name": pod}
    return entry


def endpoints(name="zk-headless", addresses=(), not_ready=(), ports=(), namespace="default"):
    subset = {"addresses": list(addresses), "notReadyAddresses": list(not_ready), "ports": list(ports)}
    return {"metadata": {"name": name, "namespace": namespace}, "subsets": [subset]}


PORTS = [{"name": "server", "port": 2888, "protocol": "TCP"}, {"name": "leader", "port": 3888, "protocol": "TCP"}]


@pytest.fixture
def zone():
    zone = Zone(Z, View.PODS, "127.64.0.1", serial=7)
    zone.put_namespace({"metadata": {"name": "default"}})
    zone.put_service(headless(ports=[{"name": "server", "port": 1}]))
    zone.put_endpoints(
        endpoints(
            addresses=[address("127.64.0.2", "zk-0"), address("127.64.0.3", "zk-1")],
            not_ready=[address("127.64.0.4", "zk-2")],
            ports=PORTS,
        )
    )
    zone.put_service(
        service("web", clusterIP="127.64.9.9", ports=[{"name": "http", "port": 80, "targetPort": 8080}, {"port": 81}])
    )
    zone.put_endpoints(endpoints("web", [address("127.64.0.2")], ports=[{"name": "http", "port": 8080}]))
    zone.put_service(service("empty", clusterIP="None"))
    zone.put_service(service("idle", clusterIP="127.64.9.8", ports=[]))
    zone.put_service(service("alias", type="ExternalName", externalName="db.Example.COM."))
    zone.put_service(service("inner", type="ExternalName", externalName=f"web.default.svc.{Z}"))
    zone.put_service(service("lost", type="ExternalName", externalName=f"gone.default.svc.{Z}"))
    zone.put_service(service("loop", type="ExternalName", externalName=f"loop.default.svc.{Z}"))
    zone.put_pod({"metadata": {"name": "zk-0", "namespace": "default"}, "status": {"podIP": "127.64.0.2"}})
    return zone


def data(answer):
    return sorted(str(record.data) for record in answer.answers)


HEADLESS = f"zk-headless.default.svc.{Z}"
WEB = f"web.default.svc.{Z}"


@pytest.mark.parametrize(
    ("name", "kind", "code", "expected"),
    [
        (HEADLESS, "A", "NOERROR", ["127.64.0.2", "127.64.0.3"]),
        (f"zk-0.{HEADLESS}", "A", "NOERROR", ["127.64.0.2"]),
        (f"zk-2.{HEADLESS}", "A", "NXDOMAIN", []),
        (f"zk-9.{HEADLESS}", "A", "NXDOMAIN", []),
        (HEADLESS, "AAAA", "NOERROR", []),
        (HEADLESS, "TXT", "NOERROR", []),
        (HEADLESS, "MX", "NOERROR", []),
        (f"zk-0.{HEADLESS}", "AAAA", "NOERROR", []),
        (f"_tcp.{HEADLESS}", "A", "NXDOMAIN", []),
        (f"a.b.c.{HEADLESS}", "A", "NXDOMAIN", []),
        (f"_nope._tcp.{HEADLESS}", "SRV", "NXDOMAIN", []),
        (f"empty.default.svc.{Z}", "A", "NXDOMAIN", []),
        (f"empty.default.svc.{Z}", "SRV", "NXDOMAIN", []),
        (f"nothing.default.svc.{Z}", "A", "NXDOMAIN", []),
        (f"web.other.svc.{Z}", "A", "NXDOMAIN", []),
        (WEB, "A", "NOERROR", ["127.64.9.9"]),
        (f"idle.default.svc.{Z}", "A", "NOERROR", ["127.64.9.8"]),
        (f"127-64-0-2.{WEB}", "A", "NOERROR", ["127.64.0.2"]),
        (f"alias.default.svc.{Z}", "CNAME", "NOERROR", ["db.example.com"]),
        (f"alias.default.svc.{Z}", "A", "NOERROR", ["db.example.com"]),
        (f"inner.default.svc.{Z}", "A", "NOERROR", ["127.64.9.9", WEB]),
        (f"inner.default.svc.{Z}", "AAAA", "NOERROR", [WEB]),
        (f"lost.default.svc.{Z}", "A", "NXDOMAIN", [f"gone.default.svc.{Z}"]),
        (f"loop.default.svc.{Z}", "A", "SERVFAIL", []),
        (f"127-64-0-2.default.pod.{Z}", "A", "NOERROR", ["127.64.0.2"]),
        (f"127-64-0-9.default.pod.{Z}", "A", "NXDOMAIN", []),
        (f"dns-version.{Z}", "TXT", "NOERROR", ["1.1.0"]),
        (f"default.svc.{Z}", "A", "NOERROR", []),
        (f"default.pod.{Z}", "A", "NOERROR", []),
        (f"other.svc.{Z}", "A", "NXDOMAIN", []),
        (f"svc.{Z}", "A", "NOERROR", []),
        (f"pod.{Z}", "A", "NOERROR", []),
        (Z, "A", "NOERROR", []),
        (Z, "NS", "NOERROR", [f"ns.dns.{Z}"]),
        (f"ns.dns.{Z}", "A", "NOERROR", ["127.64.0.1"]),
        ("3.0.64.127.in-addr.arpa", "PTR", "NOERROR", [f"zk-1.{HEADLESS}"]),
        ("9.9.64.127.in-addr.arpa", "PTR", "NOERROR", [WEB]),
        ("4.0.64.127.in-addr.arpa", "PTR", "NXDOMAIN", []),
    ],
)
def test_each_name_has_the_code_and_data_of_the_semantics_table(zone, name, kind, code, expected):
    answer = zone.lookup(name, RecordType[kind])
    assert answer.code.name == code
    assert data(answer) == expected


def test_negative_answers_carry_an_soa_that_no_cache_keeps(zone):
    for name, kind in [(f"x.default.svc.{Z}", RecordType.A), (WEB, RecordType.AAAA)]:
        (soa,) = zone.lookup(name, kind).authority
        assert (soa.name, soa.ttl, soa.data.minimum) == (Z, 0, 0)


def test_positive_answers_live_at_most_five_seconds(zone):
    assert {record.ttl for record in zone.lookup(HEADLESS, RecordType.A).answers} == {5}


def test_srv_of_a_headless_service_gives_target_ports_of_every_ready_endpoint_with_their_addresses(zone):
    answer = zone.lookup(f"_server._tcp.{HEADLESS}", RecordType.SRV)
    assert [tuple(record.data) for record in answer.answers] == [
        (0, 50, 2888, f"zk-0.{HEADLESS}"),
        (0, 50, 2888, f"zk-1.{HEADLESS}"),
    ]
    assert [record.data for record in answer.additional] == ["127.64.0.2", "127.64.0.3"]


def test_srv_at_the_bare_service_name_gives_all_ports(zone):
    assert len(zone.lookup(HEADLESS, RecordType.SRV).answers) == 4
    assert {record.data.weight for record in zone.lookup(HEADLESS, RecordType.SRV).answers} == {25}


def test_srv_of_a_cluster_ip_service_gives_service_ports(zone):
    (record,) = zone.lookup(f"_http._tcp.{WEB}", RecordType.SRV).answers
    assert tuple(record.data) == (0, 100, 80, WEB)
    assert len(zone.lookup(WEB, RecordType.SRV).answers) == 2


def test_an_address_in_two_services_has_both_names_and_the_one_with_a_hostname_first(zone):
    names = [record.data for record in zone.lookup("2.0.64.127.in-addr.arpa", RecordType.PTR).answers]
    assert names == [f"zk-0.{HEADLESS}", f"127-64-0-2.{WEB}"]


def test_any_gives_one_record(zone):
    assert len(zone.lookup(HEADLESS, RecordType.ANY).answers) == 1


def test_an_endpoints_change_names_only_its_own_names(zone):
    changed = zone.put_endpoints(endpoints(addresses=[address("127.64.0.2", "zk-0")], ports=PORTS))
    assert f"zk-1.{HEADLESS}" in changed
    assert "3.0.64.127.in-addr.arpa" in changed
    assert not any(name.startswith(("web.", "alias.")) or name.endswith(f"pod.{Z}") for name in changed)
    assert zone.lookup(f"zk-1.{HEADLESS}", RecordType.A).code is Code.NXDOMAIN


def test_a_heartbeat_of_an_unchanged_object_changes_no_name(zone):
    assert zone.put_service(headless(ports=[{"name": "server", "port": 1}])) == set()
    pod = {"metadata": {"name": "zk-0", "namespace": "default"}, "status": {"podIP": "127.64.0.2", "x": 1}}
    assert zone.put_pod(pod) == set()


def test_a_port_less_headless_service_has_addresses_and_no_srv():
    zone = Zone(Z, View.PODS)
    zone.put_service(headless())
    zone.put_endpoints(endpoints(addresses=[address("127.64.0.2", "zk-0")]))
    assert data(zone.lookup(HEADLESS, RecordType.A)) == ["127.64.0.2"]
    assert zone.lookup(HEADLESS, RecordType.SRV) == zone.lookup(HEADLESS, RecordType.MX)


def test_endpoints_that_come_before_their_service_count_once_it_is_there():
    zone = Zone(Z, View.PODS)
    zone.put_endpoints(endpoints(addresses=[address("127.64.0.2", "zk-0")]))
    assert zone.lookup(HEADLESS, RecordType.A).code is Code.NXDOMAIN
    zone.put_service(headless())
    assert zone.lookup(HEADLESS, RecordType.A).code is Code.NOERROR


def test_the_host_sees_host_addresses_where_a_pod_or_service_has_one():
    zone = Zone(Z, View.HOST)
    zone.put_service(headless())
    zone.put_endpoints(endpoints(addresses=[address("10.1.0.2", "zk-0", pod="zk-0")]))
    zone.put_service(service("web", annotations={"localset.dev/host-address": "127.64.3.3"}, clusterIP="10.2.0.1"))
    assert data(zone.lookup(HEADLESS, RecordType.A)) == ["10.1.0.2"]
    pod = {
        "metadata": {
            "name": "zk-0",
            "namespace": "default",
            "annotations": {"localset.dev/host-address": "127.64.0.2"},
        },
        "status": {"podIP": "10.1.0.2"},
    }
    assert f"zk-0.{HEADLESS}" in zone.put_pod(pod)
    assert data(zone.lookup(f"zk-0.{HEADLESS}", RecordType.A)) == ["127.64.0.2"]
    assert data(zone.lookup(f"10-1-0-2.default.pod.{Z}", RecordType.A)) == ["127.64.0.2"]
    assert data(zone.lookup(WEB, RecordType.A)) == ["127.64.3.3"]
    zone.remove_pod("default", "zk-0")
    assert data(zone.lookup(HEADLESS, RecordType.A)) == ["10.1.0.2"]


def test_ipv6_addresses_become_aaaa():
    zone = Zone(Z, View.PODS)
    zone.put_service(headless())
    zone.put_endpoints(endpoints(addresses=[address("FD00::0:1", "zk-0")]))
    assert data(zone.lookup(HEADLESS, RecordType.AAAA)) == ["fd00::1"]
    assert zone.lookup(HEADLESS, RecordType.A).answers == ()


@pytest.mark.parametrize("bad", ["", "a..b", "x" * 64, "space here", "\x00", "ünicode", "a." * 130])
def test_names_that_cannot_be_on_the_wire_are_never_in_the_zone(bad):
    zone = Zone(Z, View.PODS)
    before = len(zone)
    zone.put_service(service("s", type="ExternalName", externalName=bad))
    zone.put_endpoints(endpoints("s", [address(bad, "h"), address("127.0.0.2", bad)]))
    assert len(zone) == before


SMALL = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("service"), SMALL, st.sampled_from(["None", "127.1.0.1", "127.1.0.2"])),
        st.tuples(st.just("endpoints"), SMALL, st.lists(st.sampled_from(["127.2.0.1", "127.2.0.2", "127.2.0.3"]))),
        st.tuples(st.just("pod"), SMALL, st.sampled_from(["127.2.0.1", "127.2.0.2", "127.2.0.3"])),
        st.tuples(st.sampled_from(["no service", "no endpoints", "no pod"]), SMALL, st.just("")),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_any_history_ends_in_the_zone_that_its_last_state_alone_would_make(steps):
    grown, state = Zone(Z, View.PODS), {}
    for action, name, value in steps:
        obj = {"metadata": {"name": name, "namespace": "default"}}
        if action == "service":
            obj["spec"] = {"clusterIP": value, "ports": [{"name": "p", "port": 1}]}
            grown.put_service(obj)
        elif action == "endpoints":
            obj["subsets"] = [{"addresses": [address(ip, name) for ip in value], "ports": PORTS}]
            grown.put_endpoints(obj)
        elif action == "pod":
            obj["status"] = {"podIP": value}
            grown.put_pod(obj)
        else:
            {"service": grown.remove_service, "endpoints": grown.remove_endpoints, "pod": grown.remove_pod}[
                action.removeprefix("no ")
            ]("default", name)
            state.pop((action.removeprefix("no "), name), None)
            continue
        state[action, name] = obj
    fresh = Zone(Z, View.PODS)
    for (kind, _), obj in state.items():
        {"service": fresh.put_service, "endpoints": fresh.put_endpoints, "pod": fresh.put_pod}[kind](obj)
    assert grown._nodes == fresh._nodes
    for _, name in list(state):
        grown.remove_service("default", name)
        grown.remove_endpoints("default", name)
        grown.remove_pod("default", name)
    assert grown._nodes == Zone(Z, View.PODS)._nodes
    assert not grown._reverse
    assert not grown._pods_of_name
