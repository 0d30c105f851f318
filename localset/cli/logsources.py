"""Where `logs` takes lines from, and how lines of several containers come to one screen.

Sources are printed one after another, merged by their times, or followed side by side: each in a thread of its own that
only ever writes whole lines. `Follower` keeps to a set: what runs later is followed too, told by a watch.
"""

import codecs
import heapq
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from localset.apis.statefulsets import parent_and_ordinal
from localset.cli.context import Context
from localset.cli.output import PIPE_CLOSED, CommandError, clean, is_coloured, say
from localset.cli.pods import PODS, hint_of
from localset.cli.transport import Api, path_of
from localset.machinery.errors import StatusError

_COLOURS = ("36", "33", "32", "35", "34", "31")
_COLOUR_SEQUENCE = re.compile(r"(\x1b\[[0-9;]*m)")
_screen = threading.Lock()


class Source:
    """One container's log. `key` names one run of it."""

    def __init__(self, pod: dict[str, Any], container: str) -> None:
        """Nothing is asked yet."""
        self.pod, self.container = pod, container
        self.name: str = pod["metadata"]["name"]

    @property
    def run(self) -> tuple[str, str, int] | None:
        """Return (uid, container, restarts) of the present run; None before the first has begun."""
        state = self.pod.get("status") or {}
        for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            for status in state.get(field) or []:
                if status["name"] == self.container and not (status.get("state") or {}).get("waiting"):
                    return self.pod["metadata"]["uid"], self.container, status.get("restartCount", 0)
        return None

    def chunks(self, api: Api, options: dict[str, Any], **more: Any) -> Iterator[bytes]:
        """Yield the log as the daemon sends it."""
        query: dict[str, Any] = {"container": self.container}
        for key in ("follow", "previous", "timestamps"):
            if options[key]:
                query[key] = "true"
        if options["tail"] is not None and options["tail"] >= 0:
            query["tailLines"] = options["tail"]
        if options["since"] is not None:
            query["sinceSeconds"] = max(1, round(options["since"]))
        if options["since_time"]:
            query["sinceTime"] = options["since_time"]
        if options["limit_bytes"] > 0:
            query["limitBytes"] = options["limit_bytes"]
        return api.stream(
            path_of(PODS, self.pod["metadata"]["namespace"], self.name, sub="log"), query={**query, **more}
        )

    def prefix(self) -> bytes:
        """Return `[pod/web-0/nginx] `, in the ordinal's colour on a terminal."""
        text = f"[pod/{self.name}/{self.container}]"
        if is_coloured():
            ordinal = parent_and_ordinal(self.name)[1]
            text = f"\x1b[{_COLOURS[ordinal % len(_COLOURS)]}m{text}\x1b[0m"
        return f"{text} ".encode()


class _Screen:
    """Standard output, made safe when it is a terminal. Keeps half a character until its rest has come."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if sys.stdout.isatty() else None

    def write(self, data: bytes) -> None:
        if self._decoder is not None:
            data = safe(self._decoder.decode(data)).encode()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def safe(text: str) -> str:
    """Return a program's output for a terminal: its colours stay, every other control sequence is shown as text."""
    parts = _COLOUR_SEQUENCE.split(text)
    return "".join(part if n % 2 else clean(part).replace("\\x0d\n", "\n") for n, part in enumerate(parts))


def print_all(context: Context, sources: list[Source], options: dict[str, Any]) -> int:
    """Print the sources one after another, or side by side when they are followed; return the exit code."""
    if options["follow"] and len(sources) > 1:
        return _side_by_side(context, sources, options)
    code = 0
    for source in sources:
        try:
            _print_one(context.api, source, options)
        except StatusError as error:
            if not options["ignore_errors"]:
                raise _refused(context, source, error) from error
            say(f"error: {error.message}")
            code = 1 if len(sources) == 1 else code
    return code


def _refused(context: Context, source: Source, error: StatusError) -> Exception:
    from localset.cli.failures import server_error

    hint = (
        "the container has not run before" if "previous terminated" in error.message else hint_of(context, source.pod)
    )
    return CommandError(server_error(error), hint=hint, prefix="")


