"""The recorded exchanges of a real Kubernetes API server, replayed against localset and compared field by field.

`python -m tests.conformance` prints a score per file (`make conformance`); test_recordings.py holds the clean files in
`make test`. The rules are the fixtures' README's; nothing here may forgive a difference that is not written down in
`volatile.py` or `explained.toml`.
"""
