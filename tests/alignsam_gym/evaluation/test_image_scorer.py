from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alignsam_gym.errors import DataError
from alignsam_gym.evaluation.image_scorer import ImageScorer


def test_what_cannot_be_measured_is_told_with_the_images_name():
    nothing = SimpleNamespace(mask=np.zeros((3, 2), bool), void=np.ones((3, 2), bool), text=None)
    scorer = ImageScorer("harbour", nothing)
    scorer.add_answer(torch.ones(2, 2))
    with pytest.raises(DataError, match=r"^harbour: Fewer than two pixels have a label"):
        scorer.finish()
