"""Losses of masks whose pixels say how sure they are.

Shapes: b images, K classes, h x w pixels. ``weight`` (b, h, w) is how much each pixel counts: the
part of it that lies inside the rated domain and bears a label. What it is 0 for has no gradient.
"""

from __future__ import annotations

import torch

__all__ = ["soft_cross_entropy", "soft_dice"]


def soft_cross_entropy(
    log_probabilities: torch.Tensor, posterior: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy on the posterior, by weight; 0 where nothing counts.

    Parameters
    ----------
    log_probabilities, posterior : shape (b, K, h, w)
    """
    losses = -(posterior * log_probabilities).sum(dim=1)
    return (losses * weight).sum() / weight.sum().clamp(min=_LEAST)


def soft_dice(
    log_probabilities: torch.Tensor, posterior: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """1 minus Dice, mean over the classes that occur in the batch; 0 where nothing counts.

    Dice of soft masks p and q as ``1 - |p - q| / (|p| + |q|)``, which is least where p equals q. The
    common ``2 p q / (p + q)`` is least elsewhere when q is soft: it makes a sure mask of an unsure
    one.

    References
    ----------
    Wang et al. (2023), arXiv:2303.16296, on Dice semimetric losses.
    """
    probabilities = log_probabilities.exp()
    counted = weight.unsqueeze(1)
    over = (0, 2, 3)
    apart = ((probabilities - posterior).abs() * counted).sum(dim=over)
    predicted = (probabilities * counted).sum(dim=over)
    wanted = (posterior * counted).sum(dim=over)
    occurs = wanted > 0
    losses = apart / (predicted + wanted).clamp(min=_LEAST)
    return (losses * occurs).sum() / occurs.sum().clamp(min=1)


_LEAST = 1e-6