def _print_one(api: Api, source: Source, options: dict[str, Any]) -> None:
    if options["prefix"]:
        _print_lines(api, source, options)
        return
    screen = _Screen()
    for chunk in source.chunks(api, options):
        screen.write(chunk)


def _write_line(screen: _Screen, source: Source, line: bytes) -> None:
    sys.stdout.buffer.write(source.prefix())
    screen.write(line if line.endswith(b"\n") else line + b"\n")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def print_merged(context: Context, sources: list[Source], options: dict[str, Any]) -> int:
    """Print the lines of all sources in the order of their times."""
    screen = _Screen()
    merged = heapq.merge(*(_timed(context, source, n, options) for n, source in enumerate(sources)))
    for _, number, line in merged:
        stamp, _, text = line.partition(b" ")
        _write_line(screen, sources[number], stamp + b" " + text if options["timestamps"] else text)
    return 0


def _timed(context: Context, source: Source, number: int, options: dict[str, Any]) -> Iterator[tuple[str, int, bytes]]:
    """Yield (time, number, line); a Pod that has no log yet has no lines."""
    try:
        for line in _lines(source.chunks(Api(context.api.socket_path), options, timestamps="true")):
            yield _sortable(line.partition(b" ")[0].decode(errors="replace")), number, line
    except StatusError as error:
        say(f"{source.name}: {error.message}")


def _sortable(stamp: str) -> str:
    """Return an RFC 3339 time in UTC so that texts sort as times do: fractions have as many digits as they need."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def _side_by_side(context: Context, sources: list[Source], options: dict[str, Any]) -> int:
    failures: list[BaseException] = []

    def follow(source: Source) -> None:
        try:
            _print_lines(Api(context.api.socket_path), source, options)
        except BrokenPipeError:
            _nobody_reads()
        except (StatusError, OSError) as error:
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(source,), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failures:
        if not options["ignore_errors"]:
            raise error
        say(f"error: {error}")
    return 0


def _nobody_reads() -> None:
    """End the command from a thread: its main thread waits for what may never come. Nothing is left to be undone."""
    os._exit(PIPE_CLOSED)


def _print_lines(api: Api, source: Source, options: dict[str, Any], **more: Any) -> None:
    screen = _Screen()
    for line in _lines(source.chunks(api, options, **more)):
        with _screen:
            if options["prefix"]:
                _write_line(screen, source, line)
            else:
                screen.write(line)


class Follower:
    """Follows every run of every Pod of a set until it is interrupted."""

    def __init__(
        self,
        context: Context,
        options: dict[str, Any],
        selector: str,
        sources_of: Callable[[dict[str, Any]], list[Source]],
    ) -> None:
        """`sources_of` returns the containers of a Pod that are wanted."""
        self._context, self._options, self._selector, self._sources_of = context, options, selector, sources_of
        self._seen: set[tuple[str, str, int]] = set()

    def run(self) -> int:
        """Print until the daemon goes, or nobody reads."""
        query = {"labelSelector": self._selector}
        path = path_of(PODS, self._options["namespace"])
        body = self._context.api.request("GET", path, query=query).body
        for pod in body["items"]:
            self._take(pod, is_first=True)
        query["resourceVersion"] = body["metadata"]["resourceVersion"]
        for event in self._context.api.watch(path, query=query):
            if event["type"] != "DELETED":
                self._take(event["object"], is_first=False)
        return 0

    def _take(self, pod: dict[str, Any], *, is_first: bool) -> None:
        for source in self._sources_of(pod):
            run = source.run
            if run is None or run in self._seen:
                continue
            self._seen.add(run)
            options = self._options if is_first else {**self._options, "tail": None, "since": None, "since_time": ""}
            threading.Thread(target=self._follow, args=(source, options), daemon=True).start()

    def _follow(self, source: Source, options: dict[str, Any]) -> None:
        try:
            _print_lines(Api(self._context.api.socket_path), source, options)
        except BrokenPipeError:
            _nobody_reads()
        except (StatusError, OSError):
            return  # its Pod has gone; the watch tells of what comes after it
