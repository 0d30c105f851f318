"""The files of configMap, secret, downwardAPI and projected volumes, computed from objects. Pure.

`volumes` fetches the objects and `projection` writes what comes out here. Keys and item paths are API data: each is
checked with `safe_elements` again when it is written.
"""

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from localset.kubelet.environment import ConfigError, Sources, field_value, resource_value
from localset.machinery.metadata import Object, namespace_of

DEFAULT_MODE = 0o644


class ProjectedFile(NamedTuple):
    """A file's bytes and mode bits."""

    data: bytes
    mode: int


Files = dict[str, ProjectedFile]


def config_map_files(source: Object, found: Object | None, pod: Object, default_mode: int) -> Files:
    """Return the files of a configMap source; ConfigError when the object or a listed key is missing."""
    name = source.get("name") or ""
    if found is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'configmap "{name}" not found')
    values = {key: value.encode("utf-8", "surrogateescape") for key, value in (found.get("data") or {}).items()}
    values.update({key: _decode(value, name) for key, value in (found.get("binaryData") or {}).items()})
    return _pick(values, source, default_mode, f"configmap {namespace_of(pod)}/{name}")


def secret_files(source: Object, found: Object | None, pod: Object, default_mode: int) -> Files:
    """Return the files of a secret source (`secretName` or, projected, `name`)."""
    name = source.get("secretName") or source.get("name") or ""
    if found is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'secret "{name}" not found')
    values = {key: _decode(value, name) for key, value in (found.get("data") or {}).items()}
    return _pick(values, source, default_mode, f"secret {namespace_of(pod)}/{name}")


def downward_files(source: Object, pod: Object, sources: Sources, default_mode: int) -> Files:
    """Return the files of a downwardAPI source."""
    files: Files = {}
    for item in source.get("items") or []:
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"].get("fieldPath") or "", sources.host_ip, sources.pod_ip)
        else:
            text = resource_value(pod, {}, item.get("resourceFieldRef") or {}, sources.allocatable)
        files[item.get("path") or ""] = ProjectedFile(
            text.encode("utf-8", "surrogateescape"), _mode(item, default_mode)
        )
    return files


def projected_files(
    source: Object,
    pod: Object,
    sources: Sources,
    find: Callable[[str, str], Object | None],
    token_for: Callable[[Object], bytes] | None,
) -> tuple[Files, bool]:
    """Return the merged files of a projected volume, and whether a part was left out that localset does not serve.

    `find(kind, name)` gives a configmap or secret of the Pod's namespace, `token_for` the token of a
    serviceAccountToken source; without it tokens are left out, never faked.
    """
    default_mode = source.get("defaultMode")
    mode = DEFAULT_MODE if default_mode is None else default_mode
    files: Files = {}
    is_partial = False
    for part in source.get("sources") or []:
        if part.get("configMap"):
            reference = part["configMap"]
            files.update(config_map_files(reference, find("configmaps", reference.get("name") or ""), pod, mode))
        elif part.get("secret"):
            reference = part["secret"]
            files.update(secret_files(reference, find("secrets", reference.get("name") or ""), pod, mode))
        elif part.get("downwardAPI"):
            files.update(downward_files(part["downwardAPI"], pod, sources, mode))
        elif part.get("serviceAccountToken") and token_for is not None:
            reference = part["serviceAccountToken"]
            files[reference.get("path") or "token"] = ProjectedFile(token_for(reference), mode)
        else:
            is_partial = True
    return files, is_partial


def _decode(value: str, name: str) -> bytes:
    try:
        return base64.b64decode(value)
    except binascii.Error as error:
        raise ConfigError(f"{name} holds a value that is not base64: {error}") from error


def _mode(item: Object, default_mode: int) -> int:
    mode = item.get("mode")
    return default_mode if mode is None else int(mode)


def _pick(values: dict[str, bytes], source: Object, default_mode: int, title: str) -> Files:
    items = source.get("items")
    if not items:
        return {key: ProjectedFile(value, default_mode) for key, value in values.items()}
    files: Files = {}
    for item in items:
        key = item.get("key") or ""
        if key not in values:
            if source.get("optional"):
                continue
            raise ConfigError(f"{title} references non-existent config key: {key}")
        files[item.get("path") or key] = ProjectedFile(values[key], _mode(item, default_mode))
    return files
