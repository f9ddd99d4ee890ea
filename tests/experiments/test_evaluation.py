import numpy as np
import pytest

from alignsam_gym.envs.prompters import RandomPrompter, oracle_prompter
from alignsam_gym.metrics import overlap, score_mask
from experiments.evaluation import Way, compare
from experiments.journal import Journal

WAYS = {"random": Way(RandomPrompter(0)), "oracle": Way(oracle_prompter, {"label_source": "oracle"})}


@pytest.fixture
def make_episode(make_toy_vec):
    def make(rows):
        return make_toy_vec(rows, split="test").unwrapped.episode

    return make


@pytest.fixture
def make_journal(tmp_path):
    return lambda: Journal(tmp_path / "journal.jsonl", "test")


def summaries(results):
    return {name: scores.summary() for name, scores in results.items()}


def test_every_image_is_measured_once_and_its_last_mask_kept(make_episode, make_journal):
    episode, kept = make_episode(2), {}

    def keep(way, name, mask):
        assert (way, name) not in kept
        kept[way, name] = mask

    results = compare(episode, None, WAYS, make_journal(), keep)
    dataset = episode.encoded.dataset
    for way, scores in results.items():
        assert scores.ids == list(dataset.ids)
        expected = []
        for sample in dataset.samples:
            mask = kept[way, sample.id]
            both, either = overlap(mask, sample.mask)
            expected.append(both / either)
        assert np.allclose(scores.ious()[:, -1], expected)
        maes = [score_mask(kept[way, sample.id], sample.mask).counts.mae() for sample in dataset.samples]
        assert scores.summary()["metrics"]["over_images"]["mae"] == pytest.approx(np.mean(maes))
    assert episode.rules.label_source == "srm"


def test_an_interrupted_evaluation_ends_as_if_it_had_not_been(make_episode, make_journal):
    whole = summaries(compare(make_episode(2), None, WAYS, make_journal()))
    make_journal().remove()
    asked = []

    def interrupt(way, name, mask):
        asked.append(name)
        if len(set(asked)) == 4:  # in the second batch of two
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(make_episode(2), None, WAYS, make_journal(), interrupt)
    assert [record["id"] for record in make_journal().read()] == ["toy0", "toy1"]
    again = []
    resumed = compare(make_episode(2), None, WAYS, make_journal(), lambda way, name, mask: again.append(name))
    assert set(again) == {"toy2", "toy3", "toy4"}
    assert summaries(resumed) == whole
    assert resumed["random"].ids == [f"toy{i}" for i in range(5)]
    done = compare(make_episode(2), None, WAYS, make_journal(), interrupt)
    assert summaries(done) == whole


def test_a_limit_takes_the_first_images(make_episode, make_journal):
    assert compare(make_episode(2), 3, WAYS, make_journal())["oracle"].ids == ["toy0", "toy1", "toy2"]


def test_random_prompts_do_not_depend_on_the_batch(make_episode):
    def first_choices(rows):
        episode, prompter = make_episode(rows), RandomPrompter(3)
        chosen = []
        for start in range(0, 4, rows):
            episode.begin(range(rows), range(start, start + rows), [np.random.default_rng(0)] * rows)
            chosen += prompter(episode).tolist()
        return chosen

    assert first_choices(1) == first_choices(2) == first_choices(4)
    assert len(set(first_choices(4))) > 1
