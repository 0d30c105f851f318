"""Small cluster-scoped kinds that only name a choice: PriorityClass, RuntimeClass, CSIDriver. Pure."""

from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_allowed, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_label, dns1123_subdomain


class PriorityClassStrategy(Strategy):
    """PriorityClasses: values are fixed; the highest ones and the prefix `system-` are reserved."""

    counts_generation = True
    HIGHEST = 1_000_000_000

    def content(self, obj: Object) -> object:
        """Return nothing: the generation stays 1."""
        del obj
        return None

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check name, value and preemption. Source: ValidatePriorityClass."""
        causes: list[Cause] = []
        name = str(obj["metadata"].get("name") or "")
        if name.startswith("system-"):
            prefix = "priority class names with 'system-' prefix are reserved for system use only. error: "
            why = f"{prefix}{name} is not a known system priority class"
            causes.append(not_allowed("metadata.name", why))
        elif (obj.get("value") or 0) > self.HIGHEST:
            why = f"maximum allowed value of a user defined priority is {self.HIGHEST}"
            causes.append(not_allowed("value", why))
        policies = ["PreemptLowerPriority", "Never"]
        if obj.get("preemptionPolicy") not in policies:
            causes.append(not_supported("preemptionPolicy", obj.get("preemptionPolicy", ""), policies))
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """Value and policy are fixed."""
        causes: list[Cause] = []
        if new.get("value", 0) != old.get("value", 0):
            causes.append(not_allowed("value", "may not be changed in an update."))
        if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
            causes.append(bad_value("preemptionPolicy", new.get("preemptionPolicy"), "field is immutable"))
        return causes


def default_priority_class(obj: Object) -> None:
    """A class preempts unless it says otherwise; its value is always serialized."""
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


class RuntimeClassStrategy(Strategy):
    """RuntimeClasses: the handler is a DNS label and fixed."""

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the handler. Source: ValidateRuntimeClass."""
        handler = obj.get("handler") or ""
        return [bad_value("handler", handler, why) for why in dns1123_label(handler)]

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The handler is fixed."""
        same = new.get("handler") == old.get("handler")
        return [] if same else [bad_value("handler", new.get("handler"), "field is immutable")]


def default_csi_driver(driver: Object) -> None:
    """Fill in the booleans and modes. Source: storage/v1/defaults.go SetDefaults_CSIDriver."""
    spec = driver.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)
    spec.setdefault("volumeLifecycleModes", ["Persistent"])


class CSIDriverStrategy(Strategy):
    """CSIDrivers. Source: ValidateCSIDriver."""

    def validate_name(self, name: str) -> list[str]:
        """A driver's name has 63 characters at most."""
        too_many = ["must be no more than 63 characters"] if len(name) > 63 else []
        return [*too_many, *dns1123_subdomain(name)]

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the lifecycle modes."""
        modes = ["Ephemeral", "Persistent"]
        given = (obj.get("spec") or {}).get("volumeLifecycleModes") or []
        path = "spec.volumeLifecycleModes"
        wrong = [not_supported(f"{path}[{i}]", mode, modes) for i, mode in enumerate(given) if mode not in modes]
        return wrong if given else [required(path)]
