"""HDF5 files of ours while they are read: bounded, checked, and whatever is wrong becomes one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from annotation.errors import PathquorumError
from models.errors import TileError
from models.extras import needs

__all__ = ["OpenedHdf5"]

_MOST_ROWS = 20_000_000
_LONGEST_TEXT = 1 << 20


class OpenedHdf5:
    """A file of one format; subclasses say which, and how it is made again.

    Raises
    ------
    TileError
        It is absent, corrupt or of another kind; the message names it.
    """

    kind: ClassVar[str]
    command: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise TileError(
                f"there is no {self.kind} {str(path)!r}; make it with `{self.command}`", path=path
            )
        h5py = needs("h5py", "models")
        try:
            self._file = h5py.File(path, "r", locking=False)
        except OSError:
            self.refuse("it is no HDF5 file, or was cut short")
        self.attributes: Any = self._file.attrs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._file.close()
        if isinstance(error, PathquorumError):
            return
        if isinstance(error, OSError | RuntimeError | KeyError | ValueError | TypeError):
            # h5py raises any of these where bytes are not what they should be.
            self.refuse("it is damaged")

    def refuse(self, reason: str) -> NoReturn:
        """Say what is wrong with the file."""
        raise TileError(
            f"{self.kind} {str(self.path)!r} can't be used: {reason}; make it again with "
            f"`{self.command}`",
            path=self.path,
        ) from None

    def text(self, name: str) -> str:
        """An attribute that is a text of a length that can be meant."""
        value = self.attributes.get(name)
        if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
            self.refuse(f"it has no {name}")
        return value

    def holds(self, name: str) -> bool:
        """Whether there is a dataset of this name."""
        return name in self._file

    def column(self, name: str, kinds: tuple[type, ...]) -> Any:
        """A dataset of one dimension, see :meth:`table`."""
        return self._dataset(name, kinds, 1, 1)

    def table(self, name: str, kinds: tuple[type, ...], most_columns: int) -> Any:
        """A dataset of two dimensions that lies in this very file and is of a size that can be meant.

        Parameters
        ----------
        kinds
            The types that its values may have.
        """
        return self._dataset(name, kinds, 2, most_columns)

    def _dataset(self, name: str, kinds: tuple[type, ...], dimensions: int, most: int) -> Any:
        h5py = needs("h5py", "models")
        link = self._file.get(name, getlink=True)
        found = self._file.get(name) if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            self.refuse(f"it has no {name}")
        if found.ndim != dimensions or found.dtype not in kinds:
            self.refuse(f"its {name} are of another shape or type")
        rows, columns = found.shape if dimensions > 1 else (*found.shape, 1)
        if not (0 < rows <= _MOST_ROWS and 0 < columns <= most):
            self.refuse(f"it says it has {rows} x {columns} {name}")
        if found.compression is not None or found.id.get_storage_size() < found.nbytes:
            self.refuse(f"its {name} are incomplete")
        return found
