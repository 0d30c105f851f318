"""Request bodies: which types are taken, how large, how long they may take, and what they must be.

The Content-Type is judged before a byte is read (reliability.md B1); decoding is `machinery.decoding`, shared with
the CLI, and `machinery.protobuf`, loaded at the first such body.
"""

import asyncio
from typing import Any

from aiohttp import web

from localset.apis.scheme import FieldValidation, check_identity
from localset.apiserver.negotiation import JSON, PROTOBUF, YAML, parse_media_type
from localset.client.client import PatchType
from localset.machinery.decoding import DecodeError, decode_json
from localset.machinery.errors import StatusError, bad_request
from localset.machinery.metadata import Object

LIMIT_BYTES = 3 * 1024 * 1024
SHOWN_BYTES = 30
_UNDECODABLE = "error decoding the body of the request: "
READ_DEADLINE_SECONDS = 30.0
BODY_TYPES = (JSON, YAML, PROTOBUF)
PATCH_TYPES = tuple(t.value for t in PatchType)


def unsupported_media_type(accepted: tuple[str, ...]) -> StatusError:
    """415 that names what is accepted."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def too_large() -> StatusError:
    """413, as kube-apiserver says it."""
    message = f"Request entity too large: limit is {LIMIT_BYTES}"
    return StatusError(413, "RequestEntityTooLarge", message)


def media_type_of(request: web.Request) -> str:
    """Return the request's type without parameters, empty when it has none."""
    return parse_media_type(request.headers.get("Content-Type", ""))[0]


def require_known_type(request: web.Request) -> None:
    """Refuse types that a web page can send unasked: 415. No type at all is JSON, but not for PATCH."""
    given = media_type_of(request)
    if request.method == "PATCH":
        if given not in PATCH_TYPES:
            raise unsupported_media_type(PATCH_TYPES)
    elif request.method in {"POST", "PUT", "DELETE"} and given and given not in BODY_TYPES:
        raise unsupported_media_type(BODY_TYPES)


async def read(request: web.Request) -> bytes:
    """Return the whole body; 413 over 3 MiB, 408 when it does not arrive in time."""
    if (request.content_length or 0) > LIMIT_BYTES:
        raise too_large()
    try:
        async with asyncio.timeout(READ_DEADLINE_SECONDS):
            return await request.read()
    except TimeoutError as error:
        raise StatusError(408, "Timeout", "the body of the request did not arrive in time") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise too_large() from error
    except web.RequestPayloadError as error:
        raise bad_request(f"the body of the request cannot be read: {error}") from error


def decode(data: bytes, media_type: str) -> tuple[Any, list[str]]:
    """Return (value, duplicate paths) of a body; 400 with the reason, 415 for a kind that is not taken as protobuf."""
    try:
        if media_type == PROTOBUF:
            return _decode_protobuf(data), []
        if media_type != YAML:
            return decode_json(data)
        from localset.machinery.yaml_decoding import decode_yaml

        documents = decode_yaml(data)
    except DecodeError as error:
        raise bad_request(f"{_UNDECODABLE}{error}") from error
    if len(documents) > 1:
        raise bad_request("the body of the request holds more than one YAML document")
    return (documents[0].value, documents[0].duplicates) if documents else (None, [])


def _decode_protobuf(data: bytes) -> Object:
    from localset.apis.schema import protobuf
    from localset.machinery.protobuf import open_envelope

    envelope = open_envelope(data)
    if not envelope.kind:
        raise DecodeError("the protobuf body does not say its kind")
    if not protobuf.has_table(envelope.api_version, envelope.kind):
        raise unsupported_media_type((JSON, YAML))
    return protobuf.decode_envelope(envelope)


def _beginning(data: bytes) -> str:
    """Return what a refusal shows of the body: 30 characters of JSON, hexadecimal of anything else."""
    text, more = data[:SHOWN_BYTES], len(data) > SHOWN_BYTES
    shown = text.decode(errors="replace") if text.startswith(b"{") else text.hex()
    return shown + (" ..." if more else "")


async def read_object(
    request: web.Request, api_version: str, kind: str, validation: FieldValidation
) -> tuple[Object, list[str]]:
    """Return (object, warnings) of a POST or PUT. Absent kind and apiVersion are the URL's; wrong ones are 400.

    Duplicate keys are refused under Strict, told under Warn, forgotten under Ignore.
    """
    data = await read(request)
    unrecognized = f"the object provided is unrecognized (must be of type {kind}): "
    media_type = media_type_of(request)
    if media_type != PROTOBUF:
        unrecognized += "couldn't get version/kind; json parse error: "
    if not data.strip():
        raise bad_request(f"{unrecognized}unexpected end of JSON input (<empty>)")
    try:
        value, duplicates = decode(data, media_type)
    except StatusError as error:
        if error.code == 415:
            raise
        why = error.message.removeprefix(_UNDECODABLE)
        raise bad_request(f"{unrecognized}{why} ({_beginning(data)})") from error
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise bad_request(f"{unrecognized}the body is not an object ({_beginning(data)})")
    check_identity(api_version, kind, value)
    version = api_version.rpartition("/")[2]
    warnings = [f'duplicate field "{path}"' for path in duplicates]
    if warnings and validation is FieldValidation.STRICT:
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {", ".join(warnings)}'
        )
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: metadata is not an object')
    made = {**value, "apiVersion": api_version, "kind": kind}
    return made, warnings if validation is FieldValidation.WARN else []


def decode_patch(data: bytes, patch_type: PatchType) -> Any:
    """Return the JSON value of a PATCH body that is not an apply; 400."""
    prefix = "error decoding patch: " if patch_type is PatchType.MERGE else ""
    try:
        value, _ = decode_json(data)
    except DecodeError as error:
        why = str(error)
        if patch_type is PatchType.STRATEGIC and why == "unexpected end of JSON input":
            why = "unexpected EOF" if data.strip() else "EOF"
        raise bad_request(prefix + why) from error
    if not isinstance(value, list if patch_type is PatchType.JSON else dict):
        kind = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        wanted = "jsonpatch.Patch" if patch_type is PatchType.JSON else "map[string]interface {}"
        raise bad_request(f"{prefix}json: cannot unmarshal {kind} into Go value of type {wanted}")
    return value


async def read_delete_options(request: web.Request) -> dict[str, Any] | None:
    """Return the DeleteOptions body, None when it is empty; a kind given must be DeleteOptions."""
    data = await read(request)
    if not data.strip():
        return None
    value, _ = decode(data, media_type_of(request))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request("DeleteOptions must be an object")
    if value.get("kind") not in (None, "", "DeleteOptions"):  # a tuple: it may be any JSON value
        raise bad_request(f"{value['kind']} cannot be handled as DeleteOptions")
    return value
