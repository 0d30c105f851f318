"""Label selectors as text: `app=web,tier in (a,b)`, sorted as apimachinery sorts them. Pure."""

from typing import Any


def selector_text(selector: dict[str, Any] | None) -> str:
    """Return a metav1.LabelSelector; `<none>` for an empty one, `<unset>` for none."""
    if selector is None:
        return "<unset>"
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for wanted in selector.get("matchExpressions") or []:
        key, values = wanted["key"], ",".join(sorted(wanted.get("values") or []))
        text = {"Exists": key, "DoesNotExist": f"!{key}", "In": f"{key} in ({values})"}
        parts.append((key, text.get(wanted["operator"], f"{key} notin ({values})")))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or "<none>"
