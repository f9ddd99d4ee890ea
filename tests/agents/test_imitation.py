import pytest
import torch

from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.imitation import warm_start
from alignsam_gym.agents.vec_env import PromptVecEnv, make_environments
from alignsam_gym.errors import OptionError

OPTIONS = {
    "rounds": 2,
    "srm_rounds": 1,
    "candidates": 8,
    "temperature": 0.02,
    "learning_rate": 1e-2,
    "epochs": 20,
    "batch_size": 16,
    "dropout": 0.0,
}


@pytest.fixture
def make_env(toy_sam, toy_dataset):
    def make(count=10, **options):
        options = {"dataset": toy_dataset, "image_size": 64, "patch_size": 16, "max_steps": 3, **options}
        env = make_environments(count, revisit="forbid", srm={"width": 8}, **options)
        env.reset(seed=0)
        return env

    return make


def _policy(env, seed=0, algorithm="ppo"):
    torch.manual_seed(seed)
    kwargs = {"temperature": 0.01} if algorithm in ("dqn", "qrdqn") else {}
    agent = {"algorithm": algorithm, "policy_kwargs": kwargs}
    return make_policy(PromptVecEnv(env), agent, {"network": "patch", "width": 16})


def _set_gains(env, gain_of):
    """Let each prompt gain what `gain_of` makes of the mask's values at the patches' centres, (B, N)."""
    episode = env.episode
    episode.lookahead_iou = lambda actions: (
        episode.iou[:, None] + gain_of(episode.at_centres(episode.mask)).gather(1, actions)
    )


@pytest.mark.parametrize("state", ["product", "concat", "guided"])
def test_the_policy_learns_what_gains_most(make_env, state):
    env = make_env(state=state)
    policy = _policy(env)
    _set_gains(env, lambda mask: (mask - 0.5) / 5)
    warm_start(policy, env, OPTIONS | {"rounds": 3}, seed=0)
    env.reset(seed=9)
    chosen, _ = policy.predict(env.observe(), deterministic=True)
    masks = env.episode.at_centres(env.episode.mask)
    rank = (masks > masks.gather(1, torch.from_numpy(chosen)[:, None])).sum(1)
    assert rank.float().mean() < 3  # of 16; 7.5 by chance


@pytest.mark.parametrize(("gain", "stops"), [(-0.05, True), (0.05, False)])
def test_the_policy_stops_where_prompts_only_lose(make_env, gain, stops):
    env = make_env(stop=True)
    policy = _policy(env)
    _set_gains(env, lambda mask: torch.full_like(mask, gain))
    warm_start(policy, env, OPTIONS, seed=0)
    env.reset(seed=5)
    actions, _ = policy.predict(env.observe(), deterministic=True)
    assert ((actions == 16) == stops).all()


def test_a_seed_repeats_the_warm_start(make_env):
    weights = []
    for _ in range(2):
        env = make_env()
        policy = _policy(env)
        torch.manual_seed(3)
        warm_start(policy, env, OPTIONS | {"dropout": 0.3}, seed=4)
        weights.append(torch.cat([value.flatten() for value in policy.state_dict().values()]))
    assert torch.equal(*weights)


def test_only_the_srm_learns_in_the_first_rounds(make_env):
    env = make_env()
    policy = _policy(env)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    srm = {name: value.clone() for name, value in env.episode.srm.members.state_dict().items()}
    warm_start(policy, env, OPTIONS | {"rounds": 0}, seed=0)
    assert all(value.equal(before[name]) for name, value in policy.state_dict().items())
    assert not all(value.equal(srm[name]) for name, value in env.episode.srm.members.state_dict().items())


def test_what_was_visited_is_not_tried_out_while_anything_else_is_left(make_env):
    env = make_env(label_source="oracle", max_steps=8)
    tried, lookahead_iou = [], env.episode.lookahead_iou
    env.episode.lookahead_iou = lambda actions: (
        tried.append((actions, env.episode.visited.clone())) or lookahead_iou(actions)
    )
    warm_start(_policy(env), env, OPTIONS | {"rounds": 1}, seed=0)
    assert len(tried) == 8
    for actions, visited in tried:
        assert not visited.gather(1, actions).any()
        assert all(len(set(row)) == 8 for row in actions.tolist())


@pytest.mark.parametrize("algorithm", ["a2c", "maskable_ppo"])
def test_other_actor_critics_are_warmed_too(make_env, algorithm):
    env = make_env()
    policy = _policy(env, algorithm=algorithm)
    before = [value.clone() for value in policy.parameters()]
    warm_start(policy, env, OPTIONS | {"rounds": 1, "epochs": 1}, seed=0)
    assert any(not value.equal(old) for value, old in zip(policy.parameters(), before, strict=True))


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "recurrent_ppo"])
def test_what_cannot_be_warmed_is_told(make_env, algorithm):
    env = make_env()
    with pytest.raises(OptionError, match="agent=ppo, a2c or maskable_ppo"):
        warm_start(_policy(env, algorithm=algorithm), env, OPTIONS, seed=0)


def test_rounds_without_the_other_options_are_told(make_env):
    env = make_env()
    with pytest.raises(OptionError, match="take warm_start=lookahead"):
        warm_start(_policy(env), env, {"rounds": 6, "srm_rounds": 0}, seed=0)
