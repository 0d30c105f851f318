"""What an image.yaml may say, which references an image answers to, and what `add` lets in. Files only, no process."""

import os
from pathlib import Path

import pytest
import yaml

from localset.images.catalogue import BUILTIN_DIRECTORY, Catalogue, ImageError
from localset.images.image import read_image
from localset.images.references import matches, parse_reference


def write_image(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "image.yaml").write_text(text)
    return directory


def empty_catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(tmp_path / "images", {"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("", "host"),
        ("host", "host"),
        ("gcr.io/google_samples/k8szk:v1", "k8szk"),
        ("gcr.io/google_samples/k8szk", "k8szk"),
        ("gcr.io/google_samples/k8szk@sha256:0123", "k8szk"),
        ("gcr.io/google_containers/nginx-slim:0.8", "nginx"),
        ("registry.k8s.io/nginx-slim:0.24", "nginx"),
        ("k8s.gcr.io/nginx-slim:0.8", "nginx"),
        ("nginx", "nginx"),
        ("nginx:1.27-alpine@sha256:0123", "nginx"),
        ("docker.io/library/nginx:1", "nginx"),
        ("docker.io/nginx", "nginx"),
        ("library/busybox", "busybox"),
        ("index.docker.io/library/busybox:1.36", "busybox"),
        ("localhost:5000/nginx", "nginx"),
        ("registry.k8s.io/kubernetes-zookeeper:1.0-3.4.10", "k8szk"),
        ("k8s.gcr.io/kubernetes-zookeeper:1.0", "k8szk"),
        ("gcr.io/google_samples/k8szk:v3", "k8szk"),
        ("zookeeper:3.9", "zookeeper"),
        ("quay.io/coreos/etcd:v3.5.15", "etcd"),
        ("registry.k8s.io/etcd:3.5.15-0", "etcd"),
        ("redis:7-alpine", "redis"),
        ("public.ecr.aws/docker/library/redis:7", "redis"),
        ("postgres:15", "postgres"),
        ("nats:2.10-scratch", "nats"),
        ("mirror.gcr.io/library/httpd:2.4", "httpd"),
        ("registry.k8s.io/pause:3.10", "pause"),
        ("alpine:3", "alpine"),
        ("debian:bookworm-slim", "debian"),
        ("ubuntu", "ubuntu"),
        ("bash:5", "bash"),
        ("python:3.13-slim", "python"),
        ("python", "python"),
        ("curlimages/curl:8.11.1", "curl"),
        ("registry.example.org/hub/curlimages/curl", "curl"),
    ],
)
def test_a_built_in_image_answers_to_every_spelling(tmp_path: Path, reference: str, name: str) -> None:
    image = empty_catalogue(tmp_path).find(reference)
    assert image is not None
    assert image.name == name
    assert image.is_host == (name == "host")


@pytest.mark.parametrize(
    "reference",
    [
        "mysql:8",
        "someone/nginx",
        "example.org/someone/nginx",
        "example.org/my-redis",
        "python:2.7",
        "nginx/x",
        "my-nginx",
        "k8szk",
        "gcr.io/other/k8szk:v1",
        ":",
        "@",
    ],
)
def test_another_image_is_not_found(tmp_path: Path, reference: str) -> None:
    assert empty_catalogue(tmp_path).find(reference) is None


def test_a_port_of_a_registry_is_not_a_tag() -> None:
    assert parse_reference("localhost:5000/a/b") == ("localhost:5000/a/b", "", "")
    assert parse_reference("localhost:5000/a/b:1@sha256:0") == ("localhost:5000/a/b", "1", "sha256:0")


