"""`patch`: strategic, merge or JSON, as a person wrote it."""

from pathlib import Path
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags
from localset.cli.output import CommandError, fail, put
from localset.cli.printing.outputs import name_of
from localset.cli.selection import FILENAME, KUSTOMIZE, RECURSIVE, Found, run_each
from localset.cli.writing import DRY_RUN, JSON, MERGE, PRINTING, STRATEGIC, Writer, manager
from localset.machinery.errors import StatusError

FLAGS = Flags(
    "patch",
    "patch (-f FILE | TYPE NAME) [-p PATCH | --patch-file FILE] [flags]",
    'Change fields of an object: `patch sts zk -p \'{"spec":{"replicas":5}}\'`.',
    *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, DRY_RUN, *PRINTING, manager("kubectl-patch")),
    Flag("patch", help="The patch, as JSON or YAML.", short="p"),
    Flag("patch-file", help="A file that holds the patch."),
    Flag("type", default="strategic", help="strategic, merge or json."),
    Flag("subresource", help="status or scale of the object."),
    Flag("local", "bool", False, "Print what would be, and send nothing."),
)
_TYPES = {"strategic": STRATEGIC, "merge": MERGE, "json": JSON}


def main(context: Context, arguments: list[str]) -> int:
    """Run `patch ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    if given["patch"] and given["patch-file"]:
        fail("cannot specify --patch and --patch-file together")
    if given["local"]:
        fail("--local is not done here", hint="--dry-run=server prints what would be")
    if given["type"].lower() not in _TYPES:
        listed = " ".join(sorted(_TYPES))
        fail(f'--type must be one of [{listed}], not "{given["type"]}"')
    if not given["patch"] and not given["patch-file"]:
        fail("must specify --patch or --patch-file containing the contents of the patch")
    writer = Writer(context, given)
    patch = _read(given["patch"], given["patch-file"])
    content_type, sub = _TYPES[given["type"].lower()], given["subresource"]

    def act(found: Found) -> None:
        before = found.obj
        if sub:
            before = context.api.request("GET", found.path(sub)).body
        if writer.is_client_run:
            writer.done(found.label, "patched", _patched_here(found, _value_of(patch), given["type"].lower()))
            return
        try:
            after = writer.patch(found, patch, content_type, sub=sub)
        except StatusError as error:
            if error.code != 415:
                raise
            of_kind = f"{found.kind.api_version}, Kind={found.kind.resource.kind}"
            hint = "a custom resource knows no merge keys: --type=merge or --type=json"
            raise CommandError(f"{content_type} is not supported by {of_kind}: {error.message}", hint=hint) from error
        label = name_of(after) if sub else found.label
        writer.done(label, "patched" if _differ(before, after) else "patched (no change)", after, says_dry_run=False)

    return run_each(context, given, act, verb="patch")


def _differ(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return (
        bool(before["metadata"].get("resourceVersion") != after["metadata"].get("resourceVersion")) or before != after
    )


def _patched_here(found: Found, patch: Any, kind: str) -> dict[str, Any]:
    from localset.apis.schema.types import patch_rules
    from localset.machinery.patch import apply_json_patch, apply_merge_patch, apply_strategic_patch

    if kind == "json":
        return dict(apply_json_patch(found.obj, patch))
    if kind == "merge" or not found.kind.resource.is_built_in:
        return dict(apply_merge_patch(found.obj, patch))
    rules = patch_rules(found.kind.resource.group, found.kind.version, found.kind.resource.kind)
    return dict(apply_strategic_patch(found.obj, patch, rules))


def _value_of(patch: Any) -> Any:
    import json

    if not isinstance(patch, bytes):
        return patch
    try:
        return json.loads(patch)
    except ValueError as error:
        raise CommandError(f"unable to parse the patch: {error}") from None


def _read(text: str, file: str) -> Any:
    """Return the patch as bytes of JSON when it is JSON already, else as a value: the daemon judges what it means."""
    if file:
        try:
            text = Path(file).read_text()
        except OSError as error:
            fail(f"unable to read patch file: open {file}: {str(error.strerror).lower()}")
    if text.lstrip()[:1] in {"{", "["}:
        return text.encode()
    from localset.machinery.decoding import DecodeError
    from localset.machinery.yaml_decoding import decode_yaml

    try:
        documents = decode_yaml(text.encode())
    except DecodeError as error:
        raise CommandError(f'unable to parse "{text}": yaml: {error}') from None
    return documents[0].value if documents else None
