import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from alignsam_gym.data import Sample
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from tests.conftest import build_toy_sam


class Named:
    """The toy's images, with texts."""

    def __init__(self, toy, texts):
        self.name, self.ids, self.toy, self.texts = toy.name, toy.ids, toy, texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        sample = self.toy[index]
        return Sample(sample.id, sample.image, sample.mask, text=self.texts[index])


def _vit():
    """The toy SAM behind a transformer of two blocks, one with windows."""
    sam = build_toy_sam()
    torch.manual_seed(1)
    sam.image_encoder = ImageEncoderViT(
        img_size=64, patch_size=8, embed_dim=16, depth=2, num_heads=2, out_chans=32,
        use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
    )  # fmt: skip
    return sam.eval()


@pytest.fixture(scope="session", params=["convolutions", "attention"])
def either_model(request, toy_model):
    """The toy SAM, by its kind of image encoder."""
    return toy_model if request.param == "convolutions" else BatchedSamPredictor(_vit(), "vit", torch.device("cpu"))


@pytest.fixture
def encode(tmp_path):
    def encode(dataset, model):
        return EncodedDataset(dataset, model, EmbeddingStore(tmp_path), image_size=64)

    return encode
