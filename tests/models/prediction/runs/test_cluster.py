"""Dask clusters: which are refused, what Slurm would be given, and slides of workers that are killed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import stat
import subprocess
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from annotation.errors import InputError, PathquorumError, ProtocolError, RefusedError
from models.prediction.carrying_out import carry_out
from models.prediction.cluster import slurm_cluster
from models.prediction.cluster_plan import LocalPlan, SchedulerPlan, SlurmPlan, read_plan
from models.prediction.cluster_worker import PredictPlugin
from models.prediction.settings import PredictionSettings
from models.prediction.slide_file import read_slide_prediction
from models.prediction.slide_work import slide_path
from models.prediction.work_order import WorkOrder
from models.prediction.worker_names import WorkerName
from models.prediction.workers import Limits
from tests.models.prediction.runs.run_study import RunStudy
from tests.models.prediction.runs.stub_predictor import open_stub
from tests.models.prediction.runs.test_running import until

DASK_LEAVES_OPEN = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""Sockets of workers that were killed, and the files of certificates."""

SLURM = """
kind = "slurm"
jobs = 3
queue = "gpu"
cores = 4
memory = "16GB"
walltime = "12:00:00"
account = "path"
directives = ["--gres=gpu:1"]
prologue = ["module load cuda"]
shared = "{shared}"
"""


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("tcp://10.0.0.7:8786", InputError, "would take code from whoever reaches it; use tls://"),
        ("tcp://127.0.0.1.example.org:8786", InputError, "would take code from whoever reaches it"),
        ("ucx://localhost:8786", InputError, "would take code from whoever reaches it"),
        ("tls://somewhere", InputError, "is no address of a scheduler; write tls://HOST:PORT"),
        ("tls://somewhere:port", InputError, "is no address of a scheduler"),
        ("local:0", InputError, "give the number of workers, such as local:4"),
        ("local:many", InputError, "give the number of workers"),
        ("cluster.toml", InputError, "is no file; give a TOML file, local:N, or tls://HOST:PORT"),
    ],
)
def test_a_cluster_that_is_none_or_open_to_others_is_refused(
    given: str, kind: type[PathquorumError], message: str
) -> None:
    with pytest.raises(kind) as error:
        read_plan(given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("kind = 'pbs'", InputError, 'kind is \'pbs\'; write kind = "slurm", "scheduler" or'),
        ("kind = ", InputError, "is no TOML"),
        (
            "kind = 'slurm'\nqueu = 'gpu'",
            ProtocolError,
            "unknown key 'queu'; did you mean 'queue'?",
        ),
        ("kind = 'slurm'\nmemory = '1GB'", ProtocolError, "shared is missing; add shared = ..."),
        ("kind = 'slurm'\njobs = 0", ProtocolError, "jobs is 0; write a whole number, 1 or more"),
        ("kind = 'scheduler'\naddress = 'tcp://h:1'", InputError, "would take code from whoever"),
    ],
)
def test_a_cluster_file_says_what_is_wrong_with_it(
    tmp_path: Path, text: str, kind: type[PathquorumError], message: str
) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(kind) as error:
        read_plan(str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value) or "scheduler" in text


def test_plans_are_read(tmp_path: Path) -> None:
    assert read_plan("local:4") == LocalPlan(4)
    assert read_plan("tcp://localhost:8786") == SchedulerPlan("tcp://localhost:8786")
    path = tmp_path / "cluster.toml"
    path.write_text('kind = "scheduler"\naddress = "tls://h:1"\nca_file = "a"\ncert_file = "b"')
    assert read_plan(str(path)) == SchedulerPlan("tls://h:1", "a", "b")
    path.write_text('kind = "local"\nworkers = 2')
    assert read_plan(str(path)) == LocalPlan(2)


@pytest.fixture
def slurm(tmp_path: Path) -> SlurmPlan:
    path = tmp_path / "slurm.toml"
    path.write_text(SLURM.format(shared=tmp_path / "shared"))
    plan = read_plan(str(path))
    assert isinstance(plan, SlurmPlan)
    return plan


@DASK_LEAVES_OPEN
def test_slurm_is_given_a_job_that_speaks_tls_and_shadows_nothing(slurm: SlurmPlan) -> None:
    with pytest.raises(InputError, match=r"the folder .* does not exist; make it where all nodes"):
        slurm_cluster(slurm)
    slurm.shared.mkdir(mode=0o700)
    with slurm_cluster(slurm) as cluster:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://")
        keys = [path for path in slurm.shared.rglob("*") if path.is_file()]
        assert keys
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in keys)
    lines = script.splitlines()
    for line in (
        "-p gpu",
        "-A path",
        "--cpus-per-task=4",
        "--mem=15G",
        "-t 12:00:00",
        "--gres=gpu:1",
    ):
        assert f"#SBATCH {line}" in lines, script
    assert "module load cuda" in lines
    (command,) = [line for line in lines if "dask_worker" in line]
    assert " -P -m distributed.cli.dask_worker tls://" in command
    assert "--protocol tls://" in command
    assert "--tls-ca-file" in command
    assert "PRIVATE" not in script


