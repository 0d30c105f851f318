"""What `describe` prints of each kind: kubectl's own lines and order, as text with tabs that `describe` aligns.

Called with objects; what else must be known is asked of the daemon. Source of the formats: kubectl's describe.go.
"""
