"""nnU-Net is driven by its programs: stand-ins that write what it writes, and itself where it is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotation.errors import InputError
from models.errors import ModelFileError, TrainingError
from models.segmentation.nnunet import NnUNet, exported_dataset, read_prediction

REAL = "PATHQUORUM_TEST_NNUNET"
"""The folder of a real nnU-Net's programs."""

STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
import numpy as np
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
places = {{kind: Path(os.environ["nnUNet_" + kind]) for kind in ("raw", "preprocessed", "results")}}
with open(places["results"] / "calls.jsonl", "a") as stream:
    stream.write(json.dumps([name, *arguments]) + "\\n")
print("working on", name)
if os.environ.get("STAND_IN_FAILS") == name:
    print("RuntimeError: it was asked to fail")
    sys.exit(3)
(folder,) = places["raw"].glob("Dataset*")
if name == "nnUNetv2_plan_and_preprocess":
    (places["preprocessed"] / folder.name).mkdir(parents=True)
if name == "nnUNetv2_predict":
    images, to = (Path(arguments[arguments.index(flag) + 1]) for flag in ("-i", "-o"))
    for number, image in enumerate(sorted(images.glob("*_0000.png"))):
        if os.environ.get("STAND_IN_LEAVES_OUT") == str(number):
            continue
        shares = np.full((2, 1, 4, 6), 0.25, dtype=np.float32)
        shares[1] = 0.75
        np.savez(to / (image.name.removesuffix("_0000.png") + ".npz"), probabilities=shares)
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An export of four training cases, and two to predict."""
    dataset = tmp_path / "export" / "Dataset007_study"
    rng = np.random.default_rng(0)
    cases = []
    for number in range(6):
        case = f"S{number}_x0000y0000"
        label = np.zeros((64, 64), dtype=np.uint8)
        label[10 + number : 40, 20:50] = 1
        label[:4] = 2
        noise = rng.normal(0, 10, (64, 64, 3))
        image = np.clip(np.where(label[..., None] == 1, 90, 200) + noise, 0, 255).astype(np.uint8)
        part = "Tr" if number < 4 else "Ts"
        for kind, pixels, ending in (("images", image, "_0000"), ("labels", label, "")):
            (dataset / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(dataset / f"{kind}{part}" / f"{case}{ending}.png")
        cases.append(case)
    described = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "Low grade": 1, "ignore": 2},
        "numTraining": 4,
        "file_ending": ".png",
    }
    (dataset / "dataset.json").write_text(json.dumps(described))
    (dataset / "splits_final.json").write_text(
        json.dumps([{"train": cases[:3], "val": cases[3:4]}])
    )
    return tmp_path / "export"


@pytest.fixture
def stand_in(tmp_path: Path) -> NnUNet:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("plan_and_preprocess", "train", "predict"):
        program = programs / f"nnUNetv2_{name}"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
    return NnUNet(tmp_path / "work", programs=programs)


def calls(nnunet: NnUNet) -> list[list[str]]:
    lines = (nnunet.work / "results" / "calls.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_prepared_with_our_split_trained_and_its_predictions_are_read(
    stand_in: NnUNet, exported: Path
) -> None:
    raw = stand_in.prepare(exported)
    split = stand_in.work / "preprocessed" / raw.name / "splits_final.json"
    assert split.read_bytes() == (exported / raw.name / "splits_final.json").read_bytes()
    stand_in.train(raw, fold=0, trainer="nnUNetTrainer_5epochs", resume=True)
    found = stand_in.predict(raw, raw / "imagesTs", stand_in.work / "predicted")
    assert [one.case for one in found] == ["S4_x0000y0000", "S5_x0000y0000"]
    assert found[0].classes == ("background", "Low grade")
    shares = found[0].read()
    assert shares.shape == (2, 4, 6)
    assert (shares[1] == 0.75).all()
    prepared, trained, predicted = calls(stand_in)
    assert prepared[:5] == ["nnUNetv2_plan_and_preprocess", "-d", "7", "-c", "2d"]
    assert trained[1:6] == ["7", "2d", "0", "-tr", "nnUNetTrainer_5epochs"]
    assert trained[-1] == "--c"
    assert "--save_probabilities" in predicted
    assert "working on" in (stand_in.work / "logs" / "train.log").read_text()


def test_where_it_gives_up_its_last_words_and_log_are_named(
    stand_in: NnUNet, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "nnUNetv2_train")
    raw = stand_in.prepare(exported)
    with pytest.raises(
        TrainingError, match="status 3 and said 'RuntimeError: it was asked"
    ) as told:
        stand_in.train(raw)
    assert str(stand_in.work / "logs" / "train.log") in str(told.value)


def test_a_case_that_it_leaves_out_is_named(
    stand_in: NnUNet, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_LEAVES_OUT", "1")
    raw = stand_in.prepare(exported)
    with pytest.raises(TrainingError, match="left the case 'S5_x0000y0000' out"):
        stand_in.predict(raw, raw / "imagesTs", stand_in.work / "predicted")


def test_without_it_one_line_says_what_to_install(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nnUNetv2_plan_and_preprocess was not found"):
        NnUNet(tmp_path / "work", programs=tmp_path / "empty").prepare(exported)


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 0 datasets of nnU-Net"):
        exported_dataset(tmp_path)


def test_what_is_no_prediction_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.npz"
    path.write_text("no archive")
    with pytest.raises(ModelFileError, match="no prediction of nnU-Net"):
        read_prediction(path, 2)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ModelFileError, match="no prediction of nnU-Net"):
        read_prediction(path, 2)
    np.savez(path, probabilities=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelFileError, match="no prediction of nnU-Net"):
        read_prediction(path, 2)
    np.savez(path, probabilities=np.zeros((2, 1, 3, 3)))
    with pytest.raises(ModelFileError, match="don't sum to 1"):
        read_prediction(path, 2)
    np.savez(path, probabilities=np.full((3, 1, 3, 3), 1 / 3))
    with pytest.raises(ModelFileError, match="not of 2 classes"):
        read_prediction(path, 2)


def test_nnunet_itself_trains_for_an_epoch_and_predicts(tmp_path: Path, exported: Path) -> None:
    programs = os.environ.get(REAL)
    if programs is None or shutil.which("nnUNetv2_train", path=programs) is None:
        pytest.skip(f"needs a real nnU-Net; name the folder of its programs in {REAL}")
    nnunet = NnUNet(tmp_path / "work", programs=Path(programs), processes=1)
    raw = nnunet.prepare(exported)
    nnunet.train(raw, trainer="nnUNetTrainer_1epoch")
    found = nnunet.predict(
        raw, raw / "imagesTs", tmp_path / "predicted", trainer="nnUNetTrainer_1epoch"
    )
    assert [one.read().shape for one in found] == [(2, 64, 64)] * 2
