"""One data set of images and masks, written as each annotation tool would write it."""

import base64
import io
import json
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco

from alignsam_gym.data import load_dataset
from tests.alignsam_gym.data.trees import mask as small_mask
from tests.alignsam_gym.data.trees import picture, save

FORMATS = [
    "coco-packed",
    "coco-runs",
    "coco-polygons",
    "yolo",
    "labelme-masks",
    "labelme-polygons",
    "cvat-masks",
    "cvat-polygons",
]
LOSSLESS = [name for name in FORMATS if name.endswith(("packed", "runs", "masks"))]
ORDERS = {"cvat": "C", "coco": "F"}


def options_of(name):
    """Options of the data set in which `write` wrote."""
    return {"annotations": "labels.json"} if name.startswith("coco") else {}


def write(name, root, objects, images):
    """Write images and, in a format, the objects of each: pairs of a label and a mask, by the path without suffix."""
    folder = root if name.startswith("labelme") else root / "images"
    for stem, image in images.items():
        save(image, folder / f"{stem}.png")
    tool, _, kind = name.partition("-")
    {"coco": write_coco, "yolo": write_yolo, "labelme": write_labelme, "cvat": write_cvat}[tool](root, objects, kind)


def labels_of(objects):
    return sorted({label for shapes in objects.values() for label, _ in shapes})


def outlines(mask):
    """The outlines of a mask without holes, along the borders of its pixels."""
    found, _ = cv2.findContours(
        np.kron(mask, np.ones((2, 2))).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return [(outline[:, 0] + 0.5) / 2 for outline in found]


def runs_of(mask, order):
    flat = np.concatenate([[False], mask.ravel(order)])
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *borders, mask.size]).tolist()


def segmentation_of(mask, kind):
    if kind == "polygons":
        return [outline.ravel().tolist() for outline in outlines(mask)]
    if kind == "runs":
        return {"size": list(mask.shape), "counts": runs_of(mask, "F")}
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def write_coco(root, objects, kind="packed", file="labels.json"):
    labels = labels_of(objects)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 3 + 2 * i, "name": n} for i, n in enumerate(labels)],
    }
    for number, (stem, shapes) in enumerate(objects.items()):
        height, width = next(iter(shapes))[1].shape
        content["images"].append({"id": number, "file_name": f"{stem}.png", "width": width, "height": height})
        for label, mask in shapes:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 3 + 2 * labels.index(label),
                    "segmentation": segmentation_of(mask, kind),
                    "iscrowd": 0,
                }
            )
    (root / file).write_text(json.dumps(content))


def write_yolo(root, objects, kind=""):
    labels = labels_of(objects)
    (root / "data.yaml").write_text(f"names: {json.dumps(labels)}")
    for stem, shapes in objects.items():
        lines = [
            [labels.index(label), *(outline / mask.shape[::-1]).ravel()]
            for label, mask in shapes
            for outline in outlines(mask)
        ]
        file = root / "labels" / f"{stem}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(" ".join(map(str, line)) for line in lines))


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1], rows[-1]


def labelme_mask(mask):
    left, top, right, bottom = bounds(mask)
    stored = io.BytesIO()
    Image.fromarray(mask[top : bottom + 1, left : right + 1]).save(stored, "PNG")
    return {
        "shape_type": "mask",
        "points": [[int(left), int(top)], [int(right), int(bottom)]],
        "mask": base64.b64encode(stored.getvalue()).decode(),
    }


def write_labelme(root, objects, kind="masks"):
    for stem, shapes in objects.items():
        found = []
        for label, mask in shapes:
            if kind == "masks":
                found.append({"label": label, **labelme_mask(mask)})
            else:
                found += [{"label": label, "points": each.tolist(), "shape_type": "polygon"} for each in outlines(mask)]
        height, width = next(iter(shapes))[1].shape
        content = {"imagePath": f"..\\x\\{stem}.png", "imageWidth": width, "imageHeight": height, "shapes": found}
        (root / f"{stem}.json").write_text(json.dumps(content))


def write_cvat(root, objects, kind="masks"):
    top_element = ElementTree.Element("annotations")
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(top_element, "meta"), "job"), "labels"
    )
    for label in labels_of(objects):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = label
    for number, (stem, shapes) in enumerate(objects.items()):
        height, width = next(iter(shapes))[1].shape
        size = {"width": str(width), "height": str(height)}
        image = ElementTree.SubElement(top_element, "image", id=str(number), name=f"{stem}.png", **size)
        ElementTree.SubElement(image, "tag", label="of the image")
        for label, mask in shapes:
            if kind == "masks":
                left, top, right, bottom = bounds(mask)
                part = mask[top : bottom + 1, left : right + 1]
                place = {"left": left, "top": top, "width": part.shape[1], "height": part.shape[0]}
                values = {key: str(value) for key, value in place.items()}
                runs = ", ".join(map(str, runs_of(part, "C")))
                ElementTree.SubElement(image, "mask", label=label, rle=runs, **values)
            else:
                for outline in outlines(mask):
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline)
                    ElementTree.SubElement(image, "polygon", label=label, points=points)
    ElementTree.ElementTree(top_element).write(root / "annotations.xml")


NAMES = ["a", "b", "c", "d"]
POLYGONS = ["coco-polygons", "yolo", "labelme-polygons", "cvat-polygons"]


def write_good(name, root, images=None):
    objects = {stem: [("cat", small_mask()), ("dog", np.roll(small_mask(), 9, axis=1))] for stem in NAMES}
    write(name, root, objects, images or {stem: picture(i) for i, stem in enumerate(NAMES)})


def load(name, folder, split="train", **options):
    options = {"root": folder, "categories": "cat", **options_of(name), **options}
    return load_dataset(name.partition("-")[0], split, **options)


def edit(change):
    """Change a JSON file."""

    def spoil(root):
        file = next(file for file in (root / "labels.json", root / "a.json") if file.is_file())
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def replace_text(file, old, new):
    """Replace the first occurrence of a text."""
    return lambda root: (root / file).write_text((root / file).read_text().replace(old, new, 1))
