"""A person at a terminal: types when something has been shown, with a real pseudo-terminal of 111 by 33."""

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence
from pathlib import Path

PROMPT = "# " if os.geteuid() == 0 else "$ "
"""What a shell in a container of ours asks with: its program runs as whoever runs the daemon."""


def at_terminal(
    argv: Sequence[str | Path], environment: dict[str, str], dialogue: Sequence[tuple[str, str]], seconds: float = 30
) -> tuple[int, str]:
    """Run `argv`, type each answer once its prompt has been shown; return (exit code, all that was shown)."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execve(argv[0], [str(word) for word in argv], environment)
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    shown, seen = b"", 0
    rest = list(dialogue)
    deadline = time.monotonic() + seconds
    try:
        while True:
            if rest and (at := shown.find(rest[0][0].encode(), seen)) >= 0:
                prompt, answer = rest.pop(0)
                seen = at + len(prompt)
                os.write(terminal, answer.encode())
                continue
            if time.monotonic() > deadline:
                os.kill(pid, 9)
                raise AssertionError(f"waited for {rest[:1]}, saw {shown!r}")
            ready, _, _ = select.select([terminal], [], [], 1.0)
            if ready:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # EIO: the program has ended
                    data = b""
                if not data:
                    break
                shown += data
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")
