"""`evaluate` of a model of masks: its figures are those of the whole picture, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from annotation.paths import name_of_file
from annotation.store import Store
from models.architectures import build
from models.datasets.releases import ReleasedSlide, open_training_release
from models.evaluation.outlines import OutlineTrace
from models.evaluation.surfaces import surface_distances
from models.labels.masks import SlideMasks, TileMask
from models.model_file import ModelDescription, describe, load_model, read_description, save_model
from models.reader import open_reader
from models.segmentation.training import to_input
from models.segmentation.windows import Windows, predict_bands, predict_mask
from models.targets import OPEN
from models.training.settings import TrainingSettings
from tests.conftest import CommandResult
from tests.consensus.built_run import MOST_TUMOR, build_run, region_items
from tests.gradient_slides import give_images

Pathquorum = Callable[..., CommandResult]
Evaluate = Callable[..., CommandResult]

MPP, SIZE_PX = 4.0, 64
SLIDES = {f"S/{n}": {"patient": f"p{n}", "site": ("North", "South")[n % 2]} for n in range(10)}


@pytest.fixture
def released(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> None:
    """A release `v1` of regions on slides whose colours tell where they lie."""
    items = [item for name in SLIDES for item in region_items(name)]
    for item in items[::5]:  # which is the benign region: not of everyone, nor everywhere
        number = int(item.slide.removeprefix("S/"))
        if number % 3 == 0:
            item.pattern = {**item.pattern, "P2": "background"}
        if number % 4 == 0:
            item.pattern, item.label = MOST_TUMOR, "=Tumor"
    run = build_run(store, items, slides=SLIDES)
    give_images(store, tmp_path / "slides")
    split = "train=0.2,calibration=0.2,test=0.6"
    assert pathquorum("release", "create", "v1", "--run", run, "--split", split).status == 0


@pytest.fixture
def evaluate(released: None, pathquorum: Pathquorum, tmp_path: Path) -> Evaluate:
    def call(model: object, *more: object) -> CommandResult:
        return pathquorum(
            "evaluate", "--model", model, "--release", "v1", "--to", tmp_path / "out",
            "--bootstrap", 50, "--device", "cpu", "--json", *more,
        )  # fmt: skip

    return call


def saved_unet(store: Store, folder: Path, **changed: object) -> Path:
    """A small U-Net with drawn weights whose classes are all said somewhere; not on record."""
    with store.reading() as session:
        release = open_training_release(session, "v1")
        split: dict[str, list[str]] = {}
        for slide in release.slides:
            split.setdefault(slide.part, []).append(slide.name)
        about: dict[str, object] = {
            "architecture": "unet", "arguments": {"classes": 3, "width": 8, "depth": 1},
            "classes": list(release.classes), "ordered": False, "release": "v1",
            "manifest_sha256": release.manifest_sha256, "split": split, "method": "soft",
            "input": {"kind": "tiles", "mpp": MPP, "size_px": SIZE_PX},
            "training": TrainingSettings().to_dict(),
        }  # fmt: skip
    description = ModelDescription(**{**about, **changed})  # type: ignore[arg-type]
    torch.manual_seed(1)
    network = build(description.architecture, description.arguments)
    if description.architecture == "unet":
        network.outward.weight.data *= 6  # type: ignore[union-attr,operator]
        network.outward.bias.data = torch.tensor([-1.0, 0.5, 0.0])  # type: ignore[union-attr]
    save_model(folder, network, description)
    return folder


def refused(result: CommandResult) -> str:
    assert (result.status, result.out) == (1, "")
    *notes, error = result.err.splitlines()
    assert all(note.startswith("Note: ") for note in notes)
    return error.removeprefix("Error: ")


class WholeSlide:
    """Probabilities (K, H, W) and masks of a slide, all at once."""

    def __init__(
        self, network: torch.nn.Module, slide: ReleasedSlide, masks: SlideMasks, size_px: int
    ) -> None:
        step = MPP / slide.mpp
        width, height = round(slide.width_px / step), round(slide.height_px / step)
        assert slide.path is not None
        with open_reader(slide.path, mpp=slide.mpp) as reader:
            bands = predict_bands(
                network,
                lambda left, top, side: reader.read(left * step, top * step, mpp=MPP, size_px=side),
                classes=3,
                width_px=width,
                height_px=height,
                windows=Windows(size_px=size_px),
                to_input=to_input,
            )
            self.p = predict_mask(bands)
        self.mask: TileMask = masks.window(0, 0, step, width, height)
        self.said = self.p.argmax(axis=0)


@pytest.fixture
def whole(store: Store, released: None) -> Callable[[Path], list[WholeSlide]]:
    def slides(model: Path) -> list[WholeSlide]:
        trained = load_model(model)
        with store.reading() as session:
            release = open_training_release(session, "v1")
            return [
                WholeSlide(
                    trained.network,
                    slide,
                    SlideMasks(release.items(slide), release.classes, release.raters),
                    trained.description.input["size_px"],
                )
                for slide in release.slides
                if slide.name in trained.description.split["test"]
            ]

    return slides


def over(slides: list[WholeSlide], rater: int | None) -> tuple[NDArray, NDArray, NDArray]:
    """Reference, what the model says and probabilities of the pixels that the reference knows."""
    references = [s.mask.hard if rater is None else s.mask.votes[rater] for s in slides]
    known = [reference != OPEN for reference in references]
    return (
        np.concatenate([r[k] for r, k in zip(references, known, strict=True)]),
        np.concatenate([s.said[k] for s, k in zip(slides, known, strict=True)]),
        np.concatenate([s.p[:, k].T for s, k in zip(slides, known, strict=True)]).astype(float),
    )


def mean_distances(slides: list[WholeSlide], rater: int | None) -> NDArray[np.float64]:
    """Average and 95 % Hausdorff distance of each class (K, 2), mean over slides."""
    each = []
    for slide in slides:
        reference = slide.mask.hard if rater is None else slide.mask.votes[rater]
        points = []
        for codes in (np.where(reference == OPEN, OPEN, slide.said), reference):
            trace = OutlineTrace(3, codes.shape[1])
            trace.add(codes.astype(np.int16))
            points.append(trace.points())
        made = [surface_distances(a, b, MPP) for a, b in zip(*points, strict=True)]  # type: ignore[arg-type]
        each.append([(m.average_um, m.hausdorff_95_um) if m else (np.nan, np.nan) for m in made])
    return np.nanmean(np.array(each), axis=0)


def test_figures_are_those_of_all_pixels_together(
    evaluate: Evaluate, whole: Callable[[Path], list[WholeSlide]], store: Store, tmp_path: Path
) -> None:
    """By scikit-learn, over whole pictures; against the consensus, each expert and the others."""
    model = saved_unet(store, tmp_path / "m")
    result = evaluate(model)
    assert result.status == 0, result.err
    told, slides = result.json, whole(model)
    wanted, said, p = over(slides, None)
    p /= p.sum(axis=1, keepdims=True)
    assert len(np.unique(said)) == 3
    assert (told["item"], told["items"], told["slides"]) == ("pixel", len(wanted), len(slides))
    assert told["area_um2"] == pytest.approx(len(wanted) * MPP**2)
    assert told["masks"]["sampled_pixels"] == len(wanted)  # so few are all
    value = {name: one["value"] for name, one in told["figures"].items()}
    assert value["accuracy"] == pytest.approx((wanted == said).mean())
    assert value["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(wanted, said))
    assert value["nll"] == pytest.approx(log_loss(wanted, p, labels=[0, 1, 2]), rel=1e-4)
    assert value["auroc_macro"] == pytest.approx(
        np.mean([roc_auc_score(wanted == k, p[:, k]) for k in range(3)]), rel=1e-4
    )
    dice = f1_score(wanted, said, average=None, labels=[0, 1, 2])
    assert value["dice_macro"] == pytest.approx(dice.mean())
    of_classes = told["masks"]["per_class"]
    apart = mean_distances(slides, None)
    for number, name in enumerate(told["classes"]):
        one = of_classes[name]
        assert one["dice"]["value"] == pytest.approx(dice[number])
        assert told["per_class"][name]["f1"]["value"] == pytest.approx(dice[number])
        assert told["per_class"][name]["items"] == (wanted == number).sum()
        assert one["surface_distance_um"]["value"] == pytest.approx(apart[number, 0])
        assert one["hausdorff_95_um"]["value"] == pytest.approx(apart[number, 1])
    one = of_classes["Benign"]["dice"]
    assert one["ci_low"] < one["value"] < one["ci_high"]
    assert set(told["masks"]["per_site"]) == {"North", "South"}
    confusion = np.array(told["confusion"]["weight"]) / MPP**2
    assert np.trace(confusion) == pytest.approx((wanted == said).sum())

    # Each expert beside the model: against the majority of the others, and what the expert drew.
    votes = np.concatenate([s.mask.votes.reshape(3, -1) for s in slides], axis=1)
    everywhere = np.concatenate([s.said.ravel() for s in slides])
    others = np.where((votes[0] == votes[2]) & (votes[1] != OPEN), votes[0], OPEN)
    on = others != OPEN
    beside = told["experts"]["P2"]["others"]
    assert beside["items"] == on.sum()
    for who, called in (("expert", votes[1]), ("model", everywhere)):
        for number, name in enumerate(told["classes"]):
            one, (a, b) = beside["dice"][who][name], (others[on] == number, called[on] == number)
            assert one["value"] == (pytest.approx(f1_score(a, b)) if (a | b).any() else None)
    own, found, _ = over(slides, 1)
    apart = mean_distances(slides, 1)
    for number, name in enumerate(told["classes"]):
        one = told["experts"]["P2"]["outlines"][name]
        dice = f1_score(own == number, found == number)
        assert one["dice"]["value"] == pytest.approx(dice)
        assert one["surface_distance_um"]["value"] == pytest.approx(apart[number, 0])
    assert told["raters_agreement"]["raters"] == ["P1", "P2", "P3"]


def test_contradicted_regions_go_to_qupath(
    evaluate: Evaluate, whole: Callable[[Path], list[WholeSlide]], store: Store, tmp_path: Path
) -> None:
    """Each in its outline, inside what the consensus calls so, and its mean probabilities told."""
    model = saved_unet(store, tmp_path / "m")
    told = evaluate(model, "--review", tmp_path / "review").json
    issues = told["label_issues"]
    assert issues
    assert {issue["part"] for issue in issues} == {"test"}
    margins = [issue["p_given"] - issue["p_suggested"] for issue in issues]
    assert margins == sorted(margins)
    assert max(margins) < 0
    with (tmp_path / "out" / "review.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["area_um2"]) for row in rows] == [one["area_um2"] for one in issues]
    assert min(one["area_um2"] for one in issues) >= 100  # the protocol's least area of a dispute
    areas = {}
    for path in map(Path, told["reviewed"]["targets"]):
        for one in json.loads(path.read_bytes())["features"]:
            rank = int(one["properties"]["name"].partition(":")[0])
            areas[rank] = shapely.from_geojson(json.dumps(one["geometry"])).area * 0.25
            assert name_of_file(path.stem) == issues[rank - 1]["slide"]
    assert [areas[one["rank"]] for one in issues] == pytest.approx(
        [one["area_um2"] for one in issues]
    )


def test_what_train_made_is_judged_and_has_a_card(
    evaluate: Evaluate,
    pathquorum: Pathquorum,
    tmp_path: Path,
    whole: Callable[[Path], list[WholeSlide]],
) -> None:
    """By its name, beside its baseline, with slides that were moved, at a temperature."""
    config = tmp_path / "train.toml"
    config.write_text(
        "[training]\nbatch = 4\nlearning_rate = 0.02\n[model]\nwidth = 8\ndepth = 1\n[tiles]\nmpp = 4.0\nsize_px = 64\n",
        encoding="utf-8",
    )
    made = pathquorum(
        "train", "--release", "v1", "--model", "unet", "--name", "masks", "--to", tmp_path / "run",
        "--config", config, "--epochs", 12, "--device", "cpu", "--json",
    )  # fmt: skip
    assert made.status == 0, made.err
    wanted, _, p = over(whole(tmp_path / "run"), None)
    (tmp_path / "slides").rename(tmp_path / "moved")
    assert "has no image here" in refused(evaluate("masks"))
    result = evaluate("masks", "--slides-root", tmp_path / "moved", "--calibrate")
    assert result.status == 0, result.err
    told = result.json
    assert told["baseline"]["model"] == "masks-majority"
    for name, one in told["figures"].items():
        assert told["baseline"]["difference"][name]["value"] == pytest.approx(
            one["value"] - told["baseline"]["figures"][name]["value"]
        )
    fitted = told["calibration"]["fitted"]
    assert fitted["nll_after"] < fitted["nll_before"]
    assert read_description(tmp_path / "run").temperature == fitted["value"] == told["temperature"]
    powered = p ** (1 / fitted["value"])
    powered /= powered.sum(axis=1, keepdims=True)
    loss = log_loss(wanted, powered, labels=[0, 1, 2])
    assert told["figures"]["nll"]["value"] == pytest.approx(loss, rel=1e-4)
    assert told["calibration"]["after"]["ece_equal_mass"]["value"] is not None
    page = (tmp_path / "out" / "card.html").read_text(encoding="utf-8")
    for said in (
        "For reference only; the decision stays with the pathologist.",
        "windows of 64 px at 4.0 µm per pixel",
        "95 % Hausdorff distance, µm",
        "What each expert has drawn.",
        "Dice, mean over classes",
    ):
        assert said in page


def test_what_does_not_fit_is_refused(
    evaluate: Evaluate, pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    """In one line each, and nothing is written."""
    model = saved_unet(store, tmp_path / "m")
    other = saved_unet(store, tmp_path / "o", input={"kind": "tiles", "mpp": 2.0, "size_px": 64})
    broken = saved_unet(store, tmp_path / "b", input={"kind": "tiles", "mpp": -1, "size_px": 64})
    (tmp_path / "features").mkdir()
    for arguments, told in (
        ((model, "--features", tmp_path / "features"), "looks at pixels, not at features"),
        ((model, "--baseline", other), "does not look at windows of 64 px at 4 microns per pixel"),
        ((broken,), "does not say at which resolution and size"),
        ((model, "--part", "train"), "which was trained on it"),
    ):
        assert told in refused(evaluate(*arguments))
    describe(model, read_description(saved_unet(store, tmp_path / "c", classes=["a", "b", "c"])))
    assert "tells the classes a, b, c apart" in refused(evaluate(model))
    features = saved_unet(store, tmp_path / "f", architecture="mean", input={"kind": "features"},
                          arguments={"features": 4, "classes": 3, "hidden": 8})  # fmt: skip
    assert "give --features" in refused(evaluate(features))
    assert not (tmp_path / "out").exists()


def test_a_slide_without_an_image_is_left_out_only_on_demand(
    evaluate: Evaluate, store: Store, tmp_path: Path
) -> None:
    """And then the exit status says so; one whose file changed is always refused."""
    model = saved_unet(store, tmp_path / "m")
    tested = read_description(model).split["test"]
    with store.reading() as session:
        paths = {s.name: Path(str(s.path)) for s in open_training_release(session, "v1").slides}
    paths[tested[0]].unlink()
    assert f"slide {tested[0]!r} has no image here" in refused(evaluate(model))
    assert f"1 slide left out: {tested[0]!r}" in refused(evaluate(model, "--allow-missing"))
    told = json.loads((tmp_path / "out" / "evaluation.json").read_bytes())
    assert told["slides"] == len(tested) - 1
    with paths[tested[1]].open("ab") as stream:
        stream.write(b"more")
    assert "its fingerprint differs" in refused(evaluate(model, "--allow-missing"))
