"""click commands; an HTTP client over the daemon's Unix socket. Starts fast: import late."""
