import numpy as np
import pytest

from alignsam_gym.data import DATASETS, drawn_scenes, load_dataset, preferred_branch
from alignsam_gym.errors import OptionError


@pytest.mark.parametrize(("split", "scenes"), [("train", 200), ("test", 100)])
def test_one_sample_for_each_scene(split, scenes):
    data = load_dataset("shapes", split)
    assert len(data) == scenes
    assert data.ids[7] == f"{split}0007"
    scene = drawn_scenes.draw_scene("saliency", split, 7)
    np.testing.assert_array_equal(data[7].image, scene.image)
    np.testing.assert_array_equal(data[7].mask, scene.masks["saliency"])
    assert data[7].text == "saliency object"  # the paper's prompt for DUTS


def test_ids_tell_the_splits_apart():
    assert not set(load_dataset("shapes", "train").ids) & set(load_dataset("shapes", "test").ids)


@pytest.fixture
def few_scenes(monkeypatch):
    monkeypatch.setitem(drawn_scenes.SPLIT_SIZES, "test", 5)


@pytest.mark.usefixtures("few_scenes")
def test_named_scenes_give_one_sample_for_each_kind_present():
    data = load_dataset("shapes-named", "test")
    expected = [(i, kind) for i in range(5) for kind in drawn_scenes.draw_scene("named", "test", i).masks]
    assert sorted(data.ids) == sorted(f"test{i:04d}_{kind}" for i, kind in expected)
    for index, id in enumerate(data.ids):
        scene, kind = int(id[4:8]), data[index].text
        assert id.endswith(f"_{kind}")
        np.testing.assert_array_equal(data[index].mask, drawn_scenes.draw_scene("named", "test", scene).masks[kind])


@pytest.mark.usefixtures("few_scenes")
def test_category_keeps_one_kind_only():
    whole = load_dataset("shapes-named", "test")
    parts = [load_dataset("shapes-named", "test", category=kind) for kind in drawn_scenes.KINDS]
    for kind, part in zip(drawn_scenes.KINDS, parts, strict=True):
        assert all(id.endswith(f"_{kind}") for id in part.ids)
    assert sorted(id for part in parts for id in part.ids) == sorted(whole.ids)


def test_category_needs_named_scenes_and_a_known_kind():
    with pytest.raises(OptionError, match="dataset='shapes' got an unexpected keyword argument 'category'"):
        load_dataset("shapes", "train", category="star")
    with pytest.raises(OptionError, match=r"category='dog' is unknown; choose one of .*star"):
        load_dataset("shapes-named", "train", category="dog")


def test_the_pretraining_split_is_not_for_agents():
    with pytest.raises(OptionError, match="split='pretrain' is unknown; choose one of train, test"):
        load_dataset("shapes", "pretrain")


def test_the_tasks_have_the_texts_of_what_they_mirror():
    texts = {task: load_dataset(f"shapes-{task}", "test")[0].text for task in ("shadow", "mirror", "defocus")}
    assert texts == {"shadow": "shadow", "mirror": "glass", "defocus": "defocus background"}


@pytest.mark.usefixtures("few_scenes")
def test_of_the_tasks_the_named_one_prefers_the_explicit_branch():
    names = [name for name in DATASETS if name.startswith("shapes")]
    assert {name for name in names if preferred_branch(load_dataset(name, "test")) == "explicit"} == {"shapes-named"}
