import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor, sam_model_registry

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.build_sam import recognise
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.foundation.sam.sam_hq import build_hq_sam, rename_hq
from alignsam_gym.foundation.sam.transformers_format import published_names
from tests.alignsam_gym.foundation.sam.conftest import PROMPTS, spread, vit_sam

transformers = pytest.importorskip("transformers", reason="transformers, with whose SAM to compare, is not installed")

LENGTHS = (1, 4, 9)
IMAGES = [np.random.default_rng(k).integers(0, 256, (128, 128, 3), dtype=np.uint8) for k in range(len(LENGTHS))]
POINTS = torch.rand(len(LENGTHS), 9, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(9).repeat(len(LENGTHS), 1) % 2
for row, length in enumerate(LENGTHS):
    LABELS[row, length:] = -1

PROCESSOR = transformers.SamImageProcessor(size={"longest_edge": 128}, pad_size={"height": 128, "width": 128})


@pytest.fixture
def theirs(saved_sam):
    return transformers.SamModel.from_pretrained(saved_sam)


def prompts_of(row, length):
    return {"input_points": 128 * POINTS[row, :length][None, None], "input_labels": LABELS[row, :length][None, None]}


def answers(model):
    """Encodings, and logits of the single mask."""
    encodings = model.encode(IMAGES)
    return encodings, model.decode(model.prepare_image(encodings), torch.arange(len(IMAGES)), POINTS, LABELS)


def test_a_batch_of_images_equals_segment_anything_on_each(saved_sam):
    ours = load_sam(f"hf:{saved_sam}", "cpu")
    _, logits = answers(ours)
    assert logits.std() > 0.5
    predictor = SamPredictor(ours.sam)
    for row, length in enumerate(LENGTHS):
        predictor.set_image(IMAGES[row])
        given = 128 * POINTS[row, :length].numpy(), LABELS[row, :length].numpy()
        np.testing.assert_allclose(logits[row], predictor.predict(*given, multimask_output=False)[2][0], atol=1e-5)


@pytest.mark.parametrize(("eps", "tolerance"), [(1e-6, 2e-4), (1e-5, 1e-5)])
def test_a_batch_of_images_equals_transformers_on_each(theirs, saved_sam, eps, tolerance):
    """To the last digits once the layer norms of its decoder add what the publishers' do."""
    for layer in theirs.mask_decoder.transformer.layers:
        for norm in (layer.layer_norm1, layer.layer_norm2, layer.layer_norm3, layer.layer_norm4):
            norm.eps = eps
    encodings, logits = answers(load_sam(f"hf:{saved_sam}", "cpu"))
    for row, length in enumerate(LENGTHS):
        pixels = PROCESSOR(IMAGES[row], return_tensors="pt").pixel_values
        with torch.no_grad():
            embedding = theirs.get_image_embeddings(pixels)[0]
            expected = theirs(pixels, **prompts_of(row, length), multimask_output=False).pred_masks[0, 0, 0]
        torch.testing.assert_close(encodings[row], embedding, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits[row], expected, atol=tolerance, rtol=0)


def test_sam_2_is_what_transformers_has(tmp_path):
    torch.manual_seed(0)
    stages = {"blocks_per_stage": [1, 2, 3, 1], "embed_dim_per_stage": [32, 64, 128, 256]}
    stages |= {"num_attention_heads": 2, "num_attention_heads_per_stage": [2, 4, 8, 16]}
    backbone = transformers.Sam2HieraDetConfig(
        image_size=[128, 128], hidden_size=32, global_attention_blocks=[4], window_size_per_stage=[8, 4, 4, 2], **stages
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=backbone.embed_dim_per_stage[::-1],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=64,
    )
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=transformers.Sam2PromptEncoderConfig(**PROMPTS),
        mask_decoder_config=transformers.Sam2MaskDecoderConfig(hidden_size=64),
    )
    theirs = spread(transformers.Sam2Model(config))
    theirs.save_pretrained(tmp_path)
    _, logits = answers(load_sam(f"hf:{tmp_path}", "cpu"))
    assert logits.std() > 0.5
    processor = transformers.Sam2ImageProcessor(size={"height": 128, "width": 128})
    for row, length in enumerate(LENGTHS):
        pixels = processor(IMAGES[row], return_tensors="pt").pixel_values
        with torch.no_grad():
            expected = theirs(pixels, **prompts_of(row, length), multimask_output=False).pred_masks[0, 0, 0]
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_sam_hq_is_what_its_publishers_have(tmp_path):
    """Its features of the image are those of transformers, too; its masks are not (see the module)."""
    published = pytest.importorskip("segment_anything_hq")
    modeling = pytest.importorskip("segment_anything_hq.modeling")
    theirs = vit_sam("SamHQ", vit_dim=32)
    theirs.save_pretrained(tmp_path)
    encodings, logits = answers(load_sam(f"hf:{tmp_path}", "cpu"))
    assert logits.std() > 0.5

    vit = {"embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 128, "window_size": 4, "out_chans": 64}
    prompts = {"embed_dim": 64, "image_embedding_size": (8, 8), "input_image_size": (128, 128), "mask_in_chans": 16}
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=64, num_heads=2, mlp_dim=96)
    sam = modeling.Sam(
        modeling.ImageEncoderViT(**vit, mlp_ratio=3, use_rel_pos=True, global_attn_indexes=(1, 3)),
        modeling.PromptEncoder(**prompts),
        modeling.MaskDecoderHQ(transformer_dim=64, transformer=transformer, vit_dim=32),
    ).eval()
    for block in sam.image_encoder.blocks:
        block.norm1.eps = block.norm2.eps = 1e-6
    sam.load_state_dict(published_names("sam_hq", load_file(tmp_path / "model.safetensors")))
    predictor = published.SamPredictor(sam)
    for row, length in enumerate(LENGTHS):
        predictor.set_image(IMAGES[row])
        given = 128 * POINTS[row, :length].numpy(), LABELS[row, :length].numpy()
        low = predictor.predict(*given, multimask_output=False)[2]
        np.testing.assert_allclose(logits[row], low[0], atol=1e-4)
        pixels = PROCESSOR(IMAGES[row], return_tensors="pt").pixel_values
        embedding = theirs.get_image_embeddings(pixels)[0]
        torch.testing.assert_close(encodings[row, :64], embedding[0], atol=1e-4, rtol=1e-4)