@pytest.mark.parametrize(
    ("pattern", "reference", "answer"),
    [
        ("a/b:*", "a/b@sha256:0", True),
        ("a/b:1.*", "a/b:1.2", True),
        ("a/b:1.*", "a/b:2.1", False),
        ("a/b:latest", "a/b", True),
        ("a/b:1", "a/b", False),
        ("a/b:1", "a/b@sha256:0", False),
        ("a/b@sha256:0", "a/b:1@sha256:0", True),
        ("a/*", "a/b:9", True),
        ("a/*", "a/b/c", False),
        ("**/b", "b", True),
        ("**/b:1.*", "example.org/b:1.2", True),
        ("**/b", "localhost/b", True),
        ("**/b", "example.org/any/path/library/b", True),
        ("**/b", "example.org/docker.io/b", True),
        ("**/b", "example.org/a/b", False),
        ("**/b", "a/b", False),
        ("**/b", "example.org/ab", False),
        ("**/a/b", "example.org/path/a/b", True),
        ("**/a/b", "example.org/ca/b", False),
    ],
)
def test_a_pattern_may_name_tags(pattern: str, reference: str, answer: bool) -> None:
    assert matches(pattern, reference) is answer


def test_the_users_image_wins_over_the_built_in_one(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "mine", "name: mine\npatterns: ['nginx:9']\ncommand: [serve]\n")
    catalogue = empty_catalogue(tmp_path)
    mine, theirs = catalogue.find("nginx:9"), catalogue.find("nginx:8")
    assert mine is not None
    assert theirs is not None
    assert (mine.name, mine.is_builtin) == ("mine", False)
    assert (theirs.name, theirs.is_builtin) == ("nginx", True)


def test_a_changed_file_counts_without_a_restart(tmp_path: Path) -> None:
    catalogue = empty_catalogue(tmp_path)
    assert catalogue.find("tool") is None
    directory = write_image(tmp_path / "images" / "tool", "name: tool\npatterns: [tool]\ncommand: [one]\n")
    assert catalogue.find("tool").command == ("one",)  # type: ignore[union-attr]
    write_image(directory, "name: tool\npatterns: [tool]\ncommand: [another]\n")
    assert catalogue.find("tool").command == ("another",)  # type: ignore[union-attr]


