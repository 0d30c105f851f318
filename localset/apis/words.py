"""Which resource a person's word means: plural, singular, short name or Kind, alone or as `sts.apps`, `sts.v1.apps`.

Shared by the command line and the daemon, so that both understand the same words. Pure.
"""

from collections.abc import Iterable

from localset.apis.resources import Resource


def match_word(word: str, resources: Iterable[Resource]) -> tuple[Resource, str] | None:
    """Return the resource and the version that `word` means, or None. Source: kubectl's RESTMapper order."""
    first, _, rest = word.lower().partition(".")
    version, _, group = rest.partition(".")
    named = [r for r in resources if first in {r.plural, r.singular, r.kind.lower(), *r.short_names}]
    # `sts.v1.apps` and `pods.v1.` name a version; otherwise all behind the first dot is the group, or its beginning.
    if rest and "." in rest:
        for resource in named:
            if resource.group == group and version in resource.versions:
                return resource, version
    wanted = [r for r in named if r.group == rest] if rest else named
    wanted = wanted or [r for r in named if r.group.startswith(rest)]
    return (wanted[0], wanted[0].versions[0]) if wanted else None
