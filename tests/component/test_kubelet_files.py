"""Atomic writes, walks without links, volumes, layouts, logs, ports, actions; on real directories and sockets."""

import asyncio
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from localset.base.files import (
    UnsafePathError,
    make_directory_beneath,
    make_private_directory,
    open_beneath,
    opened_directory,
    remove_tree_beneath,
    write_atomically,
    write_in_place,
)
from localset.client.client import PatchType
from localset.client.streams import LogOptions
from localset.kubelet.actions import clean_output, connect, http_get
from localset.kubelet.layout import volume_places
from localset.kubelet.logs import LogReader
from localset.kubelet.payload import ProjectedFile
from localset.kubelet.ports import port_problem
from localset.kubelet.projection import write_projection
from localset.kubelet.runtime import Isolation
from localset.kubelet.volumes import MountedVolume
from localset.machinery.errors import StatusError
from tests.component.kubelet_house import (
    FakeImage,
    is_ready,
    make_container,
    make_pod,
    opened_house,
    state_of,
)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_atomic_write_leaves_no_other_file_and_keeps_the_mode(tmp_path: Path):
    write_atomically(tmp_path / "a", b"1", mode=0o600)
    write_atomically(tmp_path / "a", b"22", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"22"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["a"]


def test_writing_in_place_keeps_the_inode(tmp_path: Path):
    write_in_place(tmp_path / "h", b"long content")
    inode = (tmp_path / "h").stat().st_ino
    write_in_place(tmp_path / "h", b"short")
    assert (tmp_path / "h").read_bytes() == b"short"
    assert (tmp_path / "h").stat().st_ino == inode


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/\0", "x" * 256, "link/file", "link"])
def test_nothing_is_opened_outside_or_through_a_link(tmp_path: Path, path: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    with opened_directory(tmp_path / "in") as root, pytest.raises((OSError, ValueError)):
        os.close(open_beneath(root, path))


def test_no_open_escapes_while_directories_are_swapped_for_links(tmp_path: Path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("secret")
    (inside / "real" / "file").write_text("fine")
    (inside / "link").symlink_to(outside)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for a, b in (("real", "spare"), ("link", "real"), ("real", "link"), ("spare", "real")):
                (inside / a).rename(inside / b)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        with opened_directory(inside) as root:
            for _ in range(3000):
                try:
                    descriptor = open_beneath(root, "real/file")
                except OSError:
                    continue
                assert os.read(descriptor, 10) == b"fine"
                os.close(descriptor)
    finally:
        is_over.set()
        attacker.join()


def test_removal_never_follows_links_and_opens_closed_directories(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    tree = tmp_path / "tree"
    (tree / "work" / "work").mkdir(parents=True)
    (tree / "link").symlink_to(victim)
    os.link(victim / "precious", tree / "hard")
    (tree / "work" / "work").chmod(0)
    (tmp_path / "toplink").symlink_to(victim)
    with opened_directory(tmp_path) as root:
        remove_tree_beneath(root, "tree")
        remove_tree_beneath(root, "absent")
        with pytest.raises(UnsafePathError):
            remove_tree_beneath(root, "toplink")
        with pytest.raises(UnsafePathError):
            remove_tree_beneath(root, "..")
    assert not tree.exists()
    assert (victim / "precious").read_text() == "x"


def test_private_directories_are_private_whatever_the_umask(tmp_path: Path):
    old = os.umask(0)
    try:
        make_private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_projected_files_swap_at_once_and_drop_what_is_gone(tmp_path: Path):
    with opened_directory(tmp_path) as root:
        assert write_projection(root, {"a": ProjectedFile(b"1", 0o644), "d/b": ProjectedFile(b"2", 0o600)}, owner=None)
        assert (tmp_path / "d" / "b").read_bytes() == b"2"
        assert not write_projection(
            root, {"a": ProjectedFile(b"1", 0o644), "d/b": ProjectedFile(b"2", 0o600)}, owner=None
        )
        assert write_projection(root, {"a": ProjectedFile(b"3", 0o644)}, owner=None)
        for path in ("../x", "..data", "/x"):
            with pytest.raises(UnsafePathError):
                write_projection(root, {path: ProjectedFile(b"", 0o644)}, owner=None)
    assert (tmp_path / "a").read_bytes() == b"3"
    assert [n for n in names_in(tmp_path) if not n.startswith("..")] == ["a"]
    assert len(names_in(tmp_path)) == 3


def test_a_subpath_is_made_beneath_and_never_through_a_link(tmp_path: Path):
    (tmp_path / "evil").symlink_to("/etc")
    volumes = {"v": MountedVolume(tmp_path)}
    mount = {"name": "v", "mountPath": "/data", "subPathExpr": "$(NAME)/x"}
    places = volume_places({"volumeMounts": [mount]}, volumes, {"NAME": "n"})
    assert places[0].path == tmp_path / "n" / "x"
    assert places[0].path.is_dir()
    for bad in ("evil/x", "../x", "evil"):
        with pytest.raises((OSError, Exception), match=r"subPath|beneath"):
            volume_places({"volumeMounts": [{"name": "v", "mountPath": "/d", "subPath": bad}]}, volumes, {})


def config_map(**data: str) -> dict:
    metadata = {"name": "conf", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_config_volumes_are_mounted_and_follow_their_object(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        volumes = [{"name": "c", "configMap": {"name": "conf"}}, {"name": "tmp", "emptyDir": {}}]
        mounts = [{"name": "c", "mountPath": "/etc/app", "readOnly": True}, {"name": "tmp", "mountPath": "/scratch"}]
        await house.client.create("pods", make_pod(containers=[make_container(volumeMounts=mounts)], volumes=volumes))
        pod = await house.until_pod("web-0", lambda p: "waiting" in state_of(p)["state"])
        assert state_of(pod)["state"]["waiting"]["reason"] == "ContainerCreating"
        await house.client.create("configmaps", config_map(a="1"))
        pod = await house.until_pod("web-0", is_ready)
        spec = house.runtime.specs[house.runtime.spawned[0]]
        by_target = {mount.target: mount for mount in spec.mounts}
        assert by_target["/etc/app"].read_only
        assert {"/etc/hosts", "/etc/hostname", "/scratch"} <= set(by_target)
        shown = Path(by_target["/etc/app"].source) / "a"
        assert shown.read_text() == "1"
        await house.client.patch("configmaps", "default", "conf", {"data": {"a": "2"}}, PatchType.MERGE)
        await house.until(lambda: shown.read_text() == "2")
        await house.until_event("FailedMount", 'MountVolume.SetUp failed for volume "c" : configmap "conf" not found')


async def test_a_claims_directory_is_made_once_and_never_again_in_silence(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        path = tmp_path / "volumes" / "pv-1"
        annotations = {"localset.dev/provisioned": "true"}
        pv = {"metadata": {"name": "pv-1", "annotations": annotations}, "spec": {"hostPath": {"path": str(path)}}}
        await house.client.create("persistentvolumes", pv)
        claim = {"metadata": {"name": "data", "namespace": "default"}, "spec": {}}
        await house.client.create("persistentvolumeclaims", claim)
        volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
        container = make_container(volumeMounts=[{"name": "d", "mountPath": "/var/lib/data"}])
        await house.client.create("pods", make_pod(containers=[container], volumes=volumes))
        await house.settle()
        assert house.runtime.spawned == []
        bound = {"spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}
        merge = PatchType.MERGE
        await house.client.patch("persistentvolumeclaims", "default", "data", bound, merge)
        await house.until_pod("web-0", is_ready)
        assert path.is_dir()
        assert path.with_name(".pv-1.made").exists()
        await house.client.delete("pods", "default", "web-0")
        await house.until_pod("web-0", lambda p: p == {})
        assert path.is_dir()
        path.rmdir()
        await house.client.create("pods", make_pod(containers=[container], volumes=volumes))
        pod = await house.until_pod("web-0", lambda p: "lost" in str(state_of(p)["state"]))
        assert not path.exists()
        assert pod["status"]["phase"] == "Pending"


async def test_at_the_plain_level_volumes_are_links_beneath_the_root(tmp_path: Path):
    async with opened_house(tmp_path / "data", isolation=Isolation.PLAIN) as house:
        files = tmp_path / "image"
        (files / "bin").mkdir(parents=True)
        house.catalogue.images["zk"] = FakeImage(
            "zk",
            directory=files,
            mounts=(("bin", "/opt/zk/bin"),),
            scratch=("/opt/zk/conf", "/var/lib/zk", "/var/lib/zk/inner"),
            path=("/opt/zk/bin",),
        )
        mounts = [{"name": "d", "mountPath": "/var/lib/zk"}]
        container = {"name": "main", "image": "zk", "volumeMounts": mounts, "ports": [{"containerPort": 12181}]}
        pod = make_pod(containers=[container], volumes=[{"name": "d", "emptyDir": {}}], subdomain="zk-headless")
        await house.client.create("pods", pod)
        pod = await house.until_pod("web-0", is_ready)
        spec = house.runtime.specs[house.runtime.spawned[0]]
        root = Path(spec.environment["LOCALSET_ROOT"])
        assert (root / "var/lib/zk").resolve().name == "d"
        assert (root / "opt/zk/bin").resolve() == files / "bin"
        assert (root / "opt/zk/conf").is_dir()
        assert spec.environment["PATH"].startswith(f"{files}/bin:")
        assert spec.environment["POD_IP"] == pod["status"]["podIP"]
        assert spec.environment["LOCALSET_POD_FQDN"] == "web-0.zk-headless.default.svc.cluster.local"
        assert spec.environment["LOCALSET_PORTS"] == "12181"
        assert spec.mounts == ()


async def test_hosts_files_follow_endpoints_in_place(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        await house.client.create("pods", make_pod(subdomain="web"))
        pod = await house.until_pod("web-0", is_ready)
        path = house.settings.pods_directory / pod["metadata"]["uid"] / "etc-hosts"
        inode = path.stat().st_ino
        address = {"ip": "127.99.16.77", "hostname": "web-1"}
        endpoints = {"metadata": {"name": "web", "namespace": "default"}, "subsets": [{"addresses": [address]}]}
        await house.client.create("endpoints", endpoints)
        line = "127.99.16.77\tweb-1.web.default.svc.cluster.local web-1.web.default.svc web-1.web.default web-1.web"
        await house.until(lambda: line in path.read_text().splitlines())  # no blank in front: the JVM takes none
        merge = PatchType.MERGE
        await house.client.patch("endpoints", "default", "web", {"subsets": []}, merge)
        await house.until(lambda: "#" + line[1:] in path.read_text().splitlines())
        assert path.stat().st_ino == inode


async def test_a_taken_port_holds_the_container_and_names_the_process(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            await house.client.create("pods", make_pod(containers=[make_container(ports=[{"containerPort": port}])]))
            pod = await house.until_pod("web-0", lambda p: "CreateContainerError" in str(state_of(p)["state"]))
            message = state_of(pod)["state"]["waiting"]["message"]
            assert f"process {os.getpid()} (" in message
        await house.advance(20)
        await house.until_pod("web-0", is_ready)


def test_a_port_that_is_free_is_no_problem():
    assert (
        port_problem("127.99.1.2", {"ports": [{"containerPort": 45671}, {"containerPort": 53, "protocol": "UDP"}]})
        is None
    )


async def read_log(stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def test_logs_tail_limit_timestamps_and_refusals(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        two = [make_container("c"), make_container("d")]
        await house.client.create("pods", make_pod(containers=two))
        pod = await house.until_pod("web-0", is_ready)
        log = Path(house.runtime.specs[house.runtime.spawned[0]].log_path)
        stamp = "2026-01-01T00:00:00.123456789Z"
        append(log.with_name(log.name + ".1"), f"{stamp} stdout F zero\n")
        append(log, f"{stamp} stdout P on\n{stamp} stdout F e\n{stamp} stderr F two\n")
        logs = house.kubelet.logs
        assert await read_log(logs(pod, LogOptions(container="c"))) == b"zero\none\ntwo\n"
        assert await read_log(logs(pod, LogOptions(container="c", tail_lines=2))) == b"one\ntwo\n"
        assert await read_log(logs(pod, LogOptions(container="c", limit_bytes=7))) == b"zero\non"
        timed = await read_log(logs(pod, LogOptions(container="c", timestamps=True, tail_lines=2)))
        assert timed == f"{stamp} one\n{stamp} two\n".encode()
        for options, text in (
            (LogOptions(container="zz"), "container zz is not valid for pod web-0"),
            (LogOptions(), "a container name must be specified for pod web-0, choose one of: [c d]"),
            (LogOptions(container="c", previous=True), 'previous terminated container "c" in pod "web-0" not found'),
        ):
            with pytest.raises(StatusError, match=text.replace("[", r"\[")):
                await read_log(logs(pod, options))


async def test_following_a_log_ends_with_the_container_and_previous_shows_the_run_before(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        await house.client.create("pods", make_pod(restartPolicy="Always"))
        pod = await house.until_pod("web-0", is_ready)
        run = house.runtime.spawned[0]
        log = Path(house.runtime.specs[run].log_path)
        append(log, "2026-01-01T00:00:00Z stdout F one\n")
        following = asyncio.ensure_future(read_log(house.kubelet.logs(pod, LogOptions(follow=True))))
        await house.settle()
        append(log, "2026-01-01T00:00:01Z stdout F two\n")
        house.runtime.end(run, 1)
        await house.until(lambda: len(house.runtime.spawned) == 2)
        await house.advance(0.3)
        assert await following == b"one\ntwo\n"
        assert await read_log(house.kubelet.logs(pod, LogOptions(previous=True))) == b"one\ntwo\n"


def test_a_reader_goes_on_across_a_rotation(tmp_path: Path):
    log = tmp_path / "0.log"
    log.write_text("2026-01-01T00:00:00Z stdout F a\n")
    reader = LogReader(log)
    try:
        assert [line.text for line in reader.read()] == [b"a\n"]
        with log.open("a") as file:
            file.write("2026-01-01T00:00:00Z stdout F b\n")
        log.rename(tmp_path / "0.log.1")
        log.write_text("2026-01-01T00:00:00Z stdout F c\n")
        assert [line.text for line in reader.read()] == [b"b\n", b"c\n"]
        assert list(reader.read()) == []
    finally:
        reader.close()


async def serve(answer: bytes):
    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(on_client, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "is_good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", True),
        (b"HTTP/1.1 399 Odd\r\n\r\n", True),
        (b"HTTP/1.1 503 No\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n", True),
        (b"garbage\r\n\r\n", False),
        (b"", False),
    ],
)
async def test_http_probes_judge_by_status_code(answer: bytes, is_good: bool):
    server, port = await serve(answer)
    async with server:
        result = await http_get({"path": "/ok"}, "127.0.0.1", port, "kube-probe/1", 5)
        assert result.has_succeeded is is_good
        assert not result.is_error


async def test_a_tcp_probe_connects_or_says_why_not():
    server, port = await serve(b"")
    async with server:
        assert (await connect("127.0.0.1", port, 5)).has_succeeded
    refused = await connect("127.0.0.1", port, 5)
    assert "refused" in refused.output


def test_output_for_events_is_cleaned_and_cut():
    assert "\x1b" not in clean_output(b"\x1b]52;c;evil\x07ok")
    assert "\u202e" not in clean_output("a\u202eb")
    assert len(clean_output("x" * 5000)) == 1024


def test_make_directory_beneath_makes_what_is_missing(tmp_path: Path):
    with opened_directory(tmp_path) as root:
        os.close(make_directory_beneath(root, "a/b/c"))
    assert (tmp_path / "a/b/c").is_dir()


async def test_a_reattached_pod_has_its_hosts_file_and_config_volumes_kept_current_again(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        await house.client.create("configmaps", config_map(a="1"))
        mounts = [{"name": "c", "mountPath": "/etc/app"}]
        volumes = [{"name": "c", "configMap": {"name": "conf"}}]
        await house.client.create("pods", make_pod(containers=[make_container(volumeMounts=mounts)], volumes=volumes))
        pod = await house.until_pod("web-0", is_ready)
        await house.kubelet.aclose()
        await house.client.patch("configmaps", "default", "conf", {"data": {"a": "2"}}, PatchType.MERGE)
        await house.restart_kubelet()
        directory = house.settings.pods_directory / pod["metadata"]["uid"]
        await house.until(lambda: (directory / "volumes" / "c" / "a").read_text() == "2")
        address = {"ip": "127.99.16.77", "hostname": "web-1"}
        endpoints = {"metadata": {"name": "web", "namespace": "default"}, "subsets": [{"addresses": [address]}]}
        await house.client.create("endpoints", endpoints)
        await house.until(lambda: "web-1.web" in (directory / "etc-hosts").read_text())
        await house.client.patch("configmaps", "default", "conf", {"data": {"a": "3"}}, PatchType.MERGE)
        await house.until(lambda: (directory / "volumes" / "c" / "a").read_text() == "3")
        assert len(house.runtime.spawned) == 1


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, which only root may")
async def test_as_root_volumes_belong_to_the_pods_user_and_group_and_the_way_down_is_passable(tmp_path: Path):
    async with opened_house(tmp_path / "data", is_root=True) as house:
        secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"key": "eA=="}}
        await house.client.create("secrets", secret)
        volumes = [{"name": "e", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "s"}}]
        mounts = [{"name": "e", "mountPath": "/e"}, {"name": "s", "mountPath": "/s"}]
        security = {"runAsUser": 1234, "fsGroup": 2345}
        pod = make_pod(containers=[make_container(volumeMounts=mounts)], volumes=volumes, securityContext=security)
        await house.client.create("pods", pod)
        pod = await house.until_pod("web-0", is_ready)
        directory = house.settings.pods_directory / pod["metadata"]["uid"]
        empty, key = (directory / "volumes/e").stat(), (directory / "volumes/s/key").stat()
        assert (empty.st_uid, empty.st_gid) == (1234, 2345)
        assert empty.st_mode & 0o2070 == 0o2070
        assert (key.st_uid, key.st_gid, key.st_mode & 0o777) == (1234, 2345, 0o640)
        assert directory.stat().st_mode & 0o777 == 0o711
        spec = house.runtime.specs[house.runtime.spawned[0]]
        assert (spec.user, spec.supplementary_groups) == (1234, (2345,))


async def test_without_root_an_event_says_that_the_user_was_not_applied(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        await house.client.create("pods", make_pod(securityContext={"runAsUser": 1000, "fsGroup": 1000}))
        await house.until_event("SecurityContextNotApplied", "runAsUser/fsGroup was not applied")
        assert house.runtime.specs[house.runtime.spawned[0]].user == 1000


async def test_requests_beyond_the_machine_are_told_and_do_not_keep_a_pod_from_starting(tmp_path: Path):
    async with opened_house(tmp_path) as house:
        resources = {"requests": {"cpu": "9000", "memory": "4Gi"}}
        await house.client.create("pods", make_pod(containers=[make_container(resources=resources)]))
        await house.until_pod("web-0", is_ready)
        await house.until_event("BeyondThisMachine", "a cluster would have needed 9000 CPUs")
