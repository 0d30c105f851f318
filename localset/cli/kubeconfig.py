"""`kubeconfig`: what kubectl and every client library need to find this daemon, printed, written or merged.

The daemon writes `<data directory>/kubeconfig` at each start; here it is only carried on. Merging works on YAML nodes,
not on values, so that everything else in the user's file keeps its spelling (comments are lost, as with `kubectl
config`).
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from localset.base.directories import context_name, kubeconfig_file
from localset.base.files import write_atomically
from localset.cli.context import Context
from localset.cli.output import fail, put, say

_SECTIONS = ("clusters", "users", "contexts")


@click.command()
@click.option("--write", "path", is_flag=False, flag_value="kubeconfig", metavar="[PATH]", help="Write a 0600 file.")
@click.option("--merge", is_flag=True, help="Add or replace this installation's context in your kubeconfig.")
@click.option("--context", "name", default="", help="Name of the context (default: the data directory's).")
@click.pass_obj
def kubeconfig(context: Context, /, path: str | None, name: str, *, merge: bool) -> int:
    """Print, write or merge the kubeconfig of this data directory."""
    if path is not None and merge:
        fail("--write and --merge exclude each other")
    text = kubeconfig_text(context, name)
    if merge:
        return _merge(text, name or context_name(context.data_directory))
    if path is None:
        put(text.rstrip("\n"))
        return 0
    target = Path(path)
    try:
        write_atomically(target, text.encode())
    except OSError as error:
        fail(f"cannot write {target}: {error.strerror}")
    say(f"wrote {target}")
    say(f"hint: kubectl --kubeconfig {target} get pods")
    return 0


def existing_kubeconfig(context: Context) -> Path:
    """Return the data directory's kubeconfig; fail when no daemon has ever written it."""
    path = kubeconfig_file(context.data_directory)
    if not path.exists():
        fail(f"there is no kubeconfig in {context.data_directory} yet", hint="`localset up` writes it")
    return path


def kubeconfig_text(context: Context, name: str) -> str:
    """Return the kubeconfig, with its context called `name` unless that is empty."""
    text = existing_kubeconfig(context).read_text()
    if not name:
        return text
    import yaml

    config = yaml.safe_load(text)
    for section in _SECTIONS:
        config[section][0]["name"] = name
    config["contexts"][0]["context"] = {"cluster": name, "user": name}
    config["current-context"] = name
    return str(yaml.safe_dump(config, sort_keys=False, width=10**9))


def _merge(text: str, name: str) -> int:
    configured = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    target = Path(configured[0] if configured else Path.home() / ".kube" / "config").resolve()
    lock = target.with_name(f"{target.name}.lock")  # the lock of client-go, so that kubectl and we do not race
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        fail(f"{target} is being changed by another program", hint=f"remove {lock} if none is running")
    except OSError as error:
        fail(f"cannot write {target}: {error.strerror}")
    try:
        before = target.read_text() if target.exists() else ""
        merged = merged_config(before, text)
        mode = target.stat().st_mode & 0o777 if before else 0o600
        write_atomically(target, merged.encode(), mode=mode & 0o700)
    except OSError as error:
        fail(f"cannot write {target}: {error.strerror}")
    finally:
        with suppress(OSError):
            lock.unlink()
    say(f'context "{name}" is in {target}')
    say(f"hint: kubectl --context {name} get pods")
    return 0


def merged_config(before: str, added: str) -> str:
    """Return the kubeconfig `before` with the one context, cluster and user of `added` in place of theirs.

    The current context is set only where there is none. CommandError when `before` is no kubeconfig.
    """
    import yaml

    try:
        root = yaml.compose(before, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        fail(f"your kubeconfig is not YAML: {error}")
    if root is None:
        return added
    if not isinstance(root, yaml.MappingNode):
        fail("your kubeconfig is not a mapping")
    new: Any = yaml.compose(added, Loader=yaml.SafeLoader)
    for section in _SECTIONS:
        _replace_entry(root, section, _value(new, section).value[0])
    current = _value(root, "current-context")
    if current is None or not current.value:
        _set(root, "current-context", _value(new, "current-context"))
    for key in ("apiVersion", "kind"):
        if _value(root, key) is None:
            _set(root, key, _value(new, key))
    return str(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=10**9))


def _value(mapping: Any, key: str) -> Any:
    return next((value for name, value in mapping.value if name.value == key), None)


def _set(mapping: Any, key: str, value: Any) -> None:
    import yaml

    kept = [(name, node) for name, node in mapping.value if name.value != key]
    mapping.value = [*kept, (yaml.ScalarNode("tag:yaml.org,2002:str", key), value)]


def _replace_entry(root: Any, section: str, entry: Any) -> None:
    """Put `entry` in place of the one of the same name in the list `section`, else at its end."""
    import yaml

    name = _value(entry, "name").value
    found = _value(root, section)
    if not isinstance(found, yaml.SequenceNode):  # absent, null
        _set(root, section, yaml.SequenceNode("tag:yaml.org,2002:seq", [entry], flow_style=False))
        return
    entries = list(found.value)
    for number, old in enumerate(entries):
        if isinstance(old, yaml.MappingNode) and getattr(_value(old, "name"), "value", None) == name:
            entries[number] = entry
            break
    else:
        entries.append(entry)
    found.value, found.flow_style = entries, False
