"""ConfigMaps and Secrets: keys, sizes, immutability. Pure."""

import base64

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_allowed, too_long
from localset.machinery.metadata import Object
from localset.machinery.names import config_map_key

MAX_BYTES = 1024 * 1024


def default_secret(secret: Object) -> None:
    """Set the type and turn stringData into data, in place."""
    secret.setdefault("type", "Opaque")
    for key, text in (secret.pop("stringData", None) or {}).items():
        if secret.get("data") is None:
            secret["data"] = {}
        secret["data"][key] = base64.b64encode(str(text).encode()).decode()


class ConfigMapStrategy(Strategy):
    """ConfigMaps."""

    encoded_field = "binaryData"
    """The field whose values are base64: the limit counts the bytes that they stand for."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check keys and the total size."""
        causes: list[Cause] = []
        total = 0
        for field in ("data", "binaryData"):
            for key, value in (obj.get(field) or {}).items():
                causes += [bad_value(f"{field}[{key}]", key, why) for why in config_map_key(key)]
                total += len(value) * 3 // 4 if field == self.encoded_field else len(value.encode())
        shared = set(obj.get("data") or {}) & set(obj.get("binaryData") or {})
        causes += [bad_value(f"data[{k}]", k, "duplicate of key present in binaryData") for k in sorted(shared)]
        if total > MAX_BYTES:
            causes.append(too_long("", MAX_BYTES))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """An immutable one stays as it is."""
        if not old.get("immutable"):
            return []
        causes = (
            [not_allowed("immutable", "field is immutable when `immutable` is set")] if not new.get("immutable") else []
        )
        return causes + [
            not_allowed(field, "field is immutable when `immutable` is set")
            for field in ("data", "binaryData")
            if (new.get(field) or {}) != (old.get(field) or {})
        ]


class SecretStrategy(ConfigMapStrategy):
    """Secrets; that their data is base64 is the schema's to check."""

    encoded_field = "data"

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The type is fixed."""
        causes = super().validate_change(new, old)
        if new.get("type") != old.get("type"):
            causes.append(bad_value("type", new.get("type"), "field is immutable"))
        return causes
