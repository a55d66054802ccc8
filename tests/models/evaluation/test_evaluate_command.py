"""`evaluate`: from a model and a release to figures, a card and a record; and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, log_loss, roc_auc_score
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event
from models.datasets.releases import open_training_release
from models.evaluation.calibration import tempered
from models.features import read_features
from models.model_file import load_model, read_description
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, Item, build_run
from tests.models.evaluation.study import (
    Study,
    put_on_record,
    released_slides,
    saved_model,
    write_slide_features,
)
from tests.models.test_datasets import SLIDES, features_of
from tests.models.training.test_train_command import released as released_regions

Pathquorum = Callable[..., CommandResult]
Evaluate = Callable[..., CommandResult]


@pytest.fixture
def study(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Study:
    return released_slides(store, pathquorum, tmp_path / "features")


@pytest.fixture
def evaluate(pathquorum: Pathquorum, tmp_path: Path) -> Evaluate:
    """Evaluates with few replicates into the folder `out`."""

    def call(model: object, *more: object, features: str = "features") -> CommandResult:
        return pathquorum(
            "evaluate", "--model", model, "--release", "v1", "--features", tmp_path / features,
            "--to", tmp_path / "out", "--bootstrap", 100, "--device", "cpu", "--json", *more,
        )  # fmt: skip

    return call


def refused(result: CommandResult) -> str:
    """What a refusal says, in one line; notes may stand before it, nothing on standard output."""
    assert (result.status, result.out) == (1, "")
    *notes, error = result.err.splitlines()
    assert all(note.startswith("Note: ") for note in notes)
    return error.removeprefix("Error: ")


def events(store: Store, action: str = "model evaluated") -> list[Event]:
    with store.reading() as session:
        return list(session.scalars(select(Event).where(Event.action == action)))


def predicted(study: Study, model: Path, slides: list[str]) -> NDArray[np.float64]:
    """Probabilities straight from the network, a slide at a time."""
    network = load_model(model).network
    with torch.no_grad():
        logs = [
            network(torch.from_numpy(read_features(study.features / f"{name}.h5").features)[None])
            for name in slides
        ]
    p = torch.cat(logs).exp().double().numpy()
    return p / p.sum(axis=1, keepdims=True)


def test_figures_are_those_of_the_networks_probabilities(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """What is printed and written is what scikit-learn makes of the network's own predictions."""
    model = saved_model(store, tmp_path / "m", seed=31)
    result = evaluate(model)
    assert result.status == 0, result.err
    slides = read_description(model).split["test"]
    p = predicted(study, model, slides)
    with store.reading() as session:
        items = {
            slide.name: release.items(slide)[0].label
            for release in [open_training_release(session, "v1")]
            for slide in release.slides
        }
    hard = np.array([("Benign", "=Tumor").index(str(items[name])) for name in slides])
    told = result.json
    figures = {name: one["value"] for name, one in told["figures"].items()}
    assert figures["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(hard, p.argmax(axis=1))
    )
    assert figures["kappa"] == pytest.approx(
        cohen_kappa_score(hard, p.argmax(axis=1), weights="quadratic")
    )
    assert figures["auroc_macro"] == pytest.approx(roc_auc_score(hard, p[:, 1]))
    assert figures["nll"] == pytest.approx(log_loss(hard, p), rel=1e-5)
    assert (told["items"], told["patients"], told["item"]) == (14, 14, "slide")
    assert told["sites"] == ["North", "South"]
    assert set(told["experts"]) == {"P1", "P2", "P3"}
    assert told["figures"]["nll"]["ci_status"] == "few clusters"
    assert told["baseline"] is None
    written = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert written == {k: v for k, v in told.items() if k != "folder"}


