import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.data.stored_mask import distinct
from alignsam_gym.errors import DataError, OptionError

LABELS = np.zeros((20, 40), np.uint8)
LABELS[4:12, 3:20] = 1
LABELS[10:18, 25:38] = 2
OBJECT = LABELS == 1
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def save(content, file, **options):
    picture = content if isinstance(content, Image.Image) else Image.fromarray(content)
    picture.save(file, **options)
    return file


def with_palette(labels, *colours):
    picture = Image.fromarray(labels)
    picture.putpalette([part for colour in colours for part in colour])
    return picture


def two_colours(background, foreground):
    return np.array([background, foreground], np.uint8)[OBJECT.astype(int)]


# What can be meant in one way only


@pytest.mark.parametrize("level", [1, 2, 38, 76, 100, 127, 128, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_black_and_another_level_the_other_is_foreground(level, dtype, tmp_path):
    file = save((OBJECT * level).astype(dtype), tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule().read(file), OBJECT)
    np.testing.assert_array_equal(MaskRule().read_levels(file), OBJECT * np.uint8(255))


@pytest.mark.parametrize("level", [1, 255, 256, 65535])
def test_sixteen_bits_are_judged_by_their_stored_values(level, tmp_path):
    file = save((OBJECT * level).astype(np.uint16), tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule().read(file), OBJECT)
    np.testing.assert_array_equal(MaskRule().read_levels(file), OBJECT * np.uint8(255))


def test_fractions_are_judged_by_their_stored_values(tmp_path):
    file = save(OBJECT.astype(np.float32), tmp_path / "a.tif")
    np.testing.assert_array_equal(MaskRule().read(file), OBJECT)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (40, 30, 0), (255, 255, 255)])
def test_of_black_and_a_colour_the_colour_is_foreground(colour, tmp_path):
    file = save(two_colours((0, 0, 0), colour), tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule().read(file), OBJECT)


@pytest.mark.parametrize("grey", [30, 128, 200])
def test_of_white_and_a_grey_the_white_is_foreground(grey, tmp_path):
    file = save(two_colours((grey,) * 3, (255, 255, 255)), tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule().read(file), OBJECT)


def test_alpha_is_the_mask_of_a_single_colour_whatever_the_colour(tmp_path):
    for colour in ((255, 255, 255), (0, 0, 0), (9, 200, 3)):
        pixels = np.dstack([np.full((20, 40, 3), colour, np.uint8), OBJECT * np.uint8(255)])
        file = save(pixels, tmp_path / "a.png")
        np.testing.assert_array_equal(MaskRule().read(file), OBJECT)
        np.testing.assert_array_equal(MaskRule().read_levels(file), OBJECT * np.uint8(255))


def test_colours_and_transparency_that_agree_are_a_mask(tmp_path):
    pixels = np.dstack([two_colours((0, 0, 0), (255, 0, 0)), OBJECT * np.uint8(255)])
    np.testing.assert_array_equal(MaskRule().read(save(pixels, tmp_path / "a.png")), OBJECT)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_ringing_of_jpeg_is_no_level(quality, mode, tmp_path):
    mask = np.kron(OBJECT, np.ones((8, 8), bool))
    file = save(Image.fromarray(mask).convert(mode), tmp_path / "a.jpg", quality=quality)
    assert (MaskRule().read(file) == mask).mean() > 0.99


# What cannot, and the error


MANY = {
    "an index as a colour": np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[LABELS],
    "three greys": LABELS * np.uint8(85),
    "a border": np.where(LABELS == 2, np.uint8(128), OBJECT * np.uint8(255)),
    "a palette without black": with_palette(OBJECT.astype(np.uint8), (0, 215, 255), (255, 0, 204)),
    "a palette of three": with_palette(LABELS, (0, 0, 0), (128, 0, 0), (0, 128, 0)),
    "a palette whose indices look alike": with_palette(LABELS, (0, 0, 0), (0, 0, 0), (255, 255, 255)),
    "red on white": two_colours((255, 255, 255), (255, 0, 0)),
    "two greys": two_colours((50, 50, 50), (200, 200, 200)),
    "one grey": np.full((20, 40), 100, np.uint8),
    "a photograph with alpha": np.dstack(
        [np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8), OBJECT * np.uint8(255)]
    ),
    "black on transparent white": np.dstack([two_colours((255, 255, 255), (0, 0, 0)), OBJECT * np.uint8(255)]),
    "soft edges": LEVELS,
    "sixteen bits of three levels": LABELS.astype(np.uint16),
}


