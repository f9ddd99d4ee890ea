"""Small SAMs of ``transformers``, with random weights: input 128, embedding (64, 8, 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 128, "window_size": 4}
VIT |= {"global_attn_indexes": [1, 3], "output_channels": 64, "mlp_dim": 96}
PROMPTS = {"hidden_size": 64, "image_size": 128}
DECODER = {"hidden_size": 64, "num_attention_heads": 2, "mlp_dim": 96}


def spread(model: Any) -> Any:
    """Random weights throughout, and logits that spread over several units."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
        model.shared_image_embedding.positional_embedding.normal_()
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(
            model.shared_image_embedding.positional_embedding
        )
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight *= 30
    return model.eval()


def vit_sam(kind: str, **vit_dim: int) -> Any:
    """A small SAM (``Sam``) or SAM-HQ (``SamHQ``) of transformers."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vision = getattr(transformers, f"{kind}VisionConfig")(**VIT, num_pos_feats=32)
    prompts = getattr(transformers, f"{kind}PromptEncoderConfig")(**PROMPTS)
    decoder = getattr(transformers, f"{kind}MaskDecoderConfig")(**DECODER, **vit_dim)
    parts = {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}
    config = getattr(transformers, f"{kind}Config")(**parts)
    return spread(getattr(transformers, f"{kind}Model")(config))


@pytest.fixture(scope="session")
def saved_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SAM that transformers has saved."""
    with torch.random.fork_rng(devices=[]):
        folder = tmp_path_factory.mktemp("sam")
        vit_sam("Sam").save_pretrained(folder)
        return folder
