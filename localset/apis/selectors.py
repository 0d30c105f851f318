"""What may stand in a LabelSelector object. Pure; used by StatefulSets and PodDisruptionBudgets.

Source: apimachinery meta/v1/validation ValidateLabelSelector.
"""

from localset.machinery.errors import Cause, bad_value, not_allowed, required
from localset.machinery.metadata import Object
from localset.machinery.names import label_value, qualified_name


def selector_causes(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with `selector`; an empty one is fine here."""
    causes: list[Cause] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        causes += [bad_value(f"{path}.matchLabels", key, why) for why in qualified_name(key)]
        causes += [bad_value(f"{path}.matchLabels", value, why) for why in label_value(value)]
    for i, expression in enumerate(selector.get("matchExpressions") or []):
        causes += _expression_causes(expression, f"{path}.matchExpressions[{i}]")
    return causes


def _expression_causes(expression: Object, path: str) -> list[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    causes: list[Cause] = []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            causes.append(
                not_allowed(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        causes.append(bad_value(f"{path}.operator", operator, "not a valid selector operator"))
    causes += [
        bad_value(f"{path}.key", expression.get("key", ""), why) for why in qualified_name(expression.get("key", ""))
    ]
    for i, value in enumerate(values):
        causes += [bad_value(f"{path}.values[{i}]", value, why) for why in label_value(value)]
    return causes
