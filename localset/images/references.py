"""Image references and the patterns that match them. Pure text; used by the catalogue.

A reference is what a manifest writes (`nginx`, `docker.io/library/nginx:1.25`, `gcr.io/x/y@sha256:…`). Different
spellings of one image on Docker's own registry are made equal here; nothing is ever asked of a registry.
"""

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

_ANY_REGISTRY = "**/"
_LIBRARY = "library/"
_COPIES = frozenset({"docker.io/", "index.docker.io/"})
_DOCKER_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


class Reference(NamedTuple):
    """Repository in its shortest spelling, tag (empty when not written) and digest (empty when not written)."""

    repository: str
    tag: str
    digest: str


@lru_cache(maxsize=256)  # the same few patterns, for each container that starts
def parse_reference(text: str) -> Reference:
    """Return the parts of an image reference or pattern. Any text is accepted; an odd one just matches nothing."""
    rest, _, digest = text.strip().partition("@")
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    repository = f"{head}{slash}{last}"
    first, _, remainder = repository.partition("/")
    if remainder and first.lower() in _DOCKER_HOSTS:
        repository = remainder
    repository = repository.removeprefix("library/")
    return Reference(repository, tag, digest)


def matches(pattern: str, reference: str) -> bool:
    """Tell whether `reference` is meant by `pattern`.

    `**/name` means that image under every registry: alone, behind a host's name (`quay.io/name`), or in a host's copy
    of Docker's own (`mirror.example.org/any/path/library/name`). Other people's `someone/name` it does not mean.
    A pattern without tag, or with `:*`, means every tag and digest. Another tag may contain wildcards; it is compared
    with the reference's tag, `latest` when it has none, and a reference by digest alone matches no such pattern.
    """
    wanted, given = parse_reference(pattern), parse_reference(reference)
    if not _is_same_repository(wanted.repository, given.repository):
        return False
    if wanted.digest:
        return given.digest == wanted.digest
    if wanted.tag in {"", "*"}:
        return True
    if given.digest and not given.tag:
        return False
    return fnmatchcase(given.tag or "latest", wanted.tag)


def _is_same_repository(wanted: str, given: str) -> bool:
    name = wanted.removeprefix(_ANY_REGISTRY)
    if name != wanted:
        host, _, rest = given.partition("/")
        if rest and ("." in host or ":" in host or host == "localhost"):
            owner = rest.removesuffix(name)
            if owner != rest and (not owner or "/" in name or owner in _COPIES or owner.endswith(_LIBRARY)):
                return not owner or owner.endswith("/")
    return fnmatchcase(given, name) and given.count("/") == name.count("/")
