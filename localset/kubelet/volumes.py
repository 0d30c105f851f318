"""Volumes to directories: each volume of a Pod becomes a host path that exists and belongs to the right user.

Called by `worker` before a Pod's first container starts and when a ConfigMap or Secret changes. A claim's directory
is made once, with a marker beside it: one that is lost later is never made again in silence (reliability F35).
Everything that is named by API data is opened beneath a descriptor.
"""

import os
import stat
from pathlib import Path

from localset.base.files import (
    UnsafePathError,
    change_owner_beneath,
    make_directory_beneath,
    make_private_directory,
    open_beneath,
    opened_directory,
    write_atomically,
)
from localset.base.frozen import frozen
from localset.kubelet.context import KubeletContext, NotYetError
from localset.kubelet.environment import ConfigError, Sources
from localset.kubelet.identity import PodOwner
from localset.kubelet.payload import (
    DEFAULT_MODE,
    Files,
    config_map_files,
    downward_files,
    projected_files,
    secret_files,
)
from localset.kubelet.projection import write_projection
from localset.kubelet.settings import HostPathPolicy
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object, annotations_of, namespace_of

PROVISIONED = "localset.dev/provisioned"
_GROUP_BITS = 0o2070
_PROJECTED = ("configMap", "secret", "downwardAPI", "projected")


@frozen
class MountedVolume:
    """A volume that is there. `path` is absolute; a file only for hostPath."""

    path: Path
    is_read_only: bool = False


def references_of(pod: Object) -> set[tuple[str, str]]:
    """Return (`configmaps`|`secrets`, name) of every object whose change rewrites a volume of the Pod."""
    found: set[tuple[str, str]] = set()
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            if source.get("configMap"):
                found.add(("configmaps", source["configMap"].get("name") or ""))
            if source.get("secret"):
                found.add(("secrets", source["secret"].get("secretName") or source["secret"].get("name") or ""))
    return found


