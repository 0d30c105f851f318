"""The scale subresource of custom objects, found by their definition's paths. Pure; called by the registry's scale."""

from localset.apis.customresources.definition import ScalePaths
from localset.apis.customresources.strategy import nested
from localset.machinery.errors import StatusError, bad_value, invalid
from localset.machinery.metadata import Object, copy_of, name_of


def scale_parts(obj: Object, paths: ScalePaths) -> tuple[Object, Object]:
    """Return (spec, status) of the Scale of `obj`; StatusError 422 when it names no wanted replicas."""
    wanted = nested(obj, paths.spec_replicas)
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        why = f'the spec replicas field "{paths.spec_replicas}" does not exist'
        raise invalid("Scale", "autoscaling", name_of(obj), [bad_value(paths.spec_replicas, 0, why)])
    current = nested(obj, paths.status_replicas)
    status: Object = {"replicas": current if isinstance(current, int) else 0}
    selector = nested(obj, paths.label_selector) if paths.label_selector else None
    if isinstance(selector, str) and selector:
        status["selector"] = selector
    return {"replicas": wanted}, status


def with_wanted(old: Object, paths: ScalePaths, replicas: int) -> Object:
    """Return a private copy of `old` with that many wanted replicas; StatusError 422 when they have no place."""
    new: Object = copy_of(old)
    *parents, last = paths.spec_replicas.removeprefix(".").split(".")
    place = new
    for step in parents:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            why = f"{step} is no object"
            raise StatusError(422, "Invalid", f"{paths.spec_replicas}: {why}")
    place[last] = replicas
    return new
