"""CustomResourceDefinition itself: defaults, and what makes one acceptable.

Called by scheme and the registry as for any kind. What localset cannot do is refused by name: conversion by webhook.
CEL rules are stored and told to be without effect. Source: apiextensions-apiserver
pkg/registry/customresourcedefinition and pkg/apis/apiextensions/validation.
"""

from typing import Any

from localset.apis.customresources.structural import has_rules, plain_path_causes, schema_causes
from localset.apis.schema.types import check_type
from localset.apis.strategy import Strategy
from localset.machinery.errors import (
    Cause,
    bad_request,
    bad_value,
    duplicate,
    not_allowed,
    not_supported,
    required,
)
from localset.machinery.jsonpath import PathError, path_of
from localset.machinery.metadata import Object, annotations_of, name_of
from localset.machinery.names import dns1035_label, dns1123_subdomain

APPROVED = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_SCHEMA_TYPE = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_COLUMN_TYPES = ["integer", "number", "string", "boolean", "date"]
_COLUMN_FORMATS = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"]
_MAX_COLUMN_PATH = 512
MAX_SELECTABLE = 8
NO_WEBHOOKS = "localset calls no webhooks: versions are converted by None, which changes the apiVersion only"


def default_definition(crd: Object) -> None:
    """Fill in names and conversion, and read what lies in `additionalProperties` as a schema."""
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if not names.get("singular"):
        names["singular"] = str(names.get("kind", "")).lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    spec.setdefault("conversion", {"strategy": "None"})
    for version in spec.get("versions") or []:
        _read_additional((version.get("schema") or {}).get("openAPIV3Schema"))


def _read_additional(schema: Any) -> None:
    """Type-check, in place, the schemas that hide in free-form fields; StatusError 400."""
    if not isinstance(schema, dict):
        return
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        try:
            schema["additionalProperties"] = more = check_type(_SCHEMA_TYPE, more, "additionalProperties", [])
        except ValueError as error:
            raise bad_request(f"CustomResourceDefinition cannot be understood: {error}") from None
    elif more is not None and not isinstance(more, bool):
        raise bad_request("CustomResourceDefinition cannot be understood: additionalProperties: expected object")
    for inner in (more, schema.get("items"), schema.get("not"), *(schema.get("properties") or {}).values()):
        _read_additional(inner)
    for junctor in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(junctor) or []:
            _read_additional(inner)


