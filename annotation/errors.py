"""Everything that can go wrong for a reason a user can act on.

Each message says what, which one, and the next step; the fields stay on the error::

    PathquorumError                 one line on standard error, exit status 1
    ├── StoreError                  the database
    │   ├── StoreMissingError       (FileNotFoundError) nothing there
    │   ├── NotAStoreError          something else is there
    │   ├── StoreOutdatedError      an older schema; `init` upgrades it
    │   ├── StoreNewerError         a newer schema than this version knows
    │   ├── StoreDamagedError       what it holds is not what was put there
    │   └── StoreUnavailableError   full, read-only, gone
    │       └── StoreBusyError      somebody else works with it
    ├── UnknownNameError            (KeyError) a slide, person, protocol, pull, ... that isn't there
    ├── ConflictError               it exists already, or contradicts what exists
    ├── ProtocolError               a protocol file, or a rule of a protocol
    ├── SlideError                  an image that can't be used as a slide
    ├── SourceError                 a file or project that can't be pulled
    │   ├── NotGeoJSONError
    │   ├── WrongSlideError
    │   ├── RemovalError            more than half of a read would vanish
    │   └── QuPathMissingError
    ├── RefusedError                a rule of the study forbids it
    ├── SignatureError              a key, passphrase or signature that doesn't hold
    └── InputError                  any other argument that can't be used

The packages ``consensus`` and ``models`` extend this tree in their own ``errors`` modules.
"""

from __future__ import annotations

__all__ = [
    "ConflictError",
    "InputError",
    "NotAStoreError",
    "NotGeoJSONError",
    "PathquorumError",
    "ProtocolError",
    "QuPathMissingError",
    "RefusedError",
    "RemovalError",
    "SignatureError",
    "SlideError",
    "SourceError",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "StoreMissingError",
    "StoreNewerError",
    "StoreOutdatedError",
    "StoreUnavailableError",
    "UnknownNameError",
    "WrongSlideError",
]


class PathquorumError(Exception):
    """A fault that a user can act on.

    Keyword arguments become attributes, so that a caller need not read the message.
    """

    def __init__(self, message: str, /, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> object:
        fields: dict[str, object] = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(name)

    def __str__(self) -> str:
        return self.message


class StoreError(PathquorumError):
    """The database can't be used as it is."""


class StoreMissingError(StoreError, FileNotFoundError):
    """There is no store at this place."""


class NotAStoreError(StoreError):
    """What is at this place is no pathquorum store."""


class StoreOutdatedError(StoreError):
    """The store was made by an earlier version."""


class StoreNewerError(StoreError):
    """The store was made by a later version."""


class StoreUnavailableError(StoreError):
    """The database is full, read-only or gone."""


class StoreBusyError(StoreUnavailableError):
    """Somebody else works with the database and has to end first."""


class StoreDamagedError(StoreError):
    """What the database holds is not what was put there."""


class UnknownNameError(PathquorumError, KeyError):
    """Nothing in the store bears this name.

    ``kind`` and ``name`` say what was looked for; ``known`` lists near names.
    """


class ConflictError(PathquorumError):
    """It exists already, or contradicts what exists."""


class ProtocolError(PathquorumError, ValueError):
    """A protocol file that can't be read, or that contradicts itself."""


class SlideError(PathquorumError):
    """An image that can't be used as a slide."""


class SourceError(PathquorumError):
    """A file or project that can't be pulled."""


class NotGeoJSONError(SourceError, ValueError):
    """The bytes are no GeoJSON."""


class WrongSlideError(SourceError):
    """Most objects lie outside the slide."""


class RemovalError(SourceError):
    """The pull would remove more than half of a read's objects."""


class QuPathMissingError(SourceError):
    """A project needs a QuPath, and none is found."""


class RefusedError(PathquorumError):
    """A rule of the study forbids it."""


class SignatureError(PathquorumError):
    """A key, passphrase or signature that doesn't hold."""


class InputError(PathquorumError, ValueError):
    """An argument that can't be used."""
