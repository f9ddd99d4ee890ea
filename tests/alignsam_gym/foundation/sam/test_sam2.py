import gymnasium as gym
import numpy as np
import pytest
import torch
from timm.models.hieradet_sam2 import HieraDet

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.build_sam import load_sam_checkpoint, recognise
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam
from alignsam_gym.foundation.sam.sam2 import build_sam2, rename_sam2, sam2_from
from alignsam_gym.foundation.sam.transformers_format import published_names

transformers = pytest.importorskip("transformers", reason="transformers, with whose SAM 2 to compare, is not installed")

SIZES = {  # what the publishers' configurations say
    "tiny": {"blocks_per_stage": [1, 2, 7, 2], "global_attention_blocks": [5, 7, 9]},
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "base_plus": {
        "hidden_size": 112,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 3, 16, 3],
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    },
}


def _transformers_sam2(backbone, side=1024, dim=256):
    """An untrained one."""
    backbone = transformers.Sam2HieraDetConfig(image_size=[side, side], **backbone)
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=backbone.embed_dim_per_stage[::-1],
        backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=dim,
    )
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=dim, image_size=side)
    decoder = transformers.Sam2MaskDecoderConfig(hidden_size=dim)
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    return transformers.Sam2Model(config).eval()


def _published(model):
    """The tensors of a model of `transformers` under the names that SAM 2's publishers gave them."""
    tensors = model.state_dict()
    del tensors["shared_image_embedding.positional_embedding"]  # the prompt encoder's own, kept twice
    tensors = published_names("sam2", tensors)
    # Of the parts for videos, one of each shape of name.
    return tensors | {"memory_attention.norm.weight": torch.zeros(1), "maskmem_tpos_enc": torch.zeros(7, 1, 1, 64)}


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    backbone = {
        "hidden_size": 16,
        "blocks_per_stage": [1, 2, 3, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "global_attention_blocks": [4],
        "window_size_per_stage": [8, 4, 4, 2],
    }
    model = _transformers_sam2(backbone, side=128, dim=64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.15)
        embedding = model.shared_image_embedding.positional_embedding.normal_()
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(embedding)
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight *= 6  # some masks are stable then, and some not
    return model


@pytest.fixture(scope="module")
def ours(theirs):
    trunk = HieraDet(embed_dim=16, stages=(1, 2, 3, 1), global_att_blocks=(4,), window_spec=(8, 4, 4, 2))
    sam = sam2_from(trunk, img_size=128, embed_dim=64)
    sam.load_state_dict(rename_sam2(_published(theirs)))
    return BatchedSamPredictor(sam, "toy", torch.device("cpu"))


def test_a_batch_of_images_equals_transformers_on_each(theirs, ours):
    rng, lengths = np.random.default_rng(0), (*range(1, 18), 3)
    images = [rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in lengths]
    points = torch.from_numpy(rng.random((len(lengths), 17, 2), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 2, (len(lengths), 17)))
    for row, length in enumerate(lengths):
        labels[row, length:] = -1
    encodings = ours.encode(images)
    logits = ours.decode(ours.prepare_image(encodings), torch.arange(len(lengths)), points, labels)
    assert logits.std() > 0.5
    processor, unstable = transformers.Sam2ImageProcessor(size={"height": 128, "width": 128}), []
    for row, length in enumerate(lengths):
        pixels = processor(images[row], return_tensors="pt").pixel_values
        given = {"input_points": 128 * points[row, :length], "input_labels": labels[row, :length]}
        prompts = {name: prompt[None, None] for name, prompt in given.items()}
        with torch.no_grad():
            features = theirs.get_image_embeddings(pixels)
            expected = theirs(pixels, **prompts, multimask_output=False).pred_masks[0, 0, 0]
            theirs.mask_decoder.dynamic_multimask_via_stability = False
            single = theirs(pixels, **prompts, multimask_output=False).pred_masks[0, 0, 0]
            theirs.mask_decoder.dynamic_multimask_via_stability = True
        unstable.append(not torch.equal(single, expected))
        torch.testing.assert_close(encodings[row, :64], features[-1][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)
    assert any(unstable)
    assert not all(unstable)


def test_preprocessing_is_the_processors(ours, monkeypatch):
    """At the input's size exactly, enlarged to within the rounding of a pixel."""
    seen = []
    monkeypatch.setattr(ours.sam.image_encoder, "forward", lambda x: seen.append(x) or torch.zeros(len(x), 256, 8, 8))
    processor = transformers.Sam2ImageProcessor(size={"height": 128, "width": 128})
    one_level = 1 / 255 / 0.224
    for side, tolerance in ((128, 1e-5), (100, one_level + 1e-5)):
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        ours.encode([image])
        expected = processor(image, return_tensors="pt").pixel_values
        torch.testing.assert_close(seen.pop(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("size", ["tiny", "small", "base_plus", pytest.param("large", marks=pytest.mark.slow)])
def test_the_published_tensors_are_recognised_and_fit(size):
    with torch.device("meta"):
        tensors = _published(_transformers_sam2(SIZES[size]))
    assert recognise(tensors) == f"sam2.1_hiera_{size}"
    found, expected = rename_sam2(tensors), build_sam2(size).state_dict()
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in expected.items()}
    numbers, for_videos = sum(4 * tensor.numel() for tensor in found.values()), 30_800_000
    assert CHECKPOINTS[f"sam2.1_hiera_{size}"].size == pytest.approx(numbers + for_videos, abs=150_000)


def test_a_trunk_of_another_size_is_no_known_sam():
    assert recognise({"image_encoder.trunk.pos_embed": torch.zeros(1, 96, 7, 7)}) is None


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Random weights at full size, in a file as the publishers wrap theirs."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("sam2") / "random.pt"
    torch.save({"model": _published(_transformers_sam2(SIZES["tiny"]))}, file)
    return file


@pytest.mark.slow
def test_an_environment_plays_with_a_file(file, toy_dataset, tmp_path):
    env = gym.make(
        "alignsam_gym:AlignSAM-v0", dataset=toy_dataset, sam=str(file), device="cpu", max_steps=2, cache_dir=tmp_path
    )
    state, _ = env.reset(seed=0)
    assert state.shape[1:] == (64, 64)
    for action in (44, 55):
        state, _, _, truncated, _ = env.step(action)
    assert truncated
    assert np.isfinite(state).all()
    (encoding,) = tmp_path.rglob("embeddings/*/*.safetensors")
    assert encoding.stat().st_size == pytest.approx(8 * 2**20, abs=1000)


@pytest.mark.slow
def test_a_tensor_too_few_is_noticed(file, tmp_path):
    tensors = torch.load(file, weights_only=True)["model"]
    del tensors["no_mem_embed"]
    torch.save(tensors, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match=r"looks like sam2\.1_hiera_tiny, but it lacks \S+\.no_mem_embed\."):
        load_sam_checkpoint(tmp_path / "short.pt")


@pytest.mark.slow
def test_a_file_is_loaded_whole(file):
    model = load_sam(str(file), "cpu")
    assert (model.input_size, model.embedding_shape, model.logits_shape) == (1024, (256, 64, 64), (256, 256))
    assert model.encoding_shape == (1024, 64, 64)
    assert not any(tensor.is_meta for tensor in (*model.sam.parameters(), *model.sam.buffers()))
