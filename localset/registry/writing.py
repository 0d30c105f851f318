"""The way of every write: prepare, admit, validate, store.

Works on storage-version objects; the registry stands in front of it with versions and patches. Each write holds its
object's lock, so what it read is still the newest state when it is stored. Every write of the house passes here:
nothing else may call the store's create, replace and remove.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from localset.apis import ephemeral
from localset.apis.resources import Resource
from localset.apis.scheme import strategy_for
from localset.apis.workloads import refusal_of
from localset.base.clock import Clock, rfc3339
from localset.client.client import DeleteOptions
from localset.machinery.errors import (
    MODIFIED,
    Cause,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    go_quote,
    invalid,
    not_allowed,
    not_found,
    raise_if,
    required,
)
from localset.machinery.metadata import Object, copy_of, name_of, namespace_of, version_of
from localset.machinery.ownership import same_but_time
from localset.machinery.patch import same_json
from localset.registry.admission import Admission
from localset.registry.deletion import (
    Fate,
    check_may_be_deleted,
    check_preconditions,
    decide,
    is_finished,
)
from localset.registry.events import EventExpiry
from localset.registry.settings import RegistrySettings
from localset.store.records import (
    Key,
    KeyTakenError,
    Record,
    StaleError,
    StoreFailedError,
    StoreFullError,
)
from localset.store.store import Store

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident (apimachinery util/rand)
_SERVER_FIELDS = ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_KEPT_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
Change = Callable[[Object], Object]
"""Gives the wished new state (a private copy) for the newest stored one."""


class Writing:
    """All writes over one store."""

    def __init__(self, store: Store, clock: Clock, settings: RegistrySettings) -> None:
        """Hold the store and the rules."""
        self._store = store
        self._clock = clock
        self._admission = Admission(store, settings)
        self._expiry = EventExpiry(store, clock, settings)

    def current(self, resource: str, namespace: str, name: str) -> Record:
        """Return the newest record; StatusError 404."""
        record = self._store.get(Key(resource, namespace, name))
        if record is None:
            raise not_found(resource, name)
        return record

    async def create(
        self, resource: Resource, obj: Object, *, version: str = "", is_dry_run: bool = False, is_tracked: bool = False
    ) -> Object:
        """Create from the private, defaulted `obj`; return the stored object, or the one that would have been.

        `version` is the one that a client wrote in: custom resources have rules for each. Only a tracked write comes
        from the API's door and carries managedFields.
        """
        if resource.definition is not None:
            resource.definition.check_may_create()
        metadata = _metadata_of(obj)
        if resource.is_refused:
            raise refusal_of(resource, name_of(obj))
        if metadata.get("resourceVersion") and not is_dry_run:
            raise bad_request("resourceVersion should not be set on objects to be created")
        self._name(resource, obj)
        if not metadata.get("resourceVersion"):
            metadata.pop("resourceVersion", None)
        for field in _SERVER_FIELDS if is_tracked else (*_SERVER_FIELDS, "managedFields"):
            metadata.pop(field, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = rfc3339(self._clock.now())
        obj = ordered(resource, obj)
        strategy = strategy_for(resource, version)
        strategy.prepare_create(obj)
        key = Key(resource.name, namespace_of(obj), name_of(obj))
        async with self._locked(key):
            if resource.namespaced:
                self._admission.check_namespace(resource.name, obj)
            self._refuse_taken(key)
            self._admission.admit_create(resource.name, obj, is_dry_run=is_dry_run)
            raise_if(resource.kind, resource.group, key.name, strategy.validate(obj))
            if is_dry_run:
                return obj
            is_pod = resource.name == "pods"
            self._admission.pod_submitted(is_pod)
            try:
                record = await self._store.create(key, obj)
            finally:
                self._admission.pod_submitted(-is_pod)
        if resource.name == "events":
            await self._remove_old_events(key)
        return record.object

    def _name(self, resource: Resource, obj: Object) -> None:
        metadata = obj["metadata"]
        if not resource.namespaced:
            metadata.pop("namespace", None)
        elif not metadata.get("namespace"):
            raise bad_request("namespace is required")
        if metadata.get("name"):
            return
        stem = metadata.get("generateName")
        if not stem:
            cause = required("metadata.name", "name or generateName is required")
            raise invalid(resource.kind, resource.group, "", [cause])
        for _ in range(8):
            suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))
            metadata["name"] = f"{stem[:58]}{suffix}"
            if self._store.get(Key(resource.name, namespace_of(obj), metadata["name"])) is None:
                return

    def _refuse_taken(self, key: Key) -> None:
        taken = self._store.get(key)
        if taken is not None:
            is_dying = bool(taken.object["metadata"].get("deletionTimestamp"))
            raise already_exists(key.resource, key.name, is_being_deleted=is_dying)

    async def _remove_old_events(self, key: Key) -> None:
        for old in self._expiry.created(key):
            async with self._locked(old):
                record = self._store.get(old)
                if record is not None:
                    await self._store.remove(old, copy_of(record.object), record.revision)

    async def update(  # noqa: PLR0913 - a request's coordinates
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        version: str = "",
        subresource: str = "",
        is_dry_run: bool = False,
        is_tracked: bool = False,
    ) -> Object:
        """Let `change` make the new state of the newest object and store it; return the stored object.

        Raises 404, 409 for a stale version or another uid, 422. A change that changes nothing is not stored.
        Subresources: "" (status is kept), "status" (spec is kept), "finalize" (a namespace's finalizers), "binding"
        (a Pod's node). What is not tracked leaves managedFields as they are.
        """
        if resource.is_refused:
            raise refusal_of(resource, name)
        key = Key(resource.name, namespace, name)
        async with self._locked(key):
            record = self.current(*key)
            old = record.object
            new = change(old)
            owners = (_metadata_of(new) if is_tracked else old["metadata"]).get("managedFields")
            self._prepare_update(resource, version, new, old, subresource)
            _set_owners(new, owners)
            if _is_same(resource, new, old):
                return old
            if is_dry_run:
                new["metadata"]["resourceVersion"] = version_of(old)
                return new
            new = ordered(resource, new)
            if is_finished(resource.name, new):
                self._check_namespace_is_empty(resource.name, name)
                return (await self._store.remove(key, new, record.revision)).object
            return (await self._store.replace(key, new, record.revision)).object

    def _prepare_update(self, resource: Resource, version: str, new: Object, old: Object, subresource: str) -> None:
        metadata, kept = _metadata_of(new), old["metadata"]
        name = name_of(old)
        strategy = strategy_for(resource, version)
        if metadata.get("uid") and metadata["uid"] != kept.get("uid"):
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {kept.get('uid')}"
            raise conflict(resource.name, name, why)
        wanted = metadata.get("resourceVersion")
        if wanted and not (wanted.isascii() and wanted.isdecimal()):
            raise bad_request(f"strconv.ParseUint: parsing {go_quote(wanted)}: invalid syntax")
        if wanted and wanted != version_of(old):
            raise conflict(resource.name, name, MODIFIED)
        if not wanted and not strategy.allows_unconditional_update and not subresource:
            why = "Invalid value: 0x0: must be specified for an update"
            cause = Cause("FieldValueInvalid", why, "metadata.resourceVersion")
            raise invalid(resource.plural, resource.group, name, [cause])  # as upstream: not the kind
        metadata.pop("selfLink", None)
        for field in (*_KEPT_FIELDS, "name", "namespace", "generateName"):
            if field in kept:
                metadata[field] = kept[field]
            else:
                metadata.pop(field, None)
        if subresource == "status":
            strategy.prepare_status_update(new, old)
            causes = strategy.validate_status_update(new, old)
        elif subresource == "ephemeralcontainers":
            ephemeral.take_containers_only(new, old)
            causes = ephemeral.change_causes(new, old)
        elif subresource in {"finalize", "binding"}:
            causes = []  # the change itself touches nothing else
        else:
            strategy.prepare_update(new, old)
            self._admission.admit_update(resource.name, new, old)
            causes = strategy.validate_update(new, old)
        raise_if(resource.kind, resource.group, name, [*_finalizer_causes(new, old), *causes])

    def _check_namespace_is_empty(self, resource: str, name: str) -> None:
        """Refuse to let go of a namespace while anything lies in it: it would never be found again."""
        if resource == "namespaces" and self._store.has_namespace(name):
            raise conflict("namespaces", name, "the namespace is not empty yet")

    async def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[Object, bool]:
        """Delete or begin to; return (last or lingering object, whether it is gone)."""
        key = Key(resource.name, namespace, name)
        async with self._locked(key):
            record = self.current(*key)
            check_may_be_deleted(resource.name, name)
            check_preconditions(resource, record.object, options)
            fate, obj = decide(resource.name, record.object, options, self._clock.now())
            if options.dry_run or fate is Fate.KEEP:
                return obj, fate is Fate.REMOVE
            if fate is Fate.REMOVE:
                self._check_namespace_is_empty(resource.name, name)
                return (await self._store.remove(key, obj, record.revision)).object, True
            return (await self._store.replace(key, obj, record.revision)).object, False

    @asynccontextmanager
    async def _locked(self, key: Key) -> AsyncIterator[None]:
        """Hold the object's lock and turn the store's refusals into the API's."""
        try:
            async with self._store.locked(key):
                yield
        except KeyTakenError as error:
            raise already_exists(key.resource, key.name) from error
        except StaleError as error:
            raise conflict(key.resource, key.name, MODIFIED) from error
        except StoreFullError as error:
            why = f"{error}: only deleting and stopping work until there is room again"
            raise StatusError(507, "InsufficientStorage", why) from error
        except StoreFailedError as error:
            raise StatusError(500, "InternalError", f"Internal error occurred: {error}") from error


def _metadata_of(obj: Object) -> Object:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = obj["metadata"] = {}
    return metadata


def _set_owners(obj: Object, owners: Any) -> None:
    """Set managedFields, whatever preparing the object has done with them."""
    if owners:
        obj["metadata"]["managedFields"] = owners
    else:
        obj["metadata"].pop("managedFields", None)


def _is_same(resource: Resource, new: Object, old: Object) -> bool:
    """Tell whether a write gives the stored object: its version and the times of its owners do not count."""
    kept = old["metadata"]
    owners, version = kept.get("managedFields"), version_of(old)
    metadata = {**new["metadata"], "resourceVersion": version}
    if owners and metadata.get("managedFields"):
        metadata["managedFields"] = owners
    whole = {**new, "metadata": metadata}
    if whole != old or not (resource.is_built_in or same_json(whole, old)):  # NB: in Python True is 1
        return False
    return same_but_time(new["metadata"].get("managedFields"), owners)


def ordered(resource: Resource, obj: Object) -> Object:
    """Return `obj` with apiVersion and kind first: lists cut them off the encoded bytes."""
    rest = {k: v for k, v in obj.items() if k not in {"apiVersion", "kind"}}
    return {"apiVersion": resource.api_version(), "kind": resource.kind, **rest}


def _finalizer_causes(new: Object, old: Object) -> list[Cause]:
    if not old["metadata"].get("deletionTimestamp"):
        return []
    added = [f for f in new["metadata"].get("finalizers") or [] if f not in (old["metadata"].get("finalizers") or [])]
    if not added:
        return []
    listed = ", ".join(f'"{f}"' for f in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [not_allowed("metadata.finalizers", why)] * 2  # found by the common rules and by the kind's, as upstream
