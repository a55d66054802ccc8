"""The same models by other hands, with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from annotation.errors import InputError
from models.mil.clam import ClamNetwork, smooth_svm
from models.mil.networks import GatedAttentionNetwork
from models.mil.torchmil_models import TORCHMIL_MODELS, TorchmilNetwork

torchmil = pytest.importorskip("torchmil.models", reason="torchmil is not installed")

FEATURES, HIDDEN, ATTENTION = 7, 9, 5


def embedding() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU())


def plain(layer: torch.nn.Module) -> torch.nn.Module:
    """The linear layer within one of torchmil's that waits for its size."""
    return getattr(layer, "module", layer)


def copy_weights(ours: GatedAttentionNetwork, theirs: torch.nn.Module) -> None:
    """Give ours the weights of theirs; one logit becomes two, of which the first is 0."""
    pairs = (
        (ours.embed.linear, theirs.feat_ext[0]),
        (ours.pooling.content, theirs.pool.fc1),
        (ours.pooling.gate, theirs.pool.fc_gated),
        (ours.pooling.score, theirs.pool.fc2),
    )
    with torch.no_grad():
        for mine, other in pairs:
            linear = plain(other)
            mine.weight.copy_(linear.weight)
            if mine.bias is not None:
                mine.bias.copy_(linear.bias)
        classifier = plain(theirs.classifier)
        ours.head.linear.weight[0].zero_()
        ours.head.linear.bias[0].zero_()
        ours.head.linear.weight[1].copy_(classifier.weight[0])
        ours.head.linear.bias[1].copy_(classifier.bias[0])


class RowByRow(torch.nn.Module):
    """In the place of torchmil 1.0.2's loss, which compares each tile with the labels of all."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return smooth_svm(logits, labels.squeeze(-1).long())


@pytest.fixture
def given_bags() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    tiles = torch.randn(3, 20, FEATURES, generator=draws)
    mask = torch.arange(20) < torch.tensor([[20], [11], [3]])
    return tiles, mask


def test_gated_attention_is_torchmils_with_the_same_weights(given_bags):
    torch.manual_seed(1)
    theirs = torchmil.ABMIL(
        in_shape=(FEATURES,), att_dim=ATTENTION, gated=True, feat_ext=embedding()
    )
    ours = GatedAttentionNetwork(
        features=FEATURES, classes=2, hidden=HIDDEN, attention=ATTENTION, chunk_tiles=6
    )
    copy_weights(ours, theirs)
    tiles, mask = given_bags
    logit, scores = theirs(tiles, mask.float(), return_att=True)
    logs = ours(tiles, mask)
    torch.testing.assert_close(logs[:, 1] - logs[:, 0], logit, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.attention(tiles, mask),
        torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1),
        atol=1e-6,
        rtol=1e-5,
    )
    truth = torch.tensor([1.0, 0.0, 1.0])
    functional.binary_cross_entropy_with_logits(logit, truth).backward()
    functional.nll_loss(logs, truth.long()).backward()
    torch.testing.assert_close(
        ours.embed.linear.weight.grad, theirs.feat_ext[0].weight.grad, atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("label", [0, 1])
def test_the_same_tiles_are_judged_as_the_same_as_in_torchmil(label, given_bags):
    torch.manual_seed(2)
    theirs = torchmil.CLAM_SB(
        in_shape=(FEATURES,), att_dim=ATTENTION, gated=True, k_sample=4, feat_ext=embedding()
    )
    ours = ClamNetwork(
        features=FEATURES, classes=2, hidden=HIDDEN, attention=ATTENTION, dropout=0.0, picked=4
    )
    theirs.inst_loss_fn = RowByRow()
    copy_weights(ours, theirs)
    with torch.no_grad():
        for mine, other in zip(ours.judges, theirs.inst_classifiers, strict=True):
            mine.weight.copy_(plain(other).weight)
            mine.bias.copy_(plain(other).bias)
    tiles = given_bags[0][:1]
    logit, attention, embedded = theirs(tiles, return_att=True, return_emb=True)
    expected = theirs.compute_inst_loss(attention, embedded, torch.tensor([label]))
    scores = ours.pool(tiles, None).scores[0]
    # Ours is the mean over classes, as in the published code; theirs the sum.
    found = 2 * ours.tile_loss(tiles[0], scores, torch.eye(2)[label])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    truth = torch.tensor([label])
    together = ours.loss(
        tiles, None, lambda logs: functional.nll_loss(logs, truth), torch.eye(2)[truth]
    )
    of_bag = functional.binary_cross_entropy_with_logits(logit, truth.float())
    torch.testing.assert_close(together, 0.7 * of_bag + 0.3 * expected / 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", TORCHMIL_MODELS)
def test_every_model_that_is_taken_gives_distributions_whatever_the_padding(model, given_bags):
    torch.manual_seed(4)
    arguments = {"att_dim": 8} if model == "TransMIL" else None
    made = TorchmilNetwork(model=model, features=8, classes=2, arguments=arguments).eval()
    tiles, mask = torch.nn.functional.pad(given_bags[0], (0, 1)), given_bags[1]
    with torch.no_grad():
        logs = made(tiles, mask)
        alone = torch.cat(
            [made(bag[own].unsqueeze(0)) for bag, own in zip(tiles, mask, strict=True)]
        )
    torch.testing.assert_close(logs.exp().sum(dim=1), torch.ones(3))
    torch.testing.assert_close(logs, alone, atol=1e-5, rtol=1e-5)


def test_what_torchmil_cannot_do_is_refused():
    with pytest.raises(InputError, match="tell two classes apart, not 3"):
        TorchmilNetwork(model="ABMIL", features=4, classes=3)
    with pytest.raises(InputError, match="'GTP' is not taken; take one of ABMIL"):
        TorchmilNetwork(model="GTP", features=4, classes=2)
