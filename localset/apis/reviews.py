"""Resources that are asked and not kept: access reviews, rules reviews, token reviews.

Rows like those of `apis.resources`, with the verb `create` alone; routes and discovery show them beside what is served
from the store, and `apiserver.reviews` answers. Pure.
"""

from localset.apis.resources import Resource

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
_CREATE = ("create",)


def _review(kind: str, group: str, *versions: str, namespaced: bool = False) -> Resource:
    lowered = kind.lower()
    return Resource(f"{lowered}s", lowered, kind, group, versions or ("v1",), namespaced=namespaced, verbs=_CREATE)


REVIEWS: tuple[Resource, ...] = (
    _review("SelfSubjectReview", AUTHENTICATION, "v1", "v1beta1"),  # the latter is all that kubectl 1.27 asks
    _review("TokenReview", AUTHENTICATION),
    _review("LocalSubjectAccessReview", AUTHORIZATION, namespaced=True),
    _review("SelfSubjectAccessReview", AUTHORIZATION),
    _review("SelfSubjectRulesReview", AUTHORIZATION),
    _review("SubjectAccessReview", AUTHORIZATION),
)
