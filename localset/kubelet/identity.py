"""Which user and groups a Pod's containers and volumes get, from securityContext and image. Pure."""

from localset.base.frozen import frozen
from localset.machinery.metadata import Object


@frozen
class PodOwner:
    """Who owns the Pod's volumes; -1 leaves as it is."""

    uid: int
    gid: int
    has_fs_group: bool


@frozen
class ProcessIdentity:
    """What a container's process runs as; None: as the keeper does."""

    user: int | None
    group: int | None
    supplementary: tuple[int, ...]


def owner_of(pod: Object, image_user: int | None = None) -> PodOwner:
    """Return the owner of the Pod's volumes.

    FsGroup for the group, the (first) user that the Pod runs as for the rest.
    """
    spec = pod.get("spec") or {}
    context = spec.get("securityContext") or {}
    user = context.get("runAsUser")
    if user is None:
        users = [(c.get("securityContext") or {}).get("runAsUser") for c in spec.get("containers") or []]
        user = next((u for u in users if u is not None), image_user)
    fs_group = context.get("fsGroup")
    group = fs_group if fs_group is not None else context.get("runAsGroup")
    return PodOwner(-1 if user is None else user, -1 if group is None else group, fs_group is not None)


def identity_of(pod: Object, container: Object, image_user: int | None, image_group: int | None) -> ProcessIdentity:
    """Return user and groups of a container: its own securityContext, then the Pod's, then the image's."""
    pod_context = (pod.get("spec") or {}).get("securityContext") or {}
    own = container.get("securityContext") or {}
    user = own.get("runAsUser", pod_context.get("runAsUser", image_user))
    group = own.get("runAsGroup", pod_context.get("runAsGroup"))
    if group is None:
        group = image_group if user == image_user else None
    supplementary = list(pod_context.get("supplementalGroups") or [])
    if pod_context.get("fsGroup") is not None:
        supplementary.append(pod_context["fsGroup"])
    return ProcessIdentity(user, group, tuple(dict.fromkeys(supplementary)))


def one_group(wanted: ProcessIdentity) -> ProcessIdentity:
    """Return what a single mapped user and group can give: the group, else fsGroup or another supplementary one."""
    group = wanted.group
    if group is None and wanted.supplementary:
        group = wanted.supplementary[-1]
    return ProcessIdentity(wanted.user, group, ())


def asks_for_identity(pod: Object) -> bool:
    """Tell whether the manifest asks for a user or an fsGroup, which only root can really give."""
    spec = pod.get("spec") or {}
    contexts = [
        spec.get("securityContext") or {},
        *((c.get("securityContext") or {}) for c in spec.get("containers") or []),
    ]
    return any(c.get(key) is not None for c in contexts for key in ("runAsUser", "runAsGroup", "fsGroup"))
