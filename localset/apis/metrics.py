"""The resources of metrics.k8s.io: what Pods and Nodes use right now. Measured when asked, never stored. Pure."""

from localset.apis.resources import Resource

GROUP = "metrics.k8s.io"
_READ = ("get", "list")
_VERSIONS = ("v1", "v1beta1")

METRICS: tuple[Resource, ...] = (
    Resource("pods", "", "PodMetrics", GROUP, _VERSIONS, verbs=_READ),
    Resource("nodes", "", "NodeMetrics", GROUP, _VERSIONS, namespaced=False, verbs=_READ),
)
