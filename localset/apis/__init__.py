"""The scheme and one file per kind: defaults, conversion, validation, predicates. Pure."""
