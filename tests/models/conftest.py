"""Fixtures shared by the tests of models."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# A torchvision that was built for CUDA can't be imported beside a torch for CPUs alone, and timm
# imports it. It asks for two operators that only its own library declares; declared here, they let
# the import pass, and nothing calls them.
_DECLARED: list[torch.library.Library] = []


def _declare_operators() -> None:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or torch.version.cuda is not None:
        return
    if "+cu" not in Path(found.origin).with_name("version.py").read_text(encoding="utf-8"):
        return
    library = torch.library.Library("torchvision", "DEF")
    _DECLARED.append(library)  # its operators go when it goes
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare_operators()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are computed faster by one thread, and other tests run beside this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
