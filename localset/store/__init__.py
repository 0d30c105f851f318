"""Kind-blind versioned objects with watch, on SQLite. Knows no Kubernetes noun but metadata."""
