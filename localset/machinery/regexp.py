r"""Patterns in RE2's syntax, matched in time that grows with the text only.

The schemas of custom resources carry patterns by whoever wrote the definition, and every object's texts meet them.
Python's `re` backtracks: `^(a+)+$` against forty letters would hold the daemon for hours. Kubernetes uses Go's RE2,
so its syntax is read here and run as a set of states, one step per character and state (Thompson), cached as it goes.
Only asks whether a pattern is found somewhere; no groups, no back-references, as in RE2. Pure.
"""

import bisect
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

MAX_PROGRAM = 10_000
MAX_REPEAT = 1000
MAX_DEPTH = 100
MAX_STEPS = 1_000_000
"""Instructions looked at for one text: under a second. Go has no such bound, but runs a hundred times faster."""
_MAX_CACHED = 100_000
"""States in a pattern's cache: some megabytes."""
_LAST = 0x10FFFF


class PatternError(ValueError):
    """The pattern is none that RE2 takes; the text is Go's where it is short."""


class TooExpensiveError(ValueError):
    """The text is too long for so large a pattern."""


class _Set:
    """Characters: sorted ranges, tests by category, and whether case counts."""

    __slots__ = ("_categories", "_folds", "_is_negated", "_starts", "_stops")

    def __init__(
        self,
        ranges: list[tuple[int, int]],
        categories: list[tuple[str, bool]] | None = None,
        *,
        is_negated: bool = False,
        folds: bool = False,
    ) -> None:
        merged: list[tuple[int, int]] = []
        for low, high in sorted(ranges):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self._starts = [low for low, _ in merged]
        self._stops = [high for _, high in merged]
        self._categories = categories or []
        self._is_negated = is_negated
        self._folds = folds

    def holds(self, char: str) -> bool:
        found = self._has(char)
        if not found and self._folds:
            found = any(len(other) == 1 and self._has(other) for other in (char.lower(), char.upper()))
        return found is not self._is_negated

    def _has(self, char: str) -> bool:
        code = ord(char)
        index = bisect.bisect_right(self._starts, code) - 1
        if index >= 0 and code <= self._stops[index]:
            return True
        return any(
            unicodedata.category(char).startswith(name) is not is_negated for name, is_negated in self._categories
        )


class _Node(NamedTuple):
    """A piece of a pattern: kind, and what the kind needs."""

    kind: str
    nodes: tuple["_Node", ...] = ()
    chars: _Set | None = None
    name: str = ""
    low: int = 0
    high: int = -1


_EMPTY = _Node("cat")
_DIGITS, _SPACES = [(48, 57)], [(9, 10), (12, 13), (32, 32)]
_WORDS = [(48, 57), (65, 90), (95, 95), (97, 122)]
_PERL = {"d": _DIGITS, "s": _SPACES, "w": _WORDS}
_CONTROLS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_POSIX = {
    "alnum": [(48, 57), (65, 90), (97, 122)],
    "alpha": [(65, 90), (97, 122)],
    "ascii": [(0, 127)],
    "blank": [(9, 9), (32, 32)],
    "cntrl": [(0, 31), (127, 127)],
    "digit": _DIGITS,
    "graph": [(33, 126)],
    "lower": [(97, 122)],
    "print": [(32, 126)],
    "punct": [(33, 47), (58, 64), (91, 96), (123, 126)],
    "space": [(9, 13), (32, 32)],
    "upper": [(65, 90)],
    "word": _WORDS,
    "xdigit": [(48, 57), (65, 70), (97, 102)],
}
_SUBCATEGORIES = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
_CATEGORIES = frozenset(major + minor for major, minors in _SUBCATEGORIES.items() for minor in ("", *minors))


def _complement(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, _LAST)] if start <= _LAST else found


