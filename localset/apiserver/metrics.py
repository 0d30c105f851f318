"""metrics.k8s.io: PodMetrics and NodeMetrics, for `kubectl top` and autoscalers. Measured at each request.

Which Pods and Nodes there are is the registry's word; what their processes use is the kubelet's (`PodStreams.usage`).
All nodes share this machine, so each shows the whole of it.
"""

from typing import Any

from aiohttp import web

from localset.apiserver import objects, presentation, responses
from localset.apiserver.house import HOUSE
from localset.apiserver.negotiation import ITEM_FORMS, LIST_FORMS
from localset.apiserver.options import list_options
from localset.apiserver.routes import Match
from localset.base.clock import rfc3339
from localset.client.streams import Usage, UsageReport
from localset.machinery.errors import not_found
from localset.machinery.metadata import Object, labels_of, name_of, namespace_of, uid_of


async def read(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer GET on the metrics of one or many."""
    house = request.app[HOUSE]
    is_pods = match.resource.namespaced
    form = objects.accepted(request, ITEM_FORMS if match.name else LIST_FORMS)
    source = "pods" if is_pods else "nodes"
    if match.name:
        found = [await house.registry.get(source, match.namespace, match.name)]
        version = ""
    else:
        options = list_options(request.query)
        listed = await house.registry.list(
            source, match.namespace, label_selector=options.label_selector, field_selector=options.field_selector
        )
        found, version = listed
    report = await house.streams.usage(found if is_pods else [])
    api_version = match.resource.api_version(match.version)
    moment = {"timestamp": rfc3339(house.clock.now()), "window": f"{report.window_seconds:.3f}s"}
    items = [made for obj in found if (made := _metrics(obj, report, moment, is_pods=is_pods)) is not None]
    include = presentation.include_object(request.query.get("includeObject"))
    if not match.name:
        body = {"kind": match.resource.kind_of_list, "apiVersion": api_version, "metadata": {}, "items": items}
        body["metadata"] = {"resourceVersion": version}
        shown = presentation.show_list(match.resource, body, form, house.clock.now(), include)
    else:
        if not items:
            raise not_found(match.resource.name, match.name)
        item = {"kind": match.resource.kind, "apiVersion": api_version, **items[0]}
        shown = presentation.show_object(match.resource, item, form, house.clock.now(), include)
    return await responses.answer(request, shown, form=form)


def _metrics(obj: Object, report: UsageReport, moment: dict[str, str], *, is_pods: bool) -> Object | None:
    """Return the metrics of a Pod or Node without kind; None for a Pod that runs nothing."""
    metadata: dict[str, Any] = {"name": name_of(obj), "creationTimestamp": moment["timestamp"]}
    if namespace_of(obj):
        metadata["namespace"] = namespace_of(obj)
    if labels_of(obj):
        metadata["labels"] = labels_of(obj)
    if not is_pods:
        return {"metadata": metadata, **moment, "usage": _amounts(report.machine)}
    containers = report.pods.get(uid_of(obj))
    if not containers:
        return None
    used = [{"name": name, "usage": _amounts(usage)} for name, usage in containers.items()]
    return {"metadata": metadata, **moment, "containers": used}


def _amounts(usage: Usage) -> dict[str, str]:
    return {"cpu": f"{round(usage.cpu_cores * 1e9)}n", "memory": f"{usage.memory_bytes // 1024}Ki"}
