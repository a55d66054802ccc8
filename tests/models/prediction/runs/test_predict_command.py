"""`predict`: from the command line to files, with an encoder and a model."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.store import Store
from models.prediction.regions_file import read_regions
from models.prediction.run_watch import PAGE
from models.prediction.slide_file import read_slide_prediction
from models.prediction.slide_work import regions_path, slide_path
from tests.conftest import CommandResult
from tests.models.prediction.runs.painted_study import PaintedStudy, make_painted_study
from tests.models.prediction.runs.test_running import page_text, until

Pathquorum = Callable[..., CommandResult]


@pytest.fixture
def painted(store: Store, tmp_path: Path) -> PaintedStudy:
    return make_painted_study(store, tmp_path)


@pytest.fixture
def predict(painted: PaintedStudy, pathquorum: Pathquorum, tmp_path: Path) -> Pathquorum:
    """Runs `predict` with the model on record."""

    def call(*arguments: object, to: str = "run") -> CommandResult:
        return pathquorum(
            "predict", "--model", "tiles", "--weights", painted.encoder, "--device", "cpu",
            "--workers", 1, "--to", tmp_path / to, *arguments,
        )  # fmt: skip

    return call


def refused(result: CommandResult) -> str:
    """What a refusal says last."""
    assert (result.status, result.out) == (1, "")
    error = result.err.rstrip("\n").splitlines()[-1]
    assert error.startswith("Error: ")
    return error


def test_slides_are_predicted_and_a_second_time_kept(
    predict: Pathquorum, painted: PaintedStudy, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    painted.add_slides(["a", "b"])
    result = predict("--slides", tmp_path / "slides", "--passes", 4, "--json")
    assert result.status == 0, result.err
    document = result.json
    assert document["state"] == "done"
    assert document["slides"] == {"waiting": 0, "claimed": 0, "done": 2, "failed": 0}
    run = tmp_path / "run"
    for name in ("a", "b"):
        slide = read_slide_prediction(slide_path(run, name))
        assert slide.slide == name
        assert (slide.mutual_information > 0).any()
        origin, regions = read_regions(regions_path(run, name))
        assert origin.fingerprint == slide.fingerprint
        assert all(region.area_um2 > 0 for region in regions)
    # The same pixels, and seeds of their own.
    a, b = (read_slide_prediction(slide_path(run, name)) for name in ("a", "b"))
    assert (a.coordinates == b.coordinates).all()
    assert not (a.probability == b.probability).all()
    assert "Largest probability" in (run / PAGE).read_text(encoding="utf-8")
    assert pathquorum("audit", "verify").status == 0
    # What `predict` leaves is what `push` takes.
    to = ("--to", tmp_path / "pushed", "--tiles", "--gzip", "--json")
    pushed = pathquorum("push", "--predictions", "run", *to)
    assert pushed.status == 0, pushed.err
    regions_drawn = sum(len(read_regions(regions_path(run, name))[1]) for name in ("a", "b"))
    assert pushed.json["pushed"] == len(a.coordinates) + len(b.coordinates) + regions_drawn
    explained = predict(
        "--slides", "a", "--passes", 4, "--explain", tmp_path / "pages", to="explained"
    )
    assert explained.status == 0, explained.err
    page = (tmp_path / "pages" / "a.html").read_text(encoding="utf-8")
    assert "tiles" in page_text(page)
    assert "High" in page_text(page)
    again = predict("--slides", "a", "--slides", "b", "--passes", 4)
    assert again.status == 0, again.err
    assert "2 slides predicted, 0 of them now" in again.out
    assert "passes 4, now 5" in refused(predict("--slides", tmp_path / "slides", "--passes", 5))
    wrong = predict("--all", "--uncertainty", "ensemble", to="other")
    assert "ensemble" in refused(wrong)
    assert not (tmp_path / "other").exists()


def test_a_signal_ends_it_with_status_75_and_the_same_command_goes_on(
    predict: Pathquorum, painted: PaintedStudy, tmp_path: Path
) -> None:
    painted.add_slides(["a", "b", "c"])
    page = tmp_path / "run" / PAGE

    def signal_later() -> None:
        until(page.exists)  # since then it listens
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=signal_later)
    thread.start()
    result = predict("--slides", tmp_path / "slides", "--passes", 4, "--json")
    thread.join()
    assert result.status == 75
    assert result.json["state"] == "stopped"
    assert result.json["reason"].startswith("SIGTERM came: the run stands in ")
    result = predict("--slides", tmp_path / "slides", "--passes", 4, "--json")
    assert result.status == 0, result.err
    assert result.json["slides"]["done"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name one of --slides, --release and --all."),
        (("--all", "--release", "v1"), "Name one of --slides, --release and --all."),
        (("--all", "--part", "test"), "--part is of a --release."),
        (("--all", "--features", "."), "--features are for --explain."),
    ],
)
def test_options_belong_together(
    predict: Pathquorum, arguments: tuple[str, ...], message: str
) -> None:
    result = predict(*arguments)
    assert result.status == 2
    assert message in result.err


def test_a_port_that_is_taken_is_said_before_anything_begins(
    predict: Pathquorum, painted: PaintedStudy, tmp_path: Path
) -> None:
    painted.add_slides(["a"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = predict("--slides", "a", "--prometheus-port", port)
    assert f"port {port} can't be served" in refused(result)
    assert not (tmp_path / "run").exists()
