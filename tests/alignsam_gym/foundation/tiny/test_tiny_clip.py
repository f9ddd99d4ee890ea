import math
import pickle

import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from alignsam_gym.data import drawn_scenes
from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation import tiny
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.clip_model import prompt_templates
from alignsam_gym.foundation.tiny.tiny_clip import (
    TextTower,
    TinyClip,
    load_tiny_clip,
    save_tiny_clip,
)
from alignsam_gym.foundation.tiny.tiny_tokenizer import TOKENIZER


@pytest.fixture(scope="module")
def clip():
    return load_clip("tiny", "cpu")


@pytest.mark.parametrize("text", ["", "star", "potted plant", "zygomorphic", "ü 漢字 🙂", "<end_of_text>", "a " * 200])
def test_any_text_becomes_tokens_that_the_model_knows(text):
    tokens = TOKENIZER([text, "a photo."])
    assert tokens.shape == (2, 32)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() == TOKENIZER.vocab_size - 1  # the end, which the model finds as the highest
    assert tokens[0, 0] == TOKENIZER.vocab_size - 2
    assert load_file(tiny.CLIP_WEIGHTS)["text.meanings.weight"].shape[0] == TOKENIZER.vocab_size


def test_the_tokens_are_clips_where_its_merges_suffice():
    whole = open_clip.get_tokenizer("ViT-B-16")
    ids = whole.encode("a photo of the car.")
    assert max(ids) < TOKENIZER.vocab_size - 2  # else the test says nothing
    assert TOKENIZER.encode("a photo of the car.") == ids


@pytest.mark.parametrize("text", ["aeroplane", "a bad photo of the diningtable.", "x zyzzyva 7"])
def test_tokens_spell_the_text(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)).replace(" .", ".").strip() == text


def test_the_templates_are_not_cut():
    prompts = TOKENIZER([template("defocus background") for template in prompt_templates()])
    assert (prompts == TOKENIZER.eot_token_id).any(1).all()
    assert (prompts[:, -1] == 0).all()


def test_the_text_tower_reads_all_tokens_before_the_end_and_no_others():
    torch.manual_seed(0)
    tower = TextTower()
    tokens = TOKENIZER(["toy dog", "dog toy", "toy dog!", ""])
    padded = tokens.clone()
    padded[:, -3:] = 7  # after the end
    features = tower(tokens)
    torch.testing.assert_close(tower(padded), features)
    torch.testing.assert_close(features[0], features[1])
    assert not torch.allclose(features[0], features[2])
    torch.testing.assert_close(features[3], tower.mix(torch.zeros(1, features.shape[1]))[0])


def test_everyday_nouns_are_one_token():
    words = ["dog", "sofa", "sheep", "shadow", "mirror", "bottle", "giraffe", "umbrella", "kettle", "tractor"]
    assert [len(TOKENIZER.encode(word)) for word in words] == [1] * len(words)


def test_a_noun_without_masks_is_nearer_to_its_kind_than_to_another(clip):
    near = [("puppy", "dog"), ("lorry", "truck"), ("armchair", "chair"), ("kitten", "cat"), ("lemon", "orange")]
    firsts, seconds = (clip.encode_texts(words) for words in zip(*near, strict=True))
    assert (firsts @ seconds.T).argmax(1).tolist() == list(range(len(near)))


def test_the_embedded_weights_load_as_float32_and_are_small():
    model = load_tiny_clip()
    assert isinstance(model, TinyClip)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert tiny.CLIP_WEIGHTS.stat().st_size + tiny.WEIGHTS.stat().st_size < 25e6
    assert not any("backbone" in name for name in load_file(tiny.CLIP_WEIGHTS)), (
        "the embedded SAM's, which is shipped once"
    )


def test_maps_have_the_documented_shape_and_range(clip):
    image = drawn_scenes.draw_scene("named", "test", 0).image
    maps = clip.similarity([image, image], ["star", "something never seen"])
    assert maps.shape == (2, 32, 32)
    assert maps.dtype == torch.float32
    assert (maps.amin((1, 2)) == 0).all()
    assert (maps.amax((1, 2)) == 1).all()


def test_a_map_shows_the_probability_that_the_answers_give(clip):
    image = drawn_scenes.draw_scene("named", "test", 0).image
    cells = clip.encode([image])[0, 1:]
    star, nothing = clip.encode_texts(["star", ""])
    probability = torch.sigmoid(cells @ star - cells @ nothing)
    low, high = probability.aminmax()
    expected = ((probability - low) / (high - low)).view(32, 32)
    torch.testing.assert_close(clip.similarity([image], ["star"])[0], expected, atol=1e-4, rtol=0)


def test_the_maps_follow_the_name(clip):
    """On held-out scenes the map's maximum is on what is named far more often than chance has it."""
    hits, chances = [], []
    for index in range(12):
        scene = drawn_scenes.draw_scene("named", "test", index)
        maps = clip.similarity([scene.image] * len(scene.masks), list(scene.masks))
        for mask, similarity in zip(scene.masks.values(), maps, strict=True):
            row, column = np.unravel_index(int(similarity.argmax()), similarity.shape)
            hits.append(mask[row * 8 + 4, column * 8 + 4])
            chances.append(mask.mean())
    p = np.mean(chances)
    assert np.mean(hits) > p + 5 * math.sqrt(p * (1 - p) / len(hits))


def test_it_looks_at_256_pixels_a_side(clip):
    assert clip.input_size == 256


def test_a_pickled_copy_finds_the_same(clip):
    clip.encode_texts(["a cat"])
    twin = pickle.loads(pickle.dumps(clip))
    assert torch.equal(twin.encode_texts(["a cat"]), clip.encode_texts(["a cat"]))


def test_weights_round_trip(tmp_path):
    model = load_tiny_clip()
    save_tiny_clip(model, tmp_path / "weights.safetensors")
    again = load_tiny_clip(tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"is missing; .*pretrain model=clip"):
        load_tiny_clip(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_holds_no_weights_is_a_weights_error(tmp_path, content):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not hold the embedded CLIP's"):
        load_tiny_clip(file)


@pytest.mark.parametrize("metadata", [None, {"backbone": "another"}])
def test_weights_that_go_with_another_backbone_are_refused(tmp_path, metadata):
    save_file(load_file(tiny.CLIP_WEIGHTS), tmp_path / "weights.safetensors", metadata)
    with pytest.raises(WeightsError, match="another backbone"):
        load_tiny_clip(tmp_path / "weights.safetensors")
    with safe_open(tiny.CLIP_WEIGHTS, "pt") as file:
        assert file.metadata().keys() == {"backbone"}