class DefinitionStrategy(Strategy):
    """CustomResourceDefinitions."""

    counts_generation = True

    def prepare_create(self, obj: Object) -> None:
        """Begin without accepted names; the storage version is the only one stored."""
        super().prepare_create(obj)
        obj["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": [v["name"] for v in obj["spec"].get("versions") or [] if v.get("storage")],
        }

    def prepare_update(self, new: Object, old: Object) -> None:
        """Remember a new storage version beside those that objects may be stored in."""
        super().prepare_update(new, old)
        status = new.get("status") or {}
        stored = list(status.get("storedVersions") or [])
        added = [v["name"] for v in new["spec"].get("versions") or [] if v.get("storage") and v["name"] not in stored]
        if added:
            new["status"] = {**status, "storedVersions": [*stored, *added]}

    def validate(self, obj: Object) -> list[Cause]:
        """Check a new definition, its name and the right to its group."""
        return [*super().validate(obj), *_approval_causes(obj)]

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check name and spec."""
        spec = obj.get("spec") or {}
        names = spec.get("names") or {}
        causes = []
        if name_of(obj) != f"{names.get('plural', '')}.{spec.get('group', '')}":
            causes.append(bad_value("metadata.name", name_of(obj), 'must be spec.names.plural+"."+spec.group'))
        causes += _group_causes(spec.get("group") or "")
        if spec.get("scope") not in {"Cluster", "Namespaced"}:
            causes.append(_scope_cause(spec.get("scope")))
        causes += _version_causes(spec)
        causes += _names_causes(names)
        return causes + _conversion_causes(spec.get("conversion") or {})

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Refuse to change what accepted objects rest on."""
        new_spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
        causes = []
        fields = (("group", "group"), ("scope", "scope"), ("names.kind", "kind"), ("names.plural", "plural"))
        for path, name in fields:
            before, after = (
                (spec.get("names") or {}).get(name) if path.startswith("names") else spec.get(name)
                for spec in (old_spec, new_spec)
            )
            if before != after:
                causes.append(bad_value(f"spec.{path}", after, "field is immutable"))
        names = [v.get("name") for v in new_spec.get("versions") or []]
        for version in (old.get("status") or {}).get("storedVersions") or []:
            if version not in names:
                why = f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                why += "spec.versions until a storage migration ensures no data remains persisted in "
                why += f"{version} and removes {version} from status.storedVersions"
                causes.append(bad_value(f"status.storedVersions[{0}]", version, why))
        return causes

    def validate_status_update(self, new: Object, old: Object) -> list[Cause]:
        """Check the stored versions."""
        stored = (new.get("status") or {}).get("storedVersions") or []
        storage = [v["name"] for v in old["spec"].get("versions") or [] if v.get("storage")]
        if not stored:
            return [bad_value("status.storedVersions", stored, "must have at least one stored version")]
        return [
            bad_value("status.storedVersions", stored, f"must have the storage version {name}")
            for name in storage
            if name not in stored
        ]

    def warnings(self, obj: Object) -> list[str]:
        """Say which rules are stored without effect."""
        found = [
            v["name"]
            for v in (obj.get("spec") or {}).get("versions") or []
            if has_rules((v.get("schema") or {}).get("openAPIV3Schema") or {})
        ]
        if not found:
            return []
        where = ", ".join(found)
        return [f"x-kubernetes-validations ({where}): CEL rules are stored, but not evaluated by localset"]


def _approval_causes(obj: Object) -> list[Cause]:
    group = (obj.get("spec") or {}).get("group") or ""
    if not any(group == name or group.endswith(f".{name}") for name in _PROTECTED):
        return []
    text = annotations_of(obj).get(APPROVED, "")
    path = f"metadata.annotations[{APPROVED}]"
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not text:
        return [required(path, f'protected groups must have approval annotation "{APPROVED}", {see}')]
    if not text.startswith(("https://", "http://", "unapproved")):
        why = f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason starting with'
        return [bad_value(path, text, f'{why} "unapproved", {see}')]
    return []


def _group_causes(group: str) -> list[Cause]:
    if not group:
        return [required("spec.group")]
    causes = [bad_value("spec.group", group, why) for why in dns1123_subdomain(group)]
    if "." not in group:
        causes.append(bad_value("spec.group", group, "should be a domain with at least one dot"))
    return causes


def _scope_cause(scope: Any) -> Cause:
    if not scope:
        return required("spec.scope")
    return not_supported("spec.scope", scope, ["Cluster", "Namespaced"])


