"""The verbs on objects and collections: get, list, create, update, patch, delete, deletecollection.

Each handler reads options and body, asks the registry's versioned door, and shows the answer in the form asked for.
Nothing about objects is decided here. Watches go on to `watching`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from localset.apiserver import bodies, patches, presentation, responses, watching
from localset.apiserver.house import HOUSE, House
from localset.apiserver.negotiation import ITEM_FORMS, JSON, LIST_FORMS, WATCH_FORMS, Answer, Forms, choose
from localset.apiserver.options import ListOptions, delete_options, demanded_version, list_options, write_options
from localset.apiserver.routes import Match
from localset.machinery.errors import Cause, StatusError, bad_request, gone, method_not_allowed
from localset.machinery.metadata import Object
from localset.registry.registry import WriteOptions

VERSION_WAIT_SECONDS, VERSION_TRY_SECONDS = 3.0, 0.1
OPTIONS_KINDS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}


def accepted(request: web.Request, forms: Forms) -> Answer:
    """Return the form that Accept asks for; 406."""
    return choose(request.headers.get("Accept", ""), forms)


def options_of(request: web.Request) -> WriteOptions:
    """Return the write options of the query."""
    query = request.query
    kind = OPTIONS_KINDS[request.method]
    agent = request.headers.get("User-Agent", "")
    return write_options(query, query.getall("dryRun", []), agent, kind)


async def show(
    request: web.Request,
    match: Match,
    obj: Object,
    form: Answer,
    *,
    status: int = 200,
    warnings: list[str] | None = None,
) -> web.StreamResponse:
    """Answer with one object in the asked form."""
    house = request.app[HOUSE]
    include = presentation.include_object(request.query.get("includeObject"))
    shown = presentation.show_object(match.resource, obj, form, house.clock.now(), include)
    return await responses.answer(
        request, shown, status=status, form=form, warnings=[*presentation.deprecations(match), *(warnings or [])]
    )


def can_pass_bytes(request: web.Request, match: Match, form: Answer) -> bool:
    """Tell whether the stored bytes are the answer: storage version, plain JSON, not for eyes."""
    is_plain = not form.form and form.media_type == JSON and not responses.wants_pretty(request)
    return is_plain and match.resource.is_stored_in(match.version)


async def get(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer GET on an item."""
    form = accepted(request, ITEM_FORMS)
    house = request.app[HOUSE]
    await wait_for_version(house, demanded_version(request.query))
    if can_pass_bytes(request, match, form):
        stored = await house.registry.read_bytes(match.resource.name, match.namespace, match.name)
        return await responses.encoded_answer(request, stored)
    obj = await house.registry.read(match.resource.name, match.namespace, match.name, match.version)
    return await show(request, match, obj, form)


