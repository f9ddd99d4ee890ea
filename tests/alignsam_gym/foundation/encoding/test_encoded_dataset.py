import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.errors import DataError
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore, RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, fraction_of


@pytest.fixture
def encodings(toy_model, monkeypatch):
    """How many images each call of the model's `encode` was given."""
    counts, encode = [], toy_model.encode

    def counting(images):
        counts.append(len(images))
        return encode(images)

    monkeypatch.setattr(toy_model, "encode", counting)
    return counts


def _embeddings(*arguments, **options):
    encoded = EncodedDataset(*arguments, **options)
    return torch.stack([sample.embedding for sample in encoded.fetch(range(len(encoded)))])


def _blocks(mask, side):
    """Means over the cells of a `side` × `side` grid, which must divide the mask."""
    h, w = mask.shape
    return mask.reshape(side, h // side, side, w // side).mean((1, 3))


def test_cold_and_warm_embeddings_are_bit_identical(toy_dataset, toy_model, encodings, tmp_path):
    cold, warm = (_embeddings(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64) for _ in range(2))
    assert cold.dtype == torch.float32
    assert torch.equal(cold, warm)
    assert sum(encodings) == len(toy_dataset)


def test_an_image_is_encoded_once_however_often_it_is_asked_for(toy_dataset, toy_model, encodings, tmp_path):
    encoded = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64)
    rows = encoded.fetch([2, 0, 2, 2])
    assert sum(encodings) == 2
    assert torch.equal(rows[0].embedding, rows[2].embedding)
    encoded.fetch([0, 1])
    assert torch.equal(encoded[2].embedding, rows[0].embedding)
    assert sum(encodings) == 3


def test_what_is_no_sample_is_refused_by_its_id(toy_dataset, toy_model):
    toy_dataset.samples[2] = (toy_dataset[2].image, toy_dataset[2].mask)
    encoded = EncodedDataset(toy_dataset, toy_model, RecentStore(), 64)
    message = r"^toy gives a tuple for toy2; it must give an alignsam_gym\.data\.Sample\(id, image, mask\)\.$"
    for use in (encoded.fetch, encoded.frames, encoded.fill_store):
        with pytest.raises(DataError, match=message):
            use([0, 2])


@pytest.fixture
def shared_image(toy_dataset):
    """The toy data set, three of whose samples are of one image."""
    for i in (1, 3):
        toy_dataset.samples[i] = replace(toy_dataset[i], image=toy_dataset[0].image)
    return toy_dataset


def test_an_image_of_several_samples_is_encoded_once(shared_image, toy_model, encodings):
    encoded = EncodedDataset(shared_image, toy_model, RecentStore(), 64)
    assert encoded.fill_store(range(5)) == 3
    assert encodings == [3]
    expected = toy_model.encode([sample.image for sample in shared_image.samples])
    found = torch.stack([sample.encoding for sample in encoded.fetch(range(5))])
    torch.testing.assert_close(found, expected.half(), atol=2e-3, rtol=0)


class Averages:
    """A CLIP that counts what it makes: features are the image's mean, a map is the number of its text."""

    fingerprint = "averages"

    def __init__(self):
        self.described, self.mapped = 0, []

    def describes_as(self, encoder):
        return False

    def dense_features(self, images):
        self.described += len(images)
        return torch.tensor([image.mean() for image in images])[:, None, None, None].float()

    def similarity(self, images, texts):
        self.mapped += texts
        return torch.tensor([float(text) for text in texts])[:, None, None].expand(-1, 8, 8)


