"""Metadata, labels, quantities, patches, Status errors. Pure."""
