"""Definitions of custom resources: their names accepted, themselves established, and their end with all objects."""
