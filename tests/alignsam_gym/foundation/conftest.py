"""Small SAMs of the other architectures, with random weights: input 128, embedding (64, 8, 8), logits 32 × 32."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from timm.models.hieradet_sam2 import HieraDet

from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.foundation.sam.sam2 import sam2_from
from alignsam_gym.foundation.sam.sam_hq import with_hq


def build_toy_hq() -> Sam:
    vit = ImageEncoderViT(
        img_size=128,
        embed_dim=32,
        depth=4,
        num_heads=2,
        out_chans=64,
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1, 3),
    )
    prompts = PromptEncoder(embed_dim=64, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=64, num_heads=2, mlp_dim=128)
    return with_hq(Sam(vit, prompts, MaskDecoder(transformer_dim=64, transformer=transformer)))


def build_toy_sam2() -> Sam:
    trunk = HieraDet(
        embed_dim=16, num_heads=1, stages=(1, 2, 3, 1), global_att_blocks=(4,), window_spec=(8, 4, 4, 2), num_classes=0
    )
    return sam2_from(trunk, img_size=128, embed_dim=64)


def spread(sam: Sam) -> Sam:
    """Random weights throughout, and logits that spread over several units instead of hundredths."""
    decoder = sam.mask_decoder
    with torch.no_grad():
        for parameter in sam.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        for mlp in (*decoder.output_hypernetworks_mlps, getattr(decoder, "hf_mlp", None)):
            if mlp is not None:
                mlp.layers[-1].weight *= 10
    return sam.eval()


def _model(build) -> BatchedSamPredictor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BatchedSamPredictor(spread(build()), build.__name__, torch.device("cpu"))


@pytest.fixture(scope="session")
def toy_hq() -> BatchedSamPredictor:
    return _model(build_toy_hq)


@pytest.fixture(scope="session")
def toy_sam2() -> BatchedSamPredictor:
    return _model(build_toy_sam2)