CLASSES = {"Sam": "", "SamHQ": "sam_hq_"}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("vit", ["vit_b", "vit_l", "vit_h"])
def test_published_sizes_get_their_published_names(kind, vit):
    width, depth, heads = {"vit_b": (768, 12, 12), "vit_l": (1024, 24, 16), "vit_h": (1280, 32, 16)}[vit]
    whole = [depth * k // 4 - 1 for k in (1, 2, 3, 4)]
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": whole,
    }
    config = getattr(transformers, f"{kind}Config")(
        vision_config=sizes, mask_decoder_config={"vit_dim": width} if kind == "SamHQ" else {}
    )
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}Model")(config)
        expected = (build_hq_sam(vit) if kind == "SamHQ" else sam_model_registry[vit]()).state_dict()
    tensors = model.state_dict()
    del tensors["shared_image_embedding.positional_embedding"]  # two on no device cannot be compared
    tensors = published_names(config.model_type, tensors)
    assert recognise(tensors) == CLASSES[kind] + vit
    found = rename_hq(tensors) if kind == "SamHQ" else tensors
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in expected.items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_weights_are_read(saved_sam, tmp_path, dtype):
    (tmp_path / "config.json").write_bytes((saved_sam / "config.json").read_bytes())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(saved_sam / "model.safetensors").items()}
    save_file(tensors, tmp_path / "model.safetensors")
    assert {p.dtype for p in load_sam(f"hf:{tmp_path}", "cpu").sam.parameters()} == {torch.float32}


@pytest.fixture
def changed(saved_sam, tmp_path):
    """Write the model with a changed configuration or tensors, and return its name."""

    def changed(change_config=lambda config: None, change_tensors=lambda tensors: None):
        config, tensors = (
            json.loads((saved_sam / "config.json").read_text()),
            load_file(saved_sam / "model.safetensors"),
        )
        change_config(config)
        change_tensors(tensors)
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "model.safetensors")
        return f"hf:{tmp_path}"

    return changed


def test_the_fingerprint_is_of_weights_and_configuration(changed):
    changes = [{}, {}, {"num_attention_heads": 4}]
    fingerprints = [
        load_sam(changed(lambda config, change=change: config["mask_decoder_config"].update(change)), "cpu").fingerprint
        for change in changes
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize(
    ("part", "option", "value", "says"),
    [
        ("vision_config", "hidden_act", "relu", r"vision_config\.hidden_act is 'relu', and not 'gelu'"),
        ("mask_decoder_config", "iou_head_depth", 2, r"mask_decoder_config\.iou_head_depth is 2, and not 3"),
        ("vision_config", "hidden_size", "wide", r"config\.json describes no SAM that can be built here"),
        ("vision_config", "num_hidden_layers", 3, r"looks like sam, but it has besides image_encoder\.blocks\.3"),
        ("mask_decoder_config", "num_attention_heads", 7, r"config\.json describes no SAM .*: num_heads must divide"),
        (None, "model_type", ["sam"], r"model_type is \['sam'\], and not one of sam, sam_hq"),
        (None, "model_type", "bert", r"model_type is 'bert', and not one of sam, sam_hq, sam2, sam2_video"),
    ],
)
def test_another_model_is_a_weights_error(changed, part, option, value, says):
    def change(config):
        (config[part] if part else config)[option] = value

    with pytest.raises(WeightsError, match=says):
        load_sam(changed(change), "cpu")


def test_two_positional_encodings_are_a_weights_error(changed):
    name = "prompt_encoder.shared_embedding.positional_embedding"
    with pytest.raises(WeightsError, match="no published SAM has two encodings"):
        load_sam(changed(change_tensors=lambda tensors: tensors.update({name: torch.zeros(2, 32)})), "cpu")


@pytest.mark.parametrize("backbone", [{"blocks_per_stage": [1]}, {"window_size_per_stage": [8]}])
def test_a_sam_2_that_cannot_be_built_is_a_weights_error(tmp_path, backbone):
    config = {"model_type": "sam2", "vision_config": {"backbone_config": backbone}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(WeightsError, match=r"config\.json describes no SAM that can be built here: \w+"):
        load_sam(f"hf:{tmp_path}", "cpu")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_torn_configuration_is_a_weights_error(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json is "):
        load_sam(f"hf:{tmp_path}", "cpu")
