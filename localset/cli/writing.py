"""What every changing command has: dry runs, owners, output, a PATCH, and the line that says what was done."""

from typing import Any

from localset.cli.context import Context, say_warnings
from localset.cli.flags import Flag, Given
from localset.cli.output import CommandError, put, say, write
from localset.cli.selection import Found

DRY_RUN = Flag("dry-run", help="none, client (say what would be sent) or server (the daemon tries it).", default="none",
               bare="unchanged")  # fmt: skip
OUTPUT = Flag("output", short="o", help="name, yaml, json, jsonpath=, go-template=, … instead of a line.")
TEMPLATE = Flag("template", help="The template of -o go-template or -o jsonpath.")
SHOW_MANAGED = Flag("show-managed-fields", "bool", False, "With -o yaml or json: who owns which field.")
PRINTING = (OUTPUT, TEMPLATE, SHOW_MANAGED)
_ALLOWED = (
    *("go-template", "go-template-file", "json", "jsonpath", "jsonpath-as-json", "jsonpath-file", "name"),
    *("template", "templatefile", "yaml"),
)

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def manager(name: str) -> Flag:
    """Return --field-manager with kubectl's own name for a command."""
    return Flag("field-manager", default=name, help="Who owns the fields that this changes.")


class Writer:
    """The dry run, owner and output of one command line."""

    def __init__(self, context: Context, given: Given, *, wants_validation: bool = False) -> None:
        """Read the flags; CommandError for what they may not be."""
        self._context, self._given = context, given
        dry_run = given.get("dry-run", "none")
        if dry_run == "unchanged":
            say("W--dry-run is deprecated and can be replaced with --dry-run=client."[1:])
            dry_run = "client"
        if dry_run not in {"none", "client", "server"}:
            raise CommandError(f'Invalid dry-run value ({dry_run}). Must be "none", "server", or "client".')
        self.is_client_run, self.is_server_run = dry_run == "client", dry_run == "server"
        # Without a name of its own a command's fields are kubectl's, which its client says by its User-Agent.
        self.query: dict[str, str] = {"fieldManager": given.get("field-manager") or "kubectl"}
        if wants_validation:
            self.query["fieldValidation"] = validation(given)
        if self.is_server_run:
            self.query["dryRun"] = "All"
        self._output: Any = None
        if given.get("output") or given.get("template"):
            from localset.cli.printing.outputs import output_of

            self._output = output_of(given, _ALLOWED)
        self._printed: list[dict[str, Any]] = []

    @property
    def is_lined(self) -> bool:
        """Tell whether lines are printed rather than objects."""
        return self._output is None

    def patch(self, found: Found, patch: Any, content_type: str, *, sub: str = "", query: Any = None) -> dict[str, Any]:
        """PATCH an object and return what it is now; Warnings are printed."""
        query = self.query if query is None else query
        reply = self._context.api.request("PATCH", found.path(sub), patch, query=query, content_type=content_type)
        say_warnings(reply.warnings)
        body: dict[str, Any] = reply.body
        return body

    def done(self, label: str, operation: str, obj: dict[str, Any], *, says_dry_run: bool = True) -> None:
        """Say what was done to an object, or print it, or keep it for `finish` where a list is to be printed."""
        if self._output is None:
            suffix = " (dry run)" if self.is_client_run else " (server dry run)" if self.is_server_run else ""
            put(f"{label} {operation}{suffix if says_dry_run else ''}")
        elif self._given.get("output") == "name":
            put(label)
        else:
            write(
                ("---\n" if self._printed and self._given.get("output") == "yaml" else "") + self._output([obj], False)
            )
            self._printed.append(obj)


def validation(given: Given) -> str:
    """Return fieldValidation for `--validate`."""
    values = {"true": "Strict", "strict": "Strict", "warn": "Warn", "ignore": "Ignore", "false": "Ignore"}
    value = given["validate"]
    if value not in values:
        raise CommandError(
            f'invalid - validate option "{value}"; must be one of: strict (or true), warn, ignore (or false)'
        )
    return values[value]


VALIDATE = Flag("validate", default="strict", help="strict, warn or ignore: what unknown fields are.", bare="strict")
