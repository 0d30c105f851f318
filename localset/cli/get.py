"""`get`: the server renders tables, this prints them; every other output is made of the objects themselves.

Hot: what is not a table is imported only where it is asked for.
"""

import sys
from typing import Any

from localset.cli.context import Context
from localset.cli.flags import NAMESPACE, Flag, Flags, Given
from localset.cli.output import CommandError, put, say, write
from localset.cli.targets import Kind, Kinds, Target, parse_words
from localset.cli.transport import TABLE, path_of
from localset.machinery.errors import StatusError
from localset.machinery.tabletext import TableOptions, TablePrinter

FLAGS = Flags(
    "get",
    "get [(-o|--output=)…] (TYPE[,TYPE …] [NAME …| -l label] | TYPE/NAME …) [flags]",
    "List objects: `get pods`, `get sts,svc`, `get pod zk-0`, `get pod/zk-0 svc/zk-headless`, `get all`.",
    NAMESPACE,
    Flag("all-namespaces", "bool", False, "Every namespace.", "A"),
    Flag("selector", help="Label selector: app=zk, tier!=a, env in (a,b).", short="l"),
    Flag("field-selector", help="Field selector: status.phase=Running."),
    Flag("output", short="o", help="wide, yaml, json, name, jsonpath=, jsonpath-as-json=, jsonpath-file=, "
         "custom-columns=, custom-columns-file=, go-template=, go-template-file=."),
    Flag("template", help="The template of -o go-template or -o jsonpath."),
    Flag("watch", "bool", False, "Go on with what changes.", "w"),
    Flag("watch-only", "bool", False, "Only what changes from now on."),
    Flag("output-watch-events", "bool", False, "Say with each object what happened to it."),
    Flag("no-headers", "bool", False, "Rows only."),
    Flag("show-labels", "bool", False, "A last column with all labels."),
    Flag("label-columns", "list", [], "Labels that become columns.", "L"),
    Flag("show-kind", "bool", False, "Put the kind in front of names."),
    Flag("show-managed-fields", "bool", False, "With -o yaml or json: who owns which field."),
    Flag("sort-by", help="A JSONPath: .metadata.creationTimestamp."),
    Flag("ignore-not-found", "bool", False, "Exit 0 when a named object is absent."),
    Flag("allow-missing-template-keys", "bool", True, "Print nothing for a field that is absent."),
    Flag("subresource", help="status or scale of the object."),
    Flag("chunk-size", "int", 500, "Accepted for kubectl's sake: lists come in one piece."),
    Flag("server-print", "bool", True, "Accepted for kubectl's sake: tables come from the server."),
    Flag("raw", help="A path of the API: /healthz."),
    Flag("filename", "array", [], "Files that name the objects.", "f"),
    Flag("kustomize", help="Not done here: `localset kubectl get -k`.", short="k"),
    Flag("recursive", "bool", False, "With -f: look into subdirectories too.", "R"),
)  # fmt: skip

_NEEDED = """You must specify the type of resource to get. Use "localset api-resources" for a complete list of \
supported resources.

error: Required resource not specified.
Use "localset explain <resource>" for a detailed description of that resource (e.g. localset explain pods).
See 'localset get -h' for help and examples"""


def main(context: Context, arguments: list[str]) -> int:
    """Run `get ARGUMENTS`."""
    given = FLAGS.parse(arguments)
    if given["help"]:
        put(FLAGS.help_text())
        return 0
    if given["raw"]:
        body = context.api.request("GET", given["raw"], accept="*/*").body
        write(body if isinstance(body, str) else _compact(body))
        return 0
    if given["kustomize"]:
        raise CommandError("-k is not done here", hint="`localset kubectl get -k DIR` does it with your kubectl")
    return _Get(context, given).run()


def _compact(body: Any) -> str:
    import json

    return json.dumps(body, separators=(",", ":"), ensure_ascii=False) + "\n"


