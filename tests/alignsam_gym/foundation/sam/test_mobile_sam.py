"""MobileSAM against a plain statement of it, in the names and shapes of the published file."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.build_sam import load_sam_checkpoint, recognise
from alignsam_gym.foundation.sam.mobile_sam import build_mobile_sam
from alignsam_gym.foundation.sam.predictor import load_sam

ENCODER = "image_encoder."
WIDTHS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)


def mobile_tensors():
    """Random weights under the names of MobileSAM's own code."""
    random = torch.Generator().manual_seed(0)
    tensors = {}

    def draw(name, *shape, centre=0.0, spread=1.0):
        tensors[ENCODER + name] = centre + spread * torch.randn(shape, generator=random)

    def conv_norm(name, inputs, outputs, kernel):
        draw(f"{name}.c.weight", outputs, inputs, kernel, kernel, spread=(inputs * kernel**2) ** -0.5)
        norm(f"{name}.bn", outputs)
        draw(f"{name}.bn.running_mean", outputs, spread=0.2)
        tensors[f"{ENCODER}{name}.bn.running_var"] = 0.5 + torch.rand(outputs, generator=random)
        tensors[f"{ENCODER}{name}.bn.num_batches_tracked"] = torch.tensor(100)

    def norm(name, width):
        draw(f"{name}.weight", width, centre=1.0, spread=0.2)
        draw(f"{name}.bias", width, spread=0.2)

    def linear(name, inputs, outputs):
        draw(f"{name}.weight", outputs, inputs, spread=inputs**-0.5)
        draw(f"{name}.bias", outputs, spread=0.2)

    conv_norm("patch_embed.seq.0", 3, WIDTHS[0] // 2, 3)
    conv_norm("patch_embed.seq.2", WIDTHS[0] // 2, WIDTHS[0], 3)
    for i, (width, depth, heads, window) in enumerate(zip(WIDTHS, DEPTHS, HEADS, WINDOWS, strict=True)):
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            if i == 0:
                conv_norm(f"{block}.conv1", width, 4 * width, 1)
                conv_norm(f"{block}.conv2", 1, 4 * width, 3)
                conv_norm(f"{block}.conv3", 4 * width, width, 1)
                continue
            norm(f"{block}.attn.norm", width)
            linear(f"{block}.attn.qkv", width, 3 * width)
            linear(f"{block}.attn.proj", width, width)
            draw(f"{block}.attn.attention_biases", heads, window**2)
            norm(f"{block}.mlp.norm", width)
            linear(f"{block}.mlp.fc1", width, 4 * width)
            linear(f"{block}.mlp.fc2", 4 * width, width)
            conv_norm(f"{block}.local_conv", 1, width, 3)
        if i < 3:
            conv_norm(f"layers.{i}.downsample.conv1", width, WIDTHS[i + 1], 1)
            conv_norm(f"layers.{i}.downsample.conv2", 1, WIDTHS[i + 1], 3)
            conv_norm(f"layers.{i}.downsample.conv3", WIDTHS[i + 1], WIDTHS[i + 1], 1)
    norm("norm_head", WIDTHS[-1])
    linear("head", WIDTHS[-1], 1000)
    draw("neck.0.weight", 256, WIDTHS[-1], 1, 1, spread=WIDTHS[-1] ** -0.5)
    norm("neck.1", 256)
    draw("neck.2.weight", 256, 256, 3, 3, spread=(9 * 256) ** -0.5)
    norm("neck.3", 256)
    return tensors


def embed(tensors, x):
    """TinyViT and neck in plain steps: (B, 3, S, S) -> (B, 256, S/16, S/16)."""

    def get(name):
        return tensors[ENCODER + name]

    def conv_norm(name, x, stride=1):
        weight = get(f"{name}.c.weight")
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])
        mean, variance = get(f"{name}.bn.running_mean"), get(f"{name}.bn.running_var")
        return F.batch_norm(x, mean, variance, get(f"{name}.bn.weight"), get(f"{name}.bn.bias"))

    def norm(name, x, eps=1e-5):
        return F.layer_norm(x, x.shape[-1:], get(f"{name}.weight"), get(f"{name}.bias"), eps)

    def linear(name, x):
        return F.linear(x, get(f"{name}.weight"), get(f"{name}.bias"))

    def three(name, x, stride):
        x = F.gelu(conv_norm(f"{name}.conv1", x))
        return conv_norm(f"{name}.conv3", F.gelu(conv_norm(f"{name}.conv2", x, stride)))

    def attend(name, tokens, heads, window):
        """One window's tokens (window², C), a head at a time; a bias for each distance in rows and columns."""
        qkv = linear(f"{name}.qkv", norm(f"{name}.norm", tokens)).unflatten(-1, (heads, -1))
        place = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij"), -1).reshape(-1, 2)
        distance = (place[:, None] - place[None]).abs()
        bias = get(f"{name}.attention_biases")[:, distance[..., 0] * window + distance[..., 1]]
        out = []
        for head in range(heads):
            q, k, v = qkv[:, head].chunk(3, dim=-1)
            out.append((q @ k.T / q.shape[-1] ** 0.5 + bias[head]).softmax(-1) @ v)
        return linear(f"{name}.proj", torch.cat(out, -1))

    def block(name, x, heads, window):
        height, width = x.shape[1:3]
        padded = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        attended = torch.zeros_like(padded)
        for image in range(len(x)):
            for top in range(0, padded.shape[1], window):
                for left in range(0, padded.shape[2], window):
                    cell = (image, slice(top, top + window), slice(left, left + window))
                    tokens = padded[cell].reshape(window**2, -1)
                    attended[cell] = attend(f"{name}.attn", tokens, heads, window).reshape(window, window, -1)
        x = x + attended[:, :height, :width]
        x = conv_norm(f"{name}.local_conv", x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + linear(f"{name}.mlp.fc2", F.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.mlp.norm", x))))

    x = conv_norm("patch_embed.seq.2", F.gelu(conv_norm("patch_embed.seq.0", x, 2)), 2)
    for j in range(DEPTHS[0]):
        x = F.gelu(x + three(f"layers.0.blocks.{j}", x, 1))
    for i in (1, 2, 3):
        x = three(f"layers.{i - 1}.downsample", x, 1 if i == 3 else 2).permute(0, 2, 3, 1)
        for j in range(DEPTHS[i]):
            x = block(f"layers.{i}.blocks.{j}", x, HEADS[i], WINDOWS[i])
        x = x.permute(0, 3, 1, 2)
    for conv, layer_norm in (("neck.0", "neck.1"), ("neck.2", "neck.3")):
        weight = get(f"{conv}.weight")
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        x = norm(layer_norm, x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
    return x


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    rest = {name: t for name, t in build_mobile_sam().state_dict().items() if not name.startswith(ENCODER)}
    return {**mobile_tensors(), **rest}


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
    file = tmp_path_factory.mktemp("mobile") / "mobile_sam.pt"
    torch.save(tensors, file)
    return file


def test_the_file_is_recognised_and_as_large_as_the_published_one(tensors, file):
    assert recognise(tensors) == "vit_t"
    assert len(tensors) == 439
    assert file.stat().st_size == pytest.approx(40_728_226, abs=50_000)


def test_the_encoder_equals_a_plain_statement_of_it(tensors, file):
    encoder = load_sam_checkpoint(file).image_encoder.eval()
    # 32 × 24, then 16 × 12 tokens: windows of 7 and of 14, whole ones and padded ones
    images = torch.randn(1, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = encoder(images), embed(tensors, images)
    assert found.shape == (1, 256, 16, 12)
    assert found.std() > 0.5
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_tensor_too_few_is_noticed(tensors, tmp_path):
    name = "image_encoder.layers.2.blocks.5.attn.attention_biases"
    torch.save({key: tensor for key, tensor in tensors.items() if key != name}, tmp_path / "mobile.pt")
    with pytest.raises(WeightsError, match=r"looks like vit_t, but it lacks \S+2\.blocks\.5\.attn\.attention_biases\."):
        load_sam_checkpoint(tmp_path / "mobile.pt")


@pytest.mark.slow
def test_it_encodes_and_decodes(file, tensors):
    model = load_sam(str(file), "cpu")
    assert (model.input_size, model.embedding_shape, model.logits_shape) == (1024, (256, 64, 64), (256, 256))
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    embedding = model.encode([image])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        torch.testing.assert_close(embedding, embed(tensors, model.sam.preprocess(pixels)), atol=1e-4, rtol=1e-4)
    logits = model.decode(
        model.prepare_image(embedding), torch.arange(1), torch.tensor([[[0.3, 0.6]]]), torch.tensor([[1]])
    )
    assert logits.shape == (1, 256, 256)
    assert logits.isfinite().all()
