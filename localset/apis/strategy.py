"""How objects of a kind are prepared and checked on the way in: the base that every kind's strategy refines.

The registry calls it with private copies, in this order: prepare_*, then validate*. Pure.
"""

from typing import Any

from localset.apis.resources import Resource
from localset.apis.without_effect import warning_of
from localset.machinery.errors import Cause, bad_value, too_long
from localset.machinery.metadata import Object, copy_of, labels_of, name_of
from localset.machinery.names import dns1123_subdomain, label_value, qualified_name

MAX_ANNOTATIONS_BYTES = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_MAX_STEM = 58
_SUFFIX = "aaaaa"
"""Stands for the letters that the server adds to a generateName."""


class Strategy:
    """The rules that hold for every kind; subclasses override the parts that differ."""

    allows_unconditional_update = True
    creates_on_update = False
    counts_generation = False

    def __init__(self, resource: Resource) -> None:
        """Serve `resource`."""
        self.resource = resource

    @property
    def has_status(self) -> bool:
        """Tell whether status is written through its own subresource."""
        return "status" in self.resource.subresources

    def prepare_create(self, obj: Object) -> None:
        """Wipe the status and begin the generation, in place."""
        if self.has_status:
            obj.pop("status", None)
        if self.counts_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, new: Object, old: Object) -> None:
        """Keep the stored status; count the generation when the spec differs."""
        if self.has_status:
            if "status" in old:
                new["status"] = old["status"]  # shared: neither changes any more
            else:
                new.pop("status", None)
        if self.counts_generation:
            before = old["metadata"].get("generation", 1)
            new["metadata"]["generation"] = before + 1 if self.content(new) != self.content(old) else before

    def content(self, obj: Object) -> Any:
        """Return what the generation counts the changes of."""
        return obj.get("spec")

    def prepare_status_update(self, new: Object, old: Object) -> None:
        """Keep everything of the stored object but status (and resourceVersion, which is the caller's wish)."""
        status, version = new.get("status"), new["metadata"].get("resourceVersion")
        for field in [f for f in new if f != "metadata"]:
            del new[field]
        new.update({k: v for k, v in old.items() if k != "status"})  # shared: neither changes any more
        new["metadata"] = copy_of(old["metadata"])
        if version:
            new["metadata"]["resourceVersion"] = version
        if status is not None:
            new["status"] = status

    def validate_name(self, name: str) -> list[str]:
        """Return complaints about metadata.name."""
        return dns1123_subdomain(name)

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Return what is wrong with everything but metadata."""
        del obj
        return []

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Return what may not change between `old` and `new`."""
        del new, old
        return []

    def validate(self, obj: Object) -> list[Cause]:
        """Return all causes against creating `obj`."""
        names = [bad_value("metadata.name", name_of(obj), why) for why in self.validate_name(name_of(obj))]
        stem = obj["metadata"].get("generateName") or ""
        if stem:
            complaints = self.validate_name(stem[:_MAX_STEM] + _SUFFIX)
            names = [*(bad_value("metadata.generateName", stem, why) for why in complaints), *names]
        return [*names, *metadata_causes(obj), *self.validate_spec(obj)]

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        """Return all causes against replacing `old` with `new`; the name was accepted before.

        Content that stays was accepted as well: a label on a Pod costs no walk through its containers.
        """
        if _is_same_content(new, old):
            return self.validate_metadata(new)
        return [*self.validate_metadata(new), *self.validate_spec(new), *self.validate_change(new, old)]

    def validate_metadata(self, obj: Object) -> list[Cause]:
        """Return what is wrong with labels, annotations, owners and finalizers."""
        return metadata_causes(obj)

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """Return all causes against the new status."""
        del new, old
        return []

    def warnings(self, obj: Object) -> list[str]:
        """Return what the writer should know: fields that have no effect here, or that the whole kind has none."""
        del obj
        return warning_of(self.resource.kind)


def _is_same_content(new: Object, old: Object) -> bool:
    beside = {"metadata", "status"}
    return all(new.get(key) == old.get(key) for key in {*new, *old} - beside)


def metadata_causes(obj: Object, path: str = "metadata") -> list[Cause]:
    """Return what is wrong with labels, annotations, owners and finalizers. Source: ValidateObjectMetaAccessor."""
    metadata = obj.get("metadata") or {}
    return [
        *label_causes(labels_of(obj), f"{path}.labels"),
        *annotation_causes(metadata.get("annotations") or {}, f"{path}.annotations"),
        *_owner_causes(metadata.get("ownerReferences") or [], f"{path}.ownerReferences"),
        *_finalizer_causes(metadata.get("finalizers") or [], f"{path}.finalizers"),
    ]


def annotation_causes(annotations: dict[str, str], path: str) -> list[Cause]:
    """Return what is wrong with a map of annotations: keys are checked without regard to case, values only in size."""
    causes = [bad_value(path, key, why) for key in annotations for why in qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS_BYTES:
        causes.append(too_long(path, MAX_ANNOTATIONS_BYTES))
    return causes


def _owner_causes(owners: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    controller = ""
    for owner in owners:
        group, _, version = str(owner.get("apiVersion", "")).rpartition("/")
        if not version:
            causes.append(bad_value(f"{path}.apiVersion", version, "version must not be empty"))
        causes += [
            bad_value(f"{path}.{field}", "", f"{field} must not be empty")
            for field in ("uid", "kind", "name")
            if not owner.get(field)
        ]
        if (group, owner.get("kind")) == ("", "Event"):
            causes.append(bad_value(path, owner, f"{group}/{version}, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            name = str(owner.get("name", ""))
            if controller:
                why = 'Only one reference can have Controller set to true. Found "true" in references for'
                causes.append(bad_value(path, owners, f"{why} {controller} and {name}"))
            controller = name
    return causes


def _finalizer_causes(finalizers: list[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for i, finalizer in enumerate(finalizers):
        causes += [bad_value(f"{path}[{i}]", finalizer, why) for why in qualified_name(finalizer)]
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(bad_value(f"{path}[{i}]", finalizer, why))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        causes.append(bad_value(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))
    return causes


def label_causes(labels: dict[str, str], path: str) -> list[Cause]:
    """Return what is wrong with a map of labels."""
    causes: list[Cause] = []
    for key, value in labels.items():
        causes += [bad_value(path, key, why) for why in qualified_name(key)]
        causes += [bad_value(path, value, why) for why in label_value(value)]
    return causes
