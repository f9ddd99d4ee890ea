"""The backbone of the embedded models against timm's EfficientNet-Lite2, from which it is folded."""

import timm
import torch

from alignsam_gym.experiments.pretrain.published_backbone import folded_backbone
from alignsam_gym.foundation.tiny import load_backbone, load_tiny_sam, weights_digest
from alignsam_gym.foundation.tiny.tiny_backbone import CHANNELS, Backbone


def test_it_equals_the_model_of_timm_with_batch_normalisation_folded():
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    for module in model.modules():  # as after training, so that folding is more than the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    model = model.double()
    x = torch.rand(2, 3, 64, 96, dtype=torch.double) * 2 - 1
    with torch.no_grad():
        mine = folded_backbone(model).features(x)[-1]
        torch.testing.assert_close(model.bn2(model.conv_head(mine)), model.forward_features(x))


def test_it_returns_four_strides_normalised_over_channels():
    with torch.no_grad():
        returned = Backbone()(torch.rand(1, 3, 64, 96))
    for features, channels, stride in zip(returned, CHANNELS, (4, 8, 16, 32), strict=True):
        assert features.shape == (1, channels, 64 // stride, 96 // stride)
        torch.testing.assert_close(features.mean(1), torch.zeros(()).expand(features[:, 0].shape), atol=1e-4, rtol=0)


def test_a_digest_tells_weights_apart_but_not_the_sign_of_a_zero():
    model = torch.nn.Linear(2, 1, bias=False)
    digests = []
    for values in ([0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]):
        model.weight.data = torch.tensor([values])
        digests.append(weights_digest(model))
    assert digests[0] == digests[1] != digests[2]


def test_the_embedded_sam_holds_the_backbone_of_both_models():
    backbone = load_backbone()
    assert not any(p.requires_grad for p in backbone.parameters())
    assert weights_digest(backbone) == weights_digest(load_tiny_sam().image_encoder.backbone)
    assert weights_digest(backbone) != weights_digest(Backbone())
