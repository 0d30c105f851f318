"""What `localset up` was asked for, in one frozen value."""

from pathlib import Path

from localset.base.frozen import frozen


@frozen
class Settings:
    """The daemon's configuration. `isolation` is `auto` or a level; None keeps what the data directory
    has."""

    data_directory: Path
    isolation: str | None = None
    probe_timing: str = "eager"
    scheduling: str = "relaxed"
    host_path: str = "allow"
    dns_forward: bool = True
    egress: str = "auto"
    max_processes: int = 200
    log_level: str = "INFO"
    is_foreground: bool = False
    ready_descriptor: int | None = None

    def arguments(self) -> list[str]:
        """Return the command line that starts a daemon like this one again, after the program's name."""
        arguments = ["--data-dir", str(self.data_directory), "up", "--foreground", "--supervised"]
        if self.isolation:
            arguments.append(f"--isolation={self.isolation}")
        arguments += [
            f"--probe-timing={self.probe_timing}",
            f"--scheduling={self.scheduling}",
            f"--host-path={self.host_path}",
            f"--dns-forward={'on' if self.dns_forward else 'off'}",
            f"--egress={self.egress}",
            f"--max-processes={self.max_processes}",
            f"--log-level={self.log_level}",
        ]
        return arguments


class StartError(Exception):
    """The daemon cannot start; the message says what is wrong, where, and what to do next."""