def test_the_card_stands_alone_and_says_what_it_must(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    """The card names release, raters, settings, limits and intended use, and fetches nothing."""
    assert pathquorum("study", "describe", "--intended-use", "Triage & <b>no</b> more").status == 0
    model = saved_model(store, tmp_path / "<i>m</i>")
    put_on_record(store, "<i>model</i>", model)
    assert evaluate("<i>model</i>").status == 0
    page = (tmp_path / "out" / "card.html").read_text(encoding="utf-8")
    for said in (
        "For reference only; the decision stays with the pathologist.",
        "a pretrained encoder should be compared first",
        "Triage &amp; &lt;b&gt;no&lt;/b&gt; more",
        "&lt;i&gt;model&lt;/i&gt;",
        "Judged on 14 slides of 14 patients",
        "learning_rate",
        read_description(model).weights_sha256,
        ">P3<",
        "=Tumor",
    ):
        assert said in page
    assert "<i>" not in page
    assert "<script" not in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert (tmp_path / "out" / "reliability.svg").read_bytes().startswith(b"<?xml")


def test_each_look_is_on_record_and_counted(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    """Each evaluation leaves an event with the document's digest; the next one says how many were."""
    model = saved_model(store, tmp_path / "m")
    assert evaluate(model).json["earlier"] == 0
    digest = hashlib.sha256((tmp_path / "out" / "evaluation.json").read_bytes()).hexdigest()
    (event,) = events(store)
    assert event.new is not None
    assert event.new["document_sha256"] == digest
    assert event.new["weights_sha256"] == read_description(model).weights_sha256
    assert evaluate(model).json["earlier"] == 1
    assert evaluate(model, "--part", "val").json["earlier"] == 0
    assert pathquorum("audit", "verify").status == 0


def test_the_same_evaluation_gives_the_same_figures(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """Figures and intervals depend on the seed alone."""
    model = saved_model(store, tmp_path / "m")
    first, again, other = evaluate(model), evaluate(model), evaluate(model, "--seed", 1)
    assert first.json["figures"] == again.json["figures"] != other.json["figures"]


def test_the_recorded_baseline_stands_beside(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """The baseline on record is judged on the same items; against itself the difference is 0."""
    base, model = saved_model(store, tmp_path / "b", seed=1), saved_model(store, tmp_path / "m")
    put_on_record(store, "b", base)
    put_on_record(store, "m", model, baseline="b")
    told = evaluate("m").json
    alone = evaluate(base).json
    assert told["baseline"]["model"] == "b"
    assert told["baseline"]["figures"] == alone["figures"]
    apart = told["baseline"]["difference"]["nll"]["value"]
    assert apart == pytest.approx(
        told["figures"]["nll"]["value"] - alone["figures"]["nll"]["value"]
    )
    same = evaluate("m", "--baseline", model).json["baseline"]["difference"]
    assert {one["value"] for one in same.values()} == {0}


def test_a_temperature_is_written_only_when_asked_for(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """The temperature is fitted on the calibration part; `--calibrate` puts it into the model."""
    model = saved_model(store, tmp_path / "m", seed=31)
    before = (model / "model.json").read_bytes()
    told = evaluate(model).json
    fitted = told["calibration"]["fitted"]
    assert (fitted["items"], told["temperature"]) == (10, 1.0)
    assert (model / "model.json").read_bytes() == before
    calibrated = evaluate(model, "--calibrate").json
    assert calibrated["temperature"] == fitted["value"] == read_description(model).temperature
    slides = read_description(model).split["test"]
    p = tempered(predicted(study, model, slides), fitted["value"])
    assert calibrated["confusion"] == told["confusion"]
    nll = {when: one["value"] for when, one in calibrated["calibration"]["nll"].items()}
    assert calibrated["figures"]["nll"]["value"] == pytest.approx(nll["after"])
    assert told["figures"]["nll"]["value"] == pytest.approx(nll["before"])
    assert nll["difference"] == pytest.approx(nll["after"] - nll["before"])
    assert evaluate(model).json["figures"]["nll"] == calibrated["figures"]["nll"]
    assert calibrated["calibration"]["after"]["bins"][0]["confidence"] == pytest.approx(
        p.max(axis=1).mean(), rel=1e-5
    )


def test_a_temperature_at_its_bound_is_not_written(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """A model that knows nothing asks for an endless temperature: told, and never written."""
    model = saved_model(store, tmp_path / "m", seed=3)
    before = (model / "model.json").read_bytes()
    assert "Note: the temperature stands at its bound of 20" in evaluate(model).err
    told = refused(evaluate(model, "--calibrate"))
    assert told.endswith("is always right, or knows nothing; evaluate without --calibrate")
    assert (model / "model.json").read_bytes() == before
    assert len(events(store)) == 1


def test_a_part_that_was_trained_on_is_refused(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """The training part is refused, by the slide; nothing is written and nothing recorded."""
    model = saved_model(store, tmp_path / "m")
    first = min(read_description(model).split["train"])
    told = refused(evaluate(model, "--part", "train"))
    assert told.startswith(f"slide '{first}' is no test of model 'm', which was trained on it;")
    assert not (tmp_path / "out").exists()
    assert events(store) == []


def test_a_patient_that_was_trained_on_is_refused(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    """A model trained on another slide of a test patient is refused, whatever release that was in."""
    split = read_description(saved_model(store, tmp_path / "m")).split
    tested = split["test"][0]
    added = pathquorum("slide", "add", "X", "--width", 9, "--height", 9, "--mpp", 1, "--patient",
                       tested.replace("S", "p"))  # fmt: skip
    assert added.status == 0, added.err
    other = saved_model(store, tmp_path / "o", split={**split, "train": ["X"]})
    told = refused(evaluate(other))
    assert told.startswith(f"slide '{tested}' is no test of model 'o', which was trained on slides")


def test_a_baseline_must_not_have_seen_the_part_either(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """A baseline that was trained on the part is refused like the model."""
    model = saved_model(store, tmp_path / "m")
    split = read_description(model).split
    seen = saved_model(store, tmp_path / "b", split={"train": split["test"]})
    told = refused(evaluate(model, "--baseline", seen))
    assert "is no test of model 'b', which was trained on it" in told


def test_a_split_of_the_trainings_own_goes_before_the_releases(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """A training that held a site out is judged on what it held out."""
    south = [f"S{n:02}" for n in range(1, 48, 2)]
    north = [f"S{n:02}" for n in range(0, 48, 2)]
    model = saved_model(store, tmp_path / "m", split={"train": north, "test": south})
    told = evaluate(model).json
    assert (told["items"], told["sites"]) == (24, ["South"])


def test_validation_that_chose_the_epoch_says_so(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """On the part by which the best epoch was kept, the figures are said to flatter."""
    chosen = saved_model(store, tmp_path / "m", training={"metric": "nll"})
    plain = saved_model(store, tmp_path / "o", training={"metric": None})
    result = evaluate(chosen, "--part", "val")
    assert "Note: the training has kept the best of its epochs on the part val" in result.err
    assert "kept the best" not in evaluate(plain, "--part", "val").err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"classes": ["G1", "G2"]},
            "tells the classes G1, G2 apart, and the release Benign, =Tumor",
        ),
        ({"input": {"encoder_sha256": "c" * 64}}, "takes features of another encoder than those"),
        (
            {"input": {"encoder_sha256": "b" * 64, "tiling_sha256": "c" * 64}},
            "takes features of other settings of tiles than those given",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path, changed: dict, told: str
) -> None:
    """Other classes, another encoder and other tiles are refused by what differs."""
    assert told in refused(evaluate(saved_model(store, tmp_path / "m", **changed)))
    assert events(store) == []


def test_what_is_no_model_is_refused(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """An unknown name, and a folder that no longer holds the weights on record."""
    assert refused(evaluate("nobody")).startswith("no model 'nobody'")
    model = saved_model(store, tmp_path / "m")
    put_on_record(store, "m", model)
    saved_model(store, tmp_path / "m", seed=9)
    assert "is not the one on record as 'm': the weights differ" in refused(evaluate("m"))


def test_unknown_parts_and_files_in_the_way_are_refused(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """A part without slides is refused, and a file where the folder should be; nothing is recorded."""
    model = saved_model(store, tmp_path / "m")
    assert refused(evaluate(model, "--part", "tests")).startswith("the part 'tests' holds no slide")
    (tmp_path / "out").write_text("mine")
    assert "is a file; give a folder to write into" in refused(evaluate(model))
    assert (tmp_path / "out").read_text() == "mine"
    assert events(store) == []


def test_missing_features_are_named_and_left_out_only_on_demand(
    study: Study, evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """A slide without features is refused; with --allow-missing the rest is judged, with status 1."""
    model = saved_model(store, tmp_path / "m")
    lost = read_description(model).split["test"][0]
    (study.features / f"{lost}.h5").unlink()
    assert f"1 of 48 slides have no features in {study.features}: '{lost}'" in refused(
        evaluate(model)
    )
    assert f"1 slide left out: '{lost}'" in refused(evaluate(model, "--allow-missing"))
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert told["items"] == 13
    assert told["skipped"] == [{"slide": lost, "reason": f"there is no {lost}.h5"}]
    assert "1 slide was left out" in (tmp_path / "out" / "card.html").read_text(encoding="utf-8")


def test_nothing_to_calibrate_on_is_told_or_refused(
    store: Store, pathquorum: Pathquorum, evaluate: Evaluate, tmp_path: Path
) -> None:
    """Without a calibration part there is a reason for no temperature; --calibrate is refused."""
    truth = {name: number % 2 for number, name in enumerate(SLIDES)}
    features = released_regions(store, pathquorum, "slides", tmp_path)
    with store.reading() as session:
        write_slide_features(open_training_release(session, "v1"), truth, features)
    model = saved_model(store, tmp_path / "m")
    told = evaluate(model).json
    assert told["calibration"]["fitted"] is None
    assert told["calibration"]["reason"].startswith(
        "the part 'calibration' of release 'v1' holds no"
    )
    assert told["figures"]["accuracy"]["ci_status"] == "undefined: 3 clusters"
    page = (tmp_path / "out" / "card.html").read_text(encoding="utf-8")
    assert "No temperature was fitted" in page
    assert "so few give none" in page
    assert "holds no item, so there is no temperature" in refused(evaluate(model, "--calibrate"))
    assert len(events(store)) == 1


def test_tiles_of_regions_are_judged_by_their_area(
    store: Store, pathquorum: Pathquorum, evaluate: Evaluate, tmp_path: Path
) -> None:
    """A model of tiles is judged on the tiles of a release of regions, each by its labelled share."""
    released_regions(store, pathquorum, "regions", tmp_path)
    model = saved_model(
        store, tmp_path / "m", architecture="tile-mlp",
        arguments={"features": 5, "classes": 3, "hidden": 8},
    )  # fmt: skip
    result = evaluate(model)
    assert result.status == 0, result.err
    told = result.json
    assert (told["item"], told["slides"], told["patients"]) == ("tile", 3, 3)
    total = sum(one["weight"] for one in told["per_class"].values())
    assert total == pytest.approx(np.sum(told["confusion"]["weight"]))
    assert 0 < total < told["items"]
    assert told["weights"] == "quadratic"
    with store.reading() as session:
        features_of(open_training_release(session, "v1"), tmp_path / "e", encoder_sha256="e" * 64)
    assert "another encoder" in refused(evaluate(model, features="e"))


def test_slides_labelled_by_their_regions_are_learnt_and_judged(
    store: Store, pathquorum: Pathquorum, evaluate: Evaluate, tmp_path: Path
) -> None:
    """By the rule that the training was told, which stands in the model; without one it is refused."""
    items = [
        Item(name, box, MOST_TUMOR if tumour else ALL_BENIGN, "=Tumor" if tumour else "Benign")
        for n, name in enumerate(SLIDES)
        for box, tumour in (
            (shapely.box(0, 0, 300, 400), False),
            (shapely.box(300, 0, 400, 400), n % 3 != 0),
            (shapely.box(500, 0, 501, 2), True),
        )
    ]
    run = build_run(store, items, slides=SLIDES)
    split = "train=0.5,test=0.5"
    assert pathquorum("release", "create", "v1", "--run", run, "--split", split).status == 0
    with store.reading() as session:
        features_of(open_training_release(session, "v1"), tmp_path / "features")
    train = (
        "train", "--release", "v1", "--features", tmp_path / "features", "--model", "mean", "--epochs", 1,
        "--name", "m", "--to", tmp_path / "run", "--device", "cpu", "--no-baseline",
    )  # fmt: skip
    assert "say how a slide gets its label by --slide-label worst or largest" in refused(
        pathquorum(*train)
    )
    tiles = ["tile-mlp" if one == "mean" else one for one in train]
    assert "--slide-label is of bags" in refused(pathquorum(*tiles, "--slide-label", "largest"))
    assert pathquorum(*train, "--least-um2", 5).status == 2
    made = pathquorum(*train, "--slide-label", "worst", "--least-um2", 100)
    assert made.status == 0, made.err
    rule = {"rule": "worst", "least_um2": 100.0}
    described = read_description(tmp_path / "run")
    assert described.input["slide_label"] == rule
    result = evaluate("m")
    assert result.status == 0, result.err
    told = result.json
    tested = described.split["test"]
    tumours = sum(list(SLIDES).index(name) % 3 != 0 for name in tested)
    assert (told["item"], told["items"]) == ("slide", len(tested))
    assert told["per_class"]["=Tumor"]["items"] == tumours  # the speck of 0.5 um2 is too small
    other = saved_model(
        store, tmp_path / "o", arguments=described.arguments, classes=described.classes,
        split=described.split,
        input={**described.input, "slide_label": {"rule": "largest", "least_um2": 0.0}},
    )  # fmt: skip
    assert "learnt slides by another --slide-label" in refused(evaluate("m", "--baseline", other))


def test_a_person_is_shown_a_table(
    study: Study, pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    """Without --json there is a table, what each difference shows, and where the card lies."""
    model = saved_model(store, tmp_path / "m", seed=3)
    result = pathquorum("evaluate", "--model", model, "--release", "v1", "--features",
                        study.features, "--to", tmp_path / "out", "--bootstrap", 50)  # fmt: skip
    assert result.status == 0, result.err
    assert "m on part test of release v1: 14 slides, 14 patients; quadratic weights" in result.out
    assert "Balanced accuracy against the other experts beside expert P1: " in result.out
    assert f"Model card: {tmp_path / 'out'}/card.html" in result.out


def test_what_train_has_made_is_evaluated_by_its_name(
    study: Study, evaluate: Evaluate, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """A model from `train` is judged on the part it held back, beside the baseline of its training."""
    made = pathquorum("train", "--release", "v1", "--features", study.features, "--model", "mean",
                      "--name", "grade", "--to", tmp_path / "run", "--epochs", 2, "--device", "cpu")  # fmt: skip
    assert made.status == 0, made.err
    result = evaluate("grade")
    assert result.status == 0, result.err
    told = result.json
    assert told["model"]["name"] == "grade"
    assert told["baseline"]["model"] == "grade-majority"
    assert set(told["baseline"]["difference"]) == set(told["figures"])
    assert (told["slides"], told["calibration"]["fitted"]["items"]) == (14, 10)
    assert "is no test of model 'grade'" in refused(evaluate("grade", "--part", "train"))
