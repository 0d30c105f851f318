"""What `get` shows: columns and cells per kind. Pure functions of (object, now)."""
