"""What all writes through the API's door share, and the door of server-side apply.

Between `house` (the Client) and `registry` (the verbs): decoding a request's object, naming its writer for
managedFields, encoding the answer.
"""

from typing import NamedTuple

from localset.apis import scheme
from localset.apis.resources import Resource
from localset.apis.without_effect import content_of
from localset.base.clock import rfc3339
from localset.machinery.errors import StatusError, bad_request, not_found
from localset.machinery.metadata import Object
from localset.machinery.ownership import Writer
from localset.registry.applying import applied, check_absent, check_config, created, scale_applied
from localset.registry.house import House, WriteOptions, check_scalable
from localset.registry.patching import check_same
from localset.registry.scale import scale_of
from localset.registry.tracking import set_owners, track_create, writer_of
from localset.store.records import Key


class Written(NamedTuple):
    """The stored object in the request's version, warnings for the client, and whether the write created it."""

    object: Object
    warnings: list[str]
    is_new: bool = False


def encoded(resource: Resource, version: str, obj: Object) -> Object:
    """Return a stored object in a version; the very same one in the storage version."""
    return obj if resource.is_stored_in(version) else scheme.encode(resource, version, obj)


def check_namespace(resource: Resource, obj: Object, namespace: str) -> None:
    """Refuse an object of another namespace than the URL's: 400."""
    metadata = obj.get("metadata")
    given = metadata.get("namespace") if isinstance(metadata, dict) else None
    if resource.namespaced and given not in {None, "", namespace}:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


class Door(House):
    """The shared half of the registry's writing verbs."""

    async def write_apply(  # noqa: PLR0913, PLR0917 - a request's coordinates
        self,
        resource: str,
        namespace: str,
        name: str,
        config: Object,
        version: str,
        options: WriteOptions,
        subresource: str = "",
    ) -> Written:
        """Server-side apply: create the object, or make it say what `config` says; 409 for conflicts."""
        found = self.resource(resource)
        if subresource == "scale":
            return await self._apply_scale(found, namespace, name, config, version, options)
        holder = self.stored(resource)
        check_config(found, version, namespace, name, config)
        while True:
            is_there = self._store_has(holder, namespace, name)
            if not is_there and subresource:
                raise not_found(found.name, name)
            try:
                if is_there:
                    return await self._apply(found, namespace, name, config, version, options, subresource)
                return await self._apply_absent(found, namespace, name, config, version, options)
            except StatusError as error:
                lost_race = "NotFound" if is_there else "AlreadyExists"
                if error.reason != lost_race or self._store_has(holder, namespace, name) == is_there:
                    raise

    async def _apply(  # noqa: PLR0913, PLR0917 - a request's coordinates
        self,
        found: Resource,
        namespace: str,
        name: str,
        config: Object,
        version: str,
        options: WriteOptions,
        subresource: str,
    ) -> Written:
        writer = self._writer(found, version, options, subresource)
        warnings: list[str] = []
        before: list[Object] = []

        def change(old: Object) -> Object:
            before[:] = [old]
            document, owners = applied(found, version, old, config, writer, force=options.force)
            new, warnings[:] = self._decode(found, namespace, document, version, options)
            check_same(new, old, found)
            set_owners(new, owners)
            return new

        stored = await self._writing.update(
            self.stored(found.name),
            namespace,
            name,
            change,
            version=version,
            subresource=subresource,
            is_dry_run=options.dry_run,
            is_tracked=True,
        )
        return self._written(found, version, stored, warnings, *before)

    async def _apply_absent(
        self, found: Resource, namespace: str, name: str, config: Object, version: str, options: WriteOptions
    ) -> Written:
        check_absent(found, name, config)
        document, owners = created(found, version, name, config, self._writer(found, version, options))
        new, warnings = self._decode(found, namespace, document, version, options)
        set_owners(new, owners)
        stored = await self._writing.create(
            self.stored(found.name), new, version=version, is_dry_run=options.dry_run, is_tracked=True
        )
        return self._written(found, version, stored, warnings)._replace(is_new=True)

    async def _apply_scale(
        self, found: Resource, namespace: str, name: str, config: Object, version: str, options: WriteOptions
    ) -> Written:
        check_scalable(found, version)
        writer = self._writer(found, version, options, "scale")

        def change(old: Object) -> Object:
            new, owners = scale_applied(found, version, old, config, writer, force=options.force)
            set_owners(new, owners)
            return new

        stored = await self._writing.update(
            found, namespace, name, change, version=version, is_dry_run=options.dry_run, is_tracked=True
        )
        return Written(scale_of(found, stored, version), [])

    async def _create(
        self, found: Resource, new: Object, version: str, options: WriteOptions, warnings: list[str]
    ) -> Written:
        """Store the private, decoded `new`, tracked."""
        track_create(found, new, self._writer(found, version, options))
        stored = await self._writing.create(
            self.stored(found.name), new, version=version, is_dry_run=options.dry_run, is_tracked=True
        )
        return self._written(found, version, stored, warnings)._replace(is_new=True)

    def _writer(self, found: Resource, version: str, options: WriteOptions, subresource: str = "") -> Writer:
        return writer_of(found, version, options.field_manager, subresource, rfc3339(self._clock.now()))

    def _store_has(self, found: Resource, namespace: str, name: str) -> bool:
        return self._store.get(Key(found.name, namespace, name)) is not None

    def _decode(
        self, found: Resource, namespace: str, obj: Object, version: str, options: WriteOptions
    ) -> tuple[Object, list[str]]:
        """Decode to a private storage-version object of `namespace`."""
        new, warnings = scheme.decode(found, version, obj, options.field_validation)
        check_namespace(found, new, namespace)
        if found.namespaced:
            new["metadata"]["namespace"] = namespace
        return new, warnings

    def _written(
        self, found: Resource, version: str, stored: Object, warnings: list[str], before: Object | None = None
    ) -> Written:
        """Answer a write. What has no effect here is said once: when it is made, and when its content changes."""
        told = list(warnings)
        if before is None or content_of(before) != content_of(stored):
            told += scheme.strategy_for(found).warnings(stored)
        return Written(encoded(found, version, stored), told)
