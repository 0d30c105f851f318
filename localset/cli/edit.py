"""`edit`: an object in your editor; your change is sent as a patch, and what is refused opens again with the reason."""

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put, say
from localset.cli.selection import FILENAME, KUSTOMIZE, RECURSIVE, Found, run_each
from localset.cli.writing import MERGE, PRINTING, STRATEGIC, VALIDATE, Writer, manager
from localset.machinery.errors import StatusError

FLAGS = Flags(
    "edit",
    "edit (TYPE NAME | -f FILE) [flags]",
    "Change an object in your editor (KUBE_EDITOR, EDITOR, else vi): `edit sts zk`.",
    *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, *PRINTING, VALIDATE, manager("kubectl-edit")),
    Flag("output-patch", "bool", False, "Print the patch too."),
    Flag("save-config", "bool", False, "Remember the manifest for a later apply."),
    Flag("subresource", help="status of the object."),
)
_NOT_FOUND = 127
_HEAD = """\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
"""


def main(context: Context, arguments: list[str]) -> int:
    """Run `edit ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    is_json = given["output"] == "json"
    given["output"] = "" if given["output"] in {"yaml", "json"} else given["output"]
    writer = Writer(context, given, wants_validation=True)
    return run_each(context, given, lambda found: _Edit(given, writer, found, is_json=is_json).run(), verb="edit")


class _Edit:
    """One object on its way through the editor, perhaps more than once."""

    def __init__(self, given: Given, writer: Writer, found: Found, *, is_json: bool) -> None:
        from localset.cli.printing.documents import visible

        self._given, self._writer, self._found, self._is_json = given, writer, found, is_json
        self._original = visible(found.obj)

    def run(self) -> None:
        suffix = ".json" if self._is_json else ".yaml"
        descriptor, name = tempfile.mkstemp(prefix="localset-edit-", suffix=suffix)
        os.close(descriptor)
        file = Path(name)
        before = self._shown(self._original)
        file.write_text(_HEAD + before)
        text, reasons = file.read_text(), ""
        while True:
            _open_editor(file)
            now = file.read_text()
            body = _without_comments(now)
            if not body.strip():
                file.unlink()
                say("Edit cancelled, saved file was empty.")
                return
            if body == _without_comments(text):
                self._cancelled(file, reasons)
                return
            text = now
            try:
                self._send(body)
            except (StatusError, CommandError) as error:
                reasons = self._reasons(error)
                text = _HEAD + "".join(f"# {line}\n" for line in reasons.splitlines()) + "#\n" + body
                file.write_text(text)
                continue
            file.unlink()
            return

    def _cancelled(self, file: Path, reasons: str) -> None:
        if not reasons:
            file.unlink()
            say("Edit cancelled, no changes made.")
            return
        say(f'A copy of your changes has been stored to "{file}"')
        raise CommandError("Edit cancelled, no valid changes were saved.")

    def _shown(self, obj: dict[str, Any]) -> str:
        from localset.cli.printing.documents import to_json, to_yaml

        return to_json(obj) + "\n" if self._is_json else to_yaml(obj)

    def _reasons(self, error: StatusError | CommandError) -> str:
        """Return why the daemon refused, as the file's head says it; on standard error too."""
        resource = self._found.kind.resource
        about = f'{resource.name} "{self._found.name}"'
        if not isinstance(error, StatusError):
            say(f"error: {error}")
            return f"The edited file had a syntax error: {error}"
        causes = error.details.get("causes") or []
        if error.reason == "Invalid" and causes:
            say(f"error: {about} is invalid")
            lines = [f"* {cause.get('field', '')}: {cause.get('message', '')}" for cause in causes]
            return f"{about} was not valid:\n" + "\n".join(lines)
        say(f"error: {about} could not be patched: {error.message}")
        say("You can run `localset replace -f FILE` to try this update again.")
        return f"{about} could not be patched: {error.message}"

    def _send(self, body: str) -> None:
        from localset.machinery.decoding import DecodeError
        from localset.machinery.yaml_decoding import decode_yaml

        try:
            documents = [document.value for document in decode_yaml(body.encode()) if document.value is not None]
        except DecodeError as error:
            raise CommandError(str(error)) from None
        if len(documents) != 1 or not isinstance(documents[0], dict):
            raise CommandError("the file must hold exactly one object")
        wanted = documents[0]
        _check_same(self._original, wanted)
        if self._given["save-config"]:
            from localset.cli.applied import annotated

            wanted = annotated(wanted)
        patch, content_type = self._patch(wanted)
        if not patch:
            say("Edit cancelled, no changes made.")
            return
        if self._given["output-patch"]:
            from localset.cli.printing.documents import go_json

            put(f"Patch: {go_json(patch)}")
        after = self._writer.patch(self._found, patch, content_type, sub=self._given["subresource"])
        self._writer.done(self._found.label, "edited", after)

    def _patch(self, wanted: dict[str, Any]) -> tuple[dict[str, Any], str]:
        kind = self._found.kind
        if not kind.resource.is_built_in:
            from localset.machinery.patch import create_merge_patch

            return create_merge_patch(self._original, wanted), MERGE
        from localset.apis.schema.types import patch_rules
        from localset.machinery.strategic_diff import two_way_patch

        rules = patch_rules(kind.resource.group, kind.version, kind.resource.kind)
        return two_way_patch(self._original, wanted, rules), STRATEGIC


def _check_same(original: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = (("apiVersion", original, wanted), ("kind", original, wanted))
    metadata = (original["metadata"], wanted.get("metadata") or {})
    for field, before, after in (*names, ("name", *metadata), ("namespace", *metadata)):
        if before.get(field) != after.get(field):
            raise CommandError(f"At least one of apiVersion, kind and name was changed: {field}")


def _without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def _open_editor(file: Path) -> None:
    editor = os.environ.get("KUBE_EDITOR") or os.environ.get("EDITOR") or "vi"
    sys.stdout.flush()
    words = [*shlex.split(editor), str(file)]
    if any(char in editor for char in "\"'\\"):
        words = ["/bin/sh", "-c", f"{editor} {shlex.quote(str(file))}"]
    code = os.spawnvp(os.P_WAIT, words[0], words)  # noqa: S606 - a person's own editor, on the terminal we have
    if code == _NOT_FOUND:
        fail(f'unable to launch the editor "{editor}"', hint="KUBE_EDITOR or EDITOR names another")
    if code != 0:
        fail(f'there was a problem with the editor "{editor}"', hint=f"what you wrote is in {file}")
