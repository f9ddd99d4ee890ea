"""Small data sets in their published layouts, for the tests."""

import numpy as np
from PIL import Image

H, W = 24, 36
FOLDERS = {
    "CUHK": ("BlurDataset", {"train": ("image", "gt"), "test": ("image", "gt")}),
    "SBU": (
        "SBU-shadow",
        {
            "train": ("SBUTrain4KRecoveredSmall/ShadowImages", "SBUTrain4KRecoveredSmall/ShadowMasks"),
            "test": ("SBU-Test/ShadowImages", "SBU-Test/ShadowMasks"),
        },
    ),
    "MSD": ("MSD", {"train": ("train/image", "train/mask"), "test": ("test/image", "test/mask")}),
    "DUTS": (
        "DUTS",
        {
            "train": ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
            "test": ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
        },
    ),
}


def mask(seed=0):
    found = np.zeros((H, W), bool)
    found[4 : 12 + seed % 5, 3:20] = True
    return found


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def save(content, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(file)


def write_pair(images, masks, stem, seed=0):
    save(picture(seed), images / f"{stem}.jpg")
    save(mask(seed).astype(np.uint8) * 255, masks / f"{stem}.png")


def write_published(name, base, count=4):
    """`count` pairs in each split of a data set of pictures and masks; returns its top folder."""
    home, splits = FOLDERS[name]
    for split, (images, masks) in splits.items():
        for i in range(count):
            stem = f"out_of_focus{split}{i:04d}" if name == "CUHK" else f"{split}{i}"
            write_pair(base / home / images, base / home / masks, stem, i)
    return base / home


def write_voc(base, layers):
    """VOC 2012 whose train and val lists hold the images of `layers`, split -> name -> class indices (H, W)."""
    home = base / "VOCdevkit" / "VOC2012"
    for listing, images in layers.items():
        for name, classes in images.items():
            save(picture(len(name)), home / "JPEGImages" / f"{name}.jpg")
            save_classes(classes, home / "SegmentationClass" / f"{name}.png")
        lists = home / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{listing}.txt").write_text("".join(f"{name}\n" for name in images))
    return home


def save_classes(classes, file):
    indexed = Image.fromarray(classes.astype(np.uint8))
    indexed.putpalette([(37 * i) % 256 for i in range(768)])
    file.parent.mkdir(parents=True, exist_ok=True)
    indexed.save(file)
