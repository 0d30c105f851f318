"""click commands; an HTTP client over the daemon's Unix socket.

Starts fast: every command imports what it needs when it runs. Knows no room of the daemon; only `cli.up` may start it.
"""
