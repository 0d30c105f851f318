"""`reset`: one ordinal with fresh volumes. The one command here that loses data, so it asks first.

As on a cluster: the claims are deleted, which waits for the Pod that uses them; the Pod is deleted; the set makes both
anew. The uids of what was shown are held to, so that nothing else is ever deleted.
"""

import sys
import time

import click

from localset.apis.resources import BY_NAME
from localset.apis.statefulsets import claim_name
from localset.cli.board import Board
from localset.cli.context import Context
from localset.cli.durations import DURATION
from localset.cli.lifecycle import wait_until_renewed
from localset.cli.output import clean, fail, put
from localset.cli.pods import PODS
from localset.cli.sets import Meant, meant
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

_CLAIMS = BY_NAME["persistentvolumeclaims"]


@click.command()
@click.argument("target", metavar="SET/ORDINAL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("--timeout", type=DURATION, default="5m", show_default=True, help="How long to wait at most.")
@click.pass_obj
def reset(context: Context, target: str, namespace: str, timeout: float, *, yes: bool) -> int:
    """Give one ordinal fresh volumes: `reset zk/2`. What was on the old ones is lost."""
    this = meant(context, target, namespace, is_one=True)
    claims = _claims(context, this)
    if not claims:
        fail(f"{this.pod} has no claims of its own", hint=f"`localset restart {this.name}/{this.ordinal}` runs it anew")
    if not yes:
        _ask(this, list(claims))
    deadline = time.monotonic() + timeout
    board = Board(context, this.namespace)
    pod = board.find_pod(this.namespace, this.pod)
    for name, uid in claims.items():
        _delete(context, path_of(_CLAIMS, this.namespace, name), uid)
        put(f'persistentvolumeclaim "{name}" deleted')
    if pod is None:
        put(f"pod/{this.pod} is not there; it gets fresh volumes when it is")
        return 0
    _delete(context, path_of(PODS, this.namespace, this.pod), pod["metadata"]["uid"])
    put(f'pod "{this.pod}" deleted; {this.label} makes it again with fresh volumes')
    if this.ordinal in this.wanted:
        wait_until_renewed(board, this, this.pod, pod["metadata"]["uid"], deadline)
    return 0


def _claims(context: Context, this: Meant) -> dict[str, str]:
    """Return the ordinal's claims that exist: name to uid."""
    templates = this.statefulset["spec"].get("volumeClaimTemplates") or []
    assert this.ordinal is not None
    names = {claim_name(template["metadata"]["name"], this.name, this.ordinal) for template in templates}
    found = context.items(_CLAIMS, this.namespace)
    return {c["metadata"]["name"]: c["metadata"]["uid"] for c in found if c["metadata"]["name"] in names}


def _ask(this: Meant, claims: list[str]) -> None:
    if not sys.stdin.isatty():
        fail(f"reset deletes the data of {', '.join(claims)} for good", hint="--yes says that you mean it")
    sys.stderr.write(
        clean(f"This deletes what is on {', '.join(claims)} for good, and restarts {this.pod}. Go on? [y/N] ")
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail("nothing was changed")


def _delete(context: Context, path: str, uid: str) -> None:
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
    try:
        context.api.request("DELETE", path, body)
    except StatusError as error:
        if error.code != 404:
            raise
