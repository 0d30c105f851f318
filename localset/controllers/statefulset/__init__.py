"""StatefulSets to Pods: `controller` acts, `plan` decides (pure), `status` counts.

`identity` says what a Pod of a set looks like, `revisions` and `claims` what its history and its storage look like;
they are pure too. Nothing here knows of processes, addresses or volumes' directories.
"""
