"""`apply` and `create -f`. Several objects are all tried by a dry run first: a bad one changes nothing.

The three-way patch, the annotation, the words and the owners are kubectl's, so that both can be mixed on one object.
"""

from typing import Any

from localset.cli.context import Context, say_warnings
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.manifests import Manifest, read_manifests
from localset.cli.output import CommandError, fail, put, say
from localset.cli.selection import FILENAME, KUSTOMIZE, RECURSIVE, SELECTOR, Found
from localset.cli.transport import path_of
from localset.cli.writing import APPLY, DRY_RUN, PRINTING, VALIDATE, Writer, manager
from localset.machinery.errors import StatusError

_COMMON = (FILENAME, RECURSIVE, KUSTOMIZE, SELECTOR, NAMESPACE, VALIDATE, DRY_RUN, *PRINTING)
APPLY_FLAGS = Flags(
    "apply",
    "apply -f FILE [flags]",
    "Create objects, or change them to what the files say.",
    *_COMMON,
    manager("kubectl-client-side-apply"),
    Flag("server-side", "bool", False, "Let the daemon merge, field by field and owner by owner."),
    Flag("force-conflicts", "bool", False, "With --server-side: take fields from their owners."),
    Flag("overwrite", "bool", True, "Change what others changed since the last apply."),
    Flag("force", "bool", False, "Delete and create again what cannot be changed."),
    Flag("prune", "bool", False, "Not done here."),
    Flag("wait", "bool", False, "Show the progress of each ordinal until all are Ready."),
    Flag("timeout", "seconds", 300.0, "How long --wait lasts at most."),
    Flag("grace-period", "int", -1, "With --force: seconds before SIGKILL."),
)
CREATE_FLAGS = Flags(
    "create",
    "create -f FILE [flags]",
    "Create objects; fail when one exists.",
    *_COMMON,
    manager("kubectl-create"),
    Flag("save-config", "bool", False, "Remember the manifest for a later apply."),
)
FLAGS = {"apply": APPLY_FLAGS, "create": CREATE_FLAGS}
_CONFLICT = """
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"""
_MISSING = (
    "resource {resource}/{name} is missing the kubectl.kubernetes.io/last-applied-configuration annotation which is "
    "required by {command} apply. {command} apply should only be used on resources created declaratively by either "
    "{command} create --save-config or {command} apply. The missing annotation will be patched automatically."
)
_ELSEWHERE = {"view-last-applied", "set-last-applied", "edit-last-applied"}


def main_apply(context: Context, arguments: list[str]) -> int:
    """Run `apply ARGUMENTS`."""
    if arguments and arguments[0] in _ELSEWHERE:
        return _elsewhere(context, ["apply", *arguments])
    given = APPLY_FLAGS.parse(arguments)
    if given["help"]:
        put(APPLY_FLAGS.help_text())
        return 0
    if given["prune"]:
        raise CommandError("--prune is not done here", hint="`localset kubectl apply --prune …` does it")
    if given["force-conflicts"] and not given["server-side"]:
        raise CommandError("--force-conflicts only works with --server-side")
    if given["server-side"] and "field-manager" not in given.given:
        given["field-manager"] = "kubectl"
    sets: list[tuple[str, str]] = []
    code = _run(context, given, sets, is_apply=True)
    if code == 0 and given["wait"]:
        from localset.cli.progress import wait_until_ready

        return wait_until_ready(context, sets, given["timeout"])
    return code


def main_create(context: Context, arguments: list[str]) -> int:
    """Run `create ARGUMENTS`: from files here, what kubectl makes from flags (`create configmap …`) there."""
    if arguments and not arguments[0].startswith("-"):
        return _elsewhere(context, ["create", *arguments])
    given = CREATE_FLAGS.parse(arguments)
    if given["help"]:
        put(CREATE_FLAGS.help_text())
        return 0
    return _run(context, given, [], is_apply=False)


def _elsewhere(context: Context, arguments: list[str]) -> int:
    from localset.cli.kubectl import run_kubectl

    return run_kubectl(context, arguments)


def _read(context: Context, given: Given, verb: str) -> list[Manifest]:
    if given.words:
        fail(f"Unexpected args: [{' '.join(given.words)}]\nSee 'localset {verb} -h' for help and examples")
    if given["kustomize"]:
        raise CommandError("-k is not done here", hint=f"`localset kubectl {verb} -k DIR` does it with your kubectl")
    if not given["filename"]:
        fail("must specify one of -f and -k", hint="-f takes files, directories, or - for standard input")
    return read_manifests(
        context,
        given["filename"],
        given["namespace"],
        recursive=given["recursive"],
        verb=verb,
        may_define=given["dry-run"] != "server",
    )


