"""Discovery: what kubectl asks first, classic and aggregated.

Built once from the route table. NB: an aggregated body must carry its own Content-Type, or clients find nothing
(kube-api.md 2).
"""

import base64
import hashlib
from typing import Any

from aiohttp import web

from localset.apis.resources import BY_NAME, Resource
from localset.apiserver import responses
from localset.apiserver.house import HOUSE
from localset.apiserver.negotiation import DISCOVERY_FORMS, Answer, choose
from localset.apiserver.routes import RouteTable

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_CUSTOM_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
_GROUPS = (
    "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
    "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
    "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io",
)  # fmt: skip
"""Upstream's order of built-in groups. kubectl takes the first group that has a word, and prints `get all` by it."""
_LAST_GROUP = "metrics.k8s.io"
_METHOD_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}
_SUBRESOURCE_KINDS: dict[str, tuple[str, str, str]] = {
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
    "proxy": ("", "v1", "PodProxyOptions"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}


def storage_version_hash(resource: Resource) -> str:
    """Return the hash that clients compare to see a changed storage version."""
    resource = BY_NAME[resource.stored_as] if resource.stored_as else resource
    key = f"{resource.group}/{resource.storage_version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(key.encode()).digest()[:8]).decode()


def _verbs(resource: Resource) -> list[str]:
    if resource.verbs:
        return sorted(resource.verbs)
    if resource.definition is not None:
        ending = resource.definition.is_terminating
        return [v for v in _CUSTOM_VERBS if not (ending and v in {"create", "patch", "update"})]
    return [v for v in _VERBS if not (resource.name == "namespaces" and v == "deletecollection")]


def subresource_kind(resource: Resource, version: str, subresource: str) -> tuple[str, str, str]:
    """Return (group, version, kind) of what a subresource speaks."""
    if subresource == "scale":
        is_plain = version == "v1" or resource.definition is not None
        return ("autoscaling", "v1", "Scale") if is_plain else (resource.group, version, "Scale")
    if subresource == "proxy" and resource.kind == "Service":
        return "", "v1", "ServiceProxyOptions"
    return _SUBRESOURCE_KINDS.get(subresource, (resource.group, version, resource.kind))


def _subresource_verbs(routes: RouteTable, resource: Resource, version: str, subresource: str) -> list[str]:
    root = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    base = f"{root}/namespaces/n" if resource.namespaced else root
    match = routes.match(f"{base}/{resource.plural}/x/{subresource}")
    return sorted(_METHOD_VERBS[m] for m in match.methods) if match else []


def _resource_entries(routes: RouteTable, resource: Resource, version: str) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if (resource.group, version, resource.plural) not in routes.virtual:
        entry["storageVersionHash"] = storage_version_hash(resource)
    entries = [entry]
    for subresource in resource.subresources_of(version):
        group, sub_version, kind = subresource_kind(resource, version, subresource)
        made: dict[str, Any] = {
            "name": f"{resource.plural}/{subresource}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if (group, sub_version) != (resource.group, version) or kind == "Scale":
            made |= {"group": group, "version": sub_version}
        made |= {"kind": kind, "verbs": _subresource_verbs(routes, resource, version, subresource)}
        entries.append(made)
    return entries


def resource_list(routes: RouteTable, group: str, version: str) -> dict[str, Any]:
    """Return the APIResourceList of a group version."""
    rows = sorted(routes.of(group, version), key=lambda r: r.plural)
    entries = [e for r in rows for e in _resource_entries(routes, r, version)]
    if not any(r.definition for r in rows):
        entries.sort(key=lambda e: e["name"])
    made: dict[str, Any] = {"kind": "APIResourceList"}
    if group:
        made["apiVersion"] = "v1"
    made["groupVersion"] = f"{group}/{version}" if group else version
    made["resources"] = entries
    return made


def api_group(routes: RouteTable, group: str) -> dict[str, Any]:
    """Return the APIGroup of a named group, without kind and apiVersion; the first version is preferred."""
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in routes.versions[group]]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _aggregated_resource(routes: RouteTable, resource: Resource, version: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        made["shortNames"] = list(resource.short_names)
    if resource.categories:
        made["categories"] = list(resource.categories)
    subresources = []
    for subresource in sorted(resource.subresources_of(version)):
        group, sub_version, kind = subresource_kind(resource, version, subresource)
        subresources.append(
            {
                "subresource": subresource,
                "responseKind": {"group": group, "version": sub_version, "kind": kind},
                "verbs": _subresource_verbs(routes, resource, version, subresource),
            }
        )
    if subresources:
        made["subresources"] = subresources
    return made


def aggregated(routes: RouteTable, groups: list[str], discovery_version: str) -> dict[str, Any]:
    """Return the APIGroupDiscoveryList of `groups`."""
    items = []
    for group in groups:
        versions = [
            {
                "version": version,
                "resources": [
                    _aggregated_resource(routes, r, version)
                    for r in sorted(routes.of(group, version), key=lambda r: r.plural)
                ],
                "freshness": "Current",
            }
            for version in routes.versions[group]
        ]
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{discovery_version}",
        "metadata": {},
        "items": items,
    }


def _rank(group: str) -> int:
    if group in _GROUPS:
        return _GROUPS.index(group)
    return len(_GROUPS) + (group == _LAST_GROUP)


def _server_addresses(request: web.Request) -> list[dict[str, str]]:
    return [{"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("Host", "")}]


async def _answer(request: web.Request, groups: list[str], classic: dict[str, Any]) -> web.StreamResponse:
    form = choose(request.headers.get("Accept", ""), DISCOVERY_FORMS)
    if not form.form:
        return await responses.answer(request, classic, form=form, headers={"Vary": "Accept"})
    body = aggregated(request.app[HOUSE].routes, groups, form.version)
    etag = hashlib.sha256(responses.encode(body)).hexdigest().upper()
    headers = {"Vary": "Accept", "ETag": f'"{etag}"'}
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = f"{form.media_type};g=apidiscovery.k8s.io;v={form.version};as=APIGroupDiscoveryList"
    return await responses.answer(request, body, form=form, headers=headers)


async def core(request: web.Request) -> web.StreamResponse:
    """Answer `/api`."""
    addresses = _server_addresses(request)
    return await _answer(
        request, [""], {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
    )


async def groups(request: web.Request) -> web.StreamResponse:
    """Answer `/apis`."""
    routes = request.app[HOUSE].routes
    named = sorted((group for group in routes.versions if group), key=_rank)
    classic = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [api_group(routes, g) for g in named]}
    return await _answer(request, named, classic)


async def one_group(request: web.Request, group: str) -> web.StreamResponse:
    """Answer `/apis/<group>`."""
    form = choose(request.headers.get("Accept", ""), {})
    body = {"kind": "APIGroup", "apiVersion": "v1", **api_group(request.app[HOUSE].routes, group)}
    return await responses.answer(request, body, form=form)


async def one_version(request: web.Request, group: str, version: str) -> web.StreamResponse:
    """Answer `/api/v1` and `/apis/<group>/<version>`; 404 for a version that is not served."""
    routes = request.app[HOUSE].routes
    if version not in routes.versions.get(group, []):
        raise responses.unknown_resource()
    form: Answer = choose(request.headers.get("Accept", ""), {})
    return await responses.answer(request, resource_list(routes, group, version), form=form)