def test_features_and_maps_are_made_once_for_an_image_and_its_text(shared_image, toy_model):
    texts = ["0", "1", "1", "1", "0"]
    shared_image.samples = [
        replace(sample, text=text) for sample, text in zip(shared_image.samples, texts, strict=True)
    ]
    clip = Averages()
    fetched = EncodedDataset(shared_image, toy_model, RecentStore(), 64, clip, clip).fetch(range(5))
    assert clip.described == 3
    assert clip.mapped == ["0", "1", "1", "0"]
    for sample, of_sample in zip(fetched, shared_image.samples, strict=True):
        assert sample.similarity.mean() == float(of_sample.text)
        assert float(sample.features) == pytest.approx(of_sample.image.mean(), rel=1e-3)


def test_nothing_is_encoded_twice_where_nothing_can_be_kept(toy_dataset, toy_model, encodings, tmp_path):
    (tmp_path / "file").write_text("")
    encoded = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path / "file"), 64)
    for _ in range(2):
        encoded.fetch(range(len(toy_dataset)))
    assert sum(encodings) == len(toy_dataset)


def test_the_embedding_is_the_models_at_half_precision(toy_dataset, toy_model, tmp_path):
    encoded = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64)
    expected = toy_model.encode([toy_dataset[3].image])[0].half().float()
    torch.testing.assert_close(encoded[3].embedding, expected, atol=2e-3, rtol=0)
    assert torch.equal(encoded[3].embedding, encoded[3].embedding.half().float())


def test_more_images_than_memory_are_read_again_from_disk(toy_dataset, toy_model, encodings, tmp_path):
    whole = _embeddings(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64)
    small = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64, capacity=2)
    for i in (0, 1, 2, 3, 4, 0, 4, 1, 0):
        assert torch.equal(small[i].embedding, whole[i])
    assert sum(encodings) == len(toy_dataset)


@pytest.mark.parametrize("change", ["image", "image_size", "fingerprint"])
def test_whatever_changes_an_embedding_changes_its_key(
    toy_dataset, toy_model, encodings, tmp_path, monkeypatch, change
):
    def encode_first(image_size=64):
        return EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), image_size)[0]

    encode_first()
    match change:
        case "image":
            image = toy_dataset[0].image.copy()
            image[5, 5, 1] ^= 1
            toy_dataset.samples[0] = replace(toy_dataset[0], image=image)
            encode_first()
        case "image_size":
            encode_first(image_size=80)
        case "fingerprint":
            monkeypatch.setattr(toy_model, "fingerprint", "other")
            encode_first()
    assert sum(encodings) == 2


def test_another_mask_on_the_same_image_is_not_encoded_again(toy_dataset, toy_model, encodings, tmp_path):
    store = EmbeddingStore(tmp_path)
    first = EncodedDataset(toy_dataset, toy_model, store, 64)[0]
    toy_dataset.samples[0] = replace(toy_dataset[0], mask=~toy_dataset[0].mask)
    second = EncodedDataset(toy_dataset, toy_model, store, 64)[0]
    assert sum(encodings) == 1
    torch.testing.assert_close(second.truth, 1 - first.truth)


def test_a_damaged_encoding_is_reported_and_made_anew(toy_dataset, toy_model, encodings, tmp_path, caplog):
    store = EmbeddingStore(tmp_path)
    before = EncodedDataset(toy_dataset, toy_model, store, 64)[0].embedding
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        again = EncodedDataset(toy_dataset, toy_model, store, 64)[0].embedding
    assert "made anew" in caplog.text
    assert torch.equal(before, again)
    EncodedDataset(toy_dataset, toy_model, store, 64)[0]
    assert sum(encodings) == 2


def test_truth_is_the_fraction_of_foreground(toy_dataset, toy_model, tmp_path):
    sample = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64)[1]
    mask = toy_dataset[1].mask
    np.testing.assert_allclose(sample.truth.numpy(), _blocks(mask, 32), atol=1e-6)
    assert (sample.valid == 1).all()


