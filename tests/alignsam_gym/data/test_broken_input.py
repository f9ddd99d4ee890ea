"""What users' data looks like when it is broken, and what they are told."""

import errno
import shutil
import struct
import zlib
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import alignsam_gym  # noqa: F401
from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.errors import AlignSAMError, DataError, OptionError
from tests.alignsam_gym.data.trees import (
    H,
    W,
    mask,
    picture,
    save,
    save_classes,
    write_pair,
    write_published,
    write_voc,
)

COUNT = 8
GAME = {"max_steps": 1, "image_size": 64, "patch_size": 16, "srm": {"width": 8}, "branch": "implicit"}

pytestmark = pytest.mark.usefixtures("toy_sam")


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def grey(value):
    return np.full((H, W), value, np.uint8)


def voc(home, part):
    return home / "VOCdevkit" / "VOC2012" / part


def rename(source, target):
    source.rename(target)


# One row for each kind: how to break a good data set, options of the environment, and the message that must come.
# The first pair of a folder is i0, of DUTS train0 and test0; VOC has v0, v1 in train and w0 in val.
FOLDER = [
    ("the root is missing", lambda r: shutil.rmtree(r), {}, r"There is no folder .*: root must hold"),
    ("the root is a file", lambda r: (shutil.rmtree(r), r.write_text("")), {}, r"There is no folder"),
    ("images are missing", lambda r: shutil.rmtree(r / "images"), {}, r"There is no folder .*images"),
    ("masks are missing", lambda r: shutil.rmtree(r / "masks"), {}, r"There is no folder .*masks"),
    ("images has another case", lambda r: rename(r / "images", r / "Images"), {}, r"There is no folder .*images"),
    ("masks named wrongly", lambda r: None, {"masks": "labels"}, r"There is no folder .*labels; images= and masks="),
    ("no image at all", lambda r: [f.unlink() for f in (r / "images").iterdir()], {}, r"images holds no PNG"),
    ("no mask at all", lambda r: [f.unlink() for f in (r / "masks").iterdir()], {}, r"masks holds no PNG"),
    ("images of another format", lambda r: [f.rename(f.with_suffix(".heic")) for f in (r / "images").iterdir()], {},
     r"images holds no PNG, JPEG, BMP"),
    ("an image without its mask", lambda r: (r / "masks/i0.png").unlink(), {}, r"i0\.jpg has no mask .*i0"),
    ("two without masks", lambda r: [(r / f"masks/i{k}.png").unlink() for k in (0, 1)], {}, r"has no mask .* and 1 more"),
    ("a mask with a suffix in its name", lambda r: rename(r / "masks/i0.png", r / "masks/i0_mask.png"), {},
     r"i0\.jpg has no mask"),
    ("a mask in a deeper folder", lambda r: ((r / "masks/deep").mkdir(), rename(r / "masks/i0.png", r / "masks/deep/i0.png")),
     {}, r"i0\.jpg has no mask"),
    ("one name twice among images", lambda r: save(picture(), r / "images/i0.png"), {}, r"i0\.(jpg|png) have one name"),
    ("one name twice among masks", lambda r: save(grey(255), r / "masks/i0.bmp"), {}, r"i0\.(bmp|png) have one name"),
    ("sizes differ", lambda r: save(np.zeros((H + 1, W), np.uint8), r / "masks/i0.png"), {}, rf"is {W}×{H} but its mask"),
    ("sizes are swapped", lambda r: save(grey(255).T.copy(), r / "masks/i0.png"), {}, rf"mask .* is {H}×{W}"),
    ("only the mask was turned", lambda r: Image.fromarray(grey(255)).save(r / "masks/i0.png", exif=turned()), {},
     rf"mask .* is {H}×{W}"),
    ("an empty image file", lambda r: (r / "images/i0.jpg").write_bytes(b""), {}, r"i0\.jpg cannot be read as an image"),
    ("an empty mask file", lambda r: (r / "masks/i0.png").write_bytes(b""), {}, r"i0\.png cannot be read as an image"),
    ("an image that is text", lambda r: (r / "images/i0.jpg").write_text("see elsewhere"), {}, r"i0\.jpg cannot be read"),
    ("a mask that is a web page", lambda r: (r / "masks/i0.png").write_text("<html>404"), {}, r"i0\.png cannot be read"),
    ("a torn image", lambda r: cut(r / "images/i0.jpg"), {}, r"i0\.jpg cannot be read as an image"),
    ("a torn mask", lambda r: cut(r / "masks/i0.png"), {}, r"i0\.png cannot be read as an image"),
    ("a black mask", lambda r: save(grey(0), r / "masks/i0.png"), {}, r"i0\.png has no foreground with threshold=None"),
    ("a mask of three levels", lambda r: save(mask() + np.eye(H, W, dtype=np.uint8), r / "masks/i0.png"), {},
     r"i0\.png does not say what is foreground"),
    ("a mask of one grey", lambda r: save(grey(100), r / "masks/i0.png"), {}, r"i0\.png does not say what is foreground"),
    ("a mask below the threshold", lambda r: save(grey(100), r / "masks/i0.png"), {"threshold": 127},
     r"i0\.png has no foreground with threshold=127"),
    ("a listed colour that is nowhere", lambda r: None, {"foreground": [3]}, r"no foreground with .*foreground=\[3\]"),
    ("a white mask, inverted", lambda r: save(grey(255), r / "masks/i0.png"), {"invert": True}, r"no foreground with .*invert=True"),
    ("a fully transparent mask", lambda r: save(np.zeros((H, W, 4), np.uint8), r / "masks/i0.png"), {}, r"has no foreground"),
    ("16-bit labels of three values", lambda r: save(mask() + np.eye(H, W, dtype=np.uint16), r / "masks/i0.png"), {},
     r"i0\.png does not say what is foreground"),
    ("a picture of more than a gigapixel", lambda r: vast(r / "images/i0.png", r / "images/i0.jpg"), {},
     r"i0\.png has 1,600 megapixels"),
    ("a threshold beyond all levels", lambda r: None, {"threshold": 70000}, r"threshold=70000 leaves nothing"),
    ("a colour that is none", lambda r: None, {"foreground": ["reddish"]}, r"foreground lists 'reddish'"),
    ("a range that is none", lambda r: None, {"intensity_range": [5, 5]}, r"intensity_range=\[5, 5\]"),
    ("a name for masks without a field", lambda r: None, {"mask_name": "mask"}, r"mask_name='mask': it must hold"),
    ("a share of everything", lambda r: None, {"test": 1.0}, r"test=1\.0 is not a share"),
    ("patterns that match nothing", lambda r: None, {"test": ["x*"], "split": "test"}, r"The test split .* is empty"),
    ("patterns that match everything", lambda r: None, {"test": ["*"]}, r"The train split .* is empty"),
    ("a misspelt option", lambda r: None, {"treshold": 3}, r"keyword argument .treshold.; it takes .* Did you mean threshold\?"),
    ("no shots", lambda r: None, {"shots": 0}, r"shots=0: at least one"),
    ("shots by category without any", lambda r: None, {"shots_per": "category"}, r"needs a data set with categories"),
    ("text is needed and missing", lambda r: None, {"branch": "explicit"}, r"folder does not say what its masks show"),
    ("an unknown way with errors", lambda r: None, {"on_error": "ignore"}, r"on_error='ignore' is unknown; choose one of raise, skip"),
]  # fmt: skip
DUTS = [
    ("a part is missing", lambda r: shutil.rmtree(r / "DUTS/DUTS-TE/DUTS-TE-Mask"), {}, r"DUTS is not whole"),
    ("a part is empty", lambda r: [f.unlink() for f in (r / "DUTS/DUTS-TE/DUTS-TE-Mask").iterdir()], {}, r"without pictures"),
    ("nothing is there", lambda r: shutil.rmtree(r / "DUTS"), {}, r"DUTS is not in .*\nExpected:\n  DUTS/DUTS-TR"),
    ("a mask is missing", lambda r: (r / "DUTS/DUTS-TR/DUTS-TR-Mask/train0.png").unlink(), {}, r"train0\.jpg has no mask"),
    ("a torn image", lambda r: cut(r / "DUTS/DUTS-TR/DUTS-TR-Image/train0.jpg"), {}, r"train0\.jpg cannot be read"),
    ("sizes differ", lambda r: save(np.zeros((9, 9), np.uint8) + 255, r / "DUTS/DUTS-TR/DUTS-TR-Mask/train0.png"), {},
     r"train0\.png is 9×9"),
]  # fmt: skip
VOC = [
    ("the lists are missing", lambda r: shutil.rmtree(voc(r, "ImageSets")), {}, r"VOC2012 is not whole"),
    ("a list is empty", lambda r: voc(r, "ImageSets/Segmentation/train.txt").write_text(""), {}, r"No image of VOC2012's train"),
    ("a listed mask is missing", lambda r: voc(r, "SegmentationClass/v0.png").unlink(), {}, r"v0\.png cannot be read"),
    ("a listed image is missing", lambda r: voc(r, "JPEGImages/v0.jpg").unlink(), {}, r"v0\.jpg cannot be read"),
    ("masks of colours", lambda r: save(picture(), voc(r, "SegmentationClass/v0.png")), {}, r"v0\.png holds colours"),
    ("a class that VOC lacks", lambda r: save_classes(grey(99), voc(r, "SegmentationClass/v0.png")), {}, r"holds class 99"),
    ("a mask of another size", lambda r: save_classes(np.full((5, 5), 3), voc(r, "SegmentationClass/v0.png")), {}, r"v0\.png is 5×5"),
    ("an unknown category", lambda r: None, {"categories": ["unicorn"]}, r"categories='unicorn' is unknown"),
]  # fmt: skip
CASES = [(name, *case) for name, cases in (("folder", FOLDER), ("DUTS", DUTS), ("VOC2012", VOC)) for case in cases]


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def vast(file, old):
    """A PNG whose header states 40,000 × 40,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    old.unlink()


def good(name, root):
    """Before it is broken."""
    if name == "folder":
        for i in range(COUNT):
            write_pair(root / "images", root / "masks", f"i{i}", i)
    elif name == "DUTS":
        write_published("DUTS", root, COUNT)
    else:
        bands = np.repeat([0, 3, 255, 8], H // 4)[:, None].repeat(W, 1)
        write_voc(root, {"train": {f"v{i}": bands for i in range(4)}, "val": {"w0": bands}})
    return {"test": ["i7"]} if name == "folder" else {}


def play(name, root, cache, **options):
    """One prompt on every training image."""
    own = {each.name for each in fields(EnvConfig)}
    kwargs = {"root": root} | {key: value for key, value in options.items() if key not in own}
    options = {key: value for key, value in options.items() if key in own}
    env = gym.make("AlignSAM-v0", dataset=name, dataset_kwargs=kwargs, cache_dir=cache, **GAME | options)
    for index in range(len(env.unwrapped.episode.encoded)):
        env.reset(seed=0, options={"index": index})
        env.step(env.action_space.sample())
    return env.unwrapped.episode.encoded.dataset


def test_there_are_fifty_kinds():
    assert len(CASES) >= 50
    assert len({(name, kind) for name, kind, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize("name", ["folder", "DUTS", "VOC2012"])
def test_what_is_not_broken_is_played(name, tmp_path):
    options = good(name, tmp_path / "data")
    assert len(play(name, tmp_path / "data", tmp_path / "cache", **options)) >= 7


@pytest.mark.parametrize(("name", "kind", "spoil", "options", "says"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_each_gives_its_error(name, kind, spoil, options, says, tmp_path):
    root = tmp_path / "data"
    options = good(name, root) | options
    spoil(root)
    with pytest.raises((DataError, OptionError), match=f"(?s){says}"):
        play(name, root, tmp_path / "cache", **options)


@pytest.mark.parametrize(
    ("name", "kind", "spoil", "options", "says"),
    [case for case in CASES if case[4].startswith(("i0", "train0", "v0"))],
)
def test_no_run_is_lost_to_one_bad_file(name, kind, spoil, options, says, tmp_path, caplog):
    root = tmp_path / "data"
    options = good(name, root) | options
    spoil(root)
    played = play(name, root, tmp_path / "cache", on_error="skip", **options)
    assert len(played) >= 6
    assert "Left out: " in caplog.text


def test_a_file_that_may_not_be_read_is_said_so(tmp_path, monkeypatch):
    def opened(file, *arguments, **options):
        if Path(file).name == "i0.jpg":  # to root no file is forbidden
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return open_image(file, *arguments, **options)

    good("folder", tmp_path)
    open_image = Image.open
    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(AlignSAMError, match=r"i0\.jpg cannot be read"):
        play("folder", tmp_path, tmp_path / "cache", test=["i7"])