class _Parser:
    """Reads one pattern by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._flags = frozenset[str]()
        self._depth = 0

    def parse(self) -> _Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise PatternError(f"unexpected ): `{self._text}`")
        return node

    def _peek(self, ahead: int = 1) -> str:
        return self._text[self._at : self._at + ahead]

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise PatternError("trailing backslash at end of expression: ``")
        self._at += 1
        return self._text[self._at - 1]

    def _alternatives(self) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PatternError("expression nests too deeply")
        flags = self._flags
        found = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            found.append(self._sequence())
        self._flags = flags
        self._depth -= 1
        return found[0] if len(found) == 1 else _Node("alt", tuple(found))

    def _sequence(self) -> _Node:
        found: list[_Node] = []
        while self._peek() not in {"", "|", ")"}:
            start = self._at
            if self._peek() in {"*", "+", "?"}:
                raise PatternError(f"missing argument to repetition operator: `{self._peek()}`")
            node = self._atom()
            bounds, was_repeated = self._repetition(), False
            while bounds is not None:
                if was_repeated:
                    raise PatternError(f"invalid nested repetition operator: `{self._text[start : self._at]}`")
                node = _Node("rep", (node,), low=bounds[0], high=bounds[1])
                was_repeated = True
                bounds = self._repetition()
            found.append(node)
        return found[0] if len(found) == 1 else _Node("cat", tuple(found))

    def _repetition(self) -> tuple[int, int] | None:
        simple = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}
        char = self._peek()
        if char in simple and char:
            self._at += 1
            bounds = simple[char]
        elif char == "{":
            stop = self._text.find("}", self._at)
            low, comma, high = self._text[self._at + 1 : max(stop, 0)].partition(",")
            if stop < 0 or not low.isascii() or not low.isdigit() or (high and not (high.isascii() and high.isdigit())):
                return None  # a brace that is no repetition stands for itself
            bounds = (int(low), int(high) if high else -1 if comma else int(low))
            if max(bounds) > MAX_REPEAT or -1 < bounds[1] < bounds[0]:
                raise PatternError(f"invalid repeat count: `{self._text[self._at : stop + 1]}`")
            self._at = stop + 1
        else:
            return None
        if self._peek() == "?":
            self._at += 1  # lazy: the same texts match
        return bounds

    def _atom(self) -> _Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return _Node("set", chars=self._class())
        if char == ".":
            return _Node("set", chars=_Set([(0, _LAST)] if "s" in self._flags else [(0, 9), (11, _LAST)]))
        if char == "^":
            return _Node("assert", name="line start" if "m" in self._flags else "start")
        if char == "$":
            return _Node("assert", name="line end" if "m" in self._flags else "end")
        if char == "\\":
            return self._escape()
        return self._literal(char)

    def _literal(self, char: str) -> _Node:
        return _Node("set", chars=_Set([(ord(char), ord(char))], folds="i" in self._flags))

    def _group(self) -> _Node:
        flags = self._flags
        if self._peek() == "?":
            start = self._at - 1
            if self._peek(3) == "?P<" or (self._peek(2) == "?<" and self._peek(3) not in {"?<=", "?<!"}):
                stop = self._text.find(">", self._at)
                if stop < 0:
                    raise PatternError(f"invalid named capture: `{self._text[start:]}`")
                self._at = stop + 1
            elif not self._set_flags(start):
                return _EMPTY  # `(?i)`: until the end of the enclosing group
        node = self._alternatives()
        if self._peek() != ")":
            raise PatternError(f"missing closing ): `{self._text}`")
        self._at += 1
        self._flags = flags
        return node

    def _set_flags(self, start: int) -> bool:
        """Read `?flags:` or `?flags)`; tell whether a group follows."""
        self._at += 1
        is_on, flags = True, set(self._flags)
        while True:
            char = self._peek()
            self._at += 1
            if char == "-":
                is_on = False
            elif char and char in "imsU":
                flags = flags | {char} if is_on else flags - {char}
            elif char and char in ":)":
                self._flags = frozenset(flags)
                return char == ":"
            else:
                raise PatternError(f"invalid or unsupported Perl syntax: `{self._text[start : self._at]}`")

    def _escape(self) -> _Node:
        char = self._take()
        asserts = {"A": "start", "z": "end", "b": "word", "B": "no word"}
        if char in asserts:
            return _Node("assert", name=asserts[char])
        if char == "Q":
            stop = self._text.find("\\E", self._at)
            quoted = self._text[self._at :] if stop < 0 else self._text[self._at : stop]
            self._at = len(self._text) if stop < 0 else stop + 2
            return _Node("cat", tuple(self._literal(c) for c in quoted))
        found = self._escaped_class(char)
        if found is not None:
            return _Node("set", chars=_Set(*found))
        return self._literal(chr(self._escaped_code(char)))

    def _escaped_class(self, char: str) -> tuple[list[tuple[int, int]], list[tuple[str, bool]]] | None:
        ranges = _PERL.get(char.lower())
        if ranges is not None:
            return (ranges if char.islower() else _complement(ranges)), []
        if char not in {"p", "P"}:
            return None
        name = self._take()
        if name == "{":
            stop = self._text.find("}", self._at)
            name, self._at = self._text[self._at : max(stop, 0)], stop + 1
        is_negated = (char == "P") is not name.startswith("^")
        name = name.removeprefix("^")
        if name == "Any":
            return ([] if is_negated else [(0, _LAST)]), []
        if name not in _CATEGORIES:
            raise PatternError(f"invalid character class range: `\\{char}{{{name}}}`")
        return [], [(name, is_negated)]

    def _escaped_code(self, char: str) -> int:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            digits = self._peek(2)
            self._at += 2
            if digits.startswith("{"):
                stop = self._text.find("}", self._at - 2)
                digits, self._at = self._text[self._at - 1 : max(stop, 0)], stop + 1
            try:
                return ord(chr(int(digits, 16)))
            except (ValueError, OverflowError):
                raise PatternError(f"invalid escape sequence: `\\x{digits}`") from None
        if char in "01234567" and (char == "0" or self._peek() in set("01234567")):
            digits = char
            while len(digits) < 3 and self._peek() in set("01234567"):
                digits += self._take()
            return int(digits, 8)
        if char.isascii() and (char.isalnum() or char == "_"):
            raise PatternError(f"invalid escape sequence: `\\{char}`")
        return ord(char)

    def _class(self) -> _Set:
        start = self._at - 1
        ranges: list[tuple[int, int]] = []
        categories: list[tuple[str, bool]] = []
        is_negated = self._peek() == "^"
        self._at += is_negated
        is_first = True
        while is_first or self._peek() != "]":
            if self._at >= len(self._text):
                raise PatternError(f"missing closing ]: `{self._text[start:]}`")
            is_first = False
            found = self._class_of_class()
            if found is not None:
                ranges += found[0]
                categories += found[1]
                continue
            low = high = self._class_char()
            if self._peek() == "-" and self._peek(2) not in {"-", "-]"}:
                self._at += 1
                high = self._class_char()
                if high < low:
                    raise PatternError(f"invalid character class range: `{chr(low)}-{chr(high)}`")
            ranges.append((low, high))
        self._at += 1
        return _Set(ranges, categories, is_negated=is_negated, folds="i" in self._flags)

    def _class_of_class(self) -> tuple[list[tuple[int, int]], list[tuple[str, bool]]] | None:
        if self._peek(2) == "[:":
            stop = self._text.find(":]", self._at + 2)
            name = self._text[self._at + 2 : max(stop, 0)]
            ranges = _POSIX.get(name.removeprefix("^"))
            if stop < 0 or ranges is None:
                raise PatternError(f"invalid character class range: `[:{name}:]`")
            self._at = stop + 2
            return (_complement(ranges) if name.startswith("^") else ranges), []
        if self._peek() == "\\" and self._peek(2)[1:] in set("dDsSwWpP"):
            self._at += 1
            return self._escaped_class(self._take())
        return None

    def _class_char(self) -> int:
        char = self._take()
        return self._escaped_code(self._take()) if char == "\\" else ord(char)


class _Instruction(NamedTuple):
    """`set`: a character, then on; `assert`: on if it holds; `split`: to all `targets`; `match`."""

    kind: str
    targets: tuple[int, ...] = ()
    chars: _Set | None = None
    name: str = ""


class _Compiler:
    def __init__(self) -> None:
        self.program: list[_Instruction] = [_Instruction("match")]

    def add(self, instruction: _Instruction) -> int:
        if len(self.program) >= MAX_PROGRAM:
            raise PatternError("expression too large")
        self.program.append(instruction)
        return len(self.program) - 1

    def compile(self, node: _Node, onward: int) -> int:
        """Return the entry of `node`, which goes on to `onward`."""
        if node.kind == "set":
            return self.add(_Instruction("set", (onward,), node.chars))
        if node.kind == "assert":
            return self.add(_Instruction("assert", (onward,), name=node.name))
        if node.kind == "alt":
            return self.add(_Instruction("split", tuple(self.compile(n, onward) for n in node.nodes)))
        if node.kind == "rep":
            return self._repeat(node, onward)
        for part in reversed(node.nodes):
            onward = self.compile(part, onward)
        return onward

    def _repeat(self, node: _Node, onward: int) -> int:
        inner = node.nodes[0]
        if node.high < 0:
            loop = self.add(_Instruction("split"))
            self.program[loop] = _Instruction("split", (self.compile(inner, loop), onward))
            onward = loop
        else:
            end = onward
            for _ in range(node.high - node.low):
                onward = self.add(_Instruction("split", (self.compile(inner, onward), end)))
        for _ in range(node.low):
            onward = self.compile(inner, onward)
        return onward


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


_ASSERTS: dict[str, Callable[[str, str], bool]] = {
    "start": lambda before, _: not before,
    "end": lambda _, after: not after,
    "line start": lambda before, _: before in {"", "\n"},
    "line end": lambda _, after: after in {"", "\n"},
    "word": lambda before, after: _is_word(before) is not _is_word(after),
    "no word": lambda before, after: _is_word(before) is _is_word(after),
}


class Pattern:
    """A compiled pattern. Raises PatternError for one that RE2 does not take."""

    def __init__(self, text: str) -> None:
        """Compile `text`."""
        self.text = text
        compiler = _Compiler()
        self._start = compiler.compile(_Parser(text).parse(), 0)
        self._program = compiler.program
        self._cache: dict[tuple[frozenset[int], str, str], frozenset[int] | None] = {}
        self._cached = 0

    def is_found_in(self, text: str) -> bool:
        """Tell whether the pattern matches somewhere in `text`; TooExpensiveError when that cannot be afforded."""
        states, before, steps = frozenset({self._start}), "", 0
        for char in (*text, ""):
            key = (states, self._context(before), char)
            if key in self._cache:
                following = self._cache[key]
            else:
                following, looked_at = self._step(states, before, char)
                steps += looked_at
                if steps > MAX_STEPS:
                    raise TooExpensiveError(f"the pattern {self.text!r} is too expensive for this text")
                self._cached += len(following or ()) + 1
                if self._cached >= _MAX_CACHED:
                    self._cache.clear()
                    self._cached = 0
                self._cache[key] = following
            if following is None:
                return True
            states, before = following, char
        return False

    @staticmethod
    def _context(before: str) -> str:
        return before if before in {"", "\n"} else "a" if _is_word(before) else "."

    def _step(self, states: frozenset[int], before: str, char: str) -> tuple[frozenset[int] | None, int]:
        """Return (states after `char`, how much was looked at); None when the pattern has matched before it."""
        waiting, seen, after = list(states), set(states), {self._start}
        while waiting:
            instruction = self._program[waiting.pop()]
            if instruction.kind == "match":
                return None, len(seen)
            if instruction.kind == "set":
                if char and instruction.chars is not None and instruction.chars.holds(char):
                    after.add(instruction.targets[0])
                continue
            if instruction.kind == "assert" and not _ASSERTS[instruction.name](before, char):
                continue
            new = set(instruction.targets) - seen
            seen |= new
            waiting += new
        return frozenset(after), len(seen)
