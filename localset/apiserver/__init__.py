"""HTTP: routes, discovery, watch streams, tables, Pod streams. Decides nothing about objects."""