@pytest.mark.parametrize("kind", MANY)
def test_what_could_be_meant_in_several_ways_is_told(kind, tmp_path):
    file = save(MANY[kind], tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"a\.png does not say what is foreground\. .*%.*dataset\.foreground=\[.*threshold=127"
    ):
        MaskRule().read(file)


def test_the_error_lists_values_with_their_share_and_side(tmp_path):
    with pytest.raises(DataError) as told:
        MaskRule().read(save(MANY["an index as a colour"], tmp_path / "a.png"))
    background, first, second = (f"{(label == LABELS).mean():.1%}" for label in range(3))
    assert f"[0,0,0] {background} (below 127), [255,0,0] {first} (below 127)" in str(told.value)
    assert f"[0,255,0] {second} (above 127)" in str(told.value)
    assert "dataset.foreground=nonzero all but [0,0,0], and dataset.threshold=127 cuts" in str(told.value)
    with pytest.raises(DataError, match=r"1 \(colour \[128, 0, 0\]\) .*% \(below 127\)"):
        MaskRule().read(save(MANY["a palette of three"], tmp_path / "a.png"))


def test_a_lossy_file_of_several_levels_is_told(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for content in (photograph, np.kron(LABELS, np.ones((8, 8), np.uint8)) * np.uint8(85)):
        with pytest.raises(DataError, match="does not say what is foreground"):
            MaskRule().read(save(content, tmp_path / "a.jpg"))


def test_transparency_that_is_no_mask_alone_proposes_alpha(tmp_path):
    file = save(MANY["a photograph with alpha"], tmp_path / "a.png")
    with pytest.raises(DataError, match=r"foreground=alpha what is opaque"):
        MaskRule().read(file)
    np.testing.assert_array_equal(MaskRule(foreground="alpha").read(file), OBJECT)


# What a user says is meant


@pytest.mark.parametrize(
    ("kind", "foreground", "labels"),
    [
        ("an index as a colour", [[255, 0, 0]], [1]),
        ("an index as a colour", ["red"], [1]),
        ("an index as a colour", ["#ff0000", "#00ff00"], [1, 2]),
        ("three greys", [85], [1]),
        ("three greys", [85, 170], [1, 2]),
        ("a palette without black", [1], [1]),
        ("a palette without black", [[255, 0, 204]], [1]),
        ("a palette of three", [1, 2], [1, 2]),
        ("a palette of three", [[0, 128, 0]], [2]),
        ("a palette whose indices look alike", [1], [1]),
        ("red on white", ["red"], [1]),
        ("two greys", [200], [1]),
        ("two greys", ["#c8c8c8"], [1]),
        ("sixteen bits of three levels", [2], [2]),
        ("sixteen bits of three levels", "nonzero", [1, 2]),
        ("a palette of three", "nonzero", [1, 2]),
        ("a palette whose indices look alike", "nonzero", [1, 2]),
        ("an index as a colour", "nonzero", [1, 2]),
    ],
)
def test_indices_levels_and_colours_can_be_listed(kind, foreground, labels, tmp_path):
    file = save(MANY[kind], tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule(foreground=foreground).read(file), np.isin(LABELS, labels))
    np.testing.assert_array_equal(MaskRule(foreground=foreground, invert=True).read(file), ~np.isin(LABELS, labels))


@pytest.mark.parametrize("levels", [LABELS.astype(np.uint16) * 32767, LABELS / np.float32(2)])
def test_white_and_black_are_colours_of_deep_levels_too(levels, tmp_path):
    levels[LABELS == 2] = 65535 if levels.dtype == np.uint16 else 1
    file = save(levels, tmp_path / "a.tif")
    np.testing.assert_array_equal(MaskRule(foreground=["white"]).read(file), LABELS == 2)
    np.testing.assert_array_equal(MaskRule(foreground=[[0, 0, 0]]).read(file), LABELS == 0)
    np.testing.assert_array_equal(MaskRule(foreground=["red"]).read(file), np.zeros(LABELS.shape, bool))


@pytest.mark.parametrize("levels", [LEVELS.astype(np.uint16) * 257, LEVELS.astype(np.float32) / 255])
def test_a_grey_is_a_colour_of_deep_levels_too(levels, tmp_path):
    file = save(levels, tmp_path / "a.tif")
    np.testing.assert_array_equal(MaskRule(foreground=["#323232", "#c8c8c8"]).read(file), np.isin(LEVELS, [50, 200]))


@pytest.mark.parametrize("threshold", [0, 84, 85, 169])
def test_a_threshold_cuts_by_luminance(threshold, tmp_path):
    file = save(MANY["three greys"], tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule(threshold).read(file), threshold < LABELS * 85)


def test_a_threshold_of_deep_levels_is_as_they_are_stored(tmp_path):
    file = save(LABELS.astype(np.uint16) * 1000, tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule(1000).read(file), LABELS == 2)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 90, 255])), st.sampled_from(["png", "bmp", "tif", "gif"])
)
def test_a_lossless_mask_is_what_is_not_black_or_an_error(tmp_path_factory, levels, suffix):
    file = save(levels, tmp_path_factory.mktemp("mask") / f"a.{suffix}")
    found = set(np.unique(levels).tolist())
    if len(found) > 2 or found == {1, 90} or found in ({1}, {90}):
        with pytest.raises(DataError, match="does not say"):
            MaskRule().read(file)
    else:
        expected = levels == 255 if 0 not in found else levels > 0
        np.testing.assert_array_equal(MaskRule().read(file), expected)


