"""`wait`: until a condition, a field, the presence or the absence of objects; by watches, never by asking again."""

import time
from collections.abc import Callable
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put, write
from localset.cli.selection import (
    ALL,
    ALL_NAMESPACES,
    FIELD_SELECTOR,
    FILENAME,
    RECURSIVE,
    SELECTOR,
    Found,
    Place,
    live,
    places,
)
from localset.cli.transport import path_of
from localset.cli.writing import PRINTING, Writer
from localset.machinery.errors import StatusError

FLAGS = Flags(
    "wait",
    "wait (-f FILE | TYPE NAME | TYPE -l label | TYPE --all) --for=… [flags]",
    "Wait: `wait pod/zk-0 --for=condition=Ready`, `--for=jsonpath='{.status.phase}'=Running`, `--for=delete`, "
    "`--for=create`.",
    *(FILENAME, RECURSIVE, NAMESPACE, SELECTOR, FIELD_SELECTOR, ALL, ALL_NAMESPACES, *PRINTING),
    Flag("for", help="condition=NAME[=VALUE], jsonpath=PATH[=VALUE], delete or create."),
    Flag("timeout", "duration", 30.0, "How long for each; 0: look once; negative: a week."),
)
_WEEK = 7 * 24 * 3600.0
Test = Callable[[dict[str, Any]], bool]


def main(context: Context, arguments: list[str]) -> int:
    """Run `wait ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    condition = given["for"]
    test = None if condition.lower() in {"delete", "create"} else _test_of(condition)
    timeout = _WEEK if given["timeout"] < 0 else given["timeout"]
    writer = Writer(context, given)
    wanted = places(context, given, verb="wait")
    if condition.lower() == "create":
        _wait_for_presence(context, given, wanted, timeout)
    count = 0
    errors: list[StatusError | CommandError] = []
    for place in wanted:
        try:
            for found in list(live(context, given, place)):
                count += 1
                try:
                    last = _wait(context, found, test, timeout, is_presence=condition.lower() == "create")
                except CommandError as error:
                    errors.append(error)
                    continue
                _done(writer, given, found, last)
        except StatusError as error:
            if error.code != 404 or condition.lower() != "delete":
                errors.append(error)
    if errors:
        from localset.cli.failures import tell_refusals

        return tell_refusals(context, errors)
    if not count and condition.lower() != "delete":
        raise CommandError("no matching resources found")
    return 0


def _done(writer: Writer, given: Given, found: Found, obj: dict[str, Any]) -> None:
    if writer.is_lined:
        put(f"{found.label} condition met")
    elif given["output"] == "name":
        write(found.label + "\n")
    else:
        writer.done(found.label, "condition met", obj)


def _test_of(condition: str) -> Test:
    kind, _, rest = condition.partition("=")
    if kind.lower() == "condition" and rest:
        name, equals, value = rest.partition("=")
        return _condition(name.lower(), value.lower() if equals else "true")
    if kind.lower() == "jsonpath" and rest:
        return _field(rest)
    raise CommandError(
        f'unrecognized condition: "{condition}"',
        hint="condition=Ready, jsonpath='{.status.phase}'=Running, delete, create",
    )


def _condition(name: str, value: str) -> Test:
    def test(obj: dict[str, Any]) -> bool:
        status = obj.get("status") or {}
        for condition in status.get("conditions") or []:
            if str(condition.get("type", "")).lower() != name:
                continue
            observed = condition.get("observedGeneration", status.get("observedGeneration"))
            generation = obj["metadata"].get("generation", 0)
            if observed is not None and observed < generation:
                return False
            return bool(str(condition.get("status", "")).lower() == value)
        return False

    return test


def _field(text: str) -> Test:
    from localset.machinery.errors import go_print
    from localset.machinery.jsonpath import PathError
    from localset.machinery.jsonpath_template import relaxed

    path, _, value = text.rpartition("}=") if "}=" in text else text.partition("=")
    path = path + "}" if "}=" in text else path
    has_value = "}=" in text or "=" in text.partition("}")[2] or (not text.startswith("{") and "=" in text)
    if has_value and not value:
        fail(f"jsonpath wait has to have a value after equal sign, like {{.status.readyReplicas}}=3, but got {text}")
    try:
        wanted = relaxed(path.strip("'\""))
    except PathError as error:
        raise CommandError(str(error)) from None

    def test(obj: dict[str, Any]) -> bool:
        found = wanted.find(obj)
        if not found:
            return False
        if not has_value:
            return True
        if len(found) > 1:
            raise CommandError("given jsonpath expression matches more than one value")
        if isinstance(found[0], dict | list):
            raise CommandError("jsonpath leads to a nested object or list which is not supported")
        return bool(go_print(found[0]) == value.strip("'\""))

    return test


def _wait(context: Context, found: Found, test: Test | None, timeout: float, *, is_presence: bool) -> dict[str, Any]:
    """Return the object as it was when the condition was met; CommandError after `timeout` seconds."""
    if is_presence:
        return found.obj
    deadline = time.monotonic() + timeout
    path = path_of(found.kind.resource, found.namespace, version=found.kind.version)
    while True:
        try:
            now = context.api.request("GET", found.path()).body
        except StatusError as error:
            if error.code == 404 and test is None:
                return found.obj
            raise
        if test is None and now["metadata"]["uid"] != found.obj["metadata"]["uid"]:
            return found.obj
        if test is not None and test(now):
            return dict(now)
        left = deadline - time.monotonic()
        if left <= 0 and not timeout:
            fail(f"condition not met for {found.kind.resource.plural}/{found.name}")
        if left <= 0:
            fail(f"timed out waiting for the condition on {found.kind.resource.plural}/{found.name}")
        query = {
            "fieldSelector": f"metadata.name={found.name}",
            "resourceVersion": now["metadata"]["resourceVersion"],
            "timeoutSeconds": max(1, int(left + 0.999)),
        }
        for event in context.api.watch(path, query=query):
            if event["type"] == "DELETED" and test is None:
                return dict(event["object"])
            if event["type"] != "DELETED" and test is not None and test(event["object"]):
                return dict(event["object"])


def _wait_for_presence(context: Context, given: Given, wanted: list[Place], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for place in wanted:
        while True:
            try:
                if list(live(context, given, place)):
                    break
            except StatusError as error:
                if error.code != 404:
                    raise
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandError("timed out waiting for the condition")
            query: dict[str, Any] = {"timeoutSeconds": max(1, int(left + 0.999)), "resourceVersion": "0"}
            if place.name is not None:
                query["fieldSelector"] = f"metadata.name={place.name}"
            else:
                query |= {"labelSelector": given["selector"], "fieldSelector": given["field-selector"]}
            path = path_of(place.kind.resource, place.namespace, version=place.kind.version)
            for event in context.api.watch(path, query=query):
                if event["type"] == "ADDED":
                    break
