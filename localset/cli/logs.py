"""`logs`: the output of a container, of several, or the merged log of a whole set, followed when asked.

One container's bytes go through as they come. On a terminal the colours that a program prints stay, and other control
sequences are shown instead of obeyed (reliability.md E1). Lines of several are marked, and merged by time where the
words name a set.
"""

import re
from typing import Any

import click

from localset.cli.context import Context
from localset.cli.durations import DURATION
from localset.cli.logsources import Follower, Source, print_all, print_merged
from localset.cli.output import CommandError, fail, say
from localset.cli.pods import PODS, SETS, all_containers, container_meant, parse_target, pods_behind, selector_text
from localset.machinery.errors import StatusError

_Pod = dict[str, Any]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@click.command()
@click.argument("target", required=False, default="")
@click.argument("container", required=False, default="")
@click.option("-l", "--selector", default="", help="Label selector of Pods; 10 lines of each unless --tail says more.")
@click.option("-c", "--container", "container_option", default="", help="Container; default: the only or the first.")
@click.option("--all-containers", is_flag=True, help="Every container of the Pod.")
@click.option("--all-pods", is_flag=True, help="Every Pod of KIND/NAME, each line marked.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the containers end; of a set, until Ctrl-C.")
@click.option("-p", "--previous", is_flag=True, help="The run before this one.")
@click.option("--tail", type=int, default=None, help="Only the last N lines of each container; -1: all.")
@click.option("--since", type=DURATION, default=None, help="Only newer than 5s, 2m or 3h.")
@click.option("--since-time", default="", help="Only after this moment (RFC 3339).")
@click.option("--limit-bytes", type=int, default=0, help="At most so many bytes of each container.")
@click.option("--timestamps", is_flag=True, help="Begin each line with its time.")
@click.option("--prefix", is_flag=True, help="Begin each line with its Pod and container.")
@click.option("--ignore-errors", is_flag=True, help="Go on with the others when one fails.")
@click.option("--max-log-requests", type=int, default=5, show_default=True, help="How many -l -f may follow.")
@click.option("--pod-running-timeout", hidden=True, expose_value=False)
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.pass_obj
def logs(context: Context, /, target: str, container: str, **options: Any) -> int:
    """Print output: `logs web-0`, `logs -f web/0`, `logs web` (the merged log of the whole set), `logs -l app=web`."""
    options["container"] = options["container_option"] or container
    _refuse_what_excludes(target, options)
    if not target:
        return _of_selector(context, options)
    resource, name = parse_target(target)
    if resource != PODS:
        return _of_owner(context, resource, name, options)
    try:
        pod = context.get(PODS, options["namespace"], name)
    except StatusError as error:
        if error.code == 404 and "/" not in target and _is_set(context, name, options["namespace"]):
            return _of_set(context, name, options)
        raise _not_found(context, error, options["namespace"]) from error
    return print_all(context, _sources(pod, options), options)


def _refuse_what_excludes(target: str, options: dict[str, Any]) -> None:
    if not target and not options["selector"]:
        fail(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for "
            "the logs command\nSee 'localset logs -h' for help and examples"
        )
    if target and options["selector"]:
        fail("only a selector (-l) or a POD name is allowed\nSee 'localset logs -h' for help and examples")
    if options["since"] is not None and options["since_time"]:
        fail("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if options["since_time"] and not _MOMENT.fullmatch(options["since_time"]):
        given, form = options["since_time"], "2006-01-02T15:04:05Z07:00"  # Go's way to write a form
        fail(f'parsing time "{given}" as "{form}": cannot parse "{given}" as "2006"', hint="as 2026-01-31T12:00:00Z")
    if options["container"] and options["all_containers"]:
        fail("--all-containers=true should not be specified with container name " + options["container"])
    if options["tail"] is not None and options["tail"] < -1:
        fail("--tail must be greater than or equal to -1")


def _not_found(context: Context, error: StatusError, namespace: str) -> Exception:
    if error.code != 404:
        return error
    from localset.cli.failures import hint_for

    text = f'error from server (NotFound): {error.message} in namespace "{namespace}"'
    return CommandError(text, hint=hint_for(context, error))


def _is_set(context: Context, name: str, namespace: str) -> bool:
    try:
        context.get(SETS, namespace, name)
    except StatusError:
        return False
    return True


def _of_selector(context: Context, options: dict[str, Any]) -> int:
    pods = context.items(PODS, options["namespace"], labelSelector=options["selector"])
    if not pods:
        say(f"No resources found in {options['namespace']} namespace.")
        return 0
    if options["tail"] is None:
        options["tail"] = 10
    sources = [source for pod in pods for source in _sources(pod, options)]
    if options["follow"] and len(sources) > options["max_log_requests"]:
        fail(
            f"you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is "
            f"{options['max_log_requests']}, use --max-log-requests to increase the limit"
        )
    return print_all(context, sources, options)


def _of_owner(context: Context, resource: Any, name: str, options: dict[str, Any]) -> int:
    """Print the log of one Pod behind a set or Service, or of all of them, as kubectl does."""
    try:
        owner = context.get(resource, options["namespace"], name)
    except StatusError as error:
        raise _not_found(context, error, options["namespace"]) from error
    pods = pods_behind(context, owner, resource)
    if not pods:
        fail(f"no Pod of {resource.singular}/{name} is there", hint="`localset status` shows every set")
    if options["all_pods"]:
        options["prefix"] = True
        return print_all(context, [s for pod in pods for s in _sources(pod, options)], options)
    if len(pods) > 1:
        say(f"Found {len(pods)} pods, using pod/{pods[0]['metadata']['name']}")
    return print_all(context, _sources(pods[0], options), options)


def _of_set(context: Context, name: str, options: dict[str, Any]) -> int:
    """Print the merged log of a whole set; with -f also of Pods and runs that come later."""
    statefulset = context.get(SETS, options["namespace"], name)
    options["prefix"] = True

    def sources_of(pod: _Pod) -> list[Source]:
        owners = pod["metadata"].get("ownerReferences") or []
        is_own = any(o.get("uid") == statefulset["metadata"]["uid"] for o in owners)
        return _sources(pod, options, is_quiet=True) if is_own else []

    selector = selector_text(statefulset["spec"]["selector"])
    if options["follow"]:
        return Follower(context, options, selector, sources_of).run()
    pods = context.items(PODS, options["namespace"], labelSelector=selector)
    return print_merged(context, [source for pod in pods for source in sources_of(pod)], options)


def _sources(pod: _Pod, options: dict[str, Any], *, is_quiet: bool = False) -> list[Source]:
    if options["all_containers"]:
        return [Source(pod, name) for name in all_containers(pod)]
    return [Source(pod, container_meant(pod, options["container"], is_quiet=is_quiet))]