@given(arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 5)))
def test_distinct_is_unique_up_to_three(codes):
    expected = np.unique(codes).tolist()
    assert distinct(codes) == expected if len(expected) <= 2 else set(distinct(codes)) <= set(expected)
    assert len(distinct(codes)) == min(3, len(expected))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": "127"}, "must be a number"),
        ({"threshold": -1}, "threshold=-1 leaves nothing"),
        ({"invert": "no"}, "must be true or false"),
        ({"foreground": "red"}, "must be alpha, nonzero, or a list"),
        ({"foreground": []}, "must be alpha, nonzero, or a list"),
        ({"foreground": ["reddish"]}, "lists 'reddish'"),
        ({"foreground": [[300, 0, 0]]}, r"lists \[300, 0, 0\]"),
        ({"foreground": [True]}, "lists True"),
    ],
)
def test_options_that_mean_nothing(options, says):
    with pytest.raises(OptionError, match=says):
        MaskRule(**options)


def test_what_cannot_be_found_is_told(tmp_path):
    with pytest.raises(DataError, match="equally opaque everywhere"):
        MaskRule(foreground="alpha").read(save(MANY["three greys"], tmp_path / "a.png"))
    with pytest.raises(DataError, match="holds colours, no indices"):
        MaskRule(foreground=[1]).read(save(MANY["an index as a colour"], tmp_path / "a.png"))
    with pytest.raises(DataError, match="is lossy"):
        MaskRule(foreground=["red"]).read(save(MANY["red on white"], tmp_path / "a.jpg"))


# Predictions


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_grey_levels_are_read_whatever_they_are_packed_in(tmp_path, mode):
    file = save(Image.fromarray(LEVELS).convert(mode), tmp_path / "a.png")
    np.testing.assert_array_equal(MaskRule().read_levels(file), LEVELS)


def test_deep_grey_levels_are_brought_to_8_bits(tmp_path):
    np.testing.assert_array_equal(
        MaskRule().read_levels(save(LEVELS.astype(np.uint16) * 257, tmp_path / "a.png")), LEVELS
    )
    np.testing.assert_array_equal(
        MaskRule().read_levels(save(LEVELS.astype(np.float32) / 255, tmp_path / "a.tif")), LEVELS
    )