class Volumes:
    """Makes the volumes of one Pod."""

    def __init__(self, context: KubeletContext, directory: Path, owner: PodOwner) -> None:
        """`directory` is `pods/<uid>/volumes`; it is made when the Pod has volumes."""
        self._context = context
        self._directory = directory
        self._owner = owner

    async def prepare(self, pod: Object, sources: Sources) -> dict[str, MountedVolume]:
        """Make all volumes; NotYetError (FailedMount) while one cannot be. A volume that is not served is left out."""
        mounted: dict[str, MountedVolume] = {}
        if (pod.get("spec") or {}).get("volumes"):
            make_private_directory(self._directory, mode=self._context.settings.directory_mode)
        for volume in (pod.get("spec") or {}).get("volumes") or []:
            try:
                found = await self._mount(pod, volume, sources)
            except (OSError, ConfigError) as error:
                text = f'MountVolume.SetUp failed for volume "{volume.get("name")}" : {error}'
                raise NotYetError("", text, event_reason="FailedMount", retry_seconds=2.0) from error
            if found is not None:
                mounted[volume["name"]] = found
        return mounted

    def refresh(self, pod: Object, sources: Sources) -> None:
        """Rewrite projected volumes whose objects changed.

        A missing object leaves the old files, as Kubernetes does.
        """
        for volume in (pod.get("spec") or {}).get("volumes") or []:
            if any(volume.get(kind) for kind in _PROJECTED):
                try:
                    self._project(pod, volume, sources)
                except (ConfigError, OSError) as error:
                    self._context.recorder.event(pod, "Warning", "FailedMount", f"{volume.get('name')}: {error}")

    async def _mount(self, pod: Object, volume: Object, sources: Sources) -> MountedVolume | None:
        if volume.get("persistentVolumeClaim"):
            return await self._mount_claim(pod, volume["persistentVolumeClaim"])
        if "emptyDir" in volume:
            return MountedVolume(self._mount_empty(volume["name"]))
        if volume.get("hostPath"):
            return self._mount_host_path(volume["hostPath"])
        if any(kind in volume for kind in _PROJECTED):
            path = self._project(pod, volume, sources)
            return MountedVolume(path) if path is not None else None
        kinds = ", ".join(sorted(key for key in volume if key != "name"))
        raise ConfigError(f"localset serves no volumes of type {kinds}")

    def _mount_empty(self, name: str) -> Path:
        with opened_directory(self._directory) as root:
            descriptor = make_directory_beneath(root, name, mode=0o755)
            try:
                self._own(descriptor, is_empty_directory=True)
            finally:
                os.close(descriptor)
        return self._directory / name

    def _own(self, descriptor: int, *, is_empty_directory: bool = False) -> None:
        """Give a volume to the Pod's user and fsGroup; a tree that already has them is not walked again."""
        if not self._context.settings.is_root:
            return
        uid, gid = self._owner.uid, self._owner.gid
        if uid < 0 and gid < 0:
            if is_empty_directory:
                os.fchmod(descriptor, 0o777)
            return
        now = os.fstat(descriptor)
        bits = _GROUP_BITS if self._owner.has_fs_group else 0
        has_owner = (uid < 0 or now.st_uid == uid) and (gid < 0 or now.st_gid == gid)
        if not has_owner or (now.st_mode & bits) != bits:
            change_owner_beneath(descriptor, uid, gid, add_mode=bits)

    def _project(self, pod: Object, volume: Object, sources: Sources) -> Path | None:
        files = self._files_of(pod, volume, sources)
        if files is None:
            return None
        is_secret = "secret" in volume or "projected" in volume
        owner = None
        if self._context.settings.is_root and (self._owner.uid >= 0 or self._owner.gid >= 0):
            owner = (self._owner.uid, self._owner.gid)
        mask = 0o700 if is_secret else 0o777
        extra = 0o040 if self._owner.has_fs_group else 0
        private = {path: file._replace(mode=(file.mode & mask) | extra) for path, file in files.items()}
        with opened_directory(self._directory) as root:
            descriptor = make_directory_beneath(root, volume["name"], mode=0o755)
            try:
                directory_mode = (0o700 | (extra and 0o050)) if is_secret else 0o755
                write_projection(descriptor, private, owner=owner, directory_mode=directory_mode)
            finally:
                os.close(descriptor)
        return self._directory / str(volume["name"])

    def _files_of(self, pod: Object, volume: Object, sources: Sources) -> Files | None:
        """Return the files, or None for a volume that would hold nothing but what localset does not serve (tokens)."""
        namespace = namespace_of(pod)
        if "configMap" in volume:
            source = volume["configMap"]
            found = self._context.find("configmaps", namespace, source.get("name") or "")
            return config_map_files(source, found, pod, _default_mode(source))
        if "secret" in volume:
            source = volume["secret"]
            found = self._context.find("secrets", namespace, source.get("secretName") or "")
            return secret_files(source, found, pod, _default_mode(source))
        if "downwardAPI" in volume:
            return downward_files(volume["downwardAPI"], pod, sources, _default_mode(volume["downwardAPI"]))
        tokens = self._context.tokens
        try:
            files, is_partial = projected_files(
                volume["projected"],
                pod,
                sources,
                lambda kind, name: self._context.find(kind, namespace, name),
                (lambda source: tokens.token_for(pod, source)) if tokens is not None else None,
            )
        except StatusError as error:
            raise ConfigError(f"failed to fetch token: {error}") from error
        return None if is_partial and not files else files

    async def _mount_claim(self, pod: Object, source: Object) -> MountedVolume:
        namespace, name = namespace_of(pod), source.get("claimName") or ""
        claim = self._context.caches.claims.get(namespace, name)
        if claim is None:
            raise NotYetError("", f'persistentvolumeclaim "{name}" not found', event_reason="FailedMount")
        volume_name = (claim.get("spec") or {}).get("volumeName")
        if (claim.get("status") or {}).get("phase") != "Bound" or not volume_name:
            text = f'persistentvolumeclaim "{name}" is not bound to a volume yet'
            raise NotYetError("", text, event_reason="", retry_seconds=None)
        try:
            volume = await self._context.client.get("persistentvolumes", "", volume_name)
        except StatusError as error:
            raise NotYetError("", str(error), event_reason="FailedMount", retry_seconds=2.0) from error
        spec = volume.get("spec") or {}
        path = (spec.get("hostPath") or spec.get("local") or {}).get("path")
        if not path:
            raise ConfigError(f'persistentvolume "{volume_name}" names no directory (hostPath or local)')
        is_provisioned = annotations_of(volume).get(PROVISIONED) == "true"
        if is_provisioned:
            self._ensure_provisioned(Path(path))
        else:
            self._ensure_directory(Path(path), volume_name, spec)
        return MountedVolume(Path(path), is_read_only=bool(source.get("readOnly")))

    @staticmethod
    def _ensure_directory(path: Path, volume_name: str, spec: Object) -> None:
        if (spec.get("hostPath") or {}).get("type") == "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True)
        elif not path.is_dir():
            raise ConfigError(f"the directory of persistentvolume {volume_name} is missing: {path}")

    def _ensure_provisioned(self, path: Path) -> None:
        """Make a claim's directory the first time; afterwards insist that it is still there."""
        root = self._context.settings.volumes_directory
        try:
            relative = path.relative_to(root)
        except ValueError as error:
            raise UnsafePathError(22, f"a provisioned volume must lie beneath {root}", str(path)) from error
        marker = path.with_name(f".{path.name}.made")
        with opened_directory(root) as directory:
            try:
                descriptor = open_beneath(directory, str(relative), os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                if marker.exists():
                    text = f"the volume's directory {path} is lost: it was made once and is gone; it is not made again"
                    raise ConfigError(text) from None
                descriptor = make_directory_beneath(directory, str(relative), mode=0o755)
            try:
                self._own(descriptor)
            finally:
                os.close(descriptor)
        if not marker.exists():
            write_atomically(marker, b"")

    def _mount_host_path(self, source: Object) -> MountedVolume:
        if self._context.settings.host_path is HostPathPolicy.DENY:
            raise ConfigError("hostPath volumes are denied (--host-path=deny)")
        path, kind = Path(source.get("path") or ""), source.get("type") or ""
        if kind == "DirectoryOrCreate":
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        elif kind == "FileOrCreate":
            path.touch(exist_ok=True)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise ConfigError(f"hostPath does not exist: {path}") from None
        expected = {
            "Directory": stat.S_ISDIR,
            "File": stat.S_ISREG,
            "Socket": stat.S_ISSOCK,
            "BlockDevice": stat.S_ISBLK,
        }
        if kind in expected and not expected[kind](mode):
            raise ConfigError(f"hostPath type check failed: {path} is not a {kind.lower()}")
        return MountedVolume(path)


def _default_mode(source: Object) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)
