"""Keeps the table of served resources equal to the established definitions in the store.

Made by the registry over its store. Every committed change of a CustomResourceDefinition is seen here in the same turn
of the loop: nobody can learn of an established definition before its objects are served, and after a restart they are
served before the API answers.
"""

import logging

from localset.apis.resources import Resource
from localset.apis.scheme import DEFINITIONS
from localset.apis.served import ServedResources
from localset.store.store import Store

log = logging.getLogger(__name__)


class Definitions:
    """The bridge from stored definitions to served rows."""

    def __init__(self, store: Store, served: ServedResources) -> None:
        """Serve what the store holds, and follow it."""
        self._store = store
        self._served = served
        if store.count(DEFINITIONS):
            self._refresh()
        store.follow(DEFINITIONS, self._refresh)

    def _refresh(self) -> None:
        # Here and not above: without definitions their rules are never read.
        from localset.apis.customresources.definition import row_of

        known = {row.definition.crd_name: row for row in self._served.custom if row.definition is not None}
        rows: list[Resource] = []
        for key, record in self._store.records(DEFINITIONS):
            try:
                row = row_of(record.object, known.get(key.name))
            except Exception:  # one definition that an older localset let in must not keep the others away
                log.exception("%s cannot be served", key.name)
                continue
            if row is not None:
                rows.append(row)
        self._served.set_custom(rows)
