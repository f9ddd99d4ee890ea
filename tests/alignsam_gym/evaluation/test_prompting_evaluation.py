import numpy as np
import pytest
import torch

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.prompters import RandomPrompter, oracle_prompter
from alignsam_gym.errors import OptionError
from alignsam_gym.evaluation.prompting_evaluation import compare, prompt, prompt_images, score_prompting
from alignsam_gym.evaluation.prompting_strategies import (
    DEFAULT_STRATEGIES,
    PromptingStrategy,
    played_by,
    prompting_strategies,
)
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.metrics import overlap, score_mask

STRATEGIES = {
    "random": PromptingStrategy(RandomPrompter(0)),
    "oracle": PromptingStrategy(oracle_prompter, {"label_source": "oracle"}),
}


@pytest.fixture
def make_episode(make_toy_vec):
    def make(rows):
        return make_toy_vec(rows, split="test").unwrapped.episode

    return make


@pytest.fixture
def make_resume_log(tmp_path):
    return lambda: ResumeLog(tmp_path / "resume_log.jsonl", "test")


def summaries(results):
    return {name: scores.summary() for name, scores in results.items()}


def test_every_image_is_measured_once_and_its_last_mask_kept(make_episode, make_resume_log):
    episode, kept = make_episode(2), {}

    def keep(strategy, name, mask):
        assert (strategy, name) not in kept
        kept[strategy, name] = mask

    results = compare(episode, range(5), STRATEGIES, make_resume_log(), keep)
    dataset = episode.encoded.dataset
    for strategy, scores in results.items():
        assert scores.ids == list(dataset.ids)
        expected = []
        for sample in dataset.samples:
            mask = kept[strategy, sample.id]
            both, either = overlap(mask, sample.mask)
            expected.append(both / either)
        assert np.allclose(scores.ious()[:, -1], expected)
        maes = [score_mask(kept[strategy, sample.id], sample.mask).counts.mae() for sample in dataset.samples]
        assert scores.summary()["metrics"]["over_images"]["mae"] == pytest.approx(np.mean(maes))
    assert episode.rules.label_source == "srm"


def test_an_interrupted_evaluation_ends_as_if_it_had_not_been(make_episode, make_resume_log):
    whole = summaries(compare(make_episode(2), range(5), STRATEGIES, make_resume_log()))
    make_resume_log().remove()
    asked = []

    def interrupt(strategy, name, mask):
        asked.append(name)
        if len(set(asked)) == 4:  # in the second batch of two
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(make_episode(2), range(5), STRATEGIES, make_resume_log(), interrupt)
    assert [record["id"] for record in make_resume_log().read()] == ["toy0", "toy1"]
    again = []
    resumed = compare(
        make_episode(2), range(5), STRATEGIES, make_resume_log(), lambda strategy, name, mask: again.append(name)
    )
    assert set(again) == {"toy2", "toy3", "toy4"}
    assert summaries(resumed) == whole
    assert resumed["random"].ids == [f"toy{i}" for i in range(5)]
    done = compare(make_episode(2), range(5), STRATEGIES, make_resume_log(), interrupt)
    assert summaries(done) == whole


def test_threads_measure_what_one_image_after_another_does(make_episode):
    episode, images = make_episode(3), [4, 1, 3]
    one_by_one = [scorer.finish() for scorer in prompt_images(episode, images, RandomPrompter(0))]
    together = score_prompting(episode, images, RandomPrompter(0))
    assert [image.to_json() for image in together] == [image.to_json() for image in one_by_one]
    assert [image.id for image in together] == ["toy4", "toy1", "toy3"]


def test_only_the_images_asked_for_are_measured(make_episode, make_resume_log):
    assert compare(make_episode(2), range(1, 4), STRATEGIES, make_resume_log())["oracle"].ids == [
        "toy1",
        "toy2",
        "toy3",
    ]


def test_random_prompts_do_not_depend_on_the_batch(make_episode):
    def first_choices(rows):
        episode, prompter = make_episode(rows), RandomPrompter(3)
        chosen = []
        for start in range(0, 4, rows):
            episode.reset(range(rows), range(start, start + rows), [np.random.default_rng(0)] * rows)
            chosen += prompter(episode).tolist()
        return chosen

    assert first_choices(1) == first_choices(2) == first_choices(4)
    assert len(set(first_choices(4))) > 1


def test_rates_leave_out_what_comes_after_stopping(make_toy_vec):
    envs = make_toy_vec(2, split="test", stop=True, max_steps=4, label_source="oracle").unwrapped
    envs.reset(seed=0)
    stop = envs.episode.actions - 1

    def prompter(episode):
        steps = episode.steps.tolist()
        return np.array(
            [5 if index == 0 or step < 2 else stop for index, step in zip(episode.index, steps, strict=True)]
        )

    first, second = score_prompting(envs.episode, [0, 1], prompter)
    assert (len(first.hits), len(second.hits)) == (4, 2)
    assert first.repeats.tolist() == [False, True, True, True]
    assert second.repeats.tolist() == [False, True]
    assert len(first.overlaps) == len(second.overlaps) == 5


