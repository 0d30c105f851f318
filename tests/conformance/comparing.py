"""Compares one live answer with the recorded one; says each difference in one line. Pure but for the file's Pairs.

Rules: the fixtures' README, section Comparing. A line is `PATH: recorded VALUE, got VALUE`, `PATH: missing VALUE` or
`PATH: unexpected VALUE`; explained.toml matches these lines.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from tests.conformance import volatile
from tests.conformance.owned import listed, owned_lines

ABSENT = object()
SHOWN = 200


@dataclass
class Pairs:
    """Which live value stands for which recorded one in this file, by kind of value."""

    live: dict[tuple[str, str], str] = field(default_factory=dict)
    recorded: dict[tuple[str, str], str] = field(default_factory=dict)

    def meet(self, kind: str, recorded: str, live: str) -> bool:
        """Note that the two stand for each other; False when one of them already stood for something else."""
        known = self.live.setdefault((kind, recorded), live)
        known_back = self.recorded.setdefault((kind, live), recorded)
        if known == live and known_back == recorded:
            return True
        self.live[kind, recorded], self.recorded[kind, live] = live, recorded  # tell it once, not ever after
        return False


@dataclass
class Answer:
    """A live answer: `body` is a JSON value, a text, bytes, or for a watch None with `events`."""

    status: int
    headers: list[tuple[str, str]]
    body: Any = None
    events: list[Any] = field(default_factory=list)
    has_ended: bool = False

    def header(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    text = json.dumps(text) if isinstance(value, str) else text
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _name_of(item: Any) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _has_free_order(path: str) -> bool:
    """Tell whether the recorded server may have answered a list from its cache, which has no order."""
    return "resourceVersion=" in path and "Exact" not in path


def in_free_order(events: list[Any]) -> list[Any]:
    """Return watch events with the burst of ADDED at their head sorted by name."""
    burst = 0
    while burst < len(events) and events[burst].get("type") == "ADDED":
        burst += 1

    def by_name(event: Any) -> tuple[str, str]:
        obj = event["object"]
        rows = obj.get("rows") or []
        if rows:
            return "", str(rows[0]["cells"][0])
        return _name_of(obj)

    return sorted(events[:burst], key=by_name) + events[burst:]


class Comparison:
    """Collects the differences of one record."""

    def __init__(self, pairs: Pairs, generated_from: str = "") -> None:
        self._pairs = pairs
        self._generated_from = generated_from
        self.found: list[str] = []

    def answers(self, recorded: dict[str, Any], live: Answer, path: str) -> list[str]:
        """Return all differences between the recorded answer to `path` and the live one."""
        if recorded["status"] != live.status:
            self._differ("status", recorded["status"], live.status)
        self._headers(recorded.get("headers", {}), live)
        if "events" in recorded:
            self._events(recorded, live)
        elif "body" in recorded:
            self._bodies(recorded["body"], live.body, path)
        elif "text" in recorded and "yaml" in recorded.get("headers", {}).get("Content-Type", ""):
            self.values("", *(_plain(yaml.safe_load(text)) for text in (recorded["text"], live.body)))
        elif "text" in recorded:
            got = live.body if isinstance(live.body, str) else _shown(live.body)
            if volatile.in_text(recorded["text"]) != volatile.in_text(got):
                self._differ("text", recorded["text"], got)
        return self.found

    def _bodies(self, recorded: Any, live: Any, path: str) -> None:
        kinds = [side.get("kind") if isinstance(side, dict) else type(side).__name__ for side in (recorded, live)]
        if kinds == ["Status", "Status"]:
            self._statuses(recorded, live)
            return
        if "Status" in kinds:
            sides = zip(kinds, (recorded, live), strict=True)
            texts = [side.get("message") if kind == "Status" else kind for kind, side in sides]
            self._differ("body", *texts)
            return
        if isinstance(recorded, dict) and isinstance(live, dict) and _has_free_order(path) and "items" in recorded:
            recorded = {**recorded, "items": sorted(recorded["items"] or [], key=_name_of)}
            live = {**live, "items": sorted(live.get("items") or [], key=_name_of)}
        self.values("", recorded, live)

    def _differ(self, path: str, recorded: Any, live: Any) -> None:
        if recorded is ABSENT:
            self.found.append(f"{path}: unexpected {_shown(live)}")
        elif live is ABSENT:
            self.found.append(f"{path}: missing {_shown(recorded)}")
        else:
            self.found.append(f"{path}: recorded {_shown(recorded)}, got {_shown(live)}")

    def _headers(self, recorded: dict[str, Any], live: Answer) -> None:
        for name in volatile.ANSWER_HEADERS:
            if name in recorded and live.header(name) != [recorded[name]]:
                self._differ(f"header {name}", recorded[name], ", ".join(live.header(name)) or ABSENT)
        wanted = recorded.get("Warning", [])
        wanted = [wanted] if isinstance(wanted, str) else wanted
        if wanted != live.header("Warning"):
            self._differ("header Warning", wanted or ABSENT, live.header("Warning") or ABSENT)

    def _events(self, recorded: dict[str, Any], live: Answer) -> None:
        if live.status != 200:
            self._differ("events", recorded["events"], live.body)
            return
        wanted, got = in_free_order(recorded["events"]), in_free_order(live.events)
        if (recorded.get("ended") == "by the server") is not live.has_ended:
            self._differ("ended", recorded.get("ended"), "by the server" if live.has_ended else "by the client")
        types = [event.get("type") for event in wanted], [event.get("type") for event in got]
        if types[0] != types[1]:
            self._differ("events", types[0], types[1])
            return
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            if one["object"].get("kind") == "Status":
                self._statuses(one["object"], other["object"])
            else:
                self.values(f"events[{index}].object", one["object"], other["object"])

    def _statuses(self, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        for key in ("kind", "status", "reason", "code"):
            if recorded.get(key) != live.get(key):
                self._differ(f".{key}", recorded.get(key, ABSENT), live.get(key, ABSENT))
        self._message(recorded.get("message", ""), live.get("message", ""))
        if live.get("kind") != "Status":
            return
        details, got = recorded.get("details") or {}, live.get("details") or {}
        for key in ("name", "group", "kind", "retryAfterSeconds"):
            if not self._is_same(details.get(key), got.get(key)):
                self._differ(f".details.{key}", details.get(key, ABSENT), got.get(key, ABSENT))
        if "uid" in details or "uid" in got:
            self._value(".details.uid", "uid", details.get("uid", ABSENT), got.get("uid", ABSENT))
        causes = [[(c.get("reason"), c.get("field")) for c in d.get("causes") or []] for d in (details, got)]
        if causes[0] != causes[1]:
            self._differ(".details.causes", causes[0], causes[1])

    def _is_same(self, recorded: Any, live: Any) -> bool:
        if isinstance(recorded, str) and isinstance(live, str):
            return self._in_text(recorded) == self._in_text(live)
        return bool(recorded == live)

    def _message(self, recorded: str, live: Any) -> None:
        leak = volatile.GO_INTERNALS.search(recorded)
        wanted = self._in_text(recorded[: leak.start()] if leak else recorded)
        got = self._in_text(str(live))
        if (leak and not got.startswith(wanted)) or (not leak and got != wanted):
            self._differ(".message", wanted, got)

    def values(self, path: str, recorded: Any, live: Any) -> None:
        """Compare two JSON values."""
        if isinstance(recorded, dict) and isinstance(live, dict):
            if recorded.get("kind") == "Table" == live.get("kind"):
                self._table(path, recorded, live)
                return
            self._objects(path, recorded, live)
        elif isinstance(recorded, list) and isinstance(live, list):
            live = volatile.without_additions(recorded, live)
            if len(recorded) != len(live):
                self._differ(path, _named(recorded), _named(live))
                return
            for index, (one, other) in enumerate(zip(recorded, live, strict=True)):
                self.values(f"{path}[{index}]", one, other)
        elif recorded in volatile.PUT_IN and isinstance(live, str):
            return
        elif recorded != live or isinstance(recorded, bool) is not isinstance(live, bool):
            if isinstance(recorded, str) and isinstance(live, str) and self._are_alike(recorded, live):
                return
            self._differ(path, recorded, live)

    def _are_alike(self, recorded: str, live: str) -> bool:
        known = self._pairs.live
        for kind in ("uid", "revision", "name", "address"):
            if known.get((kind, recorded)) == live:
                return True
        return self._in_text(recorded) == self._in_text(live)

    def _in_text(self, text: str) -> str:
        prefix = self._generated_from[:58]
        if prefix:
            text = re.sub(re.escape(prefix) + "[a-z0-9]{5}", prefix + "<suffix>", text)
        return volatile.in_text(text)

    def _objects(self, path: str, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        for key in [*recorded, *(key for key in live if key not in recorded)]:
            here = f"{path}.{key}"
            one, other = recorded.get(key, ABSENT), live.get(key, ABSENT)
            if _is_expected(here, key, one, other):
                continue
            if key == "managedFields":
                self._managers(here, recorded, live)
            elif key in {"groups", "resources"} and isinstance(one, list) and isinstance(other, list):
                self._by_name(here, one, other)
            elif key == "resourceVersion" and one is not ABSENT and other is not ABSENT:
                self._version(here, (recorded.get("uid"), live.get("uid")), str(one), str(other))
            else:
                self._value(here, key, one, other)

    def _by_name(self, path: str, recorded: list[Any], live: list[Any]) -> None:
        """Compare what discovery lists: one line for each group or resource that is missing, new or different."""
        if not all(isinstance(item, dict) and "name" in item for item in (*recorded, *live)):
            self.values(path, recorded, live)
            return
        sides = [{item["name"]: item for item in side} for side in (recorded, live)]
        for name in sides[0] | sides[1]:
            self._value(f"{path}[{name}]", name, sides[0].get(name, ABSENT), sides[1].get(name, ABSENT))
        orders = [[name for name in side if name in sides[0] and name in sides[1]] for side in sides]
        if orders[0] != orders[1]:
            self._differ(f"{path} (order)", *orders)

    def _value(self, path: str, key: str, recorded: Any, live: Any) -> None:
        if recorded is ABSENT or live is ABSENT:
            self._differ(path, recorded, live)
        elif volatile.is_time_key(key):
            if volatile.kind_of_moment(recorded) != volatile.kind_of_moment(live):
                self._differ(path, recorded, live)
        elif key == "continue" and isinstance(recorded, str) and isinstance(live, str):
            return
        elif key in volatile.PAIRED_KEYS and self._is_pairable(key, recorded, live):
            if not self._pairs.meet(volatile.PAIRED_KEYS[key], str(recorded), str(live)):
                self._differ(f"{path} (equal values must stay equal)", recorded, live)
        elif key == "description":
            return
        else:
            self.values(path, recorded, live)

    @staticmethod
    def _is_pairable(key: str, recorded: Any, live: Any) -> bool:
        if key in {"clusterIP", "ip", "podIP"} and (recorded in {"None", ""} or live in {"None", ""}):
            return False
        return type(recorded) is type(live) and isinstance(recorded, str | int)

    def _version(self, path: str, uids: tuple[Any, Any], recorded: str, live: str) -> None:
        """Versions of one object must change together; those of lists only have to be versions."""
        if not (recorded.isdigit() and live.isdigit()):
            self.values(path, recorded, live)
            return
        self._pairs.live["version", recorded] = live
        if all(uids) and not self._pairs.meet(f"version of {uids[0]}", recorded, live):
            self._differ(f"{path} (changed on one side only)", recorded, live)

    def _managers(self, path: str, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        if "managedFields" not in recorded:
            return
        sides = [{p for e in side.get("managedFields") or [] for p in owned_lines(e)} for side in (recorded, live)]
        only = [sorted(sides[0] - sides[1]), sorted(sides[1] - sides[0])]
        controllers = [line for line in only[0] if line.startswith(volatile.CONTROLLERS)]
        if controllers:
            self._differ(f"{path} of controllers", "only " + listed(controllers), "none")
        status = [line for line in only[0] if " .status." in line and line not in controllers]
        if status:
            self._differ(f"{path} of status", "only " + listed(status), "none")
        only[0] = [line for line in only[0] if line not in {*controllers, *status}]
        if only != [[], []]:
            self._differ(path, "only " + listed(only[0]), "only " + listed(only[1]))

    def _cell(self, cell: Any) -> Any:
        """Return a recorded cell as its live counterpart should be."""
        for kind in ("address", "revision", "name"):
            if (kind, cell) in self._pairs.live:
                return self._pairs.live[kind, cell]
        return _cell(cell)

    def _table(self, path: str, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        rest = [{k: v for k, v in side.items() if k not in {"columnDefinitions", "rows"}} for side in (recorded, live)]
        self._objects(path, rest[0], rest[1])
        columns = [_columns(side) for side in (recorded, live)]
        if columns[0] != columns[1]:
            self._differ(f"{path}.columnDefinitions", columns[0], columns[1])
        rows, got = recorded.get("rows") or [], live.get("rows") or []
        if len(rows) != len(got):
            self._differ(f"{path}.rows", [r["cells"][:1] for r in rows], [r["cells"][:1] for r in got])
            return
        for index, (one, other) in enumerate(zip(rows, got, strict=True)):
            cells = [[self._cell(c) for c in one["cells"]], [_cell(c) for c in other["cells"]]]
            if cells[0] != cells[1]:
                self._differ(f"{path}.rows[{index}].cells", one["cells"], other["cells"])
            rest = [{k: v for k, v in row.items() if k != "cells"} for row in (one, other)]
            self._objects(f"{path}.rows[{index}]", rest[0], rest[1])


def _plain(value: Any) -> Any:
    """Return a value read from YAML with its moments as texts, as JSON has them."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _is_expected(path: str, key: str, recorded: Any, live: Any) -> bool:
    """Tell whether both say nothing, or the live one adds what newer servers add."""
    if recorded is ABSENT and (volatile.is_newer_field(path) or volatile.is_addition(key, live)):
        return True
    return _is_nothing(key, recorded) and _is_nothing(key, live)


def _is_nothing(key: str, value: Any) -> bool:
    return (
        value is ABSENT or (key == "creationTimestamp" and value is None) or (key == "status" and value in ({}, None))
    )


def _named(items: list[Any]) -> list[Any]:
    """Return what a list of objects shows of itself when its length is wrong."""
    return [_name_of(i)[1] or i if isinstance(i, dict) else i for i in items]


def _columns(table: dict[str, Any]) -> Any:
    columns = table.get("columnDefinitions")
    return columns and [[c.get(key) for key in ("name", "type", "format", "priority")] for c in columns]


def _cell(cell: Any) -> Any:
    if isinstance(cell, str):
        return "<age>" if volatile.AGE.match(cell) else volatile.kind_of_moment(cell)
    return cell if isinstance(cell, int | float | bool) or cell is None else json.dumps(cell)