async def list_or_watch(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer GET on a collection: a list, or a stream of changes."""
    options = list_options(request.query)
    is_watch = options.watch or match.is_legacy_watch
    form = accepted(request, WATCH_FORMS if is_watch else LIST_FORMS)
    include = presentation.include_object(request.query.get("includeObject"))
    if is_watch:
        if form.form == "PartialObjectMetadataList":
            form = Answer(form.media_type, "PartialObjectMetadata", form.version)
        return await watching.watch(request, match, options, form, include)
    house = request.app[HOUSE]
    if can_pass_bytes(request, match, form) and options.resource_version in {"", "0"}:
        encoded = await house.registry.read_list_bytes(
            match.resource.name,
            match.namespace,
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            limit=options.limit,
            continue_token=options.continue_token,
        )
        return await responses.list_answer(request, encoded)
    listed = await read_list(house, match, options)
    shown = presentation.show_list(match.resource, listed, form, house.clock.now(), include)
    return await responses.answer(request, shown, form=form, warnings=presentation.deprecations(match))


async def wait_for_version(house: House, wanted: int) -> None:
    """Wait until the state is as new as `wanted`, up to 3 s; then 504."""
    tries = int(VERSION_WAIT_SECONDS / VERSION_TRY_SECONDS)
    for _ in range(tries):
        if wanted <= int(house.registry.resource_version):
            return
        await house.clock.sleep(VERSION_TRY_SECONDS)
    raise too_large_version(wanted, int(house.registry.resource_version))


async def read_list(house: House, match: Match, options: ListOptions) -> Object:
    """Return the List; 504 when a newer state is demanded than comes, 410 when exactly an older one is."""
    if options.continue_token and options.resource_version not in {"", "0"}:
        raise bad_request("specifying resource version is not allowed when using continue")
    wanted = int(options.resource_version or 0)
    await wait_for_version(house, wanted)
    listed: Object = await house.registry.read_list(
        match.resource.name,
        match.namespace,
        match.version,
        label_selector=options.label_selector,
        field_selector=options.field_selector,
        limit=options.limit,
        continue_token=options.continue_token,
    )
    current = int(listed["metadata"]["resourceVersion"])
    if options.resource_version_match == "Exact" and wanted != current:
        raise gone("The resourceVersion for the provided list is too old.")
    return listed


def too_large_version(wanted: int, current: int) -> StatusError:
    """504: the store is not there yet; clients try again."""
    why = f"Too large resource version: {wanted}, current: {current}"
    cause = Cause("ResourceVersionTooLarge", "Too large resource version", "")
    details: dict[str, Any] = {"causes": [{"reason": cause.reason, "message": cause.message}], "retryAfterSeconds": 1}
    return StatusError(504, "Timeout", f"Timeout: {why}", details)


def check_namespace(obj: Object, namespace: str, *, is_update: bool = False) -> Object:
    """Return `obj` with the URL's namespace; 400 when it names another one."""
    metadata = obj.get("metadata") or {}
    given = metadata.get("namespace") or ""
    if given and given != namespace and is_update:
        why = f"the namespace of the object ({given}) does not match the namespace on the request ({namespace})"
        raise bad_request(why)
    if given and given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    kept = {k: v for k, v in metadata.items() if k != "namespace"}
    return {**obj, "metadata": {**kept, "namespace": namespace} if namespace else kept}


def check_metadata(obj: Object) -> None:
    """Refuse a body whose metadata or deleteOptions is no object: 400."""
    for key in ("metadata", "deleteOptions"):
        if not isinstance(obj.get(key) or {}, dict):
            raise bad_request(f"{key} must be an object")


def check_name(obj: Object, name: str) -> None:
    """Refuse an object that is not the one that the URL names: 400."""
    given = (obj.get("metadata") or {}).get("name")
    if not given:
        raise bad_request("the name of the object must be provided in its metadata")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


async def create(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer POST on a collection: 201."""
    form = accepted(request, ITEM_FORMS)
    options = options_of(request)
    api_version = match.resource.api_version(match.version)
    obj, told = await bodies.read_object(request, api_version, match.resource.kind, options.field_validation)
    obj = check_namespace(obj, match.namespace)
    registry = request.app[HOUSE].registry
    written = await registry.write_create(match.resource.name, match.namespace, obj, match.version, options)
    return await show(request, match, written.object, form, status=201, warnings=[*told, *written.warnings])


async def update(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer PUT on an item or on its status (and on a namespace's finalizers)."""
    form = accepted(request, ITEM_FORMS)
    options = options_of(request)
    api_version = match.resource.api_version(match.version)
    obj, told = await bodies.read_object(request, api_version, match.resource.kind, options.field_validation)
    obj = check_namespace(obj, match.namespace, is_update=True)
    check_name(obj, match.name)
    written = await request.app[HOUSE].registry.write_update(
        match.resource.name, match.namespace, match.name, obj, match.version, options, subresource=match.subresource
    )
    warnings = [*told, *written.warnings]
    return await show(request, match, written.object, form, status=201 if written.is_new else 200, warnings=warnings)


async def patch(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer PATCH on an item or on its status."""
    form = accepted(request, ITEM_FORMS)
    options = options_of(request)
    written = await patches.write(request, match, options)
    status = 201 if written.is_new else 200
    return await show(request, match, written.object, form, status=status, warnings=written.warnings)


async def delete(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer DELETE on an item: a Status, or the object as it lingers."""
    form = accepted(request, ITEM_FORMS)
    query = request.query
    options = delete_options(await bodies.read_delete_options(request), query, query.getall("dryRun", []))
    registry = request.app[HOUSE].registry
    removed = await registry.remove(match.resource.name, match.namespace, match.name, options, match.version)
    return await show(request, match, removed, form)


async def delete_collection(request: web.Request, match: Match) -> web.StreamResponse:
    """Answer DELETE on a collection: the List of what was deleted."""
    form = accepted(request, LIST_FORMS)
    query = request.query
    options = delete_options(await bodies.read_delete_options(request), query, query.getall("dryRun", []))
    selection = list_options({k: v for k, v in query.items() if k != "watch"})
    house = request.app[HOUSE]
    removed = await house.registry.remove_collection(
        match.resource.name,
        match.namespace,
        selection.label_selector,
        selection.field_selector,
        options,
        match.version,
    )
    shown = presentation.show_list(match.resource, removed, form, house.clock.now(), "Metadata")
    return await responses.answer(request, shown, form=form, warnings=presentation.deprecations(match))


ObjectHandler = Callable[[web.Request, Match], Awaitable[web.StreamResponse]]
ITEM: dict[str, ObjectHandler] = {"GET": get, "PUT": update, "PATCH": patch, "DELETE": delete}
COLLECTION: dict[str, ObjectHandler] = {"GET": list_or_watch, "POST": create, "DELETE": delete_collection}


async def run(request: web.Request, match: Match, handler: ObjectHandler) -> web.StreamResponse:
    """Run a handler; refusals too carry the warning that belongs to an old version."""
    try:
        return await _run(request, match, handler)
    except StatusError as error:
        for text in presentation.deprecations(match):
            error.headers.setdefault("Warning", responses.warning_header(text))
        raise


async def _run(request: web.Request, match: Match, handler: ObjectHandler) -> web.StreamResponse:
    """Run a handler. A write goes on to its end even when the client hangs up half-way."""
    if request.method not in match.methods:
        raise method_not_allowed()
    if request.method == "GET":
        return await handler(request, match)

    async def whole() -> web.StreamResponse | StatusError:
        try:  # an expected refusal is not the crash of a task
            return await handler(request, match)
        except StatusError as error:
            return error

    task = request.app[HOUSE].tasks.spawn(whole(), f"{request.method} {request.path}")
    done: web.StreamResponse | StatusError = await asyncio.shield(task)
    if isinstance(done, StatusError):
        raise done
    return done
