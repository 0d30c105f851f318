"""Role, ClusterRole and their bindings: stored and checked, nothing is decided by them here (design 3.10). Pure."""

from localset.apis.selectors import selector_causes
from localset.apis.strategy import Strategy
from localset.machinery.errors import Cause, bad_value, not_supported, required
from localset.machinery.metadata import Object
from localset.machinery.names import dns1123_subdomain, path_segment

GROUP = "rbac.authorization.k8s.io"


def default_role(role: Object) -> None:
    """`rules` is always serialized, as null when empty."""
    if not role.get("rules"):
        role["rules"] = None


def default_binding(binding: Object) -> None:
    """Roles, users and groups belong to this API group unless they say otherwise."""
    reference = binding.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in binding.get("subjects") or []:
        if not subject.get("apiGroup") and subject.get("kind") in {"User", "Group"}:
            subject["apiGroup"] = GROUP


class RoleStrategy(Strategy):
    """Roles and ClusterRoles. Names may hold colons (`system:node`)."""

    def validate_name(self, name: str) -> list[str]:
        """A name must only fit into a path."""
        return path_segment(name)

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check rules and aggregation. Source: ValidateRole, ValidateClusterRole."""
        causes: list[Cause] = []
        for i, rule in enumerate(obj.get("rules") or []):
            causes += _rule_causes(rule, f"rules[{i}]", is_namespaced=self.resource.namespaced)
        aggregation = obj.get("aggregationRule")
        if aggregation is not None:
            path = "aggregationRule.clusterRoleSelectors"
            selectors = aggregation.get("clusterRoleSelectors") or []
            if not selectors:
                why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
                causes.append(required(path, why))
            for i, selector in enumerate(selectors):
                causes += selector_causes(selector, f"{path}[{i}]")
        return causes


def _rule_causes(rule: Object, path: str, *, is_namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    if not rule.get("verbs"):
        causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        at = f"{path}.nonResourceURLs"
        if is_namespaced:
            causes.append(bad_value(at, urls, "namespaced rules cannot apply to non-resource URLs"))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            causes.append(bad_value(at, urls, "rules cannot apply to both regular resources and non-resource URLs"))
        return causes
    if not rule.get("apiGroups"):
        causes.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


class BindingStrategy(Strategy):
    """RoleBindings and ClusterRoleBindings: what they point to never changes."""

    def validate_name(self, name: str) -> list[str]:
        """A name must only fit into a path."""
        return path_segment(name)

    def validate_spec(self, obj: Object) -> list[Cause]:
        """Check the role and the subjects. Source: ValidateRoleBinding, ValidateClusterRoleBinding."""
        reference = obj.get("roleRef") or {}
        kinds = ["Role", "ClusterRole"] if self.resource.namespaced else ["ClusterRole"]
        causes: list[Cause] = []
        if reference.get("apiGroup") != GROUP:
            causes.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), [GROUP]))
        if reference.get("kind") not in kinds:
            causes.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
        name = reference.get("name") or ""
        if not name:
            causes.append(required("roleRef.name"))
        causes += [bad_value("roleRef.name", name, why) for why in path_segment(name)]
        for i, subject in enumerate(obj.get("subjects") or []):
            causes += _subject_causes(subject, f"subjects[{i}]", is_namespaced=self.resource.namespaced)
        return causes

    def validate_change(self, new: Object, old: Object) -> list[Cause]:
        """The role is fixed."""
        same = new.get("roleRef") == old.get("roleRef")
        return [] if same else [bad_value("roleRef", new.get("roleRef"), "cannot change roleRef")]


def _subject_causes(subject: Object, path: str, *, is_namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    kind, name, group = subject.get("kind", ""), subject.get("name") or "", subject.get("apiGroup") or ""
    if not name:
        causes.append(required(f"{path}.name"))
    wanted = {"ServiceAccount": "", "User": GROUP, "Group": GROUP}.get(kind)
    if wanted is None:
        return [*causes, not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"])]
    if kind == "ServiceAccount" and name:
        causes += [bad_value(f"{path}.name", name, why) for why in dns1123_subdomain(name)]
    if group != wanted:
        causes.append(not_supported(f"{path}.apiGroup", group, [wanted]))
    if kind == "ServiceAccount" and not is_namespaced and not subject.get("namespace"):
        causes.append(required(f"{path}.namespace"))
    return causes
