import json

import pytest

from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.experiments.evaluate import evaluate_agent


def test_what_was_not_drawn_is_not_finished(make_run, toy_dataset, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    options = {
        "limit": None,
        "strategies": ["agent"],
        "deterministic": True,
        "filmstrips": 1,
        "filmstrip_strategies": ["agent"],
    }
    run = make_run()
    config = load_config(run)
    config.evaluate.update(options)
    env, policy = load_run(run, config, samples=toy_dataset)
    with monkeypatch.context() as patched:
        patched.setattr("alignsam_gym.experiments.evaluate.filmstrip", interrupted)
        with pytest.raises(SystemExit):
            evaluate_agent(tmp_path, config, env, policy, policy, {})
    assert not (tmp_path / "metrics.json").exists()
    miou = evaluate_agent(tmp_path, config, env, policy, policy, {})
    assert json.loads((tmp_path / "metrics.json").read_text())["prompting"]["agent"]["miou"] == miou
    assert (tmp_path / "filmstrip.png").exists()
