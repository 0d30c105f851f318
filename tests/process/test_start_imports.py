"""What a daemon imports before it answers: a start is mostly that (docs/performance.md), so it may not grow unseen."""

import json
import subprocess
import sys

import pytest

LOOK = """
import json, sys
before = {name.partition('.')[0] for name in sys.modules} | {'localset'}  # a machine's sitecustomize
import localset.__main__, localset.cli.main, localset.cli.up, localset.daemon.start
localset.daemon.start._import_the_house()
own = [name for name in sys.modules if name.partition('.')[0] == 'localset']
made = [c for n in own for c in vars(sys.modules[n]).values() if isinstance(c, type) and c.__module__ == n]
print(json.dumps({
    'own': own,
    'others': sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - before),
    'client': [name for name in sys.modules if name.startswith(('aiohttp.client', 'aiohttp.connector'))],
    'dataclasses': [f'{c.__module__}.{c.__name__}' for c in made if '__dataclass_fields__' in vars(c)],
}))
"""
OURS = 234  # two to spare: several people add modules at once
DATACLASSES = 19  # the command line's Context is one
THIRD_PARTY = {
    *("aiohttp", "aiohappyeyeballs", "aiosignal", "attr", "frozenlist", "idna", "multidict", "propcache", "yarl"),
    *("dnslib", "orjson", "typing_extensions"),
}
LATER = (
    "localset.apis.customresources",
    "localset.apis.schema.protobuf",
    "localset.apiserver.discovery",
    "localset.apiserver.objects",
    "localset.apiserver.openapi",
    "localset.apiserver.options",
    "localset.apiserver.patches",
    "localset.apiserver.portforward",
    "localset.apiserver.presentation",
    "localset.apiserver.proxy",
    "localset.apiserver.reviews",
    "localset.apiserver.sessions",
    "localset.apiserver.spdy",
    "localset.apiserver.subresources",
    "localset.apiserver.tables",
    *(f"localset.cli.{name}" for name in ("apply", "down", "group", "get", "failures")),
    "localset.machinery.protobuf",
    "localset.machinery.regexp",
    "localset.machinery.yaml_decoding",
)


@pytest.fixture(scope="module")
def imported():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_start_imports_no_more_of_the_house_than_it_did(imported):
    early = [name for name in imported["own"] if f"{name}.".startswith(tuple(f"{later}." for later in LATER))]
    assert not early, f"import these where they are used, as apiserver/handlers.py does: {early}"
    assert len(imported["own"]) <= OURS, "a new module: can it be imported later? If not, raise OURS"


def test_a_start_imports_no_package_that_it_can_do_without(imported):
    known = THIRD_PARTY | {name for name in imported["others"] if name.startswith(("_", "cython"))}
    assert set(imported["others"]) <= known


def test_a_start_leaves_the_client_of_its_server_out(imported):
    assert set(imported["client"]) <= {"aiohttp.client_exceptions"}


def test_what_a_start_imports_has_few_dataclasses(imported):
    assert len(imported["dataclasses"]) <= DATACLASSES, f"take base.frozen instead: {imported['dataclasses']}"