def _run(context: Context, given: Given, sets: list[tuple[str, str]], *, is_apply: bool) -> int:
    """Send everything; `sets` gets the StatefulSets that the files hold."""
    writer = Writer(context, given, wants_validation=True)
    from localset.cli.up import ensure_daemon

    ensure_daemon(context)
    manifests = _read(context, given, "apply" if is_apply else "create")
    if given["selector"]:
        from localset.machinery.labels import parse_selector

        selector = parse_selector(given["selector"])
        manifests = [m for m in manifests if selector.matches(m.obj["metadata"].get("labels") or {})]
        if not manifests:
            fail("no objects passed to " + ("apply" if is_apply else "create"))
    sets.extend((m.namespace, m.name) for m in manifests if m.kind.resource.kind == "StatefulSet")
    return _Run(context, given, writer, manifests, is_apply=is_apply).run()


class _Run:
    """All objects of one command line on their way to the daemon."""

    def __init__(
        self, context: Context, given: Given, writer: Writer, manifests: list[Manifest], *, is_apply: bool
    ) -> None:
        self._context, self._api, self._given, self._writer = context, context.api, given, writer
        self._manifests, self._is_apply = manifests, is_apply
        self._defined = {m.name for m in manifests if m.kind.resource.kind == "CustomResourceDefinition"}

    def run(self) -> int:
        for manifest in self._manifests:
            if manifest.duplicates and self._writer.query["fieldValidation"] == "Strict":
                fail(f"{manifest.place}: {manifest.label}: the key {manifest.duplicates[0]} stands twice")
        errors = []
        if len(self._manifests) > 1 and not self._writer.is_client_run:
            errors = self._tried()
            if errors:
                say("hint: nothing was changed; every object of the files must be acceptable")
        for manifest in self._manifests if not errors else []:
            try:
                self._await_kind(manifest)
                self._perform(manifest, is_trial=False)
            except (StatusError, CommandError) as error:
                errors.append(self._told(manifest, error))
        if errors:
            from localset.cli.failures import tell_refusals

            return tell_refusals(self._context, errors)
        return 0

    def _await_kind(self, manifest: Manifest) -> None:
        """Wait for the definition of a kind that the same files have just made."""
        resource = manifest.kind.resource
        if self._writer.is_client_run or resource.name not in self._defined:
            return
        from localset.cli.definitions import wait_until_served

        wait_until_served(self._context, resource, manifest.kind.version)
        self._defined.discard(resource.name)

    def _tried(self) -> list[Any]:
        """Return what would be refused. Objects of a namespace that an earlier document makes are checked here."""
        errors = []
        made = {m.name for m in self._manifests if m.kind.resource.kind == "Namespace"}
        customs = {
            m.obj.get("spec", {}).get("group") for m in self._manifests if m.kind.resource.plural.startswith("custom")
        }
        for manifest in self._manifests:
            if manifest.kind.resource.group in customs:
                continue
            try:
                self._perform(manifest, is_trial=True)
            except StatusError as error:
                if error.code == 404 and manifest.namespace in made:
                    errors += self._checked_here(manifest)
                elif not (error.code == 409 and not self._is_apply):
                    errors.append(self._told(manifest, error))
            except CommandError as error:
                errors.append(error)
        return errors

    def _checked_here(self, manifest: Manifest) -> list[Any]:
        from localset.apis.scheme import FieldValidation, decode, strategy_of
        from localset.machinery.errors import raise_if

        resource = manifest.kind.resource
        try:
            validation = FieldValidation(self._writer.query["fieldValidation"])
            decoded = decode(resource, manifest.kind.version, manifest.obj, validation).object
            raise_if(resource.kind, resource.group, manifest.name, strategy_of(resource.name).validate(decoded))
        except StatusError as error:
            return [self._told(manifest, error)]
        return []

    def _told(self, manifest: Manifest, error: Any) -> Any:
        """Return an error that names the file, in kubectl's words."""
        if isinstance(error, StatusError) and self._given.get("server-side") and error.code == 409:
            return CommandError(error.message + _CONFLICT)
        verb = getattr(error, "verb", "creating")
        if isinstance(error, StatusError) and not error.message.startswith("error when "):
            error.message = f'error when {verb} "{manifest.source}": {error.message}'
        return error

    # --- one object -------------------------------------------------------------------------------------------------

    def _perform(self, manifest: Manifest, *, is_trial: bool) -> None:
        query = {**self._writer.query, "dryRun": "All"} if is_trial else self._writer.query
        if not self._is_apply:
            obj = manifest.obj
            if self._given["save-config"]:
                from localset.cli.applied import annotated

                obj = annotated(obj)
            self._create(manifest, obj, query, is_trial=is_trial)
        elif self._given["server-side"]:
            self._apply_there(manifest, query, is_trial=is_trial)
        else:
            self._apply_here(manifest, query, is_trial=is_trial)

    def _create(self, manifest: Manifest, obj: dict[str, Any], query: dict[str, str], *, is_trial: bool) -> None:
        if self._writer.is_client_run:
            self._writer.done(manifest.label, "created", obj)
            return
        path = path_of(manifest.kind.resource, manifest.namespace, version=manifest.kind.version)
        reply = self._api.request("POST", path, obj, query=query)
        if is_trial:
            return
        say_warnings(reply.warnings)
        name = reply.body["metadata"]["name"]
        self._writer.done(f"{manifest.kind.label}/{name}", "created", reply.body)

    def _apply_there(self, manifest: Manifest, query: dict[str, str], *, is_trial: bool) -> None:
        if self._writer.is_client_run:
            raise CommandError(
                "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"
            )
        force = "true" if self._given["force-conflicts"] else "false"
        found = Found(manifest.kind, manifest.namespace, manifest.name, {}, manifest.source)
        if is_trial:
            self._api.request("PATCH", found.path(), manifest.obj, query={**query, "force": force}, content_type=APPLY)
            return
        obj = self._writer.patch(found, manifest.obj, APPLY, query={**query, "force": force})
        if self._migrated(found, obj, query):
            obj = self._writer.patch(found, manifest.obj, APPLY, query={**query, "force": force})
        self._writer.done(manifest.label, "serverside-applied", obj)

    def _migrated(self, found: Found, obj: dict[str, Any], query: dict[str, str]) -> bool:
        entries = obj["metadata"].get("managedFields") or []
        if self._writer.is_server_run or not any(e["manager"] == "kubectl-client-side-apply" for e in entries):
            return False
        from localset.cli.migration import migrate

        return migrate(self._context, found, obj, self._given["field-manager"], query)

    def _apply_here(self, manifest: Manifest, query: dict[str, str], *, is_trial: bool) -> None:
        from localset.cli.applied import ANNOTATION, annotated, patch_between

        if not manifest.name:
            raise _nameless(manifest)
        found = Found(manifest.kind, manifest.namespace, manifest.name, {}, manifest.source)
        wanted = annotated(manifest.obj)
        live = self._live(found)
        if live is None:
            self._create(manifest, wanted, query, is_trial=is_trial)
            return
        if not is_trial and ANNOTATION not in (live["metadata"].get("annotations") or {}):
            say(
                "Warning: "
                + _MISSING.format(resource=manifest.kind.resource.plural, name=manifest.name, command="localset")
            )
        patch, content_type = patch_between(manifest.kind, live, wanted)
        if self._writer.is_client_run:
            self._writer.done(manifest.label, "configured", live)
            return
        if not patch:
            if not is_trial:
                self._writer.done(manifest.label, "unchanged", live)
            return
        try:
            if is_trial:
                self._api.request("PATCH", found.path(), patch, query=query, content_type=content_type)
                return
            obj = self._writer.patch(found, patch, content_type, query=query)
        except StatusError as error:
            if error.code in {409, 422} and self._given["force"]:
                self._replace(found, manifest, wanted, query, is_trial=is_trial)
                return
            raise _Patching(error, patch, manifest) from error
        self._writer.done(manifest.label, "configured", obj)

    def _replace(
        self, found: Found, manifest: Manifest, wanted: dict[str, Any], query: dict[str, str], *, is_trial: bool
    ) -> None:
        """Delete what cannot be changed, and create it again."""
        if is_trial:
            return
        from localset.cli.delete import delete_and_wait

        delete_and_wait(self._context, found, self._given["grace-period"])
        reply = self._api.request(
            "POST", path_of(found.kind.resource, found.namespace, version=found.kind.version), wanted, query=query
        )
        say_warnings(reply.warnings)
        self._writer.done(manifest.label, "configured", reply.body)

    def _live(self, found: Found) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = self._api.request("GET", found.path()).body
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return body


