"""What kubectl's printers print: tables, YAML and JSON, JSONPath, custom columns, templates.

Called by the commands with JSON values; knows no daemon. Every module is imported only by the output that needs it.
"""
