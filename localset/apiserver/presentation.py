"""How an object or a list is shown to this client: itself, a Table, or its metadata only."""

from datetime import datetime
from typing import Any

from localset.apis.deprecation import deprecation_warning
from localset.apis.resources import Resource
from localset.apiserver.negotiation import Answer
from localset.apiserver.routes import Match
from localset.apiserver.tables.rendering import partial_metadata, printer_of, table
from localset.machinery.errors import not_supported, raise_if
from localset.machinery.metadata import Object


def deprecations(match: Match) -> list[str]:
    """Return the warning that belongs to the version in the URL, if any."""
    definition = match.resource.definition
    if definition is None:
        warning = deprecation_warning(match.resource, match.version, match.subresource)
    else:
        warning = definition.version(match.version).deprecation(match.resource)
    return [warning] if warning else []


def include_object(value: str | None) -> str:
    """Return the checked `includeObject` parameter; 422 for an unknown one."""
    if not value:
        return "Metadata"
    known = ["Metadata", "None", "Object"]
    if value not in known:
        raise_if("TableOptions", "meta.k8s.io", "", [not_supported("includeObject", value, known)])
    return value


def show_object(resource: Resource, obj: Object, form: Answer, now: datetime, include: str) -> Object:
    """Return `obj` in the asked form. A Status, or the object of another kind (Scale), is never a Table."""
    if not form.form or obj.get("kind") != resource.kind:
        return obj
    if form.form == "Table":
        version = obj["metadata"].get("resourceVersion")  # a dry run has none
        metadata = {"resourceVersion": version} if version else {}
        printer = printer_of(resource, obj["apiVersion"])
        return table(resource.name, [obj], metadata, now, include=include, version=form.version, printer=printer)
    return partial_metadata(obj, form.version)


def show_list(resource: Resource, listed: Object, form: Answer, now: datetime, include: str) -> Object:
    """Return the List object in the asked form; items of a List carry no kind, rows with whole objects do."""
    if not form.form:
        return listed
    metadata = {key: value for key, value in listed["metadata"].items() if value != ""}
    items: list[Object] = listed["items"]
    if form.form == "Table":
        if include == "Object":
            api_version = listed["apiVersion"]
            items = [{"kind": resource.kind, "apiVersion": api_version, **item} for item in items]
        printer = printer_of(resource, listed["apiVersion"])
        version = form.version
        return table(resource.name, items, metadata, now, include=include, version=version, printer=printer)
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": metadata,
        "items": [partial_metadata(item, form.version) for item in items] or None,  # null when empty, as upstream
    }


class WatchPresenter:
    """Shows the objects of one watch; only its first Table carries the columns."""

    def __init__(self, resource: Resource, form: Answer, include: str) -> None:
        """Remember the form asked for."""
        self._resource = resource
        self._form = form
        self._include = include
        self._is_first = True

    def show(self, obj: Object, now: datetime) -> Object:
        """Return `obj` as an event's object."""
        if self._form.form == "Table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            with_columns, self._is_first = self._is_first, False
            return table(
                self._resource.name,
                [obj],
                metadata,
                now,
                include=self._include,
                version=self._form.version,
                with_columns=with_columns,
                printer=printer_of(self._resource, obj["apiVersion"]),
            )
        return partial_metadata(obj, self._form.version) if self._form.form else obj

    def bookmark(
        self, version: str, resource_version: str, now: datetime, annotations: dict[str, str] | None = None
    ) -> Object:
        """Return a bookmark's object in the asked form."""
        metadata: dict[str, Any] = {"resourceVersion": resource_version, "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        kind, api_version = self._resource.kind, self._resource.api_version(version)
        bare = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self._form.form == "Table":
            made = table(self._resource.name, [], {"resourceVersion": resource_version}, now, with_columns=False)
            made["rows"] = [{"cells": [], "object": partial_metadata(bare, self._form.version)}]
            return made
        return partial_metadata(bare, self._form.version) if self._form.form else bare
