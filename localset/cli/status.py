"""`status`: the daemon, and a picture of every set."""

import click

from localset.apis.resources import BY_NAME
from localset.cli.context import Context
from localset.cli.output import fail, put, put_painted, to_json
from localset.cli.picture import picture


@click.command()
@click.option("-o", "--output", default="", help="json.")
@click.pass_obj
def status(context: Context, output: str) -> int:
    """Show the daemon, where it keeps its things, and every set with its ordinals."""
    facts = context.api.request("GET", "/localset/v1/status").body
    if output == "json":
        put(to_json(facts))
        return 0
    if output:
        fail(f'unknown output format "{output}"', hint="json")
    put(
        f"daemon          pid {facts['daemon']['pid']}, keeper pid {facts['keeper']['pid']}, version {facts['version']}"
    )
    put(f"data directory  {facts['dataDirectory']}")
    put(f"API socket      {facts['apiSocket']}")
    put(f"API server      {facts['apiServer']} (kubeconfig {facts['kubeconfig']})")
    put(f"isolation       {facts['isolation']}" + "".join(f" ({r})" for r in facts.get("isolationReasons") or []))
    dns = facts["dns"]
    put(f"DNS             {dns['address'] or dns.get('reason')}, zone {dns['zone']}")
    egress = facts.get("egress")
    if egress:
        put(f"way out         {egress['how']}" + (f" ({egress['reason']})" if egress["reason"] else ""))
    put(f"namespace       {context.namespace}")
    put("")
    sets, pods, events = (context.items(BY_NAME[name], "") for name in ("statefulsets.apps", "pods", "events"))
    for text, colour in picture(sets, pods, events):
        put_painted((text, colour))
    return 0
