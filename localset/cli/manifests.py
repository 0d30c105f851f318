"""Reading manifests: files, directories, standard input; each document with the place it stands, bounded and strict.

Refusals are kubectl's words; the line is ours and stands in the hint.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from localset.cli.output import CommandError, fail
from localset.cli.targets import Kind, Kinds

if TYPE_CHECKING:
    from localset.cli.context import Context

MAX_BYTES = 3 * 1024 * 1024
_SUFFIXES = {".yaml", ".yml", ".json"}
_DEFINITION = "CustomResourceDefinition"
_UNVALIDATED = "if you choose to ignore these errors, turn validation off with --validate=false"


class Manifest(NamedTuple):
    """One object from a file. `source` is the file as kubectl names it, `place` says the line too."""

    obj: dict[str, Any]
    kind: Kind
    namespace: str
    name: str
    source: str
    place: str
    duplicates: list[str]

    @property
    def label(self) -> str:
        """Return `statefulset.apps/zk` as kubectl prints it."""
        return f"{self.kind.label}/{self.name}"


def read_manifests(
    context: "Context",
    paths: list[str],
    namespace: str,
    *,
    recursive: bool = False,
    verb: str = "apply",
    may_define: bool = False,
) -> list[Manifest]:
    """Return the objects of all files in order; CommandError at the first that is not acceptable.

    `namespace` is what `-n` said, empty for nothing: objects that name another are refused then. With `may_define` the
    files may hold objects of kinds that they define themselves; the definitions come first then.
    """
    kinds = Kinds(context)
    read = [(name, found) for name, data in _contents(paths, recursive=recursive) for found in _documents(name, data)]
    if may_define and any(isinstance(d, dict) and d.get("kind") == _DEFINITION for _, (d, _, _) in read):
        from localset.cli.definitions import kinds_of

        kinds.made = kinds_of([document for _, (document, _, _) in read])
    manifests: list[Manifest] = []
    for name, (document, duplicates, place) in read:
        manifests.append(_manifest(document, duplicates, (name, place), kinds, (namespace, context.namespace)))
    if any(manifest.kind.resource in kinds.made for manifest in manifests):
        manifests.sort(key=lambda manifest: manifest.kind.resource.kind != _DEFINITION)
    if not manifests:
        fail(f"no objects passed to {verb}", hint="the files hold no documents")
    return manifests


def _contents(paths: list[str], *, recursive: bool) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for text in (part for path in paths for part in path.split(",")):
        if text == "-":
            found.append(("STDIN", sys.stdin.buffer.read(MAX_BYTES + 1)))
            continue
        if text.startswith(("http://", "https://")):
            fail(f"{text}: manifests are not fetched from the network", hint="curl it into `localset apply -f -`")
        path = Path(text)
        try:
            if path.is_dir():
                walked = path.rglob("*") if recursive else path.iterdir()
                files = sorted(f for f in walked if f.suffix in _SUFFIXES and f.is_file())
                if not files:
                    fail(f"error reading [{text}]: recognized file extensions are [.json .yaml .yml]")
            else:
                files = [path]
            for file in files:
                with file.open("rb") as stream:
                    found.append((str(file), stream.read(MAX_BYTES + 1)))
        except FileNotFoundError:
            fail(f'the path "{text}" does not exist')
        except OSError as error:
            fail(f'the path "{text}" cannot be accessed: {error.strerror}')
    return found


def _documents(name: str, data: bytes) -> list[tuple[Any, list[str], str]]:
    from localset.machinery.decoding import DecodeError
    from localset.machinery.yaml_decoding import decode_yaml

    shown = "standard input" if name == "STDIN" else name
    if len(data) > MAX_BYTES:
        fail(f"{shown}: larger than 3 MiB")
    try:
        documents = decode_yaml(data)
    except DecodeError as error:
        fail(f"error parsing {shown}: error converting YAML to JSON: yaml: {error}")
    found: list[tuple[Any, list[str], str]] = []
    for document in documents:
        if document.value is None:
            continue
        items = [document.value]
        if isinstance(document.value, dict) and str(document.value.get("kind", "")).endswith("List"):
            items = document.value.get("items") or []
        found += [(item, document.duplicates, f"{shown} line {document.line}") for item in items]
    return found


def _manifest(
    obj: Any, duplicates: list[str], source: tuple[str, str], kinds: Kinds, namespaces: tuple[str, str]
) -> Manifest:
    name, place = source
    if not isinstance(obj, dict):
        raise _invalid(name, place, "invalid object to validate")
    api_version, word = obj.get("apiVersion"), obj.get("kind")
    for key, value in (("apiVersion", api_version), ("kind", word)):
        if not isinstance(value, str) or not value:
            raise _invalid(name, place, f"{key} not set")
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise _invalid(name, place, "metadata is not set")
    called = metadata.get("name") or ""
    if not isinstance(called, str):
        raise _invalid(name, place, "metadata.name is no text")
    kind = kinds.find_by_kind(str(api_version), str(word))
    given, (wanted, default) = metadata.get("namespace"), namespaces
    if kind is None:
        raise CommandError(
            f'resource mapping not found for name: "{called}" namespace: "{given or ""}" from "{name}": no matches for '
            f'kind "{word}" in version "{api_version}"\nensure CRDs are installed first',
            hint=_kind_hint(kinds, str(api_version), str(word)),
        )
    if not kind.resource.namespaced:
        return Manifest(obj, kind, "", called, name, place, duplicates)
    if given and wanted and given != wanted:
        raise CommandError(
            f'the namespace from the provided object "{given}" does not match the namespace "{wanted}". '
            f"You must pass '--namespace={given}' to perform this operation."
        )
    obj = {**obj, "metadata": {**metadata, "namespace": given or wanted or default}}
    return Manifest(obj, kind, obj["metadata"]["namespace"], called, name, place, duplicates)


def _invalid(name: str, place: str, why: str) -> CommandError:
    return CommandError(f'error validating "{name}": error validating data: {why}; {_UNVALIDATED}', hint=place)


def _kind_hint(kinds: Kinds, api_version: str, kind: str) -> str:
    import difflib

    known = [(r, r.api_version(v)) for r in kinds.discovered() for v in r.versions]
    versions = [version for resource, version in known if resource.kind == kind]
    if versions:
        return f"{kind} is served as " + ", ".join(versions)
    near = difflib.get_close_matches(kind, [r.kind for r, _ in known], n=1)
    return f'did you mean "{near[0]}"?' if near else "`localset api-resources` lists the kinds"
