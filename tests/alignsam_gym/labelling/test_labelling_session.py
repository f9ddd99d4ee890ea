import cv2
import numpy as np
import pytest

from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.envs.env_config import SampleOptions
from alignsam_gym.envs.episode_factory import open_samples
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.labelling.clicked_sam import inner_point
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.saved_masks import MaskChangedError
from alignsam_gym.labelling.window_state import sentence
from tests.alignsam_gym.labelling.conftest import SIZE

H, W = SIZE


def on_disk(session, stem="a"):
    return session.project.masks.read(stem, SIZE)


def edit(session, number):
    """One of several edits, that differ by their number."""
    rng = np.random.default_rng(number)
    x, y = rng.uniform(0, W), rng.uniform(0, H)
    match number % 6:
        case 0 | 1:
            session.add_point(x, y, positive=number % 2 == 0)
        case 2:
            session.set_box((x, y), (W - x / 2, H - y / 2))
        case 3 | 4:
            session.paint([(x, y), (x / 2, y / 2)], 3, adds=number % 2 == 1)
        case 5:
            session.next_object()


def test_every_edit_is_on_the_disk_at_once_and_can_be_taken_back(session):
    history = [None]
    for number in range(18):
        edit(session, number)
        history.append(session.mask.copy() if session.mask.any() else None)
        np.testing.assert_equal(on_disk(session), history[-1])
    assert session.edits == 18
    for expected in reversed(history[:-1]):
        session.undo()
        np.testing.assert_equal(on_disk(session), expected)
    session.undo()
    assert session.edits == 0
    assert not (session.project.folder.masks / "a.png").exists()


def test_what_was_labelled_is_what_the_data_set_reads(session):
    expected = {}
    for number, stem in enumerate(["a", "b", "deep/e"]):
        session.open(stem)
        session.add_point(30, 20, True)
        session.paint([(5 + number, 6)], 4, adds=True)
        expected[stem] = session.mask
    session.open("c")
    session.nothing_here()
    root = session.project.folder.root
    samples = [FolderDataset(split, root, on_error="skip", test=["a"]) for split in ("test", "train")]
    found = {sample.ids[0]: sample[0].mask for sample in samples}
    np.testing.assert_array_equal(found["a"], expected["a"])
    options = {"root": root, "test": ["a"]}
    learned = open_samples(SampleOptions(dataset="folder", dataset_kwargs=options, shots=9, on_error="skip"))
    assert list(learned.ids) == ["b", "deep/e"]  # c has nothing to learn from, and the rest no masks
    for sample in (learned[0], learned[1]):
        np.testing.assert_array_equal(sample.mask, expected[sample.id])


def test_a_window_that_is_closed_loses_nothing(session):
    session.set_box((10, 5), (40, 30))
    again = LabellingSession(session.project)
    again.open("a")
    np.testing.assert_array_equal(again.mask, session.mask)
    assert again.is_saved
    assert again.edits == 0


def test_nothing_here_is_an_empty_mask_and_can_be_taken_back(session):
    session.paint([(5, 5)], 3, adds=True)
    session.nothing_here()
    assert not on_disk(session).any()
    assert "a" not in session.project.unlabelled()
    session.undo()
    assert on_disk(session).any()


def test_an_empty_mask_is_saved_only_where_it_is_meant(session):
    session.add_point(10, 10, positive=False)
    assert not session.mask.any()
    assert on_disk(session) is None
    session.paint([(20, 20)], 3, adds=True)
    session.paint([(20, 20)], 9, adds=False)
    assert on_disk(session) is None


def test_taking_the_mask_away_takes_it_from_the_disk(session):
    session.paint([(5, 5)], 3, adds=True)
    session.unlabel()
    assert on_disk(session) is None
    assert "a" in session.project.unlabelled()
    session.undo()
    assert on_disk(session).any()


def test_several_objects_are_one_mask(session):
    session.set_box((2, 2), (20, 20))
    first = session.mask.copy()
    session.next_object()
    assert session.draft.points == ()
    assert session.draft.box is None
    np.testing.assert_array_equal(session.mask, first)
    session.set_box((35, 10), (55, 35))
    second = session.mask.copy()
    assert (second & first).sum() == first.sum()
    assert second.sum() > first.sum()
    np.testing.assert_array_equal(on_disk(session), second)


@pytest.mark.parametrize("radius", [0.5, 1, 3.5, 8])
def test_a_dab_covers_the_pixels_within_its_radius(session, radius):
    session.paint([(30.5, 20.5)], radius, adds=True)
    y, x = np.mgrid[0:H, 0:W]
    distance = np.hypot(x - 30, y - 20)
    assert session.mask[distance <= radius - 0.5].all()
    assert not session.mask[distance > radius + 0.8].any()


