"""The first moments of a daemon: what can refuse is asked, the keeper is set off, and only then is the rest imported.

`cli.up` calls `run`. The order is for speed: the keeper needs as long to come up as Python needs for the house's
imports, and the machine has more than one core. NB: what this module imports at its top runs before all that; keep it
small.
"""

import gc
import os
import sys
from collections.abc import Callable

from localset.daemon.blocks import BlockClaim, claim_block
from localset.daemon.directory import DataDirectory
from localset.daemon.serverhalf import hold_back_client
from localset.daemon.settings import Settings, StartError
from localset.kubelet.keeper_launch import KeeperError, Launch, dial_keeper, launch_keeper

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Run a daemon in this process; return its exit code. Start problems go to stderr and to the waiting starter."""
    os.umask(0o077)
    directory = DataDirectory(settings.data_directory)
    try:
        directory.open()
        return _run(settings, directory)
    except StartError as error:
        message = f"{error}"
        if settings.ready_descriptor is not None:
            os.write(settings.ready_descriptor, message.encode())
        else:
            sys.stderr.write(f"error: {message}\n")
        return 1
    finally:
        directory.close()


def _run(settings: Settings, directory: DataDirectory) -> int:
    claim = claim_block(directory)
    try:
        living = dial_keeper(directory.path)
        if living is not None:
            living.close()
        launch = None if living is not None else launch_keeper(directory.path, claim.descriptors(), checks=True)
    except KeeperError as error:
        claim.release()
        raise StartError(str(error)) from error
    serve = _import_the_house()
    try:
        return serve(settings, directory, claim, launch)
    finally:
        claim.release()


def _import_the_house() -> Callable[[Settings, DataDirectory, BlockClaim, Launch | None], int]:
    """Return `daemon.serve`."""
    gc.disable()  # what imports make is there for good: no use looking for garbage among it
    hold_back_client()
    from localset.daemon.daemon import serve

    gc.freeze()
    gc.enable()
    return serve
