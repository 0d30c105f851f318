"""Reading manifests: files, directories, standard input; each document with the place it stands, bounded and strict."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localset.apis.resources import BY_KIND, Resource, find_by_kind
from localset.cli.output import fail

MAX_BYTES = 3 * 1024 * 1024
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass
class Manifest:
    """One object from a file. `place` is for messages: `zookeeper.yaml line 12`."""

    obj: dict[str, Any]
    resource: Resource
    version: str
    namespace: str
    name: str
    place: str
    duplicates: list[str]

    @property
    def label(self) -> str:
        """Return `statefulset.apps/zk` as kubectl prints it."""
        group = f".{self.resource.group}" if self.resource.group else ""
        return f"{self.resource.singular}{group}/{self.name}"


def read_manifests(paths: tuple[str, ...], namespace: str | None, *, recursive: bool = False) -> list[Manifest]:
    """Return the objects of all files in order; fail with file and line at the first that is not acceptable."""
    manifests: list[Manifest] = []
    for name, data in _contents(paths, recursive=recursive):
        manifests += _parse(name, data, namespace)
    if not manifests:
        fail("no objects passed to apply", hint="the files hold no documents")
    return manifests


def _contents(paths: tuple[str, ...], *, recursive: bool) -> list[tuple[str, bytes]]:
    if not paths:
        fail("must specify -f FILE", hint="-f takes files, directories, or - for standard input")
    found: list[tuple[str, bytes]] = []
    for text in paths:
        if text == "-":
            found.append(("standard input", sys.stdin.buffer.read(MAX_BYTES + 1)))
            continue
        path = Path(text)
        try:
            if path.is_dir():
                walked = path.rglob("*") if recursive else path.iterdir()
                files = sorted(f for f in walked if f.suffix in _SUFFIXES and f.is_file())
                if not files:
                    fail(f"{text}: no .yaml, .yml or .json file in it")
            else:
                files = [path]
            for file in files:
                with file.open("rb") as stream:
                    found.append((str(file), stream.read(MAX_BYTES + 1)))
        except OSError as error:
            fail(f'the path "{text}" cannot be read: {error.strerror}')
    return found


def _parse(name: str, data: bytes, namespace: str | None) -> list[Manifest]:
    from localset.machinery.decoding import DecodeError
    from localset.machinery.yaml_decoding import decode_yaml

    if len(data) > MAX_BYTES:
        fail(f"{name}: larger than 3 MiB")
    try:
        documents = decode_yaml(data)
    except DecodeError as error:
        fail(f"{name}: {error}")
    manifests: list[Manifest] = []
    for document in documents:
        if document.value is None:
            continue
        place = f"{name} line {document.line}"
        items = [document.value]
        if isinstance(document.value, dict) and str(document.value.get("kind", "")).endswith("List"):
            items = document.value.get("items") or []
        manifests += [_manifest(item, place, namespace, document.duplicates) for item in items]
    return manifests


def _manifest(obj: Any, place: str, namespace: str | None, duplicates: list[str]) -> Manifest:
    if not isinstance(obj, dict):
        fail(f"{place}: not an object but {type(obj).__name__}")
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    for key, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            fail(f"{place}: {key} is not set")
    resource = find_by_kind(str(api_version), str(kind))
    if resource is None:
        fail(
            f'{place}: no matches for kind "{kind}" in version "{api_version}"',
            hint=_kind_hint(str(api_version), str(kind)),
        )
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        fail(f"{place}: metadata is not set")
    name = metadata.get("name") or ""
    if not isinstance(name, str) or (not name and not metadata.get("generateName")):
        fail(f"{place}: metadata.name is not set")
    given = metadata.get("namespace")
    if resource.namespaced:
        if given and namespace and given != namespace:
            fail(
                f'{place}: the namespace from the object "{given}" does not match the namespace "{namespace}"',
                hint=f"pass --namespace={given}",
            )
        metadata["namespace"] = given or namespace or "default"
    return Manifest(
        obj=obj,
        resource=resource,
        version=str(api_version).rpartition("/")[2],
        namespace=metadata["namespace"] if resource.namespaced else "",
        name=name,
        place=place,
        duplicates=duplicates,
    )


def _kind_hint(api_version: str, kind: str) -> str:
    import difflib

    for (_, known), resource in BY_KIND.items():
        if known == kind:
            return f"{kind} is served as " + ", ".join(resource.api_version(v) for v in resource.versions)
    near = difflib.get_close_matches(kind, [k for _, k in BY_KIND], n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    if kind in {"Deployment", "ReplicaSet", "DaemonSet", "Job", "CronJob"}:
        return "localset runs StatefulSets and Pods; write it as a StatefulSet, or use a cluster"
    return "known kinds: " + ", ".join(sorted({k for _, k in BY_KIND}))
