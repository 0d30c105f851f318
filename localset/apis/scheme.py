"""From a request's object to a stored one and back.

decode: type-check and prune by the published schema, default *as the request's version*, convert to the storage
version. encode: the way back. Called by registry and apiserver; pure, never changes its input.
statefulset-semantics.md 1.3 says why the order matters: rewriting apiVersion first would turn OnDelete into
RollingUpdate.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from localset.apis import (
    autoscalers,
    classes,
    configuration,
    coordination,
    events,
    kinds,
    networking,
    poddisruptionbudgets,
    podstrategy,
    quotas,
    rbac,
    services,
    statefulsets,
    storage,
)
from localset.apis.resources import BY_NAME, Resource, find_by_kind
from localset.apis.schema.shapes import shape_of as published_shape
from localset.apis.schema.types import check, patch_rules
from localset.apis.strategy import Strategy
from localset.machinery.errors import bad_request
from localset.machinery.metadata import Object, copy_of
from localset.machinery.shapes import UNKNOWN, Shape
from localset.machinery.strategic_patch import PatchSchema


class FieldValidation(StrEnum):
    """What to do about unknown fields."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class Decoded(NamedTuple):
    """A private storage-version object and what the writer should be told."""

    object: Object
    warnings: list[str]


_STRATEGIES: dict[str, type[Strategy]] = {
    "namespaces": kinds.NamespaceStrategy,
    "nodes": kinds.NodeStrategy,
    "endpoints": kinds.EndpointsStrategy,
    "events": events.EventStrategy,
    "services": services.ServiceStrategy,
    "configmaps": configuration.ConfigMapStrategy,
    "secrets": configuration.SecretStrategy,
    "persistentvolumes": storage.VolumeStrategy,
    "persistentvolumeclaims": storage.ClaimStrategy,
    "storageclasses.storage.k8s.io": storage.StorageClassStrategy,
    "pods": podstrategy.PodStrategy,
    "statefulsets.apps": statefulsets.StatefulSetStrategy,
    "controllerrevisions.apps": kinds.ControllerRevisionStrategy,
    "poddisruptionbudgets.policy": poddisruptionbudgets.BudgetStrategy,
    "leases.coordination.k8s.io": coordination.LeaseStrategy,
    "endpointslices.discovery.k8s.io": coordination.EndpointSliceStrategy,
    "roles.rbac.authorization.k8s.io": rbac.RoleStrategy,
    "clusterroles.rbac.authorization.k8s.io": rbac.RoleStrategy,
    "rolebindings.rbac.authorization.k8s.io": rbac.BindingStrategy,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.BindingStrategy,
    "networkpolicies.networking.k8s.io": networking.NetworkPolicyStrategy,
    "ingresses.networking.k8s.io": networking.IngressStrategy,
    "ingressclasses.networking.k8s.io": networking.IngressClassStrategy,
    "priorityclasses.scheduling.k8s.io": classes.PriorityClassStrategy,
    "runtimeclasses.node.k8s.io": classes.RuntimeClassStrategy,
    "csidrivers.storage.k8s.io": classes.CSIDriverStrategy,
    "resourcequotas": quotas.ResourceQuotaStrategy,
    "limitranges": quotas.LimitRangeStrategy,
    "podtemplates": quotas.PodTemplateStrategy,
    "horizontalpodautoscalers.autoscaling": quotas.AutoscalerStrategy,
}

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"

_DEFAULTS: dict[str, Callable[[Object], None]] = {
    "services": services.default_service,
    "secrets": configuration.default_secret,
    "persistentvolumes": storage.default_volume,
    "persistentvolumeclaims": storage.default_claim,
    "storageclasses.storage.k8s.io": storage.default_class,
    "pods": podstrategy.default_pod,
    "endpoints": kinds.default_endpoints,
    "events": events.default_event,
    "leases.coordination.k8s.io": coordination.default_lease,
    "endpointslices.discovery.k8s.io": coordination.default_endpoint_slice,
    "roles.rbac.authorization.k8s.io": rbac.default_role,
    "clusterroles.rbac.authorization.k8s.io": rbac.default_role,
    "rolebindings.rbac.authorization.k8s.io": rbac.default_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.default_binding,
    "networkpolicies.networking.k8s.io": networking.default_network_policy,
    "ingressclasses.networking.k8s.io": networking.default_ingress_class,
    "priorityclasses.scheduling.k8s.io": classes.default_priority_class,
    "csidrivers.storage.k8s.io": classes.default_csi_driver,
    "resourcequotas": quotas.default_resource_quota,
    "limitranges": quotas.default_limit_range,
    "podtemplates": quotas.default_template,
    "horizontalpodautoscalers.autoscaling": quotas.default_autoscaler,
}


@cache
def strategy_of(resource_name: str) -> Strategy:
    """Return the strategy of `pods`, `statefulsets.apps`, …"""
    if resource_name == DEFINITIONS:
        # Here and not above: the rules for definitions are read where somebody defines something.
        from localset.apis.customresources.kind import DefinitionStrategy

        return DefinitionStrategy(BY_NAME[resource_name])
    return _STRATEGIES.get(resource_name, Strategy)(BY_NAME[resource_name])


def strategy_for(resource: Resource, version: str = "") -> Strategy:
    """Return the strategy for objects of `resource`, built in or custom, that are written in `version`."""
    if resource.definition is not None:
        return resource.definition.strategy(version)
    return strategy_of(resource.name)


