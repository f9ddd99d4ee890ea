"""Segment an image by the ONNX graphs of `alignsam export RUN graphs/ --onnx`, without PyTorch and this package.

    pip install -e ".[onnx]"
    python examples/onnx_predict.py graphs/ photo.jpg mask.png

The extra has what the export needs; where the graphs are only run, NumPy, OpenCV and onnxruntime are enough.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime


def load(folder: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Load the sizes in ``agent.json``, and the graphs by name."""
    sizes = json.loads((folder / "agent.json").read_text())
    graphs = {}
    for name in ("encoder", "decoder", "features", "srm", "answer", "policy"):
        if not (folder / f"{name}.onnx").exists():  # features: of an SRM that sees SAM's embedding alone
            continue
        graphs[name] = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return sizes, graphs


def predict(sizes: dict[str, int], graphs: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """Segment an image, by an agent that no text guides.

    Args:
        sizes: From `load`.
        graphs: From `load`.
        image: uint8 (H, W, 3), RGB.

    Returns:
        bool (H, W).
    """
    size = sizes["image_size"]
    side = size // sizes["patch_size"]

    def run(name: str, **inputs: np.ndarray) -> list[np.ndarray]:
        return list(graphs[name].run(None, inputs))

    frame = resize(image, size)
    [encoding] = run("encoder", image=resize(frame, sizes["input_size"])[None])
    seen = {}
    if "features" in graphs:
        [seen["features"]] = run("features", frame=resize(frame, sizes["features_size"])[None])
    everywhere = np.ones((1, 4 * encoding.shape[2], 4 * encoding.shape[3]), np.float32)
    srm_logits, _ = run("srm", encoding=encoding, mask=everywhere, **seen)
    cells = srm_logits.shape[1]
    extremes = np.array([srm_logits.argmax(), srm_logits.argmin()])  # the initial pair
    points_unit = [((cell % cells + 0.5) / cells, (cell // cells + 0.5) / cells) for cell in extremes]
    labels, visited = [1, 0], np.zeros((1, side**2), np.float32)
    for prompts in range(sizes["max_steps"] + 1):
        given = {"points": np.array([points_unit], np.float32), "labels": np.array([labels])}
        [logits] = run("decoder", encoding=encoding, **given)
        mask = 1 / (1 + np.exp(-logits))
        srm_logits, centres = run("srm", encoding=encoding, mask=mask, **seen)
        [answer] = run("answer", sam_logits=logits, srm_logits=srm_logits)
        if prompts == sizes["max_steps"]:
            break
        known = {"encoding": encoding, "mask": mask, "srm_logits": srm_logits, "visited": visited, **given}
        [scores] = run("policy", **{each.name: known[each.name] for each in graphs["policy"].get_inputs()})
        patch = int(scores.argmax())
        if patch == side**2:  # the agent stops
            break
        points_unit.append(((patch % side + 0.5) / side, (patch // side + 0.5) / side))
        labels.append(int(centres[0, patch] > 0))
        visited[0, patch] = 1
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(answer[0], (width, height), interpolation=cv2.INTER_LINEAR) > 0)


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """Resize to a square as the agent does: average along an axis that shrinks, interpolate along one that grows."""
    down, across = (cv2.INTER_AREA if side < old else cv2.INTER_LINEAR for old in image.shape[:2])
    if across != down:  # OpenCV averages neither axis if one of them grows
        image = cv2.resize(image, (side, image.shape[0]), interpolation=across)
    return cv2.resize(image, (side, side), interpolation=down)


def main() -> None:
    """Read the arguments, segment the image and write its mask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("graphs", "image", "mask"):
        parser.add_argument(name)
    args = parser.parse_args()
    image = cv2.imread(args.image)
    if image is None:
        parser.error(f"{args.image} cannot be read as an image")
    if not Path(args.graphs, "agent.json").is_file():
        parser.error(f"{args.graphs} has no agent.json: name the folder that alignsam export wrote with --onnx")
    sizes, graphs = load(Path(args.graphs))
    if "similarity" in [given.name for given in graphs["srm"].get_inputs()]:
        parser.error(
            f"{args.graphs} is of an agent that a text guides: its srm.onnx needs similarity, CLIP's map of the text, "
            "and CLIP is not among the graphs; take an agent of branch=implicit, or give srm such a map here"
        )
    mask = predict(sizes, graphs, image[..., ::-1]).astype(np.uint8) * 255
    if not (cv2.haveImageWriter(args.mask) and cv2.imwrite(args.mask, mask)):
        parser.error(f"{args.mask} cannot be written: its folder must be there, and its name end in .png")


if __name__ == "__main__":
    main()
