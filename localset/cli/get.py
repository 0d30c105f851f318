"""`get`: the server renders tables, this prints them."""

from typing import Any

import click

from localset.apis.resources import Resource
from localset.cli.context import Context, parse_targets
from localset.cli.output import fail, print_rows, put, say, to_json, to_yaml
from localset.cli.transport import TABLE, path_of
from localset.machinery.errors import StatusError


@click.command()
@click.argument("words", nargs=-1)
@click.option("-n", "--namespace", default="default", help="Namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--field-selector", default="", help="Field selector.")
@click.option("-o", "--output", default="", help="wide, yaml, json or name.")
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Go on with what changes.")
@click.option("--no-headers", is_flag=True, help="Rows only.")
@click.option("--show-labels", is_flag=True, help="A last column with all labels.")
@click.option("--show-managed-fields", is_flag=True, help="With -o yaml or json: who owns which field.")
@click.option("--ignore-not-found", is_flag=True, help="Exit 0 when a named object is absent.")
@click.pass_obj
def get(context: Context, /, words: tuple[str, ...], **options: Any) -> int:
    """List objects: `get pods`, `get sts,svc`, `get pod zk-0`, `get pod/zk-0 svc/zk-headless`."""
    if options["output"] not in {"", "wide", "yaml", "json", "name"}:
        fail(
            f'unable to match a printer suitable for the output format "{options["output"]}"',
            hint="wide, yaml, json, name",
        )
    return _Get(context, words, options).run()


