"""The catalogue of local images: the built-in ones and the user's own, found by reference.

The kubelet asks it at every container start and `localset image` lists and adds. A user's image lies in
`<directory>/<name>/image.yaml` and wins over a built-in one. Reading is cached by the file's stamp, so that a changed
image.yaml counts at the next start without a restart. Nothing is ever fetched from a registry, and nothing is run.
"""

import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from localset.images.image import FILE_NAME, Image, ImageError, Requirement, read_image
from localset.images.references import matches
from localset.images.transfer import copy_image

__all__ = ["Catalogue", "Image", "ImageError", "Requirement"]

BUILTIN_DIRECTORY = Path(__file__).parent / "builtin"

# Programs that only root's PATH usually has.
_MORE_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/bin")

_Stamp = tuple[int, int, int]


class Catalogue:
    """Images by reference. Methods do a little blocking file work (well under a millisecond when nothing changed)."""

    def __init__(self, user_directory: Path, environment: Mapping[str, str] | None = None) -> None:
        """Look for the user's images in `user_directory`, which need not exist.

        `environment` (this process's own by default) gives `inheritEnvironment` and the `${VARIABLE}`s of requirements.
        """
        self._user_directory = user_directory
        self._environment = dict(os.environ if environment is None else environment)
        self._cache: dict[Path, tuple[_Stamp, Image | ImageError]] = {}
        self._builtin: list[Image] = []  # read once: they are part of this installation

    def find(self, reference: str) -> Image | None:
        """Return the image that `reference` means, or None. An empty reference means the host."""
        wanted = reference.strip() or "host"
        for image in self._usable():
            if any(matches(pattern, wanted) for pattern in image.patterns):
                return image
        return None

    def problems(self) -> list[str]:
        """Return one sentence for each user image that cannot be used; such an image is otherwise skipped."""
        return [str(found) for found in self._read_all(self._user_directory) if isinstance(found, ImageError)]

    def explain(self, reference: str) -> str:
        """Return what to tell a user whose `reference` was not found: the message of ErrImagePull."""
        broken = self.problems()
        seen = f" Images that cannot be used: {'; '.join(broken)}." if broken else ""
        return (
            f'no local image answers to "{reference}", and localset does not pull from registries.{seen} '
            "See `localset image list`; describe the program in a directory with an image.yaml and run "
            "`localset image add DIRECTORY`, or use `image: host` to run the container's command from this host."
        )

    def missing(self, image: Image) -> list[Requirement]:
        """Return what the host lacks to run `image`; `str()` of each is a sentence with the package to install."""
        return [needed for needed in image.requirements if not any(self._has(one) for one in needed.any_of)]

    def add(self, directory: Path) -> Image:
        """Copy the image in `directory` into the user's images, in place of one of the same name, and return it.

        Raises ImageError, and then nothing has changed: a wrong image.yaml, a link out of the directory, a device.
        """
        source = directory.expanduser().resolve()
        if not source.is_dir():
            raise ImageError(f"{directory}: is not a directory with an {FILE_NAME}")
        if source.is_relative_to(self._user_directory.resolve()):
            raise ImageError(f"{directory}: lies in the catalogue already")
        image = read_image(source, self._environment)
        target = self._user_directory / image.name
        copy_image(source, target)
        return read_image(target, self._environment)

    def _usable(self) -> Iterator[Image]:
        for found in self._read_all(self._user_directory):
            if isinstance(found, Image):
                yield found
        if not self._builtin:
            read = list(self._read_all(BUILTIN_DIRECTORY))
            for found in read:
                if isinstance(found, ImageError):
                    raise found
            self._builtin = [found for found in read if isinstance(found, Image)]
        yield from self._builtin

    def _read_all(self, parent: Path) -> Iterator[Image | ImageError]:
        try:
            # A name with a leading dot is a copy that is not finished, one with "_" what several built-in images share.
            names = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir() and entry.name[0] not in "._")
        except OSError:
            return
        for name in names:
            yield self._read(parent / name)

    def _read(self, directory: Path) -> Image | ImageError:
        try:
            status = (directory / FILE_NAME).stat()
        except OSError as error:
            return ImageError(f"{directory / FILE_NAME}: cannot be read: {error.strerror}")
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._cache.get(directory)
        if known is not None and known[0] == stamp:
            return known[1]
        found: Image | ImageError
        try:
            found = read_image(directory, self._environment, is_builtin=directory.parent == BUILTIN_DIRECTORY)
        except ImageError as error:
            found = error
        self._cache[directory] = (stamp, found)
        return found

    def _has(self, wanted: str) -> bool:
        """Tell whether the host has a program (a bare name) or a file (a path, with wildcards and `${VARIABLE}`)."""
        if "/" not in wanted:
            places = [*self._environment.get("PATH", os.defpath).split(os.pathsep), *_MORE_DIRECTORIES]
            return shutil.which(wanted, path=os.pathsep.join(places)) is not None
        expanded = wanted
        for name, value in self._environment.items():
            expanded = expanded.replace("${" + name + "}", glob.escape(value))
        return "${" not in expanded and bool(glob.glob(expanded))  # noqa: PTH207 - an absolute pattern

    # NB: last, because below it `list` no longer means the type.
    def list(self) -> list[Image]:
        """Return all usable images: the user's by name, then the built-in ones that none of those replaces."""
        images: list[Image] = []
        names: set[str] = set()
        for image in self._usable():
            if image.name not in names:
                names.add(image.name)
                images.append(image)
        return images