def test_a_broken_image_of_the_user_is_named_and_harms_no_other(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "bad", "name: bad\npatterns: [bad]\ncomand: [x]\n")
    catalogue = empty_catalogue(tmp_path)
    assert catalogue.find("nginx") is not None
    assert catalogue.find("bad") is None
    assert "bad/image.yaml: comand: is not a key of an image" in catalogue.explain("bad:1")
    assert 'answers to "bad:1"' in catalogue.explain("bad:1")
    names = [image.name for image in catalogue.list()]
    assert names == sorted(names)
    assert {"busybox", "host", "k8szk", "nginx"} <= set(names)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("name: [", "not valid YAML: line "),
        ("name: a\nname: b\npatterns: [a]", "the key 'name' stands twice"),
        ("patterns: [a]", "name: is required"),
        ("name: A B\npatterns: [a]", "name: 'A B' is not made of"),
        ("name: ../x\npatterns: [a]", "name: '../x' is not made of"),
        ("name: a", "patterns: is required"),
        ("name: a\npatterns: [a b]", "'a b' is not an image reference"),
        ("name: a\npatterns: a", "patterns: must be a list"),
        ("name: a\npatterns: [a]\ncommand: [1]", "command: must be a list of texts"),
        ("name: a\npatterns: [a]\nenvironment: {A: 1}", "environment.A: must be a text"),
        ("name: a\npatterns: [a]\nenvironment: {'A B': x}", "'A B' is not a variable's name"),
        ("name: a\npatterns: [a]\nusers: {'A B': 1}", "users: 'A B' is not a user's name"),
        ("name: a\npatterns: [a]\nusers: {a: 0}", "users.a: must be a uid above 0"),
        ("name: a\npatterns: [a]\nstopSignal: SIGNONE", "stopSignal: 'SIGNONE' is not a signal"),
        ("name: a\npatterns: [a]\nports: [0]", "ports: 0 is not a port"),
        ("name: a\npatterns: [a]\nuser: '1:x'", "user: must be a uid"),
        ("name: a\npatterns: [a]\nworkingDirectory: x", "workingDirectory: 'x' must be an absolute path"),
        ("name: a\npatterns: [a]\nscratch: [/a/../b]", "scratch: '/a/../b' must be an absolute path"),
        ("name: a\npatterns: [a]\npath: [/]", "path: '/' must be an absolute path below /"),
        ("name: a\npatterns: [a]\nmounts: [{source: gone, target: /x}]", "mounts[0].source: 'gone' does not exist"),
        ("name: a\npatterns: [a]\nmounts: [{source: .., target: /x}]", "mounts[0].source: '..' must be a path inside"),
        (
            "name: a\npatterns: [a]\nmounts: [{source: /etc, target: /x}]",
            "mounts[0].source: '/etc' must be a path inside",
        ),
        ("name: a\npatterns: [a]\nrequires: [{what: x}]", "requires[0].anyOf: is required"),
        ("name: a\npatterns: [a]\nrequires: [{what: x, anyOf: [v], os: z}]", "requires[0].os: is not a key"),
        ("name: a\npatterns: [a]\nhost: true\nscratch: [/x]", "host: an image that is the host has no mounts"),
        ("#" * 70_000, "is larger than 65536 bytes"),
        ("name: a\npatterns: " + "[" * 3000, "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    directory = write_image(tmp_path / "image", text)
    with pytest.raises(ImageError) as caught:
        read_image(directory, {})
    assert complaint in str(caught.value)
    assert str(directory / "image.yaml") in str(caught.value)


def test_every_field_arrives(tmp_path: Path) -> None:
    directory = tmp_path / "image"
    (directory / "files").mkdir(parents=True)
    write_image(
        directory,
        yaml.safe_dump(
            {
                "name": "app",
                "description": "an app",
                "patterns": ["example.org/app:*"],
                "entrypoint": ["app"],
                "command": ["serve"],
                "environment": {"A": "1"},
                "inheritEnvironment": ["JAVA_HOME", "ABSENT"],
                "workingDirectory": "/srv",
                "user": "1000:100",
                "stopSignal": "INT",
                "ports": [8080],
                "mounts": [{"source": "files", "target": "/opt/app/"}],
                "scratch": ["/srv"],
                "path": ["/opt/app"],
                "requires": [{"what": "app", "anyOf": ["app"], "package": "app"}],
            }
        ),
    )
    image = read_image(directory, {"JAVA_HOME": "/java", "OTHER": "x"})
    assert image.entrypoint == ("app",)
    assert image.environment == {"A": "1", "JAVA_HOME": "/java"}
    assert (image.user, image.user_name, image.group) == (1000, "", 100)
    assert image.stop_signal == "SIGINT"
    assert image.mounts == (("files", "/opt/app"),)
    assert (image.scratch, image.path, image.ports) == (("/srv",), ("/opt/app",), (8080,))
    assert not image.is_host


@pytest.mark.parametrize(
    ("user", "expected"), [(7, (7, "", None)), ("7", (7, "", None)), ("www-data", (None, "www-data", None))]
)
def test_a_user_is_a_number_or_a_name(tmp_path: Path, user: object, expected: object) -> None:
    directory = write_image(tmp_path / "image", yaml.safe_dump({"name": "a", "patterns": ["a"], "user": user}))
    image = read_image(directory, {})
    assert (image.user, image.user_name, image.group) == expected


def test_what_the_host_lacks_is_said_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    write_image(
        tmp_path / "images" / "app",
        "name: app\npatterns: [app]\nrequires:\n"
        "  - {what: the app, anyOf: ['${APP_HOME}/app-*.jar', no-such-program-here], package: libapp-java}\n",
    )
    catalogue = Catalogue(tmp_path / "images", {"PATH": str(tmp_path / "bin")})
    image = catalogue.find("app")
    assert image is not None
    assert [str(one) for one in catalogue.missing(image)] == [
        "the app is not installed on this host (Debian and Ubuntu: apt-get install libapp-java)"
    ]
    (tmp_path / "bin" / "app-1.jar").touch()
    with_home = Catalogue(tmp_path / "images", {"PATH": "", "APP_HOME": str(tmp_path / "bin")})
    assert with_home.missing(image) == []


def test_an_added_image_is_found_and_keeps_its_executables(tmp_path: Path) -> None:
    source = write_image(
        tmp_path / "source",
        "name: app\npatterns: [app]\nmounts: [{source: files, target: /opt/app}]\npath: [/opt/app]\n",
    )
    (source / "files").mkdir()
    program = source / "files" / "app"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o4777)
    (source / "files" / "link").symlink_to("app")
    catalogue = empty_catalogue(tmp_path)
    image = catalogue.add(source)
    assert catalogue.find("app:3") == image
    assert image.directory == tmp_path / "images" / "app"
    copied = image.directory / "files" / "app"
    assert copied.stat().st_mode & 0o7777 == (0o755 if os.geteuid() == 0 else 0o700)
    assert (image.directory / "files" / "link").readlink() == Path("app")
    assert [entry.name for entry in (tmp_path / "images").iterdir()] == ["app"]


