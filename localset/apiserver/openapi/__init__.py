"""OpenAPI v2 and v3: what is served, told to clients from the same route table that serves it.

`serving` answers the paths and keeps finished documents, compressed; `documents` writes them piece by piece, off the
event loop; `definitions` turns the published types into schemas and `operations` the routes into operations, both for
either version; `version2`, `version3` and `gnostic` (protobuf) spell them. kubectl validates, explains, applies and
computes patches from what stands here (kube-api.md 3). Nothing here decides what is served or how a body is checked.
"""