def decode(resource: Resource, version: str, obj: Object, validation: FieldValidation) -> Decoded:
    """Return the storage form of `obj`, a request body in `version`. StatusError 400 for what cannot be understood."""
    if resource.definition is not None:
        custom, unknown = resource.definition.decode(version, obj)
        return Decoded(custom, _complaints(resource, version, unknown, validation))
    _check_identity(resource, version, obj)
    checked = check(resource.group, version, resource.kind, obj)
    warnings = _complaints(resource, version, checked.unknown, validation)
    decoded = checked.object
    decoded.setdefault("metadata", {})
    if resource.stored_as:
        events.to_core(decoded)
        resource = BY_NAME[resource.stored_as]
    if resource.kind == "HorizontalPodAutoscaler":
        autoscalers.to_storage(decoded, version)
    _default(resource, version, decoded)
    if resource.kind == "PodDisruptionBudget":
        poddisruptionbudgets.to_storage(decoded, version)
    decoded["apiVersion"], decoded["kind"] = resource.api_version(), resource.kind
    return Decoded(decoded, warnings)


def _complaints(resource: Resource, version: str, unknown: list[str], validation: FieldValidation) -> list[str]:
    """Return what to say about unknown fields; StatusError 400 when they are not allowed."""
    complaints = [f'unknown field "{path}"' for path in unknown]
    if complaints and validation is FieldValidation.STRICT:
        raise bad_request(
            f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(complaints)}"
        )
    return complaints if validation is FieldValidation.WARN else []


_KINDS_WITHOUT_RESOURCE = {
    ("v1", "List"), ("autoscaling/v1", "Scale"), ("apps/v1beta1", "Scale"), ("apps/v1beta2", "Scale"),
    ("policy/v1", "Eviction"), ("policy/v1beta1", "Eviction"), ("v1", "Binding"),
}  # fmt: skip


def _check_identity(resource: Resource, version: str, obj: Object) -> None:
    """Refuse a body that says another kind or version than its URL; silence means the URL's (kube-api.md 4.2)."""
    if not isinstance(obj, dict):
        why = f"json: cannot unmarshal {_go_type(obj)} into Go value of type v1.{resource.kind}"
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): {why}")
    for name in ("apiVersion", "kind"):
        if not isinstance(obj.get(name) or "", str):
            raise bad_request(f"{name}: expected string, got {_go_type(obj[name])}")
    check_identity(resource.api_version(version), resource.kind, obj)


def check_identity(api_version: str, wanted: str, obj: Object) -> None:
    """Refuse (400) a body of another kind or version than `wanted` in `api_version`, in upstream's words."""
    given, kind = str(obj.get("apiVersion") or api_version), str(obj.get("kind") or wanted)
    if (given, kind) == (api_version, wanted):
        return
    short = given.rpartition("/")[2]
    if find_by_kind(given, kind) is None and (given, kind) not in _KINDS_WITHOUT_RESOURCE:
        why = f'no kind "{kind}" is registered for version "{given}"'
    elif kind != wanted:
        group = api_version.rpartition("/")[0].partition(".")[0] or "core"
        why = f"converting ({short}.{kind}) to ({group}.{wanted}): unknown conversion"
    else:
        why = f"the API version in the data ({given}) does not match the expected API version ({api_version})"
        raise bad_request(why)
    raise bad_request(f'{kind} in version "{short}" cannot be handled as a {wanted}: {why}')


def _go_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    return {list: "array", str: "string", type(None): "null"}.get(type(value), "number")


def _default(resource: Resource, version: str, obj: Object) -> None:
    if resource.name == "statefulsets.apps":
        statefulsets.default_statefulset(obj, version)
    elif resource.name == DEFINITIONS:
        from localset.apis.customresources.kind import default_definition

        default_definition(obj)
    elif (defaults := _DEFAULTS.get(resource.name)) is not None:
        defaults(obj)


def default(resource: Resource, obj: Object) -> Object:
    """Return a defaulted copy of `obj`, made inside the house in the storage version."""
    if resource.definition is not None:
        return resource.definition.default(obj)
    defaulted: Object = copy_of(obj)
    defaulted["apiVersion"], defaulted["kind"] = resource.api_version(), resource.kind
    defaulted.setdefault("metadata", {})
    _default(resource, resource.storage_version, defaulted)
    return defaulted


def encode(resource: Resource, version: str, obj: Object) -> Object:
    """Return `obj`, which is stored, in `version`; the very same object when that is the storage version."""
    if resource.definition is not None:
        return resource.definition.encode(version, obj)
    if resource.is_stored_in(version):
        return obj
    if resource.stored_as:
        return {**events.from_core(obj), "apiVersion": resource.api_version(version)}
    encoded: Object = copy_of(obj)
    encoded["apiVersion"] = resource.api_version(version)
    if resource.kind == "PodDisruptionBudget":
        poddisruptionbudgets.from_storage(encoded, version)
    if resource.kind == "HorizontalPodAutoscaler":
        autoscalers.from_storage(encoded, version)
    if resource.kind == "StatefulSet" and version == "v1beta1":
        encoded.setdefault("status", {}).setdefault("observedGeneration", 0)  # a pointer there, always written
    return encoded


def patch_schema(resource: Resource, version: str) -> PatchSchema:
    """Return the merge rules of a kind, for strategic merge patches."""
    return patch_rules(resource.group, version, resource.kind)


def shape_of(resource: Resource, version: str) -> Shape:
    """Return what server-side apply must know of a kind: which lists merge by what, what is owned as a whole."""
    if resource.definition is not None:
        return resource.definition.version(version).shape
    return published_shape(resource.group, version, resource.kind) or UNKNOWN
