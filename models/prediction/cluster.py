"""Dask clusters: started on this machine or by Slurm, or joined; always over TLS or on localhost."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annotation.errors import InputError
from models.errors import PredictionError
from models.extras import needs
from models.prediction.cluster_plan import ClusterPlan, LocalPlan, SchedulerPlan, SlurmPlan

__all__ = ["client_of", "slurm_cluster"]

_HERE = "127.0.0.1"
_QUIET = logging.ERROR
_WAIT_S = 30
_MEMORY = {
    # Nothing is kept in Dask's own store, so there is nothing to spill and no reason to pause.
    "target": False,
    "spill": False,
    "pause": False,
    "terminate": 0.95,
}


@contextmanager
def client_of(plan: ClusterPlan, *, memory_bytes: int) -> Iterator[Any]:
    """A client of the cluster of a plan; what was started for it ends with it.

    Parameters
    ----------
    memory_bytes
        Of a worker on this machine, beyond which Dask replaces it.

    Raises
    ------
    InputError
        A package or a certificate is missing.
    PredictionError
        The scheduler can't be reached.
    """
    distributed, dask = needs("distributed", "cluster"), needs("dask", "cluster")
    with dask.config.set({f"distributed.worker.memory.{key}": v for key, v in _MEMORY.items()}):
        if isinstance(plan, SchedulerPlan):
            with _joined(distributed, plan) as client:
                yield client
            return
        started = (
            _local(distributed, plan, memory_bytes)
            if isinstance(plan, LocalPlan)
            else slurm_cluster(plan)
        )
        with started as cluster, distributed.Client(cluster) as client:
            if isinstance(plan, SlurmPlan):
                # Jobs that end by their walltime are handed in again.
                cluster.adapt(minimum_jobs=plan.jobs, maximum_jobs=plan.jobs)
            yield client


def _local(distributed: Any, plan: LocalPlan, memory_bytes: int) -> Any:
    """Processes of this machine, which nobody else on it can reach."""
    return distributed.LocalCluster(
        n_workers=plan.workers,
        threads_per_worker=1,
        processes=True,
        host=_HERE,
        protocol="tls://",
        security=distributed.Security.temporary(),
        memory_limit=min(memory_bytes, distributed.system.MEMORY_LIMIT),
        dashboard_address=f"{_HERE}:0",
        worker_dashboard_address=f"{_HERE}:0",
        silence_logs=_QUIET,
    )


def slurm_cluster(plan: SlurmPlan) -> Any:
    """A scheduler in this process, for jobs that Slurm starts; none is started yet.

    Raises
    ------
    InputError
        The package or the shared folder is missing.
    """
    jobqueue, distributed = needs("dask_jobqueue", "cluster"), needs("distributed", "cluster")
    if not plan.shared.is_dir():
        raise InputError(
            f"the folder {str(plan.shared)!r} (shared) does not exist; make it where all nodes see "
            "it and only you read it",
            path=plan.shared,
        )
    settings = [
        f"export DASK_DISTRIBUTED__WORKER__MEMORY__{key.upper()}={value}"
        for key, value in _MEMORY.items()
    ]
    return jobqueue.SLURMCluster(
        queue=plan.queue,
        account=plan.account,
        cores=plan.cores,
        processes=1,
        memory=plan.memory,
        walltime=plan.walltime,
        job_name="pathquorum",
        job_extra_directives=list(plan.directives),
        job_script_prologue=[*settings, *plan.prologue],
        # -P: a folder named `models` where the job begins must not shadow the package.
        python=f"{plan.python or sys.executable} -P",
        worker_extra_args=["--nthreads", "1", "--no-dashboard"],
        interface=plan.interface,
        protocol="tls://",
        security=distributed.Security.temporary(),
        shared_temp_directory=str(plan.shared.resolve()),
        local_directory=str(plan.shared.resolve() / "workers"),
        log_directory=str(plan.shared.resolve() / "logs"),
        scheduler_options={"dashboard_address": f"{_HERE}:0"},
        silence_logs=_QUIET,
    )


@contextmanager
def _joined(distributed: Any, plan: SchedulerPlan) -> Iterator[Any]:
    given = {
        "tls_ca_file": plan.ca_file,
        "tls_client_cert": plan.cert_file,
        "tls_client_key": plan.key_file,
    }
    files = {name: path for name, path in given.items() if path is not None}
    for path in files.values():
        if not Path(path).is_file():
            raise InputError(f"the certificate file {path!r} does not exist", path=path)
    security = distributed.Security(**files)  # the rest from Dask's configuration
    if plan.address.startswith("tls://") and security.tls_ca_file is None:
        raise InputError(
            f"{plan.address} needs certificates: name ca_file, cert_file and key_file in a TOML "
            'file of kind = "scheduler", or set distributed.comm.tls in Dask\'s configuration',
            cluster=plan.address,
        )
    try:
        client = distributed.Client(plan.address, security=security, timeout=_WAIT_S)
    except (OSError, TypeError, ValueError) as error:
        raise PredictionError(
            f"the scheduler {plan.address} can't be reached ({error}); look whether it runs, and "
            "whether the certificates are its own",
            cluster=plan.address,
        ) from error
    with client:
        yield client
