"""Encoders that are known by name.

Architectures and preprocessing are those that the weights' authors publish: for UNI (Chen et al.
2024, doi:10.1038/s41591-024-02857-3) and Virchow2 (Zimmermann et al. 2024, arXiv:2408.00738) on the
pages named by ``hub``, for the others in timm. Those weights are of other people and come under
their licences.
"""

from __future__ import annotations

from types import MappingProxyType

from models.encoders.spec import SELF_SUPERVISED_NAME, EncoderSpec

__all__ = ["BUILT_IN", "SELF_SUPERVISED"]

_HALF = (0.5, 0.5, 0.5)

SELF_SUPERVISED = EncoderSpec(
    name=SELF_SUPERVISED_NAME,
    architecture="small",
    input_px=64,
    mpp=1.0,
    feature="pooled",
    interpolation="bilinear",
)
"""The network that is trained on one's own tiles."""

_SPECS = (
    EncoderSpec(
        name="resnet50",
        architecture="resnet50",
        input_px=224,
        mpp=0.5,
        feature="pooled",
        hub="timm/resnet50.a1_in1k",
        licence="Apache-2.0",
    ),
    EncoderSpec(
        name="vit-small",
        architecture="vit_small_patch16_224",
        input_px=224,
        mpp=0.5,
        feature="class",
        mean=_HALF,
        std=_HALF,
        hub="timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
        licence="Apache-2.0",
    ),
    EncoderSpec(
        name="vit-base",
        architecture="vit_base_patch16_224",
        input_px=224,
        mpp=0.5,
        feature="class",
        mean=_HALF,
        std=_HALF,
        hub="timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
        licence="Apache-2.0",
    ),
    EncoderSpec(
        name="uni",
        architecture="vit_large_patch16_224",
        input_px=224,
        mpp=0.5,
        feature="class",
        interpolation="bilinear",
        hub="MahmoodLab/UNI",
        licence="CC-BY-NC-ND 4.0, on acceptance",
        arguments=MappingProxyType(
            {"img_size": 224, "patch_size": 16, "init_values": 1e-5, "dynamic_img_size": True}
        ),
    ),
    EncoderSpec(
        name="virchow2",
        architecture="vit_huge_patch14_224",
        input_px=224,
        mpp=0.5,
        feature="class+mean",
        precision="float16",
        hub="paige-ai/Virchow2",
        licence="CC-BY-NC-ND 4.0, on acceptance",
        arguments=MappingProxyType(
            {
                "img_size": 224,
                "init_values": 1e-5,
                "reg_tokens": 4,
                "mlp_ratio": 5.3375,
                "mlp_layer": "SwiGLUPacked",
                "act_layer": "SiLU",
                "global_pool": "",
                "dynamic_img_size": True,
            }
        ),
    ),
)

BUILT_IN = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Encoders whose weights others have trained, by name."""
