import numpy as np
import pytest

from alignsam_gym.agents.metrics_file import read_metrics, write_metrics
from alignsam_gym.errors import DataError
from alignsam_gym.metrics import PromptedImage, PromptingScores, overlap, score_mask


def test_what_is_written_is_read(tmp_path, toy_dataset):
    scores = PromptingScores()
    answer = np.zeros((64, 64), bool)
    answer[20:40] = True
    for sample in toy_dataset.samples:
        overlaps = np.array([overlap(answer, sample.mask)])
        nothing = np.zeros(0, bool)
        measured = score_mask(answer, sample.mask)
        scores.add(PromptedImage(sample.id, None, overlaps, nothing, nothing, measured))
    metrics = write_metrics(tmp_path, {"method": scores}, toy_dataset, {"seed": 3})
    assert read_metrics(tmp_path / "metrics.json") == metrics
    assert (metrics["seed"], metrics["measured_on"], metrics["table"]) == (3, "toy", ["iou", "f_beta"])
    ious = metrics["iou_by_image"]["method"]
    assert list(ious) == list(toy_dataset.ids)
    assert np.mean(list(ious.values())) == pytest.approx(metrics["prompting"]["method"]["miou"], abs=1e-4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ('{"seed": 0}', "holds no measurements"),
        ('{"seed": 0, "prompting": [1]}', "holds no measurements"),
        (
            '{"seed": 0, "table": [], "prompting": {"agent": {"images": 1, "metrics": {}}}, "iou_by_image": {}}',
            r"lacks prompting\.agent\.miou_by_step, iou_by_image\.agent; delete it",
        ),
        ('{"prompting": {"agent": {"images": 1, "metrics": {}, "miou_by_step": []}}}', "lacks seed, table, iou_by_im"),
    ],
)
def test_a_file_without_measurements_is_told(tmp_path, content, says):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(DataError, match=rf"metrics\.json {says}"):
        read_metrics(tmp_path / "metrics.json")
