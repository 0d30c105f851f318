"""`set image`, `set env`, `set resources`, `set serviceaccount`: changes to the containers of a Pod template."""

from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, fail, put, say
from localset.cli.podtemplates import change, chosen, pod_spec
from localset.cli.selection import ALL, FILENAME, KUSTOMIZE, NOTHING_NAMED, RECURSIVE, SELECTOR, Found, run_each
from localset.cli.writing import DRY_RUN, PRINTING, Writer, manager

_COMMON = (FILENAME, RECURSIVE, KUSTOMIZE, NAMESPACE, SELECTOR, ALL, DRY_RUN, *PRINTING, manager("kubectl-set"))
_CONTAINERS = Flag("containers", default="*", help="Which containers; * stands for anything.", short="c")
IMAGE = Flags(
    "set image",
    "set image (-f FILE | TYPE NAME) CONTAINER=IMAGE … [flags]",
    "Change the image of containers: `set image sts/web nginx=nginx:1.27`.",
    *_COMMON,
)
ENV = Flags(
    "set env",
    "set env (-f FILE | TYPE NAME) KEY=VALUE … KEY- [flags]",
    "Change the environment of containers: `set env sts/web A=b C-`.",
    *(*_COMMON, _CONTAINERS),
    Flag("list", "bool", False, "Print the environment."),
    Flag("env", "array", [], "KEY=VALUE.", "e"),
    Flag("from", help="configmap/NAME or secret/NAME, whose keys become variables."),
    Flag("prefix", help="With --from: what the names begin with."),
    Flag("keys", "list", [], "With --from: only these keys."),
    Flag("overwrite", "bool", True, "Change what stands already."),
    Flag("resolve", "bool", False, "Not done here."),
)
RESOURCES = Flags(
    "set resources",
    "set resources (-f FILE | TYPE NAME) [--limits=… --requests=…] [flags]",
    "Change what containers ask for: `set resources sts/web --limits=cpu=1,memory=1Gi`.",
    *(*_COMMON, _CONTAINERS),
    Flag("limits", help="cpu=1,memory=1Gi"),
    Flag("requests", help="cpu=1,memory=1Gi"),
)
ACCOUNT = Flags(
    "set serviceaccount",
    "set serviceaccount (-f FILE | TYPE NAME) ACCOUNT [flags]",
    "Change the ServiceAccount of Pods.",
    *_COMMON,
)


FLAGS = {"image": IMAGE, "env": ENV, "resources": RESOURCES, "serviceaccount": ACCOUNT}