class _Get:
    def __init__(self, context: Context, words: tuple[str, ...], options: dict[str, Any]) -> None:
        self._context = context
        self._options = options
        if words and words[0] == "all":
            words = ("pods,services,statefulsets", *words[1:])
        self._targets = parse_targets(words)
        self._is_prefixed = len({resource.name for resource, _ in self._targets}) > 1

    def run(self) -> int:
        output = self._options["output"]
        if self._options["is_watching"]:
            if len(self._targets) != 1:
                fail("you may only specify a single resource type with -w")
            return self._watch(*self._targets[0])
        return self._print_tables() if output in {"", "wide"} else self._print_objects(output)

    def _namespace(self, resource: Resource) -> str:
        return "" if self._options["all_namespaces"] or not resource.namespaced else str(self._options["namespace"])

    def _query(self) -> dict[str, str]:
        return {"labelSelector": self._options["selector"], "fieldSelector": self._options["field_selector"]}

    def _fetch(self, resource: Resource, name: str | None, accept: str) -> Any:
        query = {} if name else self._query()
        path = path_of(resource, self._namespace(resource), name or "")
        return self._context.api.request("GET", path, query=query, accept=accept).body

    def _print_tables(self) -> int:
        code = 0
        is_first = True
        groups: dict[str, list[Any]] = {}
        resources = {resource.name: resource for resource, _ in self._targets}
        for resource, name in self._targets:
            try:
                groups.setdefault(resource.name, []).append(self._fetch(resource, name, TABLE))
            except StatusError as error:
                if error.code != 404 or name is None:
                    raise
                if not self._options["ignore_not_found"]:
                    say(f"Error from server (NotFound): {error.message}")
                    code = 1
        for key, tables in groups.items():
            rows = [row for table in tables for row in table["rows"]]
            if not rows:
                continue
            if not is_first:
                print()
            is_first = False
            self._print_table(resources[key], tables[0]["columnDefinitions"], rows)
        if is_first and code == 0 and not any(name for _, name in self._targets):
            where = "" if self._options["all_namespaces"] else f" in {self._options['namespace']} namespace"
            say(f"No resources found{where}." if where else "No resources found")
        return code

    def _print_table(
        self,
        resource: Resource,
        columns: list[Any],
        rows: list[Any],
        widths: list[int] | None = None,
        *,
        has_header: bool = True,
    ) -> list[int]:
        wide = self._options["output"] == "wide"
        shown = [i for i, column in enumerate(columns) if wide or column.get("priority", 0) == 0]
        header = [columns[i]["name"].upper() for i in shown]
        lines = []
        prefix = f"{resource.singular}.{resource.group}/" if resource.group else f"{resource.singular}/"
        for row in rows:
            cells = ["" if row["cells"][i] is None else _text(row["cells"][i]) for i in shown]
            if self._is_prefixed:
                cells[0] = prefix + cells[0]
            metadata = row.get("object", {}).get("metadata", {})
            if self._options["all_namespaces"] and resource.namespaced:
                cells.insert(0, metadata.get("namespace", ""))
            if self._options["show_labels"]:
                labels = metadata.get("labels") or {}
                cells.append(",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>")
            lines.append(cells)
        if self._options["all_namespaces"] and resource.namespaced:
            header.insert(0, "NAMESPACE")
        if self._options["show_labels"]:
            header.append("LABELS")
        return print_rows(header if has_header and not self._options["no_headers"] else None, lines, widths)

    def _print_objects(self, output: str) -> int:
        code = 0
        objects: list[Any] = []
        for resource, name in self._targets:
            try:
                body = self._fetch(resource, name, "application/json")
            except StatusError as error:
                if error.code == 404 and name is not None and self._options["ignore_not_found"]:
                    continue
                raise
            if name is None:
                kind = {"apiVersion": resource.api_version(), "kind": resource.kind}
                objects += [{**kind, **item} for item in body["items"]]
            else:
                objects.append(body)
        if output == "name":
            for obj in objects:
                put(_name_of(obj))
            return code
        objects = [self._shown(obj) for obj in objects]
        is_single = len(objects) == 1 and all(name for _, name in self._targets)
        value = (
            objects[0]
            if is_single
            else {
                "apiVersion": "v1",
                "items": objects,
                "kind": "List",
                "metadata": {"resourceVersion": ""},
            }
        )
        put(to_yaml(value).rstrip("\n") if output == "yaml" else to_json(value))
        return code

    def _watch(self, resource: Resource, name: str | None) -> int:
        is_table = self._options["output"] in {"", "wide"}
        accept = TABLE if is_table else "application/json"
        query = self._query()
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        path = path_of(resource, self._namespace(resource))
        first = self._context.api.request("GET", path, query=query, accept=accept).body
        widths: list[int] = []
        columns: list[Any] = []
        if is_table:
            columns = first["columnDefinitions"]
            if first["rows"]:
                widths = self._print_table(resource, columns, first["rows"])
        else:
            for item in first["items"]:
                self._print_one({"apiVersion": resource.api_version(), "kind": resource.kind, **item})
        query["resourceVersion"] = first["metadata"]["resourceVersion"]
        for event in self._context.api.watch(path, query=query, accept=accept):
            if is_table:
                columns = event["object"].get("columnDefinitions") or columns
                widths = self._print_table(resource, columns, event["object"]["rows"], widths, has_header=not widths)
            else:
                self._print_one(event["object"])
        return 0

    def _shown(self, obj: Any) -> Any:
        """Leave out managedFields, as kubectl does: nobody reads them by chance."""
        metadata = obj.get("metadata", {})
        if self._options["show_managed_fields"] or "managedFields" not in metadata:
            return obj
        return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}

    def _print_one(self, obj: Any) -> None:
        output = self._options["output"]
        if output == "name":
            put(_name_of(obj))
        else:
            obj = self._shown(obj)
            put("---\n" + to_yaml(obj).rstrip("\n") if output == "yaml" else to_json(obj))


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)


def _name_of(obj: Any) -> str:
    from localset.apis.resources import find_by_kind

    resource = find_by_kind(obj["apiVersion"], obj["kind"])
    singular = resource.singular if resource else obj["kind"].lower()
    group = f".{resource.group}" if resource and resource.group else ""
    return f"{singular}{group}/{obj['metadata']['name']}"
