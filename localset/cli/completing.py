"""`__complete`: what may stand where the cursor is: commands, flags and their values, kinds, names of live objects.

Called by the shells' scripts at each Tab, so it imports the one command's module at most, asks the daemon once at most,
and never says that something failed: then there is nothing to complete. A candidate is a line, perhaps with a tab and
what it is.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from localset.apis.resources import BY_NAME, RESOURCES, Resource, find_by_word
from localset.cli.context import Context
from localset.cli.transport import Api, path_of

_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
_KINDS_AND_NAMES = {
    "annotate", "delete", "describe", "edit", "get", "label", "patch", "scale", "wait", "rollout", "set", "events",
}  # fmt: skip
_SUBCOMMANDS = {
    "rollout": ("history", "pause", "restart", "resume", "status", "undo"),
    "set": ("env", "image", "resources"),
    "top": ("node", "pod"),
    "image": ("add", "list", "show"),
    "completion": ("bash", "fish", "zsh"),
}
_OUTPUTS = ("custom-columns=", "go-template=", "json", "jsonpath=", "name", "wide", "yaml")
_FILES = {"-f", "--filename", "--data-dir", "-k"}
Commands = dict[str, tuple[str, str, str]]


def main(commands: Commands, context: Context, arguments: list[str]) -> int:
    """Print the candidates for `-- WORD…` or `--line TEXT`; the last word is the one at the cursor."""
    words = _words_of(arguments[1]) if arguments[:1] == ["--line"] else arguments[1:]
    with suppress(Exception):
        for candidate in _Completion(commands, context, words or [""]).candidates():
            sys.stdout.write(f"{candidate}\n")
    return 0


def _words_of(line: str) -> list[str]:
    """Return the words of a command line up to the cursor, without the program; quotes may still be open."""
    import shlex

    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = []
    with suppress(ValueError):  # an open quote: its word is the one at the cursor
        words += list(lexer)
    if line[-1:].isspace() or not words:
        words.append("")
    return words[1:]


class _Completion:
    """One line: the command, what stands before the cursor, and the word at it."""

    def __init__(self, commands: Commands, context: Context, words: list[str]) -> None:
        self._commands, self._context = commands, context
        self._current = words[-1]
        self._command, self._before = "", list[str]()
        rest = words[:-1]
        while rest:
            word = rest.pop(0)
            if not self._command and word in {"--data-dir", "-n", "--namespace"} and rest:
                value = rest.pop(0)
                if word == "--data-dir":
                    context.data_option = value
                else:
                    context.namespace_option = value
            elif not self._command:
                self._command = word
            else:
                self._before.append(word)
        self._flags = self._known_flags()
        self._positional = self._take_options()

    def _known_flags(self) -> dict[str, tuple[bool, str, tuple[str, ...]]]:
        """Return each flag's (takes a value, help, choices)."""
        entry = self._commands.get(self._command)
        if entry is None:
            return {}
        module = importlib.import_module(entry[0])
        if entry[1].startswith("main"):
            return dict(_plain_flags(module, [self._command, *self._before]))
        return dict(_click_flags(getattr(module, entry[1]), self._before))

    def _take_options(self) -> list[str]:
        """Return the words before the cursor that are no flags, and note the namespace among the flags."""
        found, rest = [], list(self._before)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if not word.startswith("-") or word == "-":
                found.append(word)
            elif self._flags.get(name, (False,))[0] and not equals:
                value = rest.pop(0) if rest else ""
            if name in {"-n", "--namespace"} and value:
                self._context.namespace_option = value
        return found

    def candidates(self) -> Iterator[str]:
        """Yield what the word at the cursor may become."""
        if not self._command:
            yield from self._matching(f"{name}\t{entry[2]}" for name, entry in sorted(self._commands.items()))
            return
        name, equals, _ = self._current.partition("=")
        last = self._before[-1] if self._before else ""
        if equals and name in self._flags:
            yield from self._matching(f"{name}={value}" for value in self._values(name))
        elif self._flags.get(last, (False,))[0]:
            yield from self._matching(self._values(last))
        elif self._current.startswith("-"):
            shown = ((n + ("=" if f[0] and n.startswith("--") else ""), f[1]) for n, f in sorted(self._flags.items()))
            yield from self._matching(f"{flag}\t{about}" for flag, about in shown)
        else:
            yield from self._matching(self._words())

    def _matching(self, candidates: Iterable[str]) -> Iterator[str]:
        seen = set()
        for candidate in candidates:
            text = candidate.partition("\t")[0]
            if text.startswith(self._current) and text not in seen:
                seen.add(text)
                yield candidate

    def _values(self, flag: str) -> Iterable[str]:
        if flag in _FILES:
            return ()
        if flag in {"-n", "--namespace"}:
            return self._names(BY_NAME["namespaces"])
        if flag in {"-o", "--output"}:
            return _OUTPUTS
        if flag in {"-c", "--container"}:
            return self._containers()
        if flag == "--for":
            return self._kinds_and_names([])
        return self._flags[flag][2]

    def _words(self) -> Iterable[str]:
        words = self._positional
        if self._command in _SUBCOMMANDS and not words:
            return _SUBCOMMANDS[self._command]
        if self._command in _KINDS_AND_NAMES:
            return self._kinds_and_names(words[1:] if self._command in _SUBCOMMANDS else words)
        of: dict[str, Callable[[], Iterable[str]]] = {
            "attach": self._pods,
            "cordon": lambda: self._names(BY_NAME["nodes"]),
            "cp": lambda: [f"{name}:" for name in self._names(BY_NAME["pods"])],
            "drain": lambda: self._names(BY_NAME["nodes"]),
            "exec": self._pods,
            "logs": self._pods,
            "ns": lambda: self._names(BY_NAME["namespaces"]),
            "open": self._sets,
            "port-forward": self._pods,
            "reset": self._ordinals,
            "restart": self._sets,
            "start": self._sets,
            "stop": self._sets,
            "uncordon": lambda: self._names(BY_NAME["nodes"]),
        }
        if self._command == "top" and len(words) == 1:
            return self._names(BY_NAME["pods" if words[0].startswith("po") else "nodes"])
        if self._command == "logs" and len(words) == 1:
            return self._containers()
        is_repeatable = self._command in {"cordon", "uncordon", "drain", "cp"}
        return of[self._command]() if self._command in of and (not words or is_repeatable) else ()

    def _kinds_and_names(self, words: list[str]) -> Iterable[str]:
        kind, slash, _ = self._current.partition("/")
        if slash:
            return [f"{kind}/{name}" for name in self._names(self._resource(kind))]
        if words and "/" not in words[0]:
            return [name for name in self._names(self._resource(words[0])) if name not in words[1:]]
        if words:
            return [f"{known}/" for known in self._kinds()]
        return self._kinds()

    def _kinds(self) -> Iterator[str]:
        for resource in RESOURCES:
            if "get" in (resource.verbs or ("get",)):
                yield resource.plural
        if len(self._current) > 1 and not any(r.plural.startswith(self._current) for r in RESOURCES):
            from localset.cli.targets import Kinds

            yield from (resource.plural for resource in Kinds(self._context).discovered())

    def _resource(self, word: str) -> Resource | None:
        found = find_by_word(word.partition(",")[0])
        if found is None:
            from localset.cli.targets import Kinds

            kind = Kinds(self._context).find(word)
            found = kind.resource if kind is not None else None
        return found

    def _items(self, resource: Resource) -> list[dict[str, Any]]:
        namespace = self._context.namespace if resource.namespaced else ""
        api = Api(self._context.api.socket_path)
        try:
            return list(api.request("GET", path_of(resource, namespace), accept=_METADATA).body["items"])
        finally:
            api.close()

    def _names(self, resource: Resource | None) -> list[str]:
        return [] if resource is None else [item["metadata"]["name"] for item in self._items(resource)]

    def _pods(self) -> Iterator[str]:
        yield from self._names(BY_NAME["pods"])
        kind, slash, _ = self._current.partition("/")
        if slash and find_by_word(kind) is not None:
            yield from (f"{kind}/{name}" for name in self._names(find_by_word(kind)))
        elif self._command == "logs":
            yield from (f"{name}\tthe whole set" for name in self._names(BY_NAME["statefulsets.apps"]))

    def _sets(self) -> Iterator[str]:
        yield from self._names(BY_NAME["statefulsets.apps"])
        if "/" in self._current:
            yield from self._ordinals()

    def _ordinals(self) -> Iterator[str]:
        for pod in self._items(BY_NAME["pods"]):
            name, _, ordinal = pod["metadata"]["name"].rpartition("-")
            owners = pod["metadata"].get("ownerReferences") or []
            if ordinal.isdecimal() and any(owner["kind"] == "StatefulSet" for owner in owners):
                yield f"{name}/{ordinal}"

    def _containers(self) -> list[str]:
        from localset.cli.pods import all_containers, pod_meant

        if not self._positional:
            return []
        return all_containers(pod_meant(self._context, self._positional[0], self._context.namespace))


def _plain_flags(module: Any, words: list[str]) -> Iterator[tuple[str, tuple[bool, str, tuple[str, ...]]]]:
    flags = getattr(module, "FLAGS", None)
    if isinstance(flags, dict):
        flags = next((flags[word] for word in words[:2] if word in flags), None) or next(iter(flags.values()), None)
    for flag in getattr(flags, "all", ()):
        has_value = flag.kind != "bool" and not flag.bare
        yield f"--{flag.name}", (has_value, flag.help, flag.choices)
        if flag.short:
            yield f"-{flag.short}", (has_value, flag.help, ())


def _click_flags(command: Any, before: list[str]) -> Iterator[tuple[str, tuple[bool, str, tuple[str, ...]]]]:
    if before and before[0] in getattr(command, "commands", {}):
        command = command.commands[before[0]]
    for option in command.params:
        if option.param_type_name != "option" or option.hidden:
            continue
        choices = tuple(getattr(option.type, "choices", ()))
        for name in (*option.opts, *option.secondary_opts):
            yield name, (not option.is_flag, option.help or "", choices)
    yield "--help", (False, "Show this text.", ())
