"""The tables that the server renders, as `kubectl get` prints them. Imports nothing that a quick command does not need.

Column names in capitals, wide columns only when asked for, namespace in front, labels behind. One wide column is ours:
where the host reaches a Pod or Service that has an address of its own inside. What could move a terminal's cursor is
shown as text.
"""

from typing import Any, NamedTuple

from localset.machinery.tabwriter import table_lines

_HOST_ADDRESS = "localset.dev/host-address"
_UNSAFE = {"\x1b": "^[", "\r": "\\r"}


class TableOptions(NamedTuple):
    """What a person asked to see."""

    is_wide: bool = False
    has_headers: bool = True
    has_labels: bool = False
    label_columns: tuple[str, ...] = ()


class TablePrinter:
    """Prints tables of one kind, one under the other, in the same columns."""

    def __init__(self, options: TableOptions, *, prefix: str = "", has_namespace: bool = False) -> None:
        """Put `prefix` (`pod/`) in front of names, and the namespace in front of rows."""
        self._options, self._prefix, self._has_namespace = options, prefix, has_namespace
        self._columns: list[dict[str, Any]] = []
        self._widths: list[int] = []
        self._has_host_addresses: bool | None = None

    def lines(self, tables: list[dict[str, Any]], mark: str = "") -> list[str]:
        """Return the lines of all rows of `tables`; a header first where the columns are new. `mark` (`ADDED`) is
        put in front of each row."""
        rows: list[list[str]] = []
        for table in tables:
            if not table["rows"]:
                continue
            columns = table.get("columnDefinitions") or self._columns
            if columns != self._columns:
                self._columns = columns
                self._has_host_addresses = self._options.is_wide and any(map(_has_another_address, table["rows"]))
                if self._options.has_headers:
                    rows.append([*(["EVENT"] if mark else []), *self._head()])
            rows += [[*([mark] if mark else []), *self._row(row)] for row in table["rows"]]
        return table_lines(rows, self._widths)

    def _shown(self) -> list[int]:
        columns = enumerate(self._columns)
        return [i for i, column in columns if self._options.is_wide or not column.get("priority")]

    def _head(self) -> list[str]:
        head = ["NAMESPACE"] if self._has_namespace else []
        head += [self._columns[i]["name"].upper() for i in self._shown()]
        head += ["HOST-ADDRESS"] if self._has_host_addresses else []
        head += [key.rpartition("/")[2].upper() for key in self._options.label_columns]
        return [*head, "LABELS"] if self._options.has_labels else head

    def _row(self, row: dict[str, Any]) -> list[str]:
        metadata = (row.get("object") or {}).get("metadata") or {}
        cells = [_text(row["cells"][i]) if i < len(row["cells"]) else "" for i in self._shown()]
        if self._prefix:
            cells[0] = self._prefix + cells[0]
        if self._has_namespace:
            cells.insert(0, _text(metadata.get("namespace", "")))
        if self._has_host_addresses:
            cells.append(_text((metadata.get("annotations") or {}).get(_HOST_ADDRESS) or "<none>"))
        labels = metadata.get("labels") or {}
        cells += [_text(labels.get(key, "")) for key in self._options.label_columns]
        if self._options.has_labels:
            cells.append(_text(",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>"))
        return cells


def _has_another_address(row: dict[str, Any]) -> bool:
    """Tell whether the host reaches an object elsewhere than its own cells say."""
    metadata = (row.get("object") or {}).get("metadata") or {}
    address = (metadata.get("annotations") or {}).get(_HOST_ADDRESS)
    return bool(address) and address not in row["cells"]


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    text = str(cell)
    if text.isprintable():
        return text
    stop = min((i for i in map(text.find, "\f\n\r") if i >= 0), default=-1)
    if stop >= 0:
        text = text[:stop] + "..."
    return "".join(c if c.isprintable() or c == "\t" else _UNSAFE.get(c, f"\\x{ord(c):02x}") for c in text)