def test_adding_again_replaces_the_whole_image(tmp_path: Path) -> None:
    source = write_image(tmp_path / "source", "name: app\npatterns: [app]\ncommand: [one]\n")
    (source / "old").touch()
    catalogue = empty_catalogue(tmp_path)
    catalogue.add(source)
    (source / "old").unlink()
    write_image(source, "name: app\npatterns: [app]\ncommand: [two]\n")
    assert catalogue.add(source).command == ("two",)
    assert not (tmp_path / "images" / "app" / "old").exists()


def test_a_link_out_of_the_directory_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    source = write_image(tmp_path / "source", "name: app\npatterns: [app]\n")
    (source / "inside").symlink_to("image.yaml")
    catalogue = empty_catalogue(tmp_path)
    catalogue.add(source)
    (source / "secret").symlink_to("../../etc/passwd")
    with pytest.raises(ImageError, match="secret: is a link that leaves"):
        catalogue.add(source)
    assert sorted(entry.name for entry in (tmp_path / "images" / "app").iterdir()) == ["image.yaml", "inside"]


def test_a_pipe_in_an_image_is_refused(tmp_path: Path) -> None:
    source = write_image(tmp_path / "source", "name: app\npatterns: [app]\n")
    os.mkfifo(source / "pipe")
    with pytest.raises(ImageError, match="neither a file, a directory nor a link"):
        empty_catalogue(tmp_path).add(source)


def test_the_catalogues_own_directory_cannot_be_added(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "app", "name: app\npatterns: [app]\n")
    with pytest.raises(ImageError, match="in the catalogue already"):
        empty_catalogue(tmp_path).add(tmp_path / "images" / "app")


def test_the_programs_of_built_in_images_can_be_run() -> None:
    for image in Catalogue(Path("/nonexistent"), {}).list():
        for directory in image.path:
            source = next(source for source, target in image.mounts if target == directory)
            names = [entry for entry in (image.directory / source).iterdir() if "." not in entry.name]
            assert all(os.access(entry, os.X_OK) for entry in names), image.name
    directories = {entry.name for entry in BUILTIN_DIRECTORY.iterdir()}
    assert directories == {image.name for image in Catalogue(Path("/nonexistent"), {}).list()} | {"_shell"}


def test_a_built_in_image_may_show_its_neighbours_files_and_a_users_image_may_not(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    text = "name: a\npatterns: [a]\nmounts: [{source: ../shared, target: /x}]\n"
    directory = write_image(tmp_path / "a", text)
    assert read_image(directory, {}, is_builtin=True).mounts == (("../shared", "/x"),)
    with pytest.raises(ImageError, match="must be a path inside"):
        read_image(directory, {})


def test_what_the_host_lacks_is_said_with_the_package(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "images", {"PATH": str(tmp_path)})
    image = catalogue.find("curlimages/curl")
    assert image is not None
    requirements = [needed for found in catalogue.list() for needed in found.requirements]
    assert all(needed.package for needed in requirements)