def _names_causes(names: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("plural", "singular", "kind", "listKind"):
        value = names.get(field) or ""
        path = f"spec.names.{field}"
        if not value:
            causes.append(required(path))
        else:
            causes += [bad_value(path, value, why) for why in dns1035_label(value.lower())]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        causes.append(bad_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    for field in ("shortNames", "categories"):
        for i, value in enumerate(names.get(field) or []):
            causes += [bad_value(f"spec.names.{field}[{i}]", value, why) for why in dns1035_label(value)]
    return causes


def _conversion_causes(conversion: Object) -> list[Cause]:
    strategy = conversion.get("strategy")
    if strategy == "Webhook":
        return [not_allowed("spec.conversion.strategy", NO_WEBHOOKS)]
    if strategy != "None":
        return [not_supported("spec.conversion.strategy", strategy or "", ["None"])]
    if conversion.get("webhook"):
        why = "should not be set when strategy is not set to Webhook"
        return [not_allowed("spec.conversion.webhook", why)]
    return []


def _version_causes(spec: Object) -> list[Cause]:
    versions, causes = spec.get("versions") or [], []
    if not versions:
        return [required("spec.versions", "must have at least one version")]
    seen: set[str] = set()
    for i, version in enumerate(versions):
        path, name = f"spec.versions[{i}]", version.get("name") or ""
        causes += [bad_value(f"{path}.name", name, why) for why in dns1035_label(name)]
        if name in seen:
            causes.append(duplicate(f"{path}.name", name))
        seen.add(name)
        causes += _one_version_causes(version, path)
    if sum(bool(v.get("storage")) for v in versions) != 1:
        causes.append(bad_value("spec.versions", versions, "must have exactly one version marked as storage version"))
    return causes


def _one_version_causes(version: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if version.get("deprecationWarning") and not version.get("deprecated"):
        why = "can only be set for deprecated versions"
        causes.append(bad_value(f"{path}.deprecationWarning", version["deprecationWarning"], why))
    published = (version.get("schema") or {}).get("openAPIV3Schema")
    at = f"{path}.schema.openAPIV3Schema"
    if published is None:
        causes.append(required(at, "schemas are required"))
    else:
        causes += schema_causes(published, at)
    causes += _subresource_causes(version.get("subresources") or {}, f"{path}.subresources")
    for i, column in enumerate(version.get("additionalPrinterColumns") or []):
        causes += _column_causes(column, f"{path}.additionalPrinterColumns[{i}]")
    selectable = version.get("selectableFields") or []
    if len(selectable) > MAX_SELECTABLE:
        why = f"Too many: {len(selectable)}: must have at most {MAX_SELECTABLE} items"
        causes.append(Cause("FieldValueTooMany", why, f"{path}.selectableFields"))
    for i, field in enumerate(selectable):
        causes += plain_path_causes(
            published or {}, field.get("jsonPath") or "", f"{path}.selectableFields[{i}].jsonPath"
        )
    return causes


def _subresource_causes(subresources: Object, path: str) -> list[Cause]:
    scale = subresources.get("scale")
    if scale is None:
        return []
    causes: list[Cause] = []
    for field, roots in (("specReplicasPath", (".spec.",)), ("statusReplicasPath", (".status.",))):
        causes += _scale_path_causes(scale.get(field) or "", f"{path}.scale.{field}", roots)
    if scale.get("labelSelectorPath"):
        causes += _scale_path_causes(
            scale["labelSelectorPath"], f"{path}.scale.labelSelectorPath", (".spec.", ".status.")
        )
    return causes


def _scale_path_causes(text: str, path: str, roots: tuple[str, ...]) -> list[Cause]:
    if not text:
        return [required(path)]
    if not text.startswith(roots):
        return [bad_value(path, text, f"should be a json path under {' or '.join(r.rstrip('.') for r in roots)}")]
    if "[" in text or ".." in text or text.endswith("."):
        return [bad_value(path, text, "should be a simple json path without arrays")]
    return []


def _column_causes(column: Object, path: str) -> list[Cause]:
    causes: list[Cause] = [] if column.get("name") else [required(f"{path}.name")]
    given = column.get("type") or ""
    if not given:
        causes.append(required(f"{path}.type", "must be one of integer,number,string,boolean,date"))
    elif given not in _COLUMN_TYPES:
        causes.append(bad_value(f"{path}.type", given, "must be one of integer,number,string,boolean,date"))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        why = f"must be one of {','.join(_COLUMN_FORMATS)}"
        causes.append(bad_value(f"{path}.format", column["format"], why))
    text = column.get("jsonPath") or ""
    if not text:
        return [*causes, required(f"{path}.jsonPath")]
    try:
        if len(text) > _MAX_COLUMN_PATH:
            raise PathError("it is too long")  # noqa: TRY301 - one place to tell
        path_of(text)
    except PathError as error:
        causes.append(bad_value(f"{path}.jsonPath", text, f"must be a simple json path: {error}"))
    return causes
