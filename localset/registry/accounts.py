"""What a new Pod gets from its ServiceAccount: the account itself, pull secrets, and the volume with its token.

Called by admission, on a private Pod. The volume is Kubernetes' own (`kube-api-access-xxxxx`); the kubelet fills it and
keeps the token fresh. Source: plugin/pkg/admission/serviceaccount/admission.go.
"""

import secrets

from localset.machinery.metadata import Object

ACCESS_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ACCESS_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
ROOT_CA = "kube-root-ca.crt"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def give_account(pod: Object, account: Object | None) -> None:
    """Complete `pod` in place with what `account` gives; None is a `default` that is only just being made."""
    spec = pod["spec"]
    account = account or {}
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is not False:
        _mount_token(spec)


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    existing = next((v["name"] for v in volumes if str(v.get("name") or "").startswith(ACCESS_PREFIX)), "")
    taken = {volume.get("name") for volume in volumes}
    name = existing or _free_name(taken)
    is_needed = False
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == ACCESS_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": ACCESS_PATH}]
        is_needed = True
    if is_needed and not existing:
        spec["volumes"] = [*volumes, _volume(name)]


def _free_name(taken: set[str | None]) -> str:
    while True:
        name = ACCESS_PREFIX + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
        if name not in taken:
            return name


def _volume(name: str) -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}
