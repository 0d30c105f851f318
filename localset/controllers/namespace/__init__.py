"""Namespaces: what each has from its first moment, and its end with all that is in it."""
