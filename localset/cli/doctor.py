"""`doctor`: what this machine allows, what follows, and the command that changes it.

Needs no daemon and changes nothing; the checks themselves are the keeper's (`keeper.checks`).
"""

import json
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.output import fail, put, put_painted, to_json
from localset.cli.transport import DaemonNotRunningError
from localset.keeper import checks

_SIGNS = {True: ("ok ", "32"), False: ("no ", "33"), None: (" - ", "")}


@click.command()
@click.option("-o", "--output", default="", help="json.")
@click.pass_obj
def doctor(context: Context, output: str) -> int:
    """Say what this machine allows, which level of isolation follows, and what would change it."""
    if output not in {"", "json"}:
        fail(f'unknown output format "{output}"', hint="json")
    found = [*checks.rows(str(context.data_directory)), *_images(context)]
    level, used = checks.best_level(found), _level_used(context)
    # The one thing without which no Pod can have its identity.
    can_run = all(row.is_fine is not False for row in found if row.key == "addresses")
    if output == "json":
        facts = {"canRun": can_run, "level": level, "used": used, "checks": [_spelled(row) for row in found]}
        put(to_json(facts))
        return 0 if can_run else 1
    width = max(len(row.what) for row in found)
    for row in found:
        sign, colour = _SIGNS[row.is_fine]
        put_painted((sign, colour), (f" {row.what.ljust(width)}  {row.found}", ""))
        put(f"     {' ' * width} {row.follows}")
        if row.cure and row.is_fine is not True:
            put(f"     {' ' * width} $ {row.cure}")
    put("")
    put(f"The best level that works here: {level}{_why(found, level)}")
    if used:
        told = f"This data directory uses: {used}"
        better = "" if used == level else f"; `localset down`, then `localset up --isolation={level}` changes it"
        put(told + better)
    if not can_run:
        put("localset cannot run here: Pods cannot have addresses of their own")
    return 0 if can_run else 1


def _spelled(row: checks.Row) -> dict[str, Any]:
    return {
        "check": row.key,
        "about": row.what,
        "allowed": row.is_fine,
        "found": row.found,
        "follows": row.follows,
        "cure": row.cure,
    }


def _why(found: list[checks.Row], level: str) -> str:
    above = [row for row in found if row.key.startswith("level-") and not row.is_fine and row.key != f"level-{level}"]
    return "".join(f"; {row.what} does not: {row.found}" for row in above)


def _level_used(context: Context) -> str:
    """Return the level of the running daemon, else what the data directory has on record, else ""."""
    try:
        return str(context.api.request("GET", "/localset/v1/status").body["isolation"])
    except DaemonNotRunningError:
        pass
    try:
        return str(json.loads((context.data_directory / "localset.json").read_bytes()).get("isolation") or "")
    except (OSError, ValueError):
        return ""


def _images(context: Context) -> list[checks.Row]:
    from localset.images.catalogue import Catalogue

    catalogue = Catalogue(context.data_directory / "images")
    lacking = {image.name: missing for image in catalogue.list() if (missing := catalogue.missing(image))}
    ready = [image.name for image in catalogue.list() if image.name not in lacking]
    found = [
        checks.Row(f"image-{name}", f"image {name}", None, "lacks something", "; ".join(str(text) for text in missing))
        for name, missing in lacking.items()
    ]
    return [*found, checks.Row("images", "other images", None, "ready", ", ".join(ready))]
