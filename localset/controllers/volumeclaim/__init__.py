"""Volumes for claims: directories of this machine, bound, kept, released."""
