import logging
import unicodedata

import pytest
from PIL import Image

from alignsam_gym.data.image_listing import list_files, list_images
from alignsam_gym.errors import DataError


def touch(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(file, "PNG")


def test_images_of_all_kinds_are_listed_in_the_order_of_their_paths(tmp_path):
    names = ["a.png", "a/b.JPG", "a-b.jpeg", "b.bmp", "c.webp", "d.tif", "e.TIFF", "a.b/c.png"]
    touch(tmp_path, *names)
    files = list_images(tmp_path)
    assert list(files) == [file.relative_to(tmp_path).as_posix() for file in sorted(tmp_path / name for name in names)]
    assert all(files[path] == tmp_path / path for path in files)


def test_what_systems_and_tools_hide_is_left_out_silently(tmp_path, caplog):
    touch(tmp_path, "x.png", "._x.png", ".ipynb_checkpoints/x.png", "@eaDir/x.png", "__MACOSX/x.png")
    with caplog.at_level(logging.INFO):
        assert list(list_images(tmp_path)) == ["x.png"]
    assert not caplog.text


def test_a_folder_called_as_an_image_is_a_folder(tmp_path):
    touch(tmp_path, "x.png/y.png")
    assert list(list_images(tmp_path)) == ["x.png/y.png"]


def test_links_are_followed_and_cycles_and_broken_links_told(tmp_path, caplog):
    touch(tmp_path, "here/a.png", "elsewhere/b.png", "elsewhere/deep/c.png")
    root = tmp_path / "here"
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "file.png").symlink_to(tmp_path / "elsewhere/b.png")
    (root / "loop").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING):
        found = list(list_images(root))
    assert found == ["a.png", "file.png", "linked/b.png", "linked/deep/c.png"]
    assert "the link loop to a folder above it" in caplog.text
    assert "the broken link gone.png" in caplog.text


def test_the_rest_is_counted_and_named(tmp_path, caplog):
    touch(tmp_path, "a.png", "b.heic", "c.heic", "d.gif")
    with caplog.at_level(logging.WARNING):
        list_images(tmp_path)
    assert "left out what is no PNG, JPEG, BMP, WebP or TIFF file: 2 .heic, 1 .gif" in caplog.text


def test_notes_are_no_warning(tmp_path, caplog):
    touch(tmp_path, "a.png")
    (tmp_path / "notes.txt").write_text("")
    with caplog.at_level(logging.WARNING):
        list_images(tmp_path)
    assert not caplog.text


def test_names_are_composed(tmp_path):
    name = unicodedata.normalize("NFD", "Gänse.png")
    touch(tmp_path, name)
    assert list(list_images(tmp_path)) == [unicodedata.normalize("NFC", name)]
    assert list_images(tmp_path)[unicodedata.normalize("NFC", name)].exists()


def test_one_name_in_two_forms_is_told(tmp_path):
    touch(tmp_path, *(unicodedata.normalize(form, "ä.png") for form in ("NFC", "NFD")))
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system composes names itself")
    with pytest.raises(DataError, match="one name in two Unicode forms"):
        list_images(tmp_path)


def test_a_pattern_and_a_folder_to_leave_out(tmp_path):
    touch(tmp_path, "a1.png", "b1.png", "out/a2.png")
    assert list(list_images(tmp_path, "a*")) == ["a1.png", "out/a2.png"]
    assert list(list_images(tmp_path, without=[tmp_path / "out"])) == ["a1.png", "b1.png"]
    assert list(list_files(tmp_path, ".png", without=[tmp_path / "out"])) == ["a1.png", "b1.png"]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
        list_images(tmp_path / "nowhere")
