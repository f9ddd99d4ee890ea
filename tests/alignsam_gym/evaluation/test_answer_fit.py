import pytest
import torch

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.prompters import play
from alignsam_gym.evaluation.answer_fit import fit_answer
from alignsam_gym.evaluation.prompting_strategies import played_by
from alignsam_gym.srm.answer_fusion import AnswerFusion


@pytest.fixture
def trained(make_toy_vec):
    """A training environment of two rows whose SRM of two folds has learned a little, and a policy."""
    env = make_toy_vec(
        2, autoreset_mode="SameStep", observation="patches", answer="fused", srm={"width": 8, "folds": 2}
    )
    env = env.unwrapped
    env.reset(seed=0)
    for action in ([1, 2], [5, 9], [14, 3]):
        env.step(action)
    return env, make_policy(PromptVecEnv(env), {"algorithm": "ppo", "n_steps": 3}, {"network": "patch", "width": 8})


def test_the_answer_is_fitted_on_every_image_as_in_testing_by_branches_that_have_not_seen_it(trained):
    env, policy = trained
    episode = env.episode
    before = [weight.clone() for weight in episode.srm.members.parameters()]
    fit_answer(env, policy)
    assert all(map(torch.equal, episode.srm.members.parameters(), before))
    assert (episode.learns, episode.rules.initial_prompts) == (True, "truth")
    seen = []
    episode.learns = False
    with played_by(episode, {"initial_prompts": "srm"}):
        for batch in ([0, 1], [2, 3], [4, 4]):
            for step in play(episode, batch, AgentPrompter(policy, deterministic=True)):
                assert episode._folds_at(torch.arange(2)).tolist() == episode._folds[batch].tolist()
                rows = slice(len(set(batch)))
                parts = episode.logits, episode.srm_logits, episode.steps, episode.truth, episode.valid
                assert (episode.steps == step).all()
                seen.append([part[rows].clone() for part in parts])
    expected = AnswerFusion()
    expected.fit(*map(torch.cat, zip(*seen, strict=True)))
    torch.testing.assert_close(episode.srm.fusion.weights, expected.weights, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(expected.weights, AnswerFusion().weights, atol=0.05)