def test_bits_are_read_as_0_and_255(tmp_path):
    np.testing.assert_array_equal(
        MaskRule().read_levels(save(LEVELS > 100, tmp_path / "a.png")), (LEVELS > 100) * np.uint8(255)
    )


def test_a_prediction_of_many_colours_is_told(tmp_path):
    file = save(np.stack([LEVELS, LEVELS, LEVELS.T], axis=2), tmp_path / "a.png")
    with pytest.raises(DataError, match=r"does not say what is foreground.* and threshold=127 cuts"):
        MaskRule(prefix="").read_levels(file)
    assert MaskRule(127).read_levels(file).any()


# What has no label


VOID = np.zeros(LABELS.shape, bool)
VOID[3:13, 3:5] = True
WITH_VOID = {
    "a palette": (with_palette(np.where(VOID, 255, OBJECT).astype(np.uint8), *[(0, 0, 0), (128, 0, 0)] * 128), [255]),
    "greys": (np.where(VOID, 9, OBJECT * 255).astype(np.uint8), [9]),
    "sixteen bits": (np.where(VOID, 65535, OBJECT).astype(np.uint16), [65535]),
    "a colour": (np.where(VOID[..., None], (224, 224, 192), OBJECT[..., None] * 255).astype(np.uint8), ["#e0e0c0"]),
}


@pytest.mark.parametrize("kind", WITH_VOID)
def test_void_is_neither_foreground_nor_background(kind, tmp_path):
    content, values = WITH_VOID[kind]
    file = save(content, tmp_path / "a.png")
    with pytest.raises(DataError, match="does not say what is foreground"):
        MaskRule().read(file)
    for invert, threshold in ((False, None), (True, None), (False, 0)):
        mask, void = MaskRule(threshold, invert, void=values).read_with_void(file)
        np.testing.assert_array_equal(void, VOID)
        np.testing.assert_array_equal(mask, (invert ^ OBJECT) & ~VOID)
    np.testing.assert_array_equal(MaskRule(foreground="nonzero", void=values).read(file), OBJECT & ~VOID)


def test_a_mask_may_have_no_void_or_nothing_else(tmp_path):
    file = save(OBJECT, tmp_path / "a.png")
    mask, void = MaskRule(void=[7]).read_with_void(file)
    np.testing.assert_array_equal(mask, OBJECT)
    assert void is None
    mask, void = MaskRule(void=[7]).read_with_void(save(np.full((20, 40), 7, np.uint8), file))
    assert void.all()
    assert not mask.any()


def test_index_255_of_a_palette_is_proposed_as_void_and_not_as_foreground(tmp_path):
    labels = np.where(VOID, 255, LABELS).astype(np.uint8)
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0)] * 85 + [(224, 224, 192)]
    file = save(with_palette(labels, *colours), tmp_path / "a.png")
    with pytest.raises(DataError, match=r"foreground=\[1,2\] takes .* dataset\.void=\[255\] leaves out"):
        MaskRule().read(file)
    with pytest.raises(DataError) as told:
        MaskRule(prefix="").read(file)  # of predictions, which have no void
    assert "void" not in str(told.value)
    with pytest.raises(DataError) as told:
        MaskRule(void=[255]).read(file)
    assert "255" not in str(told.value).partition("values")[2].partition("Say what")[0]
    np.testing.assert_array_equal(MaskRule(foreground=[1], void=[255]).read(file), OBJECT & (LABELS == 1) & ~VOID)


@pytest.mark.parametrize("void", [255, "nonzero", [], ["reddish"]])
def test_void_is_a_list_of_colours(void):
    with pytest.raises(OptionError, match=r"^void(=| lists)"):
        MaskRule(void=void)


def test_void_is_in_no_lossy_file_and_no_index_of_colours(tmp_path):
    with pytest.raises(DataError, match=r"lossy .* so dataset\.void cannot find them"):
        MaskRule(void=[255]).read(save(Image.fromarray(OBJECT).convert("L"), tmp_path / "a.jpg"))
    with pytest.raises(DataError, match=r"holds colours, .* so dataset\.void=255 means nothing there"):
        MaskRule(void=[255]).read(save(MANY["an index as a colour"], tmp_path / "a.png"))
