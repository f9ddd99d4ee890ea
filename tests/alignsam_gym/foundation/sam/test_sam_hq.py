import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from alignsam_gym.foundation.sam.build_sam import load_sam_checkpoint, recognise
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.foundation.sam.sam_hq import build_hq_sam, rename_hq, with_hq

published = pytest.importorskip(
    "segment_anything_hq", reason="the publishers' package, segment-anything-hq, is not installed"
)
modeling = pytest.importorskip("segment_anything_hq.modeling")

VIT = {"img_size": 128, "embed_dim": 32, "depth": 4, "num_heads": 2, "out_chans": 64, "use_rel_pos": True}
VIT |= {"window_size": 4, "global_attn_indexes": (1, 3)}
PROMPTS = {"embed_dim": 64, "image_embedding_size": (8, 8), "input_image_size": (128, 128), "mask_in_chans": 16}
TRANSFORMER = {"depth": 2, "embedding_dim": 64, "num_heads": 2, "mlp_dim": 128}


@pytest.fixture(scope="module")
def theirs():
    """A small SAM-HQ of the publishers' own classes, its logits spread over several units."""
    torch.manual_seed(0)
    sam = modeling.Sam(
        modeling.ImageEncoderViT(**VIT),
        modeling.PromptEncoder(**PROMPTS),
        modeling.MaskDecoderHQ(transformer_dim=64, transformer=modeling.TwoWayTransformer(**TRANSFORMER), vit_dim=32),
    ).eval()
    with torch.no_grad():
        sam.image_encoder.pos_embed.normal_(std=0.1)
        for mlp in (*sam.mask_decoder.output_hypernetworks_mlps, sam.mask_decoder.hf_mlp):
            mlp.layers[-1].weight *= 10
    return sam


@pytest.fixture(scope="module")
def ours(theirs):
    decoder = MaskDecoder(transformer_dim=64, transformer=TwoWayTransformer(**TRANSFORMER))
    sam = with_hq(Sam(ImageEncoderViT(**VIT), PromptEncoder(**PROMPTS), decoder))
    sam.load_state_dict(rename_hq(theirs.state_dict()))
    return BatchedSamPredictor(sam, "toy", torch.device("cpu"))


def test_a_batch_of_images_equals_the_publishers_predictor_on_each(theirs, ours):
    rng, lengths = np.random.default_rng(0), (1, 5, 17, 2)
    images = [rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in lengths]
    points = torch.from_numpy(rng.random((4, 17, 2), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 2, (4, 17)))
    for row, length in enumerate(lengths):
        labels[row, length:] = -1
    encodings = ours.encode(images)
    logits = ours.decode(ours.prepare_image(encodings), torch.arange(4), points, labels)
    assert logits.std() > 1
    predictor = published.SamPredictor(theirs)
    for row, length in enumerate(lengths):
        predictor.set_image(images[row])
        torch.testing.assert_close(encodings[row, :64], predictor.features[0], atol=1e-5, rtol=1e-5)
        given = points[row, :length].numpy() * 128, labels[row, :length].numpy()
        expected = predictor.predict(*given, multimask_output=False)[2]
        np.testing.assert_allclose(logits[row].numpy(), expected[0], atol=2e-5)


@pytest.mark.parametrize("vit", ["vit_b", "vit_l", "vit_h"])
def test_the_published_tensors_are_recognised_and_fit(vit):
    with torch.device("meta"):
        tensors = published.sam_model_registry[vit]().state_dict()
    assert recognise(tensors) == f"sam_hq_{vit}"
    found, expected = rename_hq(tensors), build_hq_sam(vit).state_dict()
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in expected.items()}
    numbers = sum(4 * tensor.numel() for tensor in tensors.values())
    assert CHECKPOINTS[f"sam_hq_{vit}"].size == pytest.approx(numbers, abs=300_000)


@pytest.mark.slow
def test_a_file_is_loaded(tmp_path):
    torch.manual_seed(0)
    tensors = published.sam_model_registry["vit_b"]().state_dict()
    torch.save(tensors, tmp_path / "random.pth")
    sam = load_sam_checkpoint(tmp_path / "random.pth")
    found = sam.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in rename_hq(tensors).items())
    assert not any(tensor.is_meta for tensor in (*sam.parameters(), *sam.buffers()))
    assert BatchedSamPredictor(sam, "random", torch.device("cpu")).encoding_shape == (768, 64, 64)
