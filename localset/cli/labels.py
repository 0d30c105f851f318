"""`label` and `annotate`: `app=zk` sets, `app-` removes; what stands already is not overwritten unless asked."""

import re
from typing import Any, NamedTuple

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put
from localset.cli.selection import (
    ALL,
    ALL_NAMESPACES,
    FIELD_SELECTOR,
    FILENAME,
    KUSTOMIZE,
    RECURSIVE,
    SELECTOR,
    Found,
    run_each,
)
from localset.cli.writing import DRY_RUN, MERGE, PRINTING, Writer, manager


class _Words(NamedTuple):
    command: str
    field: str
    done: str
    noun: str


_LABEL = _Words("label", "labels", "labeled", "label")
_ANNOTATE = _Words("annotate", "annotations", "annotated", "annotation")


def _flags(words: _Words) -> Flags:
    return Flags(
        words.command,
        f"{words.command} [--overwrite] (-f FILE | TYPE NAME) KEY=VALUE … KEY- [flags]",
        f"Set {words.field} of objects: `{words.command} pod zk-0 tier=db`; `tier-` removes one.",
        *(FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR, FIELD_SELECTOR, ALL, ALL_NAMESPACES, DRY_RUN, *PRINTING),
        manager(f"kubectl-{words.command}"),
        Flag("overwrite", "bool", False, "Change what stands already."),
        Flag("list", "bool", False, f"Print the {words.field}."),
        Flag("resource-version", help="Only if the object is at this version."),
        Flag("local", "bool", False, "Not done here."),
    )


FLAGS = {words.command: _flags(words) for words in (_LABEL, _ANNOTATE)}


def main_label(context: Context, arguments: list[str]) -> int:
    """Run `label ARGUMENTS`."""
    return _run(context, arguments, _LABEL)


def main_annotate(context: Context, arguments: list[str]) -> int:
    """Run `annotate ARGUMENTS`."""
    return _run(context, arguments, _ANNOTATE)


def _run(context: Context, arguments: list[str], words: _Words) -> int:
    flags = FLAGS[words.command]
    given = flags.parse(arguments)
    if given["help"]:
        put(flags.help_text())
        return 0
    named, changes, removed = _split(given, words)
    if given["local"]:
        fail("--local is not done here", hint="--dry-run=server prints what would be")
    if not named and not given["filename"]:
        fail("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    if not changes and not removed and not given["list"]:
        fail(f"at least one {words.noun} update is required")
    writer = Writer(context, given)

    def act(found: Found) -> None:
        _change(found, given, writer, words, changes, removed)

    return run_each(context, given, act, words=named, verb=words.command)


_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")


def _split(given: Given, words: _Words) -> tuple[list[str], dict[str, str], list[str]]:
    """Return (words that name objects, what to set, what to remove)."""
    start = next((i for i, word in enumerate(given.words) if "=" in word or word.endswith("-")), len(given.words))
    named, pairs = given.words[:start], given.words[start:]
    changes: dict[str, str] = {}
    removed: list[str] = []
    for word in pairs:
        key, equals, value = word.partition("=")
        if equals and key:
            if words is _LABEL and (len(value) > 63 or not _VALUE.match(value)):
                fail(_bad_value(word, value))
            changes[key] = value
        elif word.endswith("-") and not equals:
            removed.append(word[:-1])
        else:
            fail(f"all resources must be specified before {words.noun} changes: {word}")
    both = sorted(set(changes) & set(removed))
    if both:
        what = "a label" if words is _LABEL else "the following annotation(s)"
        fail(f"can not both modify and remove {what} in the same command{'' if words is _LABEL else ': ' + both[0]}")
    return named, changes, removed


def _bad_value(word: str, value: str) -> str:
    if len(value) > 63:
        return f'invalid label value: "{word}": must be no more than 63 bytes'
    return (
        f'invalid label value: "{word}": a valid label must be an empty string or consist of alphanumeric characters, '
        "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
        "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    )


def _change(
    found: Found, given: Given, writer: Writer, words: _Words, changes: dict[str, str], removed: list[str]
) -> None:
    present = found.obj["metadata"].get(words.field) or {}
    if not given["overwrite"]:
        _refuse_overwriting(words, present, changes)
    absent = [key for key in removed if key not in present]
    if words is _LABEL:
        for key in absent:
            put(f'label "{key}" not found.')
    wanted: dict[str, Any] = {key: value for key, value in changes.items() if present.get(key) != value}
    wanted |= {key: None for key in removed if key in present}
    if given["list"]:  # as kubectl: shows what would be, and changes nothing
        for key, value in sorted({**present, **wanted}.items()):
            if value is not None:
                put(f"{key}={value}")
        return
    after = found.obj
    if not writer.is_client_run and (wanted or words is _ANNOTATE):
        patch: dict[str, Any] = {"metadata": {words.field: wanted}} if wanted else {}
        if given["resource-version"]:
            patch.setdefault("metadata", {})["resourceVersion"] = given["resource-version"]
        after = writer.patch(found, patch, MERGE)
    writer.done(found.label, _said(words, changes, wanted), after)


def _said(words: _Words, changes: dict[str, str], wanted: dict[str, Any]) -> str:
    if words is _ANNOTATE:
        return "annotated"
    if not wanted:
        return "not labeled"
    return "unlabeled" if not any(wanted.get(key) is not None for key in changes) else "labeled"


def _refuse_overwriting(words: _Words, present: dict[str, str], changes: dict[str, str]) -> None:
    taken = [key for key in sorted(changes) if key in present and present[key] != changes[key]]
    if not taken:
        return
    if words is _LABEL:
        raise CommandError(f"'{taken[0]}' already has a value ({present[taken[0]]}), and --overwrite is false")
    listed = "; ".join(f"'{key}' already has a value ({present[key]})" for key in taken)
    raise CommandError(f"--overwrite is false but found the following declared annotation(s): {listed}")
