"""Where `--cluster` says that slides shall be predicted: here, on a scheduler's workers, or by Slurm.

Dask's protocol runs code of whoever may speak to it. So it is spoken on this machine alone, or over
TLS with certificates on both ends; anything else is refused.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from annotation.errors import InputError
from annotation.toml_table import TomlTable

__all__ = ["ClusterPlan", "LocalPlan", "SchedulerPlan", "SlurmPlan", "read_plan"]

_HERE = ("localhost", "127.0.0.1", "::1")
_MOST_WORKERS = 10_000
_LARGEST_BYTES = 1 << 20
_SECURITY = ("ca_file", "cert_file", "key_file")


@dataclass(frozen=True)
class LocalPlan:
    """Workers on this machine."""

    workers: int


@dataclass(frozen=True)
class SchedulerPlan:
    """The workers of a scheduler that runs already.

    Attributes
    ----------
    ca_file, cert_file, key_file
        In PEM; None where Dask's own configuration says which (`distributed.comm.tls`).
    """

    address: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class SlurmPlan:
    """Jobs that Slurm starts, each with one worker.

    Attributes
    ----------
    jobs
        How many at a time.
    queue, account, walltime, memory, cores
        Of a job, as `sbatch` takes them.
    directives
        Further lines for `#SBATCH`, such as `--gres=gpu:1`.
    prologue
        Commands that a job runs first.
    interface
        Of the network between the nodes; None: the one of the machine's name.
    shared
        A folder that all nodes see and nobody else reads, for certificates and the jobs' logs.
    python
        The interpreter on the nodes; None: the one that runs this.
    """

    jobs: int
    cores: int
    memory: str
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    shared: Path
    python: str | None = None


ClusterPlan = LocalPlan | SchedulerPlan | SlurmPlan


def read_plan(given: str) -> ClusterPlan:
    """The plan that `--cluster` stands for: `local:N`, an address, or a TOML file.

    Raises
    ------
    InputError, ProtocolError
        It is none, or would be open to others.
    """
    if given.startswith("local:"):
        return LocalPlan(_workers(given.removeprefix("local:")))
    if "://" in given:
        return SchedulerPlan(_address(given))
    path = Path(given)
    if not path.is_file():
        raise InputError(
            f"--cluster {given!r} is no file; give a TOML file, local:N, or tls://HOST:PORT",
            cluster=given,
        )
    return _read_file(path)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise InputError(f"--cluster local:{text}: give the number of workers, such as local:4")
    return int(text)


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if not host or port is None:
        raise InputError(f"{text!r} is no address of a scheduler; write tls://HOST:PORT")
    if parts.scheme == "tls" or (parts.scheme == "tcp" and host in _HERE):
        return text
    raise InputError(
        f"the scheduler {text!r} would take code from whoever reaches it; use tls://, or tcp:// on "
        "localhost",
        cluster=text,
    )


_KEYS = {
    "local": ("kind", "workers"),
    "scheduler": ("kind", "address", *_SECURITY),
    "slurm": (
        "kind", "jobs", "cores", "memory", "queue", "account", "walltime", "directives", "prologue",
        "interface", "shared", "python",
    ),
}  # fmt: skip


def _read_file(path: Path) -> ClusterPlan:
    origin = f"cluster file {str(path)!r}"
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise InputError(f"{origin} is longer than {_LARGEST_BYTES >> 20} MiB", path=path)
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{origin} is no TOML: {error}", path=path) from None
    kind = document.get("kind")
    if kind not in _KEYS:
        raise InputError(
            f'{origin}: kind is {kind!r}; write kind = "slurm", "scheduler" or "local"', path=path
        )
    table = TomlTable(origin, "", document, _KEYS[kind])
    if kind == "local":
        return LocalPlan(table.whole("workers", at_least=1, default=1))
    if kind == "scheduler":
        files = (table.text(name, "") or None for name in _SECURITY)
        return SchedulerPlan(_address(table.text("address")), *files)
    return SlurmPlan(
        jobs=table.whole("jobs", at_least=1, default=1),
        cores=table.whole("cores", at_least=1, default=1),
        memory=table.text("memory"),
        queue=table.text("queue", "") or None,
        account=table.text("account", "") or None,
        walltime=table.text("walltime", "") or None,
        directives=table.texts("directives", ()),
        prologue=table.texts("prologue", ()),
        interface=table.text("interface", "") or None,
        shared=Path(table.text("shared")),
        python=table.text("python", "") or None,
    )
