"""Fine-tuning: what is trained and what isn't, merged adapters, resuming, and encoders that encode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from annotation.errors import InputError
from models.encoders.adapters import add_adapters, blocks_of, merge_adapters, unfreeze_last
from models.encoders.built_in import BUILT_IN, SELF_SUPERVISED
from models.encoders.encoder import Encoder, load_encoder, spec_beside, with_random_weights
from models.encoders.fine_tuning import FineTuning, FineTuningTask, save_fine_tuned
from models.encoders.network import build_network
from models.encoders.spec import EncoderSpec
from models.encoders.weights import digest_of
from models.errors import TrainingError
from models.targets import Targets
from models.training.checkpoints import Checkpoints
from models.training.loop import fit
from models.training.settings import TrainingSettings

pytest.importorskip("timm", reason="needs timm, of the extra encoders")

VIT = replace(
    BUILT_IN["vit-small"],
    input_px=32,
    arguments={"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 2},
)
CNN = replace(SELF_SUPERVISED, input_px=32, arguments={"width": 4})


class Tiles:
    """Tiles of three colours, whose posterior is sure of most and knows nothing of some."""

    def __init__(self, count: int = 60) -> None:
        rng = np.random.default_rng(0)
        hard = np.arange(count) % 3
        self.pixels = rng.integers(0, 60, (count, 3, 32, 32)).astype(np.uint8)
        self.pixels[np.arange(count), hard] += 120
        posterior = np.full((count, 3), 0.1, np.float32)
        posterior[np.arange(count), hard] = 0.8
        posterior[-6:] = 0
        weight = np.ones(count, np.float32)
        weight[:3] = 0
        self.targets = Targets(
            posterior=posterior,
            hard=np.where(np.arange(count) >= count - 6, -1, hard),
            votes=np.empty((count, 0), np.int64),
            weight=weight,
            group=np.arange(count),
            site=np.full(count, -1),
            part=np.full(count, "train"),
            classes=("a", "b", "c"),
            ordered=False,
            raters=(),
        )
        self.asked: set[int] = set()

    def load(self, indices: np.ndarray) -> torch.Tensor:
        self.asked |= set(indices.tolist())
        return torch.from_numpy(self.pixels[indices])


TRAIN, VALIDATION = np.arange(0, 40), np.arange(40, 60)
SETTINGS = TrainingSettings(epochs=6, batch=8, learning_rate=5e-3, seed=1)


def task_of(spec: EncoderSpec, tuning: FineTuning) -> tuple[Encoder, Tiles, FineTuningTask]:
    encoder, tiles = with_random_weights(spec, device="cpu"), Tiles()
    return encoder, tiles, FineTuningTask(encoder, tiles, TRAIN, VALIDATION, tuning)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_encoder_has_blocks_and_those_with_attention_take_adapters(name: str) -> None:
    expected = {"resnet50": (4, 0), "vit-small": (12, 24), "vit-base": (12, 24)}
    expected |= {"uni": (24, 48), "virchow2": (32, 64)}
    blocks, adapters = expected[name]
    with torch.device("meta"):
        network = build_network(BUILT_IN[name])
        assert len(blocks_of(network)) == blocks
        if not adapters:
            with pytest.raises(TrainingError, match="no attention to adapt"):
                add_adapters(network)
        else:
            assert add_adapters(network) == adapters


def test_only_the_last_blocks_are_trained() -> None:
    network = build_network(VIT)
    unfreeze_last(network, 2)
    trained = {name for name, weights in network.named_parameters() if weights.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"blocks", "norm"}
    assert {name.split(".")[1] for name in trained if name.startswith("blocks")} == {"1", "2"}
    for count in (0, 4):
        with pytest.raises(TrainingError, match="the encoder has 3, take 1 to 3"):
            unfreeze_last(network, count)


@pytest.mark.parametrize(
    ("spec", "tuning"),
    [
        (VIT, FineTuning(how="blocks", blocks=1)),
        (CNN, FineTuning(how="blocks", blocks=2)),
        (VIT, FineTuning(how="lora", rank=2)),
    ],
    ids=["blocks of a ViT", "stages of a CNN", "LoRA"],
)
def test_training_learns_and_leaves_what_is_frozen_as_it_was(
    spec: EncoderSpec, tuning: FineTuning
) -> None:
    encoder, tiles, task = task_of(spec, tuning)
    before = {name: tensor.clone() for name, tensor in encoder.network.state_dict().items()}
    frozen = {
        name for name, weights in encoder.network.named_parameters() if not weights.requires_grad
    }
    buffers = {name for name, _ in encoder.network.named_buffers()}
    task.model.eval()
    with torch.no_grad():
        first = task.validate()
    history = fit(task, replace(SETTINGS, epochs=12))
    after = encoder.network.state_dict()
    for name in frozen | buffers:
        assert torch.equal(before[name], after[name]), name
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert history.epochs[-1].metrics["loss"] < first["loss"] - 0.2
    assert history.epochs[-1].metrics["balanced_accuracy"] > 0.9
    # The first three weigh nothing, and of the last six nothing is known.
    assert tiles.asked == set(range(3, 54))


def test_the_loss_is_cross_entropy_against_the_posterior_by_weight() -> None:
    _, tiles, task = task_of(VIT, FineTuning())
    tiles.targets.weight[3:9] = [1, 2, 3, 4, 5, 6]
    batch = task.load(np.arange(6), np.random.default_rng(0))
    with torch.no_grad():
        loss = float(task.loss(batch))
        p = torch.softmax(task.model(batch[0]), dim=1).double().numpy()
    entropy = -(tiles.targets.posterior[3:9] * np.log(p)).sum(axis=1)
    assert loss == pytest.approx(np.average(entropy, weights=[1, 2, 3, 4, 5, 6]), rel=1e-5)


def test_merged_adapters_give_what_they_gave_before() -> None:
    torch.manual_seed(0)
    network = build_network(VIT).eval()
    tiles = torch.rand(4, 3, 32, 32)
    names = network.state_dict().keys()
    with torch.no_grad():
        plain = network(tiles)
        add_adapters(network, rank=3, alpha=6)
        assert torch.equal(network(tiles), plain)  # what they add is 0 at first
        for name, weights in network.named_parameters():
            if name.endswith(".up"):
                torch.nn.init.normal_(weights, std=0.2)
        adapted = network(tiles)
        assert not torch.allclose(adapted, plain, atol=1e-2)
        merge_adapters(network)
        assert torch.equal(network(tiles), adapted)
    assert network.state_dict().keys() == names


@pytest.mark.parametrize("how", ["blocks", "lora"])
def test_what_is_saved_is_an_encoder_with_the_tuned_features(how: str, tmp_path: Path) -> None:
    tuning = FineTuning(how=how, rank=2)  # type: ignore[arg-type]
    encoder, tiles, task = task_of(VIT, tuning)
    fit(task, replace(SETTINGS, epochs=2))
    pixels = tiles.pixels[:5].transpose(0, 2, 3, 1).copy()
    expected = encoder.features(pixels)
    save_fine_tuned(tmp_path, task, tuning, {"release": "v1"})
    spec = spec_beside(tmp_path)
    assert spec == VIT
    read = load_encoder(spec, weights=tmp_path, device="cpu")
    assert read.weights == "fine-tuned"
    assert np.array_equal(read.features(pixels), expected)
    assert read.sha256 != with_random_weights(VIT, device="cpu").sha256


def test_a_training_that_is_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    tuning = FineTuning(how="lora", rank=2)
    settings = replace(SETTINGS, epochs=3, checkpoint_minutes=0.0)
    _, _, whole = task_of(VIT, tuning)
    fit(whole, settings)

    class StoppedError(Exception):
        pass

    def stop(done: int, *_: float) -> None:
        if done == 7:
            raise StoppedError

    _, _, task = task_of(VIT, tuning)
    with pytest.raises(StoppedError):
        fit(task, settings, checkpoints=Checkpoints(tmp_path, settings, {}), progress=stop)
    _, _, again = task_of(VIT, tuning)
    fit(again, settings, checkpoints=Checkpoints(tmp_path, settings, {}))
    assert digest_of(again.model.state_dict()) == digest_of(whole.model.state_dict())


def test_tiles_without_targets_and_impossible_adapters_are_refused() -> None:
    encoder, tiles = with_random_weights(VIT, device="cpu"), Tiles()
    with pytest.raises(TrainingError, match="no tile of the training part bears a target"):
        FineTuningTask(encoder, tiles, np.arange(3), VALIDATION, FineTuning())
    with pytest.raises(InputError, match="rank of 1 or more"):
        FineTuning(how="lora", rank=0)
