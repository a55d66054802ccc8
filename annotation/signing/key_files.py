"""Private keys in files: PKCS#8 PEM under a passphrase, for their owner alone, never overwritten."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from annotation.errors import ConflictError, InputError, SignatureError

__all__ = ["SHORTEST_PASSPHRASE", "UnlockedKey", "new_key_file", "public_fingerprint", "unlock"]

SHORTEST_PASSPHRASE = 8
_LARGEST_BYTES = 16_384
_MARKER = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True)
class UnlockedKey:
    """A private key out of its file, ready to sign."""

    file: Path
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> str:
        """The public key as PEM."""
        encoded = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return encoded.decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's DER form, in hex."""
        return public_fingerprint(self.private.public_key())


def public_fingerprint(public: Ed25519PublicKey) -> str:
    """SHA-256 of a public key's DER form, in hex.

    The same as of ``openssl pkey -pubin -outform DER``.
    """
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


@contextmanager
def new_key_file(path: Path, passphrase: str) -> Iterator[UnlockedKey]:
    """Make a key and put it into its file; if the block fails, the file is taken away again.

    Raises
    ------
    ConflictError
        A file is there.
    InputError
        The folder is not there, or the passphrase is too short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise InputError(
            f"a passphrase has at least {SHORTEST_PASSPHRASE} characters; choose a longer one"
        )
    private = Ed25519PrivateKey.generate()
    encoded = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())
    )
    _place(path, encoded)
    try:
        yield UnlockedKey(path, private)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _place(path: Path, content: bytes) -> None:
    """Put a whole file where none is, readable by its owner alone."""
    if not path.parent.is_dir():
        raise InputError(
            f"the folder {path.parent} does not exist; make it, or choose another --to"
        )
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".key.", suffix=".part")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(name, path)  # unlike a rename it fails where something is
    except FileExistsError as error:
        raise ConflictError(
            f"{path} is there already, and a key is never written over; choose another --to"
        ) from error
    finally:
        Path(name).unlink()


def unlock(path: Path, passphrase: str) -> UnlockedKey:
    """Read a private key.

    Raises
    ------
    SignatureError
        It is no key under a passphrase, or not under this one.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"the key file {path} can't be read ({error.strerror}); "
            "make one with `pathquorum key create HANDLE --to FILE`"
        ) from error
    if len(content) > _LARGEST_BYTES or _MARKER not in content:
        raise SignatureError(
            f"{path} is no private key under a passphrase; "
            "name a file that `pathquorum key create` made"
        )
    try:
        private = load_pem_private_key(content, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureError(
            f"the passphrase does not open the key file {path}; try again, or bring the file back "
            "from a copy if it is damaged"
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SignatureError(
            f"{path} holds a key of another kind; name a file that `pathquorum key create` made"
        )
    return UnlockedKey(path, private)