@pytest.fixture
def make_strategies(make_toy_vec):
    def make(names, clip=False, **rules):
        env = make_toy_vec(2, split="test", autoreset_mode="SameStep", observation="patches", **rules).unwrapped
        options = {"algorithm": "ppo"}, {"network": "cnn", "width": 8}
        policy, untrained = (make_policy(PromptVecEnv(env), *options, seed).eval() for seed in (0, 1))
        return env.episode, prompting_strategies(policy, untrained, deterministic=True, seed=0, clip=clip, names=names)

    return make


def test_an_agent_prompted_for_longer_does_the_same_at_first(make_strategies, make_resume_log):
    """So that one evaluation of the most prompts has the metrics of all fewer ones (Table 5)."""
    curves = {}
    for steps in (1, 3, 6):
        episode, strategies = make_strategies(["agent", "random"], max_steps=steps)
        resume_log = make_resume_log()
        results = compare(episode, range(5), strategies, resume_log)
        resume_log.remove()
        curves[steps] = {name: scores.ious() for name, scores in results.items()}
    for name in ("agent", "random"):
        assert np.ptp(curves[6][name]) > 0
        for steps in (1, 3):
            assert np.array_equal(curves[steps][name], curves[6][name][:, : steps + 1])


def test_draws_depend_on_the_seed_and_not_on_what_was_drawn_before(make_strategies, make_toy_vec):
    episode, _ = make_strategies(["agent"])
    env = make_toy_vec(2, split="test", autoreset_mode="SameStep", observation="patches").unwrapped
    policy = make_policy(PromptVecEnv(env), {"algorithm": "ppo"}, {"network": "cnn", "width": 8}).eval()

    def chosen(seed):
        points = []
        prompter = AgentPrompter(policy, deterministic=False, seed=seed)
        prompt(episode, [0, 1], prompter, lambda episode, step, batch: points.append(episode.points.clone()))
        torch.rand(1)
        return points[-1]

    first = chosen(1)
    assert torch.equal(chosen(1), first)
    assert not torch.equal(chosen(2), first)
    assert not torch.equal(first[0, 2:], first[1, 2:])


def test_one_step_is_the_agents_first(make_strategies, make_resume_log):
    episode, strategies = make_strategies(["agent", "agent, one step"])
    results = compare(episode, range(5), strategies, make_resume_log())
    assert np.array_equal(results["agent, one step"].ious(), results["agent"].ious()[:, :2])
    assert episode.rules.max_steps == 3


@pytest.mark.parametrize("name", ["agent, untrained", "srm", "oracle"])
def test_any_strategy_may_be_measured_by_sams_answer_alone(make_strategies, make_resume_log, name):
    by_sam = f"{name}, answer: sam"
    episode, strategies = make_strategies([name, by_sam], answer="fused")
    resume_log = make_resume_log()
    results = compare(episode, range(5), strategies, resume_log)
    resume_log.remove()
    assert not np.array_equal(results[by_sam].ious(), results[name].ious())
    episode, strategies = make_strategies([name], answer="sam")
    assert np.array_equal(
        results[by_sam].ious(), compare(episode, range(5), strategies, make_resume_log())[name].ious()
    )


def given_labels(episode, strategy):
    """The label of each prompt, and whether SAM's answer before it had foreground there."""
    labels, answered, before = [], [], []

    def watch(episode, step, batch):
        if step:
            labels.append(episode.labels[:, 1 + step].clone())
            answered.append(episode.rules.grid.sample(before[-1], episode.points[:, 1 + step]) > 0)
        before.append(episode.logits.clone())

    with torch.no_grad(), played_by(episode, strategy.rules):
        prompt(episode, [0, 1, 2, 3], strategy.prompter, watch)
    return torch.cat(labels), torch.cat(answered)


def test_labels_come_from_where_the_strategy_says(make_strategies):
    episode, strategies = make_strategies(["agent, labels: positive", "agent, labels: last"])
    labels, answered = given_labels(episode, strategies["agent, labels: last"])
    assert 0 < answered.sum() < len(answered)
    assert torch.equal(labels == 1, answered)
    assert (given_labels(episode, strategies["agent, labels: positive"])[0] == 1).all()
    assert episode.rules.label_source == "srm"


def test_the_default_strategies_are_all_that_have_what_they_need(make_strategies):
    assert tuple(make_strategies(None, clip=True)[1]) == DEFAULT_STRATEGIES
    assert "clip" not in make_strategies(None)[1]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["agent", "psychic"], r"'psychic'.*'agent, labels: last', .*'agent, one step', or .* with ', answer: sam'"),
        (["clip, answer: sam"], "is unknown"),
        ([], "is empty"),
        (["agent, labels: clip"], "needs CLIP's map"),
    ],
)
def test_names_without_a_strategy_are_errors(make_strategies, names, says):
    with pytest.raises(OptionError, match=says):
        make_strategies(names)


def test_the_untrained_agent_chooses_by_its_own_policy(make_strategies, make_resume_log):
    episode, strategies = make_strategies(["agent", "agent, untrained"])
    results = compare(episode, range(5), strategies, make_resume_log())
    assert np.array_equal(results["agent"].ious()[:, 0], results["agent, untrained"].ious()[:, 0])
    assert not np.array_equal(results["agent"].ious(), results["agent, untrained"].ious())