def main(context: Context, arguments: list[str]) -> int:
    """Run `set SUBCOMMAND ARGUMENTS`."""
    known = {"image": (IMAGE, _image), "env": (ENV, _env), "resources": (RESOURCES, _resources)}
    known |= {"serviceaccount": (ACCOUNT, _account), "sa": (ACCOUNT, _account)}
    if not arguments or arguments[0] in {"-h", "--help"}:
        put(
            "Change containers of a Pod template.\n\nUsage:\n"
            "  localset set (image | env | resources | serviceaccount) …"
        )
        return 0 if arguments else 1
    if arguments[0] in {"selector", "subject"}:
        from localset.cli.kubectl import run_kubectl

        return run_kubectl(context, ["set", *arguments])
    if arguments[0] not in known:
        fail(f"unknown command \"{arguments[0]}\"\nSee 'localset set -h' for help and examples")
    flags, act = known[arguments[0]]
    given = flags.parse(arguments[1:])
    if given["help"]:
        put(flags.help_text())
        return 0
    return act(context, given)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return (words that name objects, words that say what to change)."""
    start = next((i for i, word in enumerate(words) if "=" in word or word.endswith("-")), len(words))
    return words[:start], words[start:]


def _pairs(words: list[str], what: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            fail(f"all resources must be specified before {what} changes: {word}")
        pairs[key] = value
    return pairs


def _image(context: Context, given: Given) -> int:
    named, words = _split(given.words)
    images = _pairs(words, "image")
    if not named and not given["filename"]:
        fail(NOTHING_NAMED)
    if not images:
        fail("at least one image update is required")
    writer = Writer(context, given)

    def edit(found: Found, obj: dict[str, Any]) -> None:
        spec = pod_spec(found, obj)
        containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
        for name, image in images.items():
            matching = [c for c in containers if name in {"*", c["name"]}]
            if not matching:
                raise CommandError(
                    f'unable to find container named "{name}"',
                    hint="it has " + ", ".join(c["name"] for c in containers),
                )
            for container in matching:
                container["image"] = image

    def act(found: Found) -> None:
        failing = "failed to patch image update to pod template"
        change(found, writer, "image updated", lambda obj: edit(found, obj), failing=failing)

    return run_each(context, given, act, words=named, verb="set image")


def _resources(context: Context, given: Given) -> int:
    if not given["limits"] and not given["requests"]:
        fail("you must specify an update to requests or limits (in the form of --requests/--limits)")
    wanted = {field: _quantities(given[field]) for field in ("limits", "requests")}
    writer = Writer(context, given)

    def edit(found: Found, obj: dict[str, Any]) -> None:
        spec = pod_spec(found, obj)
        containers = chosen([*(spec.get("initContainers") or []), *spec["containers"]], given["containers"])
        if not containers:
            raise CommandError(f"unable to find container named {given['containers']}")
        for container in containers:
            for field, quantities in wanted.items():
                if quantities:
                    resources = container.setdefault("resources", {})
                    resources[field] = {**(resources.get(field) or {}), **quantities}

    def act(found: Found) -> None:
        failing = "failed to patch resources update to pod template"
        change(found, writer, "resource requirements updated", lambda obj: edit(found, obj), failing=failing)

    return run_each(context, given, act, verb="set resources")


def _quantities(text: str) -> dict[str, str]:
    from localset.machinery.quantity import parse_quantity

    found: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = part.partition("=")
        if not equals:
            fail(f"Invalid argument syntax {part}, expected <resource>=<value>")
        try:
            parse_quantity(value)
        except ValueError:
            fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
        found[name] = value
    return found


def _account(context: Context, given: Given) -> int:
    if not given.words:
        fail("serviceaccount is required")
    *named, account = given.words
    writer = Writer(context, given)

    def edit(found: Found, obj: dict[str, Any]) -> None:
        pod_spec(found, obj)["serviceAccountName"] = account

    def act(found: Found) -> None:
        failing = "failed to patch ServiceAccountName"
        change(found, writer, "serviceaccount updated", lambda obj: edit(found, obj), failing=failing)

    return run_each(context, given, act, words=named, verb="set serviceaccount")


# --- environment ----------------------------------------------------------------------------------------------------


def _env(context: Context, given: Given) -> int:
    named, words = _split(given.words)
    words = [*words, *given["env"]]
    removed = [word[:-1] for word in words if word.endswith("-") and "=" not in word]
    pairs = _pairs([word for word in words if word[:-1] not in removed or "=" in word], "environment")
    if not named and not given["filename"]:
        fail("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    if given["resolve"]:
        fail("--resolve is not done here", hint="`localset kubectl set env --resolve` does it")
    entries = [{"name": name, "value": value} for name, value in pairs.items()]
    if given["from"]:
        entries += _from(context, given)
    writer = Writer(context, given)

    def edit(found: Found, obj: dict[str, Any]) -> None:
        containers = _env_containers(found, obj, given["containers"])
        for container in containers:
            _edit_env(found, container, entries, removed, is_overwriting=given["overwrite"])

    def act(found: Found) -> None:
        if given["list"]:
            _list(found, given["containers"])
        else:
            failing = "failed to patch env update to pod template"
            change(found, writer, "env updated", lambda obj: edit(found, obj), failing=failing)

    return run_each(context, given, act, words=named, verb="set env")


def _env_containers(found: Found, obj: dict[str, Any], pattern: str) -> list[dict[str, Any]]:
    spec = pod_spec(found, obj)
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    matching = chosen(containers, pattern)
    if not matching:
        say(f'Warning: {found.kind.resource.kind}/{found.name} does not have any containers matching "{pattern}"')
    return matching


def _edit_env(
    found: Found, container: dict[str, Any], entries: list[dict[str, Any]], removed: list[str], *, is_overwriting: bool
) -> None:
    present = {entry["name"]: entry for entry in container.get("env") or []}
    for entry in entries:
        name = entry["name"]
        if not is_overwriting and name in present:
            value = present[name].get("value", "")
            raise CommandError(
                f"{found.kind.resource.plural}/{found.name} '{name}' already has a value ({value}), "
                "and --overwrite is false"
            )
        present[name] = entry
    for name in removed:
        present.pop(name, None)
    if present:
        container["env"] = list(present.values())
    else:
        container.pop("env", None)


def _from(context: Context, given: Given) -> list[dict[str, Any]]:
    from localset.cli.targets import Kinds
    from localset.cli.transport import path_of

    word, slash, name = given["from"].partition("/")
    kind = Kinds(context).of(word) if slash else None
    if kind is None or kind.resource.kind not in {"ConfigMap", "Secret"}:
        fail(f"unsupported resource specified in --from: {given['from']}", hint="configmap/NAME or secret/NAME")
    namespace = given["namespace"] or context.namespace
    obj = context.api.request("GET", path_of(kind.resource, namespace, name)).body
    reference = "secretKeyRef" if kind.resource.kind == "Secret" else "configMapKeyRef"
    entries = []
    for key in sorted(obj.get("data") or {}):
        if given["keys"] and key not in given["keys"]:
            continue
        called = "".join(c if c.isalnum() else "_" for c in key).upper()
        if called != key:
            say(f"Warning: key {key} transferred to {called}")
        entries.append({"name": given["prefix"] + called, "valueFrom": {reference: {"name": name, "key": key}}})
    return entries


_SOURCES = {
    "secretKeyRef": "secret {name}, key {key}",
    "configMapKeyRef": "configmap {name}, key {key}",
    "fieldRef": "field path {fieldPath}",
    "resourceFieldRef": "resource field {resource}",
}


def _list(found: Found, pattern: str) -> None:
    for container in _env_containers(found, found.obj, pattern):
        put(f"# {found.kind.resource.kind} {found.name}, container {container['name']}")
        for entry in container.get("env") or []:
            source = entry.get("valueFrom")
            if not source:
                put(f"{entry['name']}={entry.get('value', '')}")
                continue
            kind = next((kind for kind in _SOURCES if kind in source), "")
            shown = _SOURCES[kind].format(**{"name": "", "key": "", **source[kind]}) if kind else "unknown"
            put(f"# {entry['name']} from {shown}")
