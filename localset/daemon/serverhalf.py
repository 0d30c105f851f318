"""aiohttp without its client: the daemon serves only, and its start is mostly imports (docs/performance.md).

`start` calls `hold_back_client` before anything imports aiohttp. The package's own file, which imports the client and
with it the machine's certificate authorities, then runs when somebody first asks the package for what is not there,
so that nothing is missing. NB: only the package is held back; `aiohttp.web` and the rest come from aiohttp as ever.
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "aiohttp"


class _HeldBack(ModuleType):
    """The package before its own file has run."""

    __version__ = ""  # for the Server header, which `apiserver.guard` takes off

    def __getattr__(self, name: str) -> Any:
        """Import a module of the package; for what else is asked run the package's file."""
        spec = self.__spec__
        if spec is None or spec.loader is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if PathFinder.find_spec(f"{_PACKAGE}.{name}", self.__path__) is not None:
            return import_module(f"{_PACKAGE}.{name}")
        object.__setattr__(self, "__class__", ModuleType)  # what it is from now on
        spec.loader.exec_module(self)
        return getattr(self, name)


def hold_back_client() -> None:
    """Make the imports to come leave aiohttp's client out until it is used. Idempotent; nothing once it is imported."""
    if _PACKAGE in sys.modules:
        return
    spec = PathFinder.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return  # the import that follows says so in Python's own words
    module = _HeldBack(_PACKAGE)
    module.__spec__, module.__loader__ = spec, spec.loader
    module.__file__, module.__package__, module.__path__ = spec.origin, _PACKAGE, spec.submodule_search_locations
    sys.modules[_PACKAGE] = module
