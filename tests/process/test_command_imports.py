"""What a command imports before it does anything: a person waits for it at each word typed (performance.md P9)."""

import json
import subprocess
import sys

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
NEEDED = {"localset.cli.image": ["localset.images", "yaml"], "localset.cli.dns": ["subprocess"]}
"""What a command is about, and so may import at once."""


def test_no_command_imports_what_is_slow_before_it_needs_it() -> None:
    modules = sorted({entry[0] for entry in _COMMANDS.values()} | {"localset.cli.completing"})
    words = [sys.executable, "-c", LOOK, json.dumps(SLOW), json.dumps(modules)]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert {name: set(slow) - set(NEEDED.get(name, [])) for name, slow in found.items()} == {n: set() for n in modules}
