"""The answer that a trained agent gives."""

import pytest
import torch

from alignsam_gym.evaluation.answer_choice import better_answer
from alignsam_gym.evaluation.labelled_play import LabelledPlay


@pytest.mark.parametrize(("sam", "fused", "better"), [(0.7, 0.6, "sam"), (0.6, 0.7, "fused")])
def test_the_answer_with_the_higher_miou_is_chosen_and_told(make_toy_vec, caplog, sam, fused, better):
    caplog.set_level("INFO")
    episode = make_toy_vec(3, answer="auto", srm={"width": 8}).unwrapped.episode
    assert better_answer(episode, LabelledPlay(torch.empty(0), {"sam": sam, "fused": fused})) == better
    assert f"answer={better}: mIoU on the 5 labelled images" in caplog.text
    assert f"sam {sam:.3f}, fused {fused:.3f}" in caplog.text
