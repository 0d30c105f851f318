"""The volumeclaim controller: gives every claim a volume and ends the volume after the claim.

Started by `controllers.start`. Dynamic volumes are directories beneath `volumes_directory`: the kubelet makes them,
here they are named, bound, and removed through `VolumeDirectories` once their claim is gone and the policy is Delete. A
directory that we did not provision is never removed.
"""

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple

from localset.base.clock import Clock
from localset.base.tasks import Tasks
from localset.base.workqueue import WorkQueue
from localset.client.client import Client, DeleteOptions
from localset.client.events import EventRecorder
from localset.client.informer import InformerFactory
from localset.controllers.volumeclaim import plan
from localset.controllers.volumeclaim.directories import VolumeDirectories
from localset.machinery.errors import StatusError
from localset.machinery.metadata import (
    Key,
    Object,
    annotations_of,
    copy_of,
    is_being_deleted,
    key_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
)

log = logging.getLogger(__name__)
WORKERS = 4
CLAIMS = "persistentvolumeclaims"
VOLUMES = "persistentvolumes"
CLAIM_INDEX = "claims used"


class _Item(NamedTuple):
    """What is looked at next: a claim or a volume."""

    resource: str
    key: Key


class VolumeClaimController:
    """Follows claims, volumes, classes and the Pods that hold claims."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        informers: InformerFactory,
        volumes_directory: Path,
        directories: VolumeDirectories,
    ) -> None:
        """Take the shared informers; nothing runs before `start`."""
        self._client = client
        self._claims = informers.of(CLAIMS)
        self._volumes = informers.of(VOLUMES)
        self._classes = informers.of("storageclasses.storage.k8s.io")
        self._pods = informers.of("pods")
        self._pods.add_index(CLAIM_INDEX, plan.claims_used_by)
        self._volumes_directory = volumes_directory
        self._directories = directories
        self._recorder = EventRecorder(client, clock, "persistentvolume-controller")
        self._queue: WorkQueue[_Item] = WorkQueue("volumeclaim", clock)
        self._tasks = Tasks("volumeclaim controller")

    async def start(self) -> None:
        """Return when the caches are filled and the workers run."""
        informers = (self._claims, self._volumes, self._classes, self._pods)
        await asyncio.gather(*(informer.start() for informer in informers))
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._classes.add_handler(self._on_class)
        self._pods.add_handler(self._on_pod)
        for number in range(WORKERS):
            self._tasks.spawn(self._queue.run(self._sync), f"worker {number}")

    async def aclose(self) -> None:
        """Stop; a removal of a directory that was begun is taken up again by the next start."""
        await self._tasks.aclose()
        await self._queue.aclose()
        await self._recorder.aclose()

    # What is looked at

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        claim = new or old or {}
        self._queue.add(_Item(CLAIMS, key_of(claim)))
        if new is None:
            for volume in self._volumes.list():
                if plan.belongs_to(volume, claim):
                    self._queue.add(_Item(VOLUMES, key_of(volume)))

    def _on_volume(self, old: Object | None, new: Object | None) -> None:
        volume = new or old or {}
        self._queue.add(_Item(VOLUMES, key_of(volume)))
        reference = (volume.get("spec") or {}).get("claimRef")
        if reference:
            self._queue.add(_Item(CLAIMS, Key(f"{reference.get('namespace')}/{reference.get('name')}")))
        else:
            self._queue_pending()

    def _on_class(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue_pending()

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        before = set(plan.claims_used_by(old)) if old else set()
        after = set(plan.claims_used_by(new)) if new else set()
        for key in before ^ after:
            self._queue.add(_Item(CLAIMS, Key(key)))

    def _queue_pending(self) -> None:
        for claim in self._claims.list():
            if (claim.get("status") or {}).get("phase", "Pending") == "Pending":
                self._queue.add(_Item(CLAIMS, key_of(claim)))

    async def _sync(self, item: _Item) -> None:
        namespace, name = split_key(item.key)
        try:
            if item.resource == CLAIMS:
                claim = self._claims.get(namespace, name)
                if claim is not None:
                    await self._sync_claim(claim)
            else:
                volume = self._volumes.get("", name)
                if volume is not None:
                    await self._sync_volume(volume)
        except StatusError as error:
            if error.code != 404:
                raise

    # Claims

    async def _sync_claim(self, claim: Object) -> None:
        if is_being_deleted(claim):
            await self._let_claim_go(claim)
            return
        volume = await self._volume_for(claim)
        if volume is not None:
            await self._bind(claim, volume)

    async def _let_claim_go(self, claim: Object) -> None:
        new = plan.without_finalizer(claim, plan.CLAIM_PROTECTION)
        if new is None or self._pods.by_index(CLAIM_INDEX, key_of(claim)):
            return
        # NB: asked live, because a Pod that is newer than the cache must keep its claim.
        pods = (await self._client.list("pods", namespace_of(claim))).items
        if not any(key_of(claim) in plan.claims_used_by(pod) for pod in pods):
            await self._client.update(CLAIMS, new)

    async def _volume_for(self, claim: Object) -> Object | None:
        wanted = (claim.get("spec") or {}).get("volumeName")
        if wanted:
            return await self._named_volume(claim, wanted)
        volume = plan.find_volume(claim, self._volumes.list())
        return volume if volume is not None else await self._provision(claim)

    async def _named_volume(self, claim: Object, name: str) -> Object | None:
        try:
            volume = await self._client.get(VOLUMES, "", name)
        except StatusError as error:
            if error.code != 404:
                raise
            volume = None
        if volume is not None and (plan.belongs_to(volume, claim) or not volume["spec"].get("claimRef")):
            return volume
        if annotations_of(claim).get(plan.BIND_COMPLETED):
            await self._lose(claim, is_absent=volume is None)
        elif volume is not None:
            text = f'volume "{name}" already bound to a different claim.'
            self._recorder.event(claim, "Warning", "FailedBinding", text)
        return None

    async def _lose(self, claim: Object, *, is_absent: bool) -> None:
        if (claim.get("status") or {}).get("phase") == "Lost":
            return
        new = copy_of(claim)
        new["status"] = {**(new.get("status") or {}), "phase": "Lost"}
        await self._client.update_status(CLAIMS, new)
        if is_absent:
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            self._recorder.event(claim, "Warning", "ClaimLost", text)
        else:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            self._recorder.event(claim, "Warning", "ClaimMisbound", text)

    async def _provision(self, claim: Object) -> Object | None:
        """Create a volume for the claim; None, with an event, when nothing may be made."""
        name = plan.class_of(claim)
        if not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._recorder.event(claim, "Normal", "FailedBinding", text)
            return None
        storage_class = self._classes.get("", name)
        if storage_class is None:
            known = ", ".join(sorted(name_of(c) for c in self._classes.list())) or "none"
            text = f'storageclass.storage.k8s.io "{name}" not found (there are: {known})'
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return None
        if storage_class.get("provisioner") == "kubernetes.io/no-provisioner":
            text = f'no persistent volume fits this claim, and class "{name}" makes none'
            self._recorder.event(claim, "Normal", "FailedBinding", text)
            return None
        waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        if waits and not self._pods.by_index(CLAIM_INDEX, key_of(claim)):
            text = "waiting for first consumer to be created before binding"
            self._recorder.event(claim, "Normal", "WaitForFirstConsumer", text)
            return None
        if (claim.get("spec") or {}).get("selector"):
            text = "claim Selector is not supported: a volume that is made here has no labels to select"
            self._recorder.event(claim, "Warning", "ProvisioningFailed", text)
            return None
        wanted = plan.provisioned_volume(claim, storage_class, self._volumes_directory)
        try:
            volume = await self._client.create(VOLUMES, wanted)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            return await self._client.get(VOLUMES, "", name_of(wanted))
        await self._volumes.wait_until_seen(version_of(volume))
        text = f"Successfully provisioned volume {name_of(volume)}"
        self._recorder.event(claim, "Normal", "ProvisioningSucceeded", text)
        return volume

    async def _bind(self, claim: Object, volume: Object) -> None:
        """Bring volume, then claim, then both statuses to Bound; steps that were taken before are skipped."""
        wanted_volume = plan.bound_volume(volume, claim)
        if wanted_volume != volume:
            volume = await self._client.update(VOLUMES, wanted_volume)
        volume = await self._set_phase(volume, "Bound")
        wanted_claim = plan.bound_claim(claim, volume)
        if wanted_claim != claim:
            claim = await self._client.update(CLAIMS, wanted_claim)
        status = {**(claim.get("status") or {}), **plan.bound_status(volume)}
        if status != claim.get("status"):
            claim = await self._client.update_status(CLAIMS, {**claim, "status": status})
        # The next look at either must see these writes, or it would begin again.
        await self._volumes.wait_until_seen(version_of(volume))
        await self._claims.wait_until_seen(version_of(claim))

    # Volumes

    async def _sync_volume(self, volume: Object) -> None:
        reference = (volume.get("spec") or {}).get("claimRef")
        if reference and reference.get("uid"):
            if await self._has_claim(reference):
                return  # Bound, or on its way: the claim's own look sees to it.
            volume = await self._set_phase(volume, "Released")
            await self._reclaim(volume)
        elif not is_being_deleted(volume):
            await self._set_phase(volume, "Available")
        else:
            await self._let_volume_go(volume)

    async def _has_claim(self, reference: Object) -> bool:
        try:
            claim = await self._client.get(CLAIMS, reference["namespace"], reference["name"])
        except StatusError as error:
            if error.code == 404:
                return False
            raise
        return uid_of(claim) == str(reference["uid"])

    async def _reclaim(self, volume: Object) -> None:
        spec = volume.get("spec") or {}
        is_ours = annotations_of(volume).get(plan.PROVISIONED) == "true"
        if is_ours and spec.get("persistentVolumeReclaimPolicy") == "Delete":
            path = Path((spec.get("hostPath") or {}).get("path") or "")
            if ".." in path.parts or self._volumes_directory not in path.parents:
                text = f"{path} does not lie beneath {self._volumes_directory} and is not removed"
                self._recorder.event(volume, "Warning", "VolumeFailedDelete", text)
                return
            try:
                await self._directories.remove(path)
            except OSError as error:
                self._recorder.event(volume, "Warning", "VolumeFailedDelete", str(error))
                raise
            if not is_being_deleted(volume):
                volume = await self._client.delete(VOLUMES, "", name_of(volume), DeleteOptions(uid=uid_of(volume)))
        if is_being_deleted(volume):
            await self._let_volume_go(volume)

    async def _let_volume_go(self, volume: Object) -> None:
        new = plan.without_finalizer(volume, plan.VOLUME_PROTECTION)
        if new is not None:
            await self._client.update(VOLUMES, new)

    async def _set_phase(self, volume: Object, phase: str) -> Object:
        status = volume.get("status") or {}
        if status.get("phase") == phase:
            return volume
        return await self._client.update_status(VOLUMES, {**volume, "status": {**status, "phase": phase}})
