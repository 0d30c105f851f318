"""What the client wants back: JSON or YAML, plain, as a Table, or metadata only.

Pure. Alternatives of Accept are tried in order, as kube-apiserver does (kube-api.md 4.2, fx:negotiation).
"""

from collections.abc import Mapping

from localset.base.frozen import frozen
from localset.machinery.errors import StatusError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
"""Taken in request bodies only; the answer is always JSON or YAML."""
ANSWER_TYPES = (JSON, YAML)
META_VERSIONS = ("v1", "v1beta1")
DISCOVERY_VERSIONS = ("v2", "v2beta1")
_ANY = "*/*"
Forms = Mapping[str, tuple[str, tuple[str, ...]]]
"""Per value of `as`: its group and the versions that are served."""


@frozen
class Answer:
    """The chosen form. `form` is empty for the object itself, else `Table`, `PartialObjectMetadata(List)`, …"""

    media_type: str = JSON
    form: str = ""
    version: str = ""


def parse_media_type(text: str) -> tuple[str, dict[str, str]]:
    """Return (type in lower case, parameters) of one media type with parameters."""
    kind, *rest = text.split(";")
    parameters = {}
    for item in rest:
        key, _, value = item.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"')
    return kind.strip().lower(), parameters


def _form(parameters: dict[str, str], forms: Forms) -> tuple[str, str] | None:
    wanted = parameters.get("as", "")
    if not wanted:
        return "", ""
    group, versions = forms.get(wanted, ("", ()))
    version = parameters.get("v", "")
    return (wanted, version) if versions and parameters.get("g") == group and version in versions else None


_META = ("meta.k8s.io", META_VERSIONS)
TABLE_FORMS: Forms = {"Table": _META}
ITEM_FORMS: Forms = {"Table": _META, "PartialObjectMetadata": _META}
LIST_FORMS: Forms = {"Table": _META, "PartialObjectMetadataList": _META}
WATCH_FORMS: Forms = {**LIST_FORMS, **ITEM_FORMS}
DISCOVERY_FORMS: Forms = {"APIGroupDiscoveryList": ("apidiscovery.k8s.io", DISCOVERY_VERSIONS)}
PLAIN: Forms = {}


_PLAIN_ANSWER = Answer()
_PLAIN_ACCEPTS = frozenset({"", JSON, _ANY, f"{JSON}, {_ANY}"})
"""What most programs send with every request."""


def choose(accept: str, forms: Forms) -> Answer:
    """Return the first acceptable alternative; raises StatusError 406 when there is none."""
    if accept in _PLAIN_ACCEPTS or not accept.strip():
        return _PLAIN_ANSWER
    known_type = False
    for alternative in accept.split(","):
        media_type, parameters = parse_media_type(alternative)
        if parameters.get("q") in {"0", "0.0"}:
            continue
        if media_type == _ANY:
            media_type = JSON
        if media_type not in ANSWER_TYPES:
            continue
        known_type = True
        form = _form(parameters, forms)
        if form is not None:
            return Answer(media_type, *form)
    if known_type:
        types = ", ".join(ANSWER_TYPES)
        raise StatusError(406, "NotAcceptable", f"only the following media types are accepted: {types}")
    raise StatusError(406, "NotAcceptable", "406: Not Acceptable")
