"""A command's flags, read as kubectl reads them (spf13/pflag): interspersed, `-n=x`, `-nx`, `--watch=false`, `--`.

For the commands that must start fast or must refuse in kubectl's words; imports nothing. Values come back in one
mapping with every flag in it. What is wrong is a `FlagError`, whose text ends by naming the command's help.
"""

from typing import Any, NamedTuple

from localset.cli.output import CommandError

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Flag(NamedTuple):
    """One flag. `kind` is bool, text, list (commas split, may repeat), array (may repeat), int, duration or
    seconds (a duration that may be a bare number; the value is in seconds).

    `bare` is what the flag means without a value, for those that need none (`--dry-run`); empty where it needs one.
    `choices` are all the values that a text may have; empty where any will do.
    """

    name: str
    kind: str = "text"
    default: Any = ""
    help: str = ""
    short: str = ""
    bare: str = ""
    choices: tuple[str, ...] = ()


class FlagError(CommandError):
    """A command line that cannot be read."""


class Given(dict[str, Any]):
    """The values by flag name; `words` are the other arguments, `dash` how many stood before `--` (-1: no dash)."""

    words: list[str]
    given: set[str]
    dash: int = -1


NAMESPACE = Flag("namespace", help="The namespace of the objects.", short="n")
HELP = Flag("help", "bool", False, "Show this text.", "h")


class Flags:
    """The flags of one command; `usage` and `about` are the first lines of its help."""

    def __init__(self, command: str, usage: str, about: str, *flags: Flag) -> None:
        """Name the command (`rollout status`), how it is called, what it is for, and its flags."""
        self.command, self.usage, self.about = command, usage, about
        self._flags = (*flags, HELP)
        self._by_name = {flag.name: flag for flag in self._flags}
        self._by_short = {flag.short: flag for flag in self._flags if flag.short}

    @property
    def all(self) -> tuple[Flag, ...]:
        """Return the flags, for completion."""
        return self._flags

    def parse(self, arguments: list[str]) -> Given:
        """Return what was given. `--help` is among the values: whoever runs the command prints `help_text`."""
        result = Given({flag.name: [] if flag.kind in {"list", "array"} else flag.default for flag in self._flags})
        result.words, result.given = [], set()
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "--":
                result.dash = len(result.words)
                result.words += rest
                break
            if word.startswith("--"):
                self._long(word[2:], rest, result)
            elif word.startswith("-") and len(word) > 1:
                self._shorts(word[1:], rest, result)
            else:
                result.words.append(word)
        return result

    def _long(self, text: str, rest: list[str], result: Given) -> None:
        name, equals, value = text.partition("=")
        if not name or name.startswith("-"):
            raise self.error(f"bad flag syntax: --{text}")
        flag = self._by_name.get(name)
        if flag is None:
            raise self.error(f"unknown flag: --{name}")
        if not equals:
            bare = flag.bare or ("true" if flag.kind == "bool" else "")
            if not bare and not rest:
                raise self.error(f"flag needs an argument: --{name}")
            value = bare or rest.pop(0)
        self._set(flag, value, result)

    def _shorts(self, text: str, rest: list[str], result: Given) -> None:
        letters = text
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._by_short.get(letter)
            if flag is None:
                raise self.error(f"unknown shorthand flag: {letter!r} in -{text}")
            if len(letters) > 1 and letters[0] == "=":
                value, letters = letters[1:], ""
            elif flag.kind == "bool" or flag.bare:
                value = flag.bare or "true"
            elif letters:
                value, letters = letters, ""
            elif rest:
                value = rest.pop(0)
            else:
                raise self.error(f"flag needs an argument: {letter!r} in -{text}")
            self._set(flag, value, result)

    def _set(self, flag: Flag, value: str, result: Given) -> None:
        result.given.add(flag.name)
        if flag.kind == "list":
            result[flag.name] += value.split(",") if value else []
        elif flag.kind == "array":
            result[flag.name].append(value)
        else:
            result[flag.name] = self._converted(flag, value)

    def _converted(self, flag: Flag, value: str) -> Any:
        why = ""
        if flag.kind == "bool":
            if value in _TRUE | _FALSE:
                return value in _TRUE
            why = f'strconv.ParseBool: parsing "{value}": invalid syntax'
        elif flag.kind == "int":
            if value.removeprefix("-").removeprefix("+").isdecimal() and value.isascii():
                return int(value)
            why = f'strconv.ParseInt: parsing "{value}": invalid syntax'
        elif flag.kind in {"duration", "seconds"}:
            is_bare = flag.kind == "seconds" and value.replace(".", "", 1).isdecimal()
            seconds = float(value) if is_bare else duration_of(value)
            if seconds is not None:
                return seconds
            why = f'time: {"missing unit in duration" if value.isdecimal() else "invalid duration"} "{value}"'
        elif flag.choices and value not in flag.choices:
            why = f"must be one of {', '.join(flag.choices)}"
        else:
            return value
        shown = f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}"
        raise self.error(f'invalid argument "{value}" for "{shown}" flag: {why}')

    def error(self, message: str) -> FlagError:
        """Return the refusal of this command line."""
        return FlagError(f"{message}\nSee 'localset {self.command} --help' for usage.")

    def help_text(self) -> str:
        """Return what `--help` prints."""
        lines = [self.about, "", "Usage:", f"  localset {self.usage}", "", "Options:"]
        for flag in sorted(self._flags, key=lambda flag: flag.name):
            short = f"-{flag.short}, " if flag.short else "    "
            value = "" if flag.kind == "bool" else f"={_shown(flag)}"
            lines.append(f"  {short}--{flag.name}{value}")
            lines.append(f"        {flag.help}")
        return "\n".join(lines)


def _shown(flag: Flag) -> str:
    if flag.kind in {"duration", "seconds"}:
        return f"{flag.default:g}s"
    if flag.kind in {"list", "array"}:
        return "[]"
    return f"{flag.default}" if flag.kind == "int" else f"'{flag.default}'"


def duration_of(text: str) -> float | None:
    """Return the seconds of a Go duration (`1m30s`, `0`, `-1s`), or None when it is none."""
    if text.lstrip("+-") == "0":
        return 0.0
    sign, rest, total = (-1.0 if text.startswith("-") else 1.0), text.lstrip("+-"), 0.0
    while rest:
        digits = rest[: next((i for i, c in enumerate(rest) if c not in "0123456789."), len(rest))]
        rest = rest[len(digits) :]
        unit = rest[: next((i for i, c in enumerate(rest) if c in "0123456789."), len(rest))]
        rest = rest[len(unit) :]
        if not digits.strip(".") or digits.count(".") > 1 or unit not in _UNITS:
            return None
        total += float(digits) * _UNITS[unit]
    return sign * total if text.lstrip("+-") else None
