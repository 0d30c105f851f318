"""`scale`: through the scale subresource, as kubectl."""

import click

from localset.cli.context import Context, parse_targets
from localset.cli.output import fail, put
from localset.cli.transport import path_of


@click.command()
@click.argument("words", nargs=-1)
@click.option("--replicas", type=int, required=True, help="The wanted number.")
@click.option("--current-replicas", type=int, default=-1, help="Only if this is the present number.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.pass_obj
def scale(context: Context, words: tuple[str, ...], replicas: int, current_replicas: int, namespace: str) -> int:
    """Set the number of replicas: `scale sts zk --replicas=5`."""
    if replicas < 0:
        fail("--replicas must be greater than or equal to 0")
    for resource, name in parse_targets(context, words):
        if name is None:
            fail("resource(s) were provided, but no name was specified")
        if "scale" not in resource.subresources:
            fail(f"{resource.plural} cannot be scaled")
        path = path_of(resource, namespace, name, sub="scale")
        present = context.api.request("GET", path).body
        if current_replicas >= 0 and present["spec"].get("replicas", 0) != current_replicas:
            fail(f"Expected replicas to be {current_replicas}, was {present['spec'].get('replicas', 0)}")
        present["spec"]["replicas"] = replicas
        context.api.request("PUT", path, present)
        put(f"{resource.singular}.{resource.group}/{name} scaled")
    return 0
