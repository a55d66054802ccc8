"""Weights from the hub: whatever is in the way is said in one line that names the page to accept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.encoders.built_in import BUILT_IN, SELF_SUPERVISED
from models.encoders.encoder import load_encoder
from models.encoders.network import build_network
from models.encoders.spec import EncoderSpec
from models.errors import MissingWeightsError

hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub, of the extra encoders")
errors = pytest.importorskip("huggingface_hub.errors")

SECRET = "hf_0123456789abcdefghij"
SPEC = EncoderSpec(
    name="tiny",
    architecture="small",
    input_px=32,
    mpp=1.0,
    feature="pooled",
    hub="somebody/tiny",
    arguments={"width": 4},
)
Answer = Callable[[str, str], str]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Answers in the hub's place; nothing leaves the machine."""
    monkeypatch.setenv("HF_TOKEN", SECRET)

    def put(answer: Answer) -> None:
        monkeypatch.setattr(hub, "hf_hub_download", answer)

    return put


def of_http(kind: type[Exception]) -> Exception:
    # Past its constructor, whose response is of a type that changes with the hub's version.
    error = kind.__new__(kind)
    error.args = (f"401 for token {SECRET}",)
    return error


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: of_http(errors.GatedRepoError), "its licence isn't accepted yet"),
        (lambda: of_http(errors.RepositoryNotFoundError), "the page isn't there"),
        (
            lambda: of_http(errors.RemoteEntryNotFoundError),
            "its page has neither model.safetensors",
        ),
        (lambda: of_http(errors.HfHubHTTPError), "fetching them failed (HfHubHTTPError)"),
        (lambda: errors.LocalEntryNotFoundError(f"no {SECRET}"), "there is no connection"),
        (lambda: errors.OfflineModeIsEnabled("offline"), "there is no connection"),
        (lambda: OSError(28, f"No space left {SECRET}"), "fetching them failed (OSError)"),
    ],
)
def test_what_is_in_the_way_names_the_page_and_the_folder_and_no_token(
    answers: Callable[[Answer], None], make: Callable[[], Exception], reason: str
) -> None:
    def fail(_: str, __: str) -> str:
        raise make()

    answers(fail)
    with pytest.raises(MissingWeightsError) as caught:
        load_encoder(BUILT_IN["uni"], device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert reason in message
    assert "encoder 'uni'" in message
    assert "https://huggingface.co/MahmoodLab/UNI" in message
    assert "--weights DIR" in message
    assert SECRET not in message


def test_an_encoder_without_a_page_asks_for_a_folder() -> None:
    with pytest.raises(
        MissingWeightsError, match=r"names no page with its weights.* --weights DIR"
    ):
        load_encoder(SELF_SUPERVISED, device="cpu")


def test_safetensors_are_preferred_and_pickles_taken_where_there_are_none(
    answers: Callable[[Answer], None], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tensors = dict(build_network(SPEC).state_dict())
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    asked: list[tuple[str, str]] = []

    def answer(repository: str, name: str) -> str:
        asked.append((repository, name))
        if not (tmp_path / name).is_file():
            raise of_http(errors.RemoteEntryNotFoundError)
        return str(tmp_path / name)

    answers(answer)
    first = load_encoder(SPEC, device="cpu")
    assert asked == [("somebody/tiny", "model.safetensors"), ("somebody/tiny", "pytorch_model.bin")]
    assert first.weights == "hub"
    save_file(tensors, tmp_path / "model.safetensors")
    assert load_encoder(SPEC, device="cpu").sha256 == first.sha256
    assert asked[2:] == [("somebody/tiny", "model.safetensors")]