def test_a_stroke_covers_its_path_and_the_eraser_takes_away(session):
    session.paint([(10, 20), (50, 20)], 4, adds=True)
    assert session.mask[17:23, 8:52].all()
    assert not session.mask[:14].any()
    assert not session.mask[27:].any()
    session.paint([(30, 0), (30, 40)], 2, adds=False)
    assert not session.mask[:, 29:31].any()
    assert session.mask[20, 20]


def test_points_see_the_answer_before_them_and_strokes_lie_over_it(session):
    session.add_point(30, 20, True)
    before = session.draft.logits
    session.paint([(3, 3)], 2, adds=True)
    session.add_point(10, 30, False)
    draft, sam = session.draft, session.project.sam
    expected = sam.answer(session.project.encoding("a"), SIZE, draft.points, None, before)
    np.testing.assert_allclose(draft.logits, expected, atol=1e-5)
    assert session.mask[3, 3]


def test_a_mask_from_the_disk_is_where_correction_begins(session, photos):
    (photos / "masks").mkdir()
    drawn = np.zeros(SIZE, np.uint8)
    drawn[10:30, 10:40] = 1  # foreground of another level than ours
    cv2.imwrite(str(photos / "masks/b.png"), drawn)
    content = (photos / "masks/b.png").read_bytes()
    session.open("b")
    np.testing.assert_array_equal(session.mask, drawn > 0)
    session.add_point(20, 20, False)
    sam, points = session.project.sam, [inner_point(drawn > 0, session.draft.points), *session.draft.points]
    expected = sam.answer(session.project.encoding("b"), SIZE, points, None, sam.as_logits(drawn > 0))
    np.testing.assert_allclose(session.draft.logits, expected, atol=1e-5)
    session.undo()
    assert (photos / "masks/b.png").read_bytes() == content


def test_two_windows_do_not_overwrite_each_other(session):
    other = LabellingSession(session.project)
    other.open("a")
    session.paint([(10, 10)], 4, adds=True)
    with pytest.raises(MaskChangedError):
        other.paint([(50, 30)], 4, adds=True)
    np.testing.assert_array_equal(on_disk(session), session.mask)
    assert other.mask[30, 50]  # what was done here is still seen
    other.keep_mine()
    np.testing.assert_array_equal(on_disk(session), other.mask)
    with pytest.raises(MaskChangedError):
        session.undo()
    session.open("a")
    np.testing.assert_array_equal(session.mask, other.mask)


def test_a_disk_that_is_full_loses_no_edit(session, full_disk):
    with full_disk(), pytest.raises(DataError, match="disk full"):
        session.paint([(10, 10)], 4, adds=True)
    session.paint([(40, 10)], 4, adds=True)
    np.testing.assert_array_equal(on_disk(session), session.mask)
    assert session.mask[10, 10]


def test_an_edit_of_a_saved_mask_that_fails_is_not_called_saved(session, full_disk):
    session.paint([(10, 10)], 4, adds=True)
    with full_disk(), pytest.raises(DataError):
        session.paint([(40, 10)], 4, adds=True)
    assert not session.is_saved
    assert sentence(session).startswith("Not saved: the mask covers")
    session.accept()
    assert session.is_saved
    assert session.edits == 2
    np.testing.assert_array_equal(on_disk(session), session.mask)
    with full_disk(), pytest.raises(DataError):
        session.undo()
    session.open("a")  # what is on the disk
    assert session.is_saved
    assert session.mask[10, 40]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda session: session.add_point(61, 0, True),
        lambda session: session.add_point(float("nan"), 0, True),
        lambda session: session.set_box((3, 3), (3, 9)),
        lambda session: session.set_box((-1, 3), (3, 9)),
        lambda session: session.paint([], 3, True),
        lambda session: session.paint([(1, 1)], 0, True),
        lambda session: session.open("nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(session, wrong):
    with pytest.raises(OptionError):
        wrong(session)
    assert session.edits == 0
    assert session.stem == "a"


def test_a_broken_photograph_is_told_and_the_window_stays_where_it_was(session, photos):
    (photos / "images/b.png").write_bytes(b"no photograph")
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        session.open("b")
    assert session.stem == "a"
    session.paint([(5, 5)], 3, adds=True)
    assert on_disk(session).any()


def test_two_windows_may_open_one_photograph_at_a_time(session, monkeypatch):
    project, inner = session.project, LabellingSession(session.project)
    read = project.masks.read

    def read_while_another_opens(stem, size):
        assert stem in project.others("a")  # nobody passes it over meanwhile
        monkeypatch.setattr(project.masks, "read", read)
        inner.open(stem)
        return read(stem, size)

    monkeypatch.setattr(project.masks, "read", read_while_another_opens)
    session.open("b")
    assert (session.stem, inner.stem) == ("b", "b")
