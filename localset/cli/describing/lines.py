"""The building blocks of descriptions: labels, annotations, times, tolerations. Pure."""

from datetime import datetime
from typing import Any

_SKIPPED = "kubectl.kubernetes.io/last-applied-configuration"
_LONGEST_ANNOTATION = 140

Lines = list[str]


def moment(timestamp: str | None) -> str:
    """Return an RFC 3339 time as `Wed, 25 Nov 2026 00:42:52 +0000`; kubectl's zero time for none."""
    if not timestamp:
        return "Mon, 01 Jan 0001 00:00:00 +0000"
    return datetime.fromisoformat(timestamp).strftime("%a, %d %b %Y %H:%M:%S %z")


def truth(value: object) -> str:
    """Return True or False, as kubectl prints conditions."""
    return "True" if value else "False"


def flag(value: object) -> str:
    """Return true or false, as Go prints a bool."""
    return "true" if value else "false"


def labels(title: str, values: dict[str, str] | None, *, indent: str = "") -> Lines:
    """Return `Labels:\\ta=b` with one line for each, `<none>` for none."""
    pairs = [f"{key}={value}" for key, value in sorted((values or {}).items())] or ["<none>"]
    return [f"{indent}{title}:\t{pairs[0]}", *(f"{indent}\t{pair}" for pair in pairs[1:])]


def annotations(title: str, values: dict[str, str] | None) -> Lines:
    """Return annotations, long and many-lined ones below their key; the last applied manifest is left out."""
    shown = sorted((key, value) for key, value in (values or {}).items() if key != _SKIPPED)
    if not shown:
        return [f"{title}:\t<none>"]
    lines: Lines = []
    for key, value in shown:
        start = f"{title}:\t" if not lines else "\t"
        text = value.removesuffix("\n")
        if len(text) + len(key) + 2 > _LONGEST_ANNOTATION or "\n" in text:
            lines.append(f"{start}{key}:")
            lines += [f"\t  {_shortened(line)}" for line in text.split("\n")]
        else:
            lines.append(f"{start}{key}: {text}")
    return lines


def _shortened(text: str) -> str:
    most = _LONGEST_ANNOTATION - 2
    return text[:most] + "..." if len(text) > most else text


def tolerations(values: list[dict[str, Any]] | None, *, indent: str = "") -> Lines:
    """Return the tolerations of a Pod, sorted by key."""
    shown = [_toleration(value) for value in sorted(values or [], key=lambda v: str(v.get("key", "")))] or ["<none>"]
    return [f"{indent}Tolerations:\t{shown[0]}", *(f"{indent}\t{text}" for text in shown[1:])]


def _toleration(value: dict[str, Any]) -> str:
    text = str(value.get("key", ""))
    if value.get("value"):
        text += f"={value['value']}"
    if value.get("effect"):
        text += f":{value['effect']}"
    if value.get("operator") == "Exists" and not value.get("value"):
        text += " op=Exists" if text else "op=Exists"
    if value.get("tolerationSeconds") is not None:
        text += f" for {value['tolerationSeconds']}s"
    return text


def spread(values: list[dict[str, Any]] | None, *, indent: str = "") -> Lines:
    """Return topology spread constraints, sorted by key; nothing for none."""
    from localset.cli.describing.selectors import selector_text

    shown = []
    for value in sorted(values or [], key=lambda v: str(v["topologyKey"])):
        text = f"{value['topologyKey']}:{value['whenUnsatisfiable']} when max skew {value['maxSkew']} is exceeded"
        if value.get("labelSelector"):
            text += f" for selector {selector_text(value['labelSelector'])}"
        shown.append(text)
    if not shown:
        return []
    return [f"{indent}Topology Spread Constraints:\t{shown[0]}", *(f"{indent}\t{text}" for text in shown[1:])]


def controller(metadata: dict[str, Any]) -> str:
    """Return `StatefulSet/web` of the controlling owner, empty for none."""
    owners = metadata.get("ownerReferences") or []
    return next((f"{owner['kind']}/{owner['name']}" for owner in owners if owner.get("controller")), "")
