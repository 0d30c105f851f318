"""Tables as finished text, for `localset get`: a command that decodes and lays out nothing answers twice as fast.

Called by `control` at `GET /localset/v1/table`. The rows are those of the Table that any client gets; what cannot be
shown so is an error, and the command then asks as any client does and explains it.
"""

from aiohttp import web

from localset.apis.words import match_word
from localset.apiserver import objects, presentation
from localset.apiserver.house import HOUSE
from localset.apiserver.negotiation import Answer
from localset.apiserver.options import list_options
from localset.apiserver.routes import Match
from localset.machinery.errors import StatusError
from localset.machinery.metadata import Object
from localset.machinery.tabletext import TableOptions, TablePrinter

_TABLE = Answer(form="Table", version="v1")


async def table(request: web.Request) -> web.StreamResponse:
    """Answer `?word=pods&name=&namespace=&selector=&wide=`: all of a kind or one object; no namespace means all of
    them. An empty list is an empty text.
    """
    house, query = request.app[HOUSE], request.query
    found = match_word(query.get("word", ""), house.registry.served)
    if found is None:
        raise _nothing()
    resource, version = found
    namespace = query.get("namespace", "") if resource.namespaced else ""
    match = Match(resource, version, namespace, query.get("name", ""), "")
    shown = await _shown(request, match)
    options = TableOptions(is_wide=bool(query.get("wide")))
    printer = TablePrinter(options, has_namespace=resource.namespaced and not namespace)
    text = "".join(f"{line}\n" for line in printer.lines([shown]))
    return web.Response(text=text)


async def _shown(request: web.Request, match: Match) -> Object:
    house = request.app[HOUSE]
    now = house.clock.now()
    if match.name:
        obj = await house.registry.read(match.resource.name, match.namespace, match.name, match.version)
        return presentation.show_object(match.resource, obj, _TABLE, now, "Metadata")
    options = list_options({"labelSelector": request.query.get("selector", "")})
    listed = await objects.read_list(house, match, options)
    return presentation.show_list(match.resource, listed, _TABLE, now, "Metadata")


def _nothing() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")
