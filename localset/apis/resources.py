"""Which resources are built in: names, versions, scope, subresources.

One row per resource; storage is the first version, unless a row says otherwise. `apis.served` adds the rows of custom
resources: registry, routes and discovery ask there. Only what can never be a custom resource may look here by name.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localset.apis.customresources.definition import Definition


@dataclass(frozen=True)
class Resource:
    """A served resource. `name` is `plural` or `plural.group`; `versions` are the served ones, the preferred first.

    `storage` is the storage version, empty for the first; `list_kind` the kind of a list, empty for `<kind>List`;
    `verbs` are those that are served, empty for all;
    `definition` is set for custom resources alone.
    """

    plural: str
    singular: str
    kind: str
    group: str = ""
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    storage: str = ""
    list_kind: str = ""
    verbs: tuple[str, ...] = ()
    stored_as: str = ""
    """The `name` of the resource whose objects this one shows in another group's words; empty for its own."""
    is_refused: bool = False
    """Readable and always empty: `apis/workloads.py` says what a writer should use instead."""

    @property
    def is_built_in(self) -> bool:
        """Tell whether the kind is one of Kubernetes' own rather than a custom resource."""
        return self.name in BY_NAME

    definition: "Definition | None" = field(default=None, compare=False, repr=False)

    @property
    def storage_version(self) -> str:
        """Return the version that objects are stored in."""
        return self.storage or self.versions[0]

    def is_stored_in(self, version: str) -> bool:
        """Tell whether the stored object is the very answer in `version`.

        Never for custom resources: their schema may have changed since an object was written.
        """
        return version == self.storage_version and not self.stored_as and self.definition is None

    def subresources_of(self, version: str) -> tuple[str, ...]:
        """Return the subresources of `version`: custom resources may differ from version to version."""
        return self.subresources if self.definition is None else self.definition.subresources(version)

    @property
    def kind_of_list(self) -> str:
        """Return `PodList`."""
        return self.list_kind or f"{self.kind}List"

    @property
    def name(self) -> str:
        """Return `pods` or `statefulsets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def api_version(self, version: str | None = None) -> str:
        """Return `apps/v1`; the storage version by default."""
        version = version or self.storage_version
        return f"{self.group}/{version}" if self.group else version


WITHOUT_EFFECT: tuple[Resource, ...] = (
    Resource("resourcequotas", "resourcequota", "ResourceQuota", short_names=("quota",), subresources=("status",)),
    Resource("limitranges", "limitrange", "LimitRange", short_names=("limits",)),
    Resource("podtemplates", "podtemplate", "PodTemplate"),
    Resource("roles", "role", "Role", "rbac.authorization.k8s.io"),
    Resource("rolebindings", "rolebinding", "RoleBinding", "rbac.authorization.k8s.io"),
    Resource("clusterroles", "clusterrole", "ClusterRole", "rbac.authorization.k8s.io", namespaced=False),
    Resource(
        "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", "rbac.authorization.k8s.io", namespaced=False
    ),
    Resource("networkpolicies", "networkpolicy", "NetworkPolicy", "networking.k8s.io", short_names=("netpol",)),
    Resource("ingresses", "ingress", "Ingress", "networking.k8s.io", short_names=("ing",), subresources=("status",)),
    Resource("ingressclasses", "ingressclass", "IngressClass", "networking.k8s.io", namespaced=False),
    Resource(
        "priorityclasses", "priorityclass", "PriorityClass", "scheduling.k8s.io", namespaced=False, short_names=("pc",)
    ),
    Resource("runtimeclasses", "runtimeclass", "RuntimeClass", "node.k8s.io", namespaced=False),
    Resource("csidrivers", "csidriver", "CSIDriver", "storage.k8s.io", namespaced=False),
    Resource(
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
        "HorizontalPodAutoscaler",
        "autoscaling",
        ("v2", "v1"),
        short_names=("hpa",),
        categories=("all",),
        subresources=("status",),
    ),
)
"""Stored and shown; `apis/without_effect.py` says why nothing follows from them on one machine."""

REFUSED: tuple[Resource, ...] = (
    Resource(
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        "ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        namespaced=False,
        categories=("api-extensions",),
        is_refused=True,
    ),
    Resource(
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
        "MutatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        namespaced=False,
        categories=("api-extensions",),
        is_refused=True,
    ),
    Resource(
        "replicationcontrollers",
        "replicationcontroller",
        "ReplicationController",
        short_names=("rc",),
        categories=("all",),
        subresources=("status", "scale"),
        is_refused=True,
    ),
    Resource(
        "deployments",
        "deployment",
        "Deployment",
        "apps",
        short_names=("deploy",),
        categories=("all",),
        subresources=("status", "scale"),
        is_refused=True,
    ),
    Resource(
        "replicasets",
        "replicaset",
        "ReplicaSet",
        "apps",
        short_names=("rs",),
        categories=("all",),
        subresources=("status", "scale"),
        is_refused=True,
    ),
    Resource(
        "daemonsets",
        "daemonset",
        "DaemonSet",
        "apps",
        short_names=("ds",),
        categories=("all",),
        subresources=("status",),
        is_refused=True,
    ),
    Resource("jobs", "job", "Job", "batch", categories=("all",), subresources=("status",), is_refused=True),
    Resource(
        "cronjobs",
        "cronjob",
        "CronJob",
        "batch",
        short_names=("cj",),
        categories=("all",),
        subresources=("status",),
        is_refused=True,
    ),
)

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "namespaces",
        "namespace",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        subresources=("status", "finalize"),
    ),
    Resource("nodes", "node", "Node", namespaced=False, short_names=("no",), subresources=("status",)),
    Resource("serviceaccounts", "serviceaccount", "ServiceAccount", short_names=("sa",), subresources=("token",)),
    Resource(
        "services",
        "service",
        "Service",
        short_names=("svc",),
        categories=("all",),
        subresources=("status", "proxy"),
    ),
    Resource("endpoints", "endpoints", "Endpoints", short_names=("ep",)),
    Resource("configmaps", "configmap", "ConfigMap", short_names=("cm",)),
    Resource("secrets", "secret", "Secret"),
    Resource(
        "persistentvolumes",
        "persistentvolume",
        "PersistentVolume",
        namespaced=False,
        short_names=("pv",),
        subresources=("status",),
    ),
    Resource(
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        "PersistentVolumeClaim",
        short_names=("pvc",),
        subresources=("status",),
    ),
    Resource(
        "pods",
        "pod",
        "Pod",
        short_names=("po",),
        categories=("all",),
        subresources=(
            "status",
            "log",
            "exec",
            "attach",
            "portforward",
            "proxy",
            "binding",
            "eviction",
            "ephemeralcontainers",
        ),
    ),
    Resource("events", "event", "Event", short_names=("ev",)),
    Resource(
        "statefulsets",
        "statefulset",
        "StatefulSet",
        "apps",
        ("v1", "v1beta2", "v1beta1"),
        short_names=("sts",),
        categories=("all",),
        subresources=("status", "scale"),
    ),
    Resource("controllerrevisions", "controllerrevision", "ControllerRevision", "apps", ("v1", "v1beta2", "v1beta1")),
    Resource(
        "poddisruptionbudgets",
        "poddisruptionbudget",
        "PodDisruptionBudget",
        "policy",
        ("v1", "v1beta1"),
        short_names=("pdb",),
        subresources=("status",),
    ),
    Resource("storageclasses", "storageclass", "StorageClass", "storage.k8s.io", namespaced=False, short_names=("sc",)),
    Resource("leases", "lease", "Lease", "coordination.k8s.io"),
    Resource("endpointslices", "endpointslice", "EndpointSlice", "discovery.k8s.io"),
    Resource("events", "event", "Event", "events.k8s.io", short_names=("ev",), stored_as="events"),
    *WITHOUT_EFFECT,
    *REFUSED,
    Resource(
        "customresourcedefinitions",
        "customresourcedefinition",
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=("status",),
    ),
)

BY_NAME: dict[str, Resource] = {resource.name: resource for resource in RESOURCES}
BY_KIND: dict[tuple[str, str], Resource] = {(r.group, r.kind): r for r in RESOURCES}


def find_by_kind(api_version: str, kind: str) -> Resource | None:
    """Return the resource that serves `kind` in exactly this `apiVersion`, or None."""
    group, _, version = api_version.rpartition("/")
    resource = BY_KIND.get((group, kind))
    return resource if resource and version in resource.versions else None


def find_by_word(word: str) -> Resource | None:
    """Return the resource that a person means: plural, singular, short name, Kind or `plural.group`, any case."""
    lowered = word.lower()
    for r in RESOURCES:
        if lowered in {r.plural, r.singular, r.name, r.kind.lower(), f"{r.singular}.{r.group}", *r.short_names}:
            return r
    return None
