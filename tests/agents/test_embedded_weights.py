"""An agent is not used with other weights of the embedded models than those it was trained with."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from alignsam_gym import AlignSAM
from alignsam_gym.agents.bundle import export
from alignsam_gym.agents.embedded_weights import check_embedded_weights, embedded_weights
from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.errors import WeightsError

OTHER = "0" * 64


def set_embedded(run, value):
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, "embedded", value, merge=False)
    OmegaConf.save(config, run / "config.yaml")


@pytest.mark.parametrize("value", [None, {"sam": OTHER}])
def test_a_run_or_bundle_of_another_embedded_sam_is_refused(make_run, toy_dataset, tmp_path, value):
    run = make_run()
    set_embedded(run, value)
    export(run, tmp_path / "agent.alignsam")
    for source in (run, tmp_path / "agent.alignsam"):
        with pytest.raises(WeightsError, match="another sam=tiny than this version"):
            AlignSAM.from_pretrained(source)
    with pytest.raises(WeightsError, match="another sam=tiny"):
        load_run(run, load_config(run), samples=toy_dataset)


@pytest.mark.parametrize("value", [3, {"sam": 3}])
def test_a_bundle_with_nonsense_for_a_digest_is_refused(make_run, value):
    run = make_run()
    set_embedded(run, value)
    with pytest.raises(WeightsError, match="does not name weights by their SHA-256"):
        AlignSAM.from_pretrained(run)


def test_only_models_that_are_looked_at_count():
    now, here = embedded_weights({}), Path("here")
    check_embedded_weights(here, now, {}, needs_clip=True)
    check_embedded_weights(here, now | {"clip": OTHER}, {}, needs_clip=False)
    check_embedded_weights(here, now | {"sam": OTHER}, {"sam": "vit_b"}, needs_clip=True)
    check_embedded_weights(here, {}, {"sam": "tiny"}, needs_clip=False)  # trained with another SAM, which was replaced
    with pytest.raises(WeightsError, match="another clip=tiny"):
        check_embedded_weights(here, now | {"clip": OTHER}, {}, needs_clip=True)
    assert now.keys() == {"sam", "clip"}
    assert embedded_weights({"sam": "vit_b"}).keys() == {"clip"}