@pytest.mark.sqlite
def test_workers_elsewhere_share_no_file_of_this_machine(
    run_study: RunStudy, slurm: SlurmPlan
) -> None:
    run_study.add_slides("a")
    for plan in (slurm, SchedulerPlan("tls://h:1")):
        with pytest.raises(RefusedError, match="is a file of this machine; copy it to PostgreSQL"):
            run_study.predict("a", cluster=plan)
    assert run_study.states() == {}


def test_an_order_shows_no_password(tmp_path: Path) -> None:
    """Dask logs the arguments of tasks that fail."""
    order = WorkOrder(
        store_url="postgresql+psycopg://me:secret@db/study",
        session="s",
        run=1,
        folder=tmp_path,
        members=(),
        settings=PredictionSettings(),
        encoder=None,
        device="cpu",
        opening=open_stub,
    )
    assert "secret" not in repr(order)
    assert "secret" not in repr(PredictPlugin(order, Limits(1, 1.0)))


@DASK_LEAVES_OPEN
def test_no_slide_is_done_twice_or_lost_where_workers_are_killed(
    run_study: RunStudy, until_killed: Callable[[int], threading.Thread]
) -> None:
    """Two workers of a local Dask cluster, killed twice; the output is that of processes."""
    names = [f"slow{number}" for number in range(6)]
    run_study.add_slides([*names, "corrupt"])
    thread = until_killed(2)
    with pytest.raises(PathquorumError, match="1 of 7 slides failed: 'corrupt'"):
        carry_out(run_study.store, run_study.request(*names, "corrupt", cluster=LocalPlan(2)))
    thread.join()
    states = run_study.states()
    assert states.pop("corrupt") == ("failed", 3)
    assert {state for state, _ in states.values()} == {"done"}
    begun = Counter(run_study.begun())
    assert sum(begun[name] - 1 for name in names) <= 2
    run_study.predict(*names, to="alone")
    for name in names:  # figures, not bytes: HDF5 may lay them out otherwise
        there, alone = (
            vars(read_slide_prediction(slide_path(run_study.folder / to, name)))
            for to in ("run", "alone")
        )
        for key, value in alone.items():
            np.testing.assert_array_equal(there[key], value, err_msg=f"{name}: {key}")
    # SHA-256 of the regions, and the result.
    ours, alone_said = (
        {name: said[1:] for name, said in run_study.outputs(to).items()} for to in ("run", "alone")
    )
    assert {name: ours[name] for name in names} == alone_said


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What Dask left open is closed here, and not in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def until_killed(run_study: RunStudy) -> Callable[[int], threading.Thread]:
    """Kills workers that have a slide in hand, each once."""

    def kill(times: int) -> None:
        killed: set[int] = set()

        def one() -> bool:
            for row in run_study.rows().values():
                name = WorkerName.parse(row.worker or "")
                if row.state == "claimed" and name is not None and name.pid not in killed:
                    assert name.pid != os.getpid()
                    os.kill(name.pid, signal.SIGKILL)
                    killed.add(name.pid)
                    return True
            return False

        for _ in range(times):
            until(one, 300)

    def start(times: int) -> threading.Thread:
        thread = threading.Thread(target=kill, args=(times,))
        thread.start()
        return thread

    return start


def _slurm_node() -> str | None:
    """Why there is no Slurm to submit to here; None where there is one."""
    if shutil.which("sinfo") is None:
        return "needs a Slurm (apt-get install slurm-wlm munge, and a slurm.conf)"
    said = subprocess.run(
        ["sinfo", "-h", "-t", "idle"], capture_output=True, text=True, check=False
    )
    return None if said.returncode == 0 and said.stdout.strip() else "needs an idle node of Slurm"


@pytest.mark.soak
@pytest.mark.both_databases
@DASK_LEAVES_OPEN
def test_slides_go_through_on_a_real_slurm(
    run_study: RunStudy, database: str, tmp_path: Path
) -> None:
    """On one node, where a job is cancelled on the way."""
    lacking = _slurm_node()
    if lacking is not None:
        pytest.skip(lacking)
    if database == "sqlite":
        pytest.skip("jobs share their claims in PostgreSQL")
    names = [f"slow{number}" for number in range(30)]
    run_study.add_slides(names)
    (tmp_path / "shared").mkdir(mode=0o700)
    plan = SlurmPlan(
        jobs=2,
        cores=1,
        memory="2GB",
        walltime="00:10:00",
        interface="lo",
        shared=tmp_path / "shared",
    )

    def cancel_one() -> None:
        until(lambda: len(run_study.begun()) >= 5, 300)
        jobs = subprocess.run(
            ["squeue", "-h", "-o", "%i", "-n", "pathquorum"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=True)

    thread = threading.Thread(target=cancel_one)
    thread.start()
    document = run_study.predict(*names, cluster=plan)
    thread.join()
    assert document["slides"] == {"waiting": 0, "claimed": 0, "done": 30, "failed": 0}
    assert document["workers_replaced"] >= 1
    run_study.predict(*names, to="alone")
    assert run_study.outputs() == run_study.outputs("alone")
