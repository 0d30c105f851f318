"""Deleting what nobody owns any more: `plan` decides (pure), `controller` deletes."""
