"""Images under masked names: links where the system has them, copies where it hasn't.

Only the name is masked. What the image's own file tells, a picture of its label for instance, stays
in it: see :func:`annotation.slides.recognisable_content`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from annotation.errors import SlideError
from annotation.slide_files import slide_files

__all__ = ["LinkedImage", "link_image", "masked_file_name"]

_HAMAMATSU = (".vms", ".vmu")


@dataclass
class LinkedImage:
    """An image under a masked name.

    ``path`` opens it, ``made`` is everything that was put there for it, and ``copied`` whether any
    of it had to be copied.
    """

    path: Path
    made: list[Path] = field(default_factory=list)
    copied: bool = False

    def remove(self) -> None:
        """Take away what was put there; the image itself stays where it is."""
        for path in self.made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def masked_file_name(image: Path, mask: str) -> str:
    """What the file that opens an image is called under a masked name."""
    if len(files := slide_files(image)) > 1 and not _is_key_file(image):
        return f"{mask}-{files.index(image) + 1}{image.suffix}"
    return mask + _suffix(image)


def link_image(image: Path, folder: Path, mask: str) -> LinkedImage:
    """Put an image, with all files that it consists of, into a folder under a masked name.

    Raises
    ------
    SlideError
        A file isn't there or can't be linked or copied; nothing of the image is left in the folder.
    """
    linked = LinkedImage(folder / masked_file_name(image, mask))
    try:
        files = slide_files(image)
        folder.mkdir(parents=True, exist_ok=True)
        if len(files) == 1:
            _link(linked, image, linked.path)
        elif image.suffix.lower() == ".mrxs":
            _link(linked, image, linked.path)
            _link_folder(linked, image.with_suffix(""), folder / mask)
        elif image.suffix.lower() in _HAMAMATSU:
            _link_named_files(linked, image, [file for file in files if file != image], mask)
        else:
            _link_series(linked, image, files, folder / mask)
    except OSError as error:
        linked.remove()
        raise SlideError(
            f"slide {str(image)!r} can't be linked into {folder} ({error.strerror or error}); "
            "check that both may be read and written",
            path=image,
        ) from error
    return linked


def _is_key_file(image: Path) -> bool:
    """Whether it opens an image whose other files lie apart from it or are named in it."""
    return image.suffix.lower() in (".mrxs", *_HAMAMATSU)


def _suffix(image: Path) -> str:
    """What readers go by; anything else behind a dot may belong to the slide's name."""
    ome = ".ome" if image.stem.lower().endswith(".ome") else ""
    return ome + image.suffix


def _link(linked: LinkedImage, source: Path, target: Path) -> None:
    source = source.resolve(strict=True)
    linked.made.append(target)
    try:
        target.symlink_to(source)
    except FileExistsError:
        linked.made.remove(target)
        raise
    except (OSError, NotImplementedError):  # Windows without the privilege, or a plain file system
        _link_hard(linked, source, target)


def _link_hard(linked: LinkedImage, source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)
        linked.copied = True


def _link_folder(linked: LinkedImage, source: Path, target: Path) -> None:
    linked.made.append(target)
    try:
        target.symlink_to(source.resolve(strict=True), target_is_directory=True)
    except FileExistsError:
        linked.made.remove(target)
        raise
    except (OSError, NotImplementedError):
        for file in sorted(file for file in source.rglob("*") if file.is_file()):
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            _link_hard(linked, file, place)


def _link_named_files(
    linked: LinkedImage, key_file: Path, companions: list[Path], mask: str
) -> None:
    """A Hamamatsu key file names its image files, so it is written anew with masked ones."""
    masked = {file.name: f"{mask}-{n}{file.suffix}" for n, file in enumerate(companions, start=1)}
    lines = []
    for line in key_file.read_bytes().decode("latin-1").splitlines(keepends=True):
        key, equals, value = line.partition("=")
        name = value.strip()
        lines.append(
            key + equals + (value.replace(name, masked[name]) if name in masked else value)
        )
    with linked.path.open("xb") as file:
        linked.made.append(linked.path)
        file.write("".join(lines).encode("latin-1"))
    for companion in companions:
        _link(linked, companion, linked.path.with_name(masked[companion.name]))


def _link_series(linked: LinkedImage, image: Path, files: tuple[Path, ...], folder: Path) -> None:
    """The files of a DICOM series belong together by lying in one folder."""
    folder.mkdir()
    linked.made.append(folder)
    linked.path = folder / linked.path.name
    for number, file in enumerate(files, start=1):
        _link(linked, file, folder / f"{folder.name}-{number}{file.suffix}")
