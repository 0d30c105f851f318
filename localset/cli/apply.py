"""`apply` and `create -f`: first everything is checked by a dry run, then it is done; a bad file changes nothing."""

import json
from typing import Any

import click

from localset.cli.context import Context, say_warnings
from localset.cli.manifests import Manifest, read_manifests
from localset.cli.output import CommandError, fail, put
from localset.cli.transport import path_of
from localset.machinery.errors import StatusError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MERGE = "application/merge-patch+json"
_VALIDATION = {"true": "Strict", "strict": "Strict", "warn": "Warn", "ignore": "Ignore", "false": "Ignore"}

_file = click.option("-f", "--filename", "files", multiple=True, help="File, directory, or - for standard input.")
_namespace = click.option("-n", "--namespace", help="Namespace for objects that name none.")
_validate = click.option(
    "--validate", type=click.Choice(list(_VALIDATION)), default="strict", show_default=True, help="Unknown fields."
)
_recursive = click.option("-R", "--recursive", is_flag=True, help="Look into subdirectories too.")


@click.command()
@_file
@_namespace
@_validate
@_recursive
@click.option("--wait", "is_waiting", is_flag=True, help="Show the progress of each ordinal until all are Ready.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds that --wait lasts at most.")
@click.pass_obj
def apply(  # noqa: PLR0913, PLR0917 - one parameter per option
    context: Context,
    files: tuple[str, ...],
    namespace: str | None,
    validate: str,
    recursive: bool,
    is_waiting: bool,
    timeout: float,
) -> int:
    """Create objects, or change them to what the files say."""
    if not files:
        fail("must specify one of -f and -k", hint="-f takes files, directories, or - for standard input")
    manifests = read_manifests(context, list(files), namespace or "", recursive=recursive)
    _ensure_daemon(context)
    code = _perform(context, manifests, _VALIDATION[validate], is_apply=True)
    if code == 0 and is_waiting:
        from localset.cli.progress import wait_until_ready

        sets = [(m.namespace, m.name) for m in manifests if m.kind.resource.kind == "StatefulSet"]
        return wait_until_ready(context, sets, timeout)
    return code


@click.command()
@_file
@_namespace
@_validate
@_recursive
@click.pass_obj
def create(
    context: Context,
    files: tuple[str, ...],
    namespace: str | None,
    validate: str,
    recursive: bool,
) -> int:
    """Create objects; fail when one exists."""
    if not files:
        fail("must specify one of -f and -k", hint="-f takes files, directories, or - for standard input")
    manifests = read_manifests(context, list(files), namespace or "", recursive=recursive)
    _ensure_daemon(context)
    return _perform(context, manifests, _VALIDATION[validate], is_apply=False)


def _ensure_daemon(context: Context) -> None:
    from localset.cli.up import ensure_daemon

    ensure_daemon(context)


def _perform(context: Context, manifests: list[Manifest], validation: str, *, is_apply: bool) -> int:
    for manifest in manifests:
        if manifest.duplicates and validation == "Strict":
            fail(f"{manifest.place}: {manifest.label}: the key {manifest.duplicates[0]} stands twice")
    made = {m.name for m in manifests if m.kind.resource.kind == "Namespace"}
    steps = [_Step(context, manifest, validation, is_apply=is_apply) for manifest in manifests]
    for step in steps:
        try:
            step.perform(is_dry_run=True)
        except StatusError as error:
            if error.code != 404 or step.manifest.namespace not in made:
                raise _at(step.manifest, error) from error
            _check_here(step.manifest, validation)
    for step in steps:
        try:
            verb = step.perform(is_dry_run=False)
        except StatusError as error:
            raise _at(step.manifest, error) from error
        say_warnings(step.warnings)
        put(f"{step.manifest.label} {verb}")
    return 0


def _check_here(manifest: Manifest, validation: str) -> None:
    """Check an object whose namespace an earlier document will make: the daemon cannot try it yet, its rules can."""
    from localset.apis.scheme import FieldValidation, decode, strategy_of
    from localset.machinery.errors import raise_if

    resource = manifest.kind.resource
    try:
        decoded = decode(resource, manifest.kind.version, manifest.obj, FieldValidation(validation)).object
        raise_if(resource.kind, resource.group, manifest.name, strategy_of(resource.name).validate(decoded))
    except StatusError as error:
        raise _at(manifest, error) from error


def _at(manifest: Manifest, error: StatusError) -> CommandError:
    from localset.cli.failures import server_error

    return CommandError(f"{manifest.place}: {manifest.label}: {server_error(error)}")


class _Step:
    """One object on its way to the daemon."""

    def __init__(self, context: Context, manifest: Manifest, validation: str, *, is_apply: bool) -> None:
        self.manifest = manifest
        self.warnings: list[str] = []
        self._api = context.api
        self._validation = validation
        self._is_apply = is_apply

    def perform(self, *, is_dry_run: bool) -> str:
        """Create or patch; return kubectl's word for what happened."""
        query = {"fieldValidation": self._validation, "fieldManager": "kubectl-client-side-apply"}
        if not self._is_apply:
            query["fieldManager"] = "kubectl-create"
        if is_dry_run:
            query["dryRun"] = "All"
        live = self._live() if self._is_apply else None
        if live is None:
            return self._create(query)
        patch = self._patch(live)
        if not patch:
            return "unchanged"
        reply = self._api.request("PATCH", self._path(), patch, query=query, content_type=_MERGE)
        self.warnings = reply.warnings
        before, after = live["metadata"].get("resourceVersion"), reply.body["metadata"].get("resourceVersion")
        return "unchanged" if before == after else "configured"

    def _path(self) -> str:
        m = self.manifest
        return path_of(m.kind.resource, m.namespace, m.name, version=m.kind.version)

    def _live(self) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = self._api.request("GET", self._path()).body
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return body

    def _create(self, query: dict[str, str]) -> str:
        m = self.manifest
        obj = self._with_annotation() if self._is_apply else m.obj
        reply = self._api.request(
            "POST", path_of(m.kind.resource, m.namespace, version=m.kind.version), obj, query=query
        )
        self.warnings = reply.warnings
        self.manifest = m._replace(name=reply.body["metadata"]["name"])
        return "created"

    def _with_annotation(self) -> dict[str, Any]:
        """Return the object with last-applied-configuration, in the form of kube-api.md 5.3."""
        obj = json.loads(json.dumps(self.manifest.obj))
        annotations = obj["metadata"].get("annotations") or {}
        annotations.pop(LAST_APPLIED, None)
        obj["metadata"]["annotations"] = annotations
        text = json.dumps(obj, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
        obj["metadata"]["annotations"] = {**annotations, LAST_APPLIED: text}
        return dict(obj)

    def _patch(self, live: dict[str, Any]) -> dict[str, Any]:
        from localset.machinery.patch import three_way_merge_patch

        last_text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
        last = json.loads(last_text) if last_text else {}
        wanted = self._with_annotation()
        return dict(three_way_merge_patch(last, wanted, live))