def test_void_is_neither_foreground_nor_valid(one_sample, toy_model, tmp_path):
    mask, void = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[:, :41], void[:21] = True, True
    void[30:, ::2] = True
    sample = EncodedDataset(one_sample(mask, void), toy_model, EmbeddingStore(tmp_path), 64)[0]
    np.testing.assert_array_equal(sample.mask, mask & ~void)
    np.testing.assert_array_equal(sample.void, void)
    foreground, labelled = _blocks(mask & ~void, 32), _blocks(~void, 32)
    expected = np.divide(foreground, labelled, out=np.zeros((32, 32)), where=labelled > 0)
    np.testing.assert_allclose(sample.truth.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(sample.valid.numpy(), _blocks(~void, 32), atol=1e-6)


def test_truth_is_the_fraction_where_one_side_grows(one_sample, toy_model, tmp_path):
    mask = np.zeros((16, 320), bool)
    mask[:, ::4] = True  # a quarter of each cell, which is 10 pixels wide and half a pixel high
    sample = EncodedDataset(one_sample(mask, None), toy_model, EmbeddingStore(tmp_path), 64)[0]
    expected = mask[0].reshape(32, 10).mean(1)
    np.testing.assert_allclose(sample.truth.numpy(), np.tile(expected, (32, 1)), atol=1e-6)


class Watched:
    """A data set that notes which samples are loaded, and lacks one."""

    def __init__(self, whole, broken=None):
        self.whole, self.broken, self.loaded = whole, broken, []
        self.name, self.ids = whole.name, whole.ids

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, index):
        self.loaded.append(index)
        if index == self.broken:
            raise DataError("torn")
        return self.whole[index]


def test_what_was_prefetched_is_the_same_and_not_loaded_again(toy_dataset, toy_model, encodings, tmp_path):
    expected = EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path / "a"), 64).fetch([0, 1, 2])
    watched = Watched(toy_dataset)
    encoded = EncodedDataset(watched, toy_model, EmbeddingStore(tmp_path / "b"), 64)
    encoded.fetch([0])
    encoded.prefetch([1, 2])
    encoded.fetch([0])
    found = encoded.fetch([0, 1, 2])
    assert sorted(watched.loaded) == [0, 1, 2]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.embedding, other.embedding)
        assert torch.equal(one.truth, other.truth)


def test_an_error_of_prefetching_is_raised_by_the_fetch(toy_dataset, toy_model, tmp_path):
    encoded = EncodedDataset(Watched(toy_dataset, broken=1), toy_model, EmbeddingStore(tmp_path), 64)
    encoded.prefetch([0, 1])
    with pytest.raises(DataError, match="torn"):
        encoded.fetch([0])
    assert encoded.fetch([0])[0].mask.any()


@pytest.mark.parametrize(("texts", "common"), [(["star"] * 5, "star"), ([*"aabab"], None), ([None] * 5, None)])
def test_a_common_text_is_found(toy_dataset, toy_model, tmp_path, texts, common):
    toy_dataset.samples = [replace(sample, text=text) for sample, text in zip(toy_dataset.samples, texts, strict=True)]
    assert EncodedDataset(toy_dataset, toy_model, EmbeddingStore(tmp_path), 64).common_text() == common


@given(st.integers(0, 2**32 - 1))
def test_a_fraction_of_nothing_is_nothing(seed):
    rng = np.random.default_rng(seed)
    part, whole = np.sort(rng.integers(0, 4, (2, 3, 4)), axis=0) / 4
    fractions = fraction_of(torch.from_numpy(part), torch.from_numpy(whole)).numpy()
    np.testing.assert_allclose(fractions * whole, part)
    assert (fractions[whole == 0] == 0).all()


def test_a_missing_text_is_told_by_its_key_and_no_image(toy_dataset, toy_model):
    encoded = EncodedDataset(toy_dataset, toy_model, RecentStore(), 64, clip=Averages())
    with pytest.raises(DataError, match=r"toy does not say what its masks show, .* give it, dataset\.text=…") as error:
        encoded.fetch([0])
    assert toy_dataset.ids[0] not in str(error.value)
