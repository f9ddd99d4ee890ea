"""What the networks compute, beside what the policies of other tests do with it."""

import numpy as np
import torch
from gymnasium import spaces

from alignsam_gym.agents.networks import SRM_CHANNELS, PatchExtractor


def test_the_srms_channels_of_a_guided_state_bypass_the_convolutions():
    extractor = PatchExtractor(spaces.Box(-9, 9, (7, 4, 4), np.float16), guided=True, width=8)
    seen = torch.randn(2, 7, 4, 4)
    features = extractor(seen).unflatten(1, (8 + SRM_CHANNELS, 4, 4))
    torch.testing.assert_close(features[:, :8], extractor.convolutions(seen))
    torch.testing.assert_close(features[:, 8:], seen[:, 4:])
