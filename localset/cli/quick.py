"""The plainest `get`, answered before Python has loaded what every other command stands on (performance.md 5).

`localset get pods`, with names, `-n`, `-A`, `-l` and `-o wide`: the daemon renders the text, this prints it. Whatever
else is asked for, and whatever goes wrong, is left to `cli.get`, which does all of it again and explains. Imports
nothing but `_socket` and `base.places`: not even `typing`, which costs as much as the whole answer.
"""

import _socket
import os
import sys

from localset.base import places

_VALUES = {"-n": "namespace", "--namespace": "namespace", "-l": "selector", "--selector": "selector", "-o": "output"}
_VALUES |= {"--output": "output", "--data-dir": "data"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._=,!")


def get(arguments: list[str]) -> int | None:
    """Run `[--data-dir=…] get …` and return its exit code; None when the full command must run."""
    asked: dict[str, str] | None = _read(arguments)
    if asked is None:
        return None
    data = places.data_directory(asked.pop("data"))
    path = places.inner_api_socket(data)
    if not path:
        return None
    if "all" in asked:
        del asked["all"]
    elif not asked.get("namespace"):
        asked["namespace"] = _remembered(data)
    text = _answer(path, "&".join(f"{key}={value}" for key, value in asked.items()))
    if not text:
        return None
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _read(arguments: list[str]) -> dict[str, str] | None:
    """Return what is asked for: `word`, `data`, and where given `name`, `namespace`, `selector`, `wide`, `all`."""
    asked: dict[str, str] = {"data": ""}
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if word in {"-A", "--all-namespaces"}:
            asked["all"] = "1"
        elif name in _VALUES and (equals or rest):
            asked[_VALUES[name]] = value.removeprefix("=") if equals else rest.pop(0)
        elif word.startswith("-"):
            return None
        else:
            words.append(word)
    if len(words) not in {2, 3} or words[0] != "get" or words[1] == "all":
        return None
    output = asked.pop("output", "")
    if output:
        asked["wide"] = "1"
    return _checked(asked, words[1:]) if output in {"", "wide"} else None


def _checked(asked: dict[str, str], words: list[str]) -> dict[str, str] | None:
    asked["word"] = words[0]
    if len(words) > 1:
        if "all" in asked or "selector" in asked:
            return None
        asked["name"] = words[1]
    is_plain = all(set(value) <= _PLAIN for key, value in asked.items() if key != "data")
    if not is_plain or "," in words[0] or "=" in words[0]:
        return None
    # A selector's own signs are the query's, too.
    return {
        key: value.replace("=", "%3D").replace("!", "%21") if key != "data" else value for key, value in asked.items()
    }


def _remembered(data: str) -> str:
    try:
        descriptor = os.open(places.namespace_file(data), os.O_RDONLY)
    except OSError:
        return "default"
    try:
        return os.read(descriptor, 4096).decode().strip() or "default"
    finally:
        os.close(descriptor)


def _answer(path: str, query: str) -> str:
    """Return the daemon's text; "" for any answer that is not a text, and when nobody answers."""
    lines = [f"GET /localset/v1/table?{query} HTTP/1.1", "Host: localhost", "User-Agent: localset", "Connection: close"]
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = b""
        while block := connection.recv(262144):
            data += block
    except OSError:
        return ""
    finally:
        connection.close()
    first, _, body = data.partition(b"\r\n\r\n")
    status, *headers = first.lower().split(b"\r\n")
    is_whole = f"content-length: {len(body)}".encode() in headers
    is_text = any(line.startswith(b"content-type: text/plain") for line in headers)
    return body.decode() if status.startswith(b"http/1.1 200") and is_whole and is_text else ""
