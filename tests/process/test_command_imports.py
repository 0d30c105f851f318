"""What a command imports before it does anything: a person waits for it at each word typed (performance.md P9)."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import localset
from localset.cli import quick
from localset.cli.main import _COMMANDS

SLOW = (
    *("aiohttp", "asyncio", "cryptography", "dnslib", "email", "http.client", "multiprocessing", "orjson", "psutil"),
    *("sqlite3", "ssl", "subprocess", "yaml"),
    *(f"localset.{room}" for room in ("apis.schema", "apiserver", "daemon", "images", "kubelet", "registry", "store")),
)
LOOK = """
import importlib, json, os, sys
import localset.cli.main
slow, found = json.loads(sys.argv[1]), {}
for module in json.loads(sys.argv[2]):
    reading, writing = os.pipe()
    if os.fork() == 0:
        importlib.import_module(module)
        os.write(writing, json.dumps([name for name in slow if name in sys.modules]).encode())
        os._exit(0)
    os.close(writing)
    found[module] = json.loads(os.read(reading, 65536))
    os.close(reading)
    os.wait()
print(json.dumps(found))
"""
QUICK = """
import json, sys
from localset.__main__ import main
before = set(sys.modules)
try:
    main()
finally:
    print(json.dumps(sorted(set(sys.modules) - before)))
"""
NEEDED = {"localset.cli.image": ["localset.images", "yaml"], "localset.cli.dns": ["subprocess"]}
"""What a command is about, and so may import at once."""


def test_no_command_imports_what_is_slow_before_it_needs_it() -> None:
    modules = sorted({entry[0] for entry in _COMMANDS.values()} | {"localset.cli.completing"})
    words = [sys.executable, "-c", LOOK, json.dumps(SLOW), json.dumps(modules)]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert {name: set(slow) - set(NEEDED.get(name, [])) for name, slow in found.items()} == {n: set() for n in modules}


@pytest.mark.parametrize(
    "words", ["get pods", "get po -n kube-system", "get sts web -o wide", "get svc -A -owide", "get pods -lapp=web"]
)
def test_a_plain_get_asks_the_daemon_before_anything_is_imported(words: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run" / "api.sock"))
        listener.listen()
        program = [sys.executable, "-I", "-S", "-c", "import os, sys; sys.path.insert(0, sys.argv.pop(1)); " + QUICK]
        root = str(Path(localset.__file__).parents[1])
        with subprocess.Popen(
            [*program, root, "--data-dir", str(tmp_path), *words.split()], stdout=subprocess.PIPE
        ) as asking:
            connection, _ = listener.accept()
            with connection:
                head = connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nNAME\n")
            out, _ = asking.communicate()
    assert head.startswith(b"GET /localset/v1/table?")
    shown, loaded = out.decode().splitlines()
    assert shown == "NAME"
    assert set(json.loads(loaded)) == {
        "_socket",
        "localset.base",
        "localset.base.places",
        "localset.cli",
        "localset.cli.quick",
    }


@pytest.mark.parametrize(
    "words",
    ["get", "get all", "get pods,svc", "get pod/x", "get pods -w", "get pods -o yaml", "get pods a b", "delete get"],
)
def test_what_is_not_plain_is_left_to_the_full_command(words: str) -> None:
    assert quick.get(words.split()) is None