def _nameless(manifest: Manifest) -> CommandError:
    generated = manifest.obj["metadata"].get("generateName")
    if generated:
        return CommandError(f"from {generated}: cannot use generate name with apply")
    resource = manifest.kind.resource
    return CommandError(
        f'error when retrieving current configuration of:\nResource: "{resource.group}/{manifest.kind.version}, '
        f'Resource={resource.plural}", GroupVersionKind: "{resource.group}/{manifest.kind.version}, '
        f'Kind={resource.kind}"\nName: "", Namespace: "{manifest.namespace}"\nfrom server for: "{manifest.source}": '
        "resource name may not be empty"
    )


class _Patching(StatusError):  # noqa: N818 - it is the server's error with more words
    """A refusal of a patch, with what was to be changed as kubectl shows it."""

    def __init__(self, error: StatusError, patch: dict[str, Any], manifest: Manifest) -> None:
        from localset.cli.printing.documents import go_json

        resource = manifest.kind.resource
        version = f"{resource.group}/{manifest.kind.version}"
        text = (
            f'error when applying patch:\n{go_json(patch)}\nto:\nResource: "{version}, Resource={resource.plural}", '
            f'GroupVersionKind: "{version}, Kind={resource.kind}"\nName: "{manifest.name}", Namespace: '
            f'"{manifest.namespace}"\nfor: "{manifest.source}": error when patching "{manifest.source}": '
            + error.message
        )
        super().__init__(error.code, error.reason, text, error.details, error.headers)
