"""`image`: the local catalogue. Works without a daemon."""

from pathlib import Path

import click

from localset.cli.context import Context
from localset.cli.output import fail, print_rows, put, to_yaml


@click.group()
def image() -> None:
    """List, show and add local images: directories with an image.yaml."""


def _catalogue(context: Context):  # type: ignore[no-untyped-def]  # noqa: ANN202 - imported late
    from localset.images.catalogue import Catalogue

    return Catalogue(context.data_directory / "images")


@image.command(name="list")
@click.pass_obj
def list_(context: Context) -> None:
    """List images and whether this machine has what they need."""
    catalogue = _catalogue(context)
    rows = []
    for found in catalogue.list():
        missing = ", ".join(str(r) for r in catalogue.missing(found))
        rows.append([found.name, ", ".join(found.patterns) or "-", missing or "ready"])
    print_rows(["NAME", "FOR", "MISSING"], rows)


@image.command()
@click.argument("reference")
@click.pass_obj
def show(context: Context, reference: str) -> None:
    """Show what REFERENCE (or an image's own name, as `image list` prints it) runs, with its directory."""
    catalogue = _catalogue(context)
    found = catalogue.find(reference) or next((i for i in catalogue.list() if i.name == reference), None)
    if found is None:
        fail(
            f'no local image answers to "{reference}"',
            hint="`localset image list` shows them, `image add DIR` adds one",
        )
    shown = {
        "name": found.name,
        "directory": str(found.directory),
        "for": list(found.patterns),
        "entrypoint": list(found.entrypoint),
        "command": list(found.command),
        "environment": dict(found.environment),
        "path": list(found.path),
        "scratch": list(found.scratch),
        "user": found.user,
        "stopSignal": found.stop_signal,
        "missing": [str(r) for r in catalogue.missing(found)],
    }
    put(to_yaml(shown).rstrip("\n"))


@image.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.pass_obj
def add(context: Context, directory: Path) -> None:
    """Add the image in DIRECTORY (it holds an image.yaml)."""
    try:
        added = _catalogue(context).add(directory)
    except (ValueError, OSError) as error:
        fail(str(error))
    put(f"image {added.name} added for {', '.join(added.patterns)}")
