"""`dns`: what the resolver answers, and how this machine can use it."""

import sys
from pathlib import Path

import click

from localset.cli.context import Context
from localset.cli.output import fail, put, say


@click.group(invoke_without_command=True)
@click.pass_context
def dns(ctx: click.Context) -> None:
    """Show where the resolver listens and the one step that makes this machine use it."""
    if ctx.invoked_subcommand is not None:
        return
    from localset.base.resolver_advice import advice

    context: Context = ctx.obj
    status = context.api.request("GET", "/localset/v1/status").body
    address = status["dns"]["address"]
    if not address:
        fail(f"the resolver does not run: {status['dns'].get('reason', 'unknown')}")
    host, _, port = address.rpartition(":")
    put(f"The resolver listens on {host}, port {port}, zone {status['dns']['zone']}.")
    try:
        resolv_conf = Path("/etc/resolv.conf").read_text()
    except OSError:
        resolv_conf = ""
    for line in advice(sys.platform, status["dns"]["zone"], host, int(port), resolv_conf):
        put(line)


@dns.command()
@click.argument("name")
@click.option("-t", "--type", "record_type", default="A", show_default=True, help="A, AAAA, SRV, PTR, TXT, …")
@click.pass_obj
def query(context: Context, name: str, record_type: str) -> int:
    """Ask for NAME: `dns query zk-0.zk-headless.default.svc.cluster.local`."""
    answer = context.api.request("GET", "/localset/v1/dns", query={"name": name, "type": record_type.upper()}).body
    for record in answer.get("answers", []):
        put(f"{record['name']}\t{record['ttl']}\tIN\t{record['type']}\t{record['data']}")
    if not answer.get("answers"):
        status = answer.get("status", "no answer")
        say(f"{name}: {status}")
        if status == "REFUSED":
            # The host's listener answers for the zone only: a short name, which works inside a Pod, is outside it.
            say("hint: give the full name, for example zk-0.zk-headless.default.svc.cluster.local")
        return 1
    return 0