class _Get:
    def __init__(self, context: Context, given: Given) -> None:
        self._context, self._api = context, context.api
        self._given = given
        self._kinds = Kinds(context)
        self._namespace = given["namespace"] or context.namespace
        self._is_table = _is_table(given)
        if not self._is_table:
            from localset.cli.printing.outputs import output_of

            self._output = output_of(given)
        self._targets = self._read(context)
        self._errors: list[StatusError] = []

    def _read(self, context: Context) -> list[tuple[Target, str]]:
        given = self._given
        if given["filename"]:
            if given.words:
                raise CommandError("cannot specify resources by file and by name at the same time")
            from localset.cli.manifests import read_manifests

            manifests = read_manifests(context, given["filename"], given["namespace"], recursive=given["recursive"])
            return [(Target(m.kind, m.name), m.namespace) for m in manifests]
        if not given.words:
            say(_NEEDED)
            raise SystemExit(1)
        if given["selector"] and (len(given.words) > 1 or "/" in given.words[0]):
            raise CommandError("name cannot be provided when a selector is specified")
        targets = parse_words(self._kinds, given.words)
        if given["all-namespaces"] and any(target.name is not None for target in targets):
            raise CommandError("a resource cannot be retrieved by name across all namespaces")
        return [(target, self._where(target.kind)) for target in targets]

    def _where(self, kind: Kind) -> str:
        return "" if self._given["all-namespaces"] or not kind.resource.namespaced else self._namespace

    def run(self) -> int:
        if self._given["watch"] or self._given["watch-only"]:
            return self._watch()
        if self._is_table:
            self._print_tables()
        else:
            self._print_objects()
        return self._told()

    def _told(self) -> int:
        if not self._errors:
            return 0
        from localset.cli.failures import tell_refusals

        return tell_refusals(self._context, self._errors)

    def _fetch(self, target: Target, where: str, accept: str) -> Any:
        """Return one object or a list, or None when a named object is not there: why is kept for the end."""
        resource, query = target.kind.resource, {} if target.name else self._query()
        if accept is TABLE and self._given["sort-by"]:
            query["includeObject"] = "Object"
        path = path_of(resource, where, target.name or "", version=target.kind.version, sub=self._given["subresource"])
        try:
            return self._api.request("GET", path, query=query, accept=accept).body
        except StatusError as error:
            if target.name is None:
                raise self._explained(error, target.kind) from error
            if error.code != 404 or not self._given["ignore-not-found"]:
                self._errors.append(self._missing_namespace(where) if error.code == 404 and where else error)
                self._errors[-1] = error if self._errors[-1] is None else self._errors[-1]
            return None

    def _missing_namespace(self, where: str) -> Any:
        """Return the better reason why an object is not there: its namespace is not."""
        try:
            self._api.request("GET", f"/api/v1/namespaces/{where}")
        except StatusError as error:
            return error if error.code == 404 else None
        return None

    def _explained(self, error: StatusError, kind: Kind) -> StatusError:
        if error.code != 400:
            return error
        labels, fields = self._given["selector"], self._given["field-selector"]
        error.message = (
            f'Unable to find "{kind.resource.group}/{kind.version}, Resource={kind.resource.plural}" that match label '
            f'selector "{labels}", field selector "{fields}": {error.message}'
        )
        return error

    def _query(self) -> dict[str, str]:
        return {"labelSelector": self._given["selector"], "fieldSelector": self._given["field-selector"]}

    # --- tables -----------------------------------------------------------------------------------------------------

    def _printer(self, kind: Kind, *, is_prefixed: bool) -> TablePrinter:
        given = self._given
        options = TableOptions(
            is_wide=given["output"] == "wide",
            has_headers=not given["no-headers"],
            has_labels=given["show-labels"],
            label_columns=tuple(given["label-columns"]),
        )
        has_namespace = given["all-namespaces"] and kind.resource.namespaced
        prefix = f"{kind.label}/" if is_prefixed else ""
        return TablePrinter(options, prefix=prefix, has_namespace=has_namespace)

    def _print_tables(self) -> None:
        groups: list[tuple[Kind, list[Any]]] = []
        is_namespaced = not self._given["all-namespaces"]
        for target, where in self._targets:
            table = self._fetch(target, where, TABLE)
            if table is None:
                continue
            is_namespaced &= target.kind.resource.namespaced
            if not groups or groups[-1][0].resource.name != target.kind.resource.name:
                groups.append((target.kind, []))
            groups[-1][1].append(table if "rows" in table else _plain_table(table))
        is_prefixed = self._given["show-kind"] or len({kind.resource.name for kind, _ in groups}) > 1
        is_prefixed = is_prefixed or "all" in self._given.words[:1]
        is_written = False
        for kind, tables in groups:
            if self._given["sort-by"]:
                tables = self._sorted(tables)  # noqa: PLW2901 - the same tables, in order
            lines = self._printer(kind, is_prefixed=is_prefixed).lines(tables)
            if lines:
                write(("\n" if is_written and not self._given["no-headers"] else "") + "\n".join(lines) + "\n")
                is_written = True
        if not is_written and not self._errors and not self._given["ignore-not-found"]:
            say(f"No resources found in {self._namespace} namespace." if is_namespaced else "No resources found")

    def _sorted(self, tables: list[Any]) -> list[Any]:
        from localset.cli.printing.paths import NothingToSortByError, sorted_by

        rows = [row for table in tables for row in table["rows"]]
        try:
            rows = sorted_by(self._given["sort-by"], rows, [row["object"] for row in rows])
        except NothingToSortByError as error:
            say(f"hint: {error}")
            rows = []
        return [{**tables[0], "rows": rows}]

    # --- objects ----------------------------------------------------------------------------------------------------

    def _print_objects(self) -> None:
        objects: list[Any] = []
        is_list = len(self._targets) != 1 or self._targets[0][0].name is None
        for target, where in self._targets:
            body = self._fetch(target, where, "application/json")
            if body is None:
                continue
            if target.name is None:
                kind = {"apiVersion": target.kind.api_version, "kind": target.kind.resource.kind}
                objects += [{**kind, **item} for item in body["items"]]
            else:
                objects.append(body)
        if not objects and (self._errors or (self._given["ignore-not-found"] and self._targets[0][0].name)):
            return
        if self._given["sort-by"]:
            from localset.cli.printing.paths import NothingToSortByError, sorted_by

            try:
                objects = sorted_by(self._given["sort-by"], objects, objects)
            except NothingToSortByError as error:
                raise CommandError(str(error)) from None
        write(self._output(objects, is_list))

    # --- watches ----------------------------------------------------------------------------------------------------

    def _watch(self) -> int:
        kinds = {target.kind.resource.name for target, _ in self._targets}
        if len(kinds) != 1 or len(self._targets) != 1:
            raise CommandError("you may only specify a single resource type")
        (target, where), given = self._targets[0], self._given
        accept = TABLE if self._is_table else "application/json"
        first = self._fetch(target, where, accept)
        if first is None:
            return self._told()
        printer = self._printer(target.kind, is_prefixed=given["show-kind"])
        query = self._query()
        if target.name:
            query["fieldSelector"] = f"metadata.name={target.name}"
        if not given["watch-only"]:
            if self._is_table:
                self._write_lines(printer.lines([first], "ADDED" if given["output-watch-events"] else ""))
            else:
                for item in [first] if target.name else first["items"]:
                    self._write_watched(target.kind, "ADDED", item)
        query["resourceVersion"] = first["metadata"]["resourceVersion"]
        path = path_of(target.kind.resource, where, version=target.kind.version)
        for event in self._api.watch(path, query=query, accept=accept):
            if self._is_table:
                mark = event["type"] if given["output-watch-events"] else ""
                self._write_lines(printer.lines([event["object"]], mark))
            else:
                self._write_watched(target.kind, event["type"], event["object"])
        return 0

    def _write_lines(self, lines: list[str]) -> None:
        if lines:
            write("\n".join(lines) + "\n")

    def _write_watched(self, kind: Kind, change: str, obj: Any) -> None:
        obj = {"apiVersion": kind.api_version, "kind": kind.resource.kind, **obj}
        if self._given["output-watch-events"]:
            obj = {"type": change, "object": obj}
        text = self._output([obj], False)
        write(("---\n" if self._given["output"] == "yaml" else "") + text)
        sys.stdout.flush()


def _is_table(given: Given) -> bool:
    return given["output"] in {"", "wide"} and not given["template"]


def _plain_table(obj: Any) -> Any:
    """Return the table of an object that the server renders none of, as kubectl: name and age."""
    from localset.cli.ages import age_of

    cells = [obj["metadata"].get("name", ""), age_of(obj["metadata"].get("creationTimestamp") or "")]
    columns = [{"name": "Name"}, {"name": "Age"}]
    return {"columnDefinitions": columns, "rows": [{"cells": cells, "object": obj}]}
