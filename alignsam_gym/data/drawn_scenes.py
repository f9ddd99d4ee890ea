"""Draws the scenes that the data sets of `shapes_dataset` consist of, and that the embedded models are pretrained on.

A scene depends on its task, split and number only. So there are no files, every machine draws the same scenes, and no
scene is in two splits. Each task mirrors one of the paper's data sets:

- ``saliency`` (DUTS): the objects whose colour stands out from everything around them;
- ``shadow`` (SBU): soft shadows cast by objects, among objects that are merely dark;
- ``mirror`` (MSD): a framed region that shows a mirrored part of the scene;
- ``defocus`` (CUHK): whatever is out of focus, usually the background;
- ``named`` (Pascal VOC): objects of several kinds in one scene, one mask for each kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SIZE = 256
"""Side of a scene in pixels."""

KINDS = ("star", "ring", "cross", "triangle", "crescent", "disc")
"""The kinds of objects that have a name: the categories of the task ``named``."""

SPLIT_SIZES = {"train": 200, "test": 100, "pretrain": 1_000_000}
"""Number of scenes in each split. Only the embedded models learn from ``pretrain``, never an agent."""

_SUBPIXEL_BITS = 4  # binary digits after the point of the coordinates that OpenCV fills polygons by


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        image: uint8 (256, 256, 3), RGB.
        masks: bool (256, 256), the target, by its name: the task's, or each kind of object in a ``named`` scene.
        objects: bool (256, 256), the visible part of every object, distractors too.
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]
    objects: list[np.ndarray]


def draw_scene(task: str, split: str, index: int) -> Scene:
    """Draw a scene.

    Args:
        task: One of `TASKS`.
        split: One of `SPLIT_SIZES`.
        index: The scene's number, from 0.

    Returns:
        The scene. The same arguments always give the same one.
    """
    stream = np.random.SeedSequence([list(_PAINTERS).index(task), list(SPLIT_SIZES).index(split), index])
    rng = np.random.default_rng(stream)
    while True:  # a target that happens to be covered or cropped away is drawn anew
        scene = _PAINTERS[task](rng)
        if scene.masks and min(mask.mean() for mask in scene.masks.values()) > 0.004:
            break
    return Scene(_expose(rng, scene.image), scene.masks, scene.objects)


# ---------------------------------------------------------------------------------------------------
# Textures. Images are float32 (H, W, 3) in [0, 1] until `_expose` makes a photograph of them.


def _noise(rng: np.random.Generator, coarsest: int, finest: int, decay: float = 0.6) -> np.ndarray:
    """Fractal noise (H, W), roughly standard normal, from octaves of interpolated grids."""
    total: np.ndarray = np.zeros((SIZE, SIZE), np.float32)
    weight, norm = 1.0, 0.0
    cells = coarsest
    while cells <= finest:
        grid = rng.standard_normal((cells, cells), np.float32)
        total += weight * cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        norm += weight**2
        weight, cells = weight * decay, cells * 2
    noise: np.ndarray = total / math.sqrt(norm)
    return noise


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour as float32 (3,); hue in turns, wrapped."""
    hsv = np.array([[[hue % 1.0 * 360.0, np.clip(saturation, 0, 1), np.clip(value, 0, 1)]]], np.float32)
    rgb: np.ndarray = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return rgb


def _material(rng: np.random.Generator, colours: Sequence[np.ndarray], contrast: float) -> np.ndarray:
    """A surface (H, W, 3): one of several patterns between two colours, with grain and shading."""
    colour, other = colours
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    pattern = rng.choice(["mottled", "stripes", "patches", "plain"], p=[0.4, 0.2, 0.2, 0.2])
    if pattern == "mottled":
        blend = 0.5 + 0.35 * _noise(rng, int(rng.choice([2, 4, 8])), 64)
    elif pattern == "stripes":
        angle, frequency = rng.uniform(0, math.pi), rng.uniform(6, 22)
        phase = frequency * (math.cos(angle) * x + math.sin(angle) * y) + 0.25 * _noise(rng, 2, 8)
        blend = 0.5 + 0.5 * np.tanh(2 * np.sin(2 * math.pi * phase))
    elif pattern == "patches":
        blend = 0.5 + 0.5 * np.tanh(4 * _noise(rng, int(rng.choice([4, 8])), 16))
    else:
        blend = np.full((SIZE, SIZE), rng.uniform(0, 0.4), np.float32)
    blend = np.clip(blend, 0, 1)[..., None]
    surface = colour * (1 - blend) + (colour + contrast * (other - colour)) * blend
    angle = rng.uniform(0, 2 * math.pi)
    light = 1 + rng.uniform(0, 0.5) * (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5))
    grain = 1 + rng.uniform(0.01, 0.08) * _noise(rng, 32, 128)
    shaded: np.ndarray = surface * (light * grain)[..., None]
    return shaded


def _background(rng: np.random.Generator, hue: float, saturation: float, value: float) -> np.ndarray:
    """One or two materials of related colours, split along an uneven horizon (H, W, 3)."""

    def related() -> np.ndarray:
        shades = rng.normal(0, [0.04, 0.08, 0.12])
        return _rgb(hue + shades[0], saturation + shades[1], value + shades[2])

    image = _material(rng, [related(), related()], rng.uniform(0.5, 1.0))
    if rng.random() < 0.6:
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
        angle = rng.normal(0, 0.25)
        edge = y - rng.uniform(0.3, 0.7) + angle * (x - 0.5) + 0.03 * _noise(rng, 2, 16)
        side = (1 / (1 + np.exp(-np.clip(edge * SIZE * 0.7, -30, 30))))[..., None]
        image = image * (1 - side) + _material(rng, [related(), related()], rng.uniform(0.5, 1.0)) * side
    return image


def _expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add what a camera adds, softness, contrast and sensor noise, and convert to uint8 RGB."""
    if (softness := rng.uniform(0, 0.9)) > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), softness)
    image = 0.5 + (image - 0.5) * rng.uniform(0.8, 1.15) + rng.uniform(-0.05, 0.05)
    image = image + rng.uniform(0, 0.03) * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------
# Outlines. An outline is a list of float32 (K, 2) polygons in units of its radius; holes by even-odd.


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    turned: np.ndarray = points @ np.array([[c, s], [-s, c]])
    return turned


def _circle(radius: float = 1.0, squeeze: float = 1.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return radius * np.stack([np.cos(angle), squeeze * np.sin(angle)], 1)


def _blob(rng: np.random.Generator) -> list[np.ndarray]:
    """A smooth closed curve of random harmonics, for objects without a name."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angle)
    for k in range(2, 6):
        radius += rng.normal(0, 0.32 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.35, None)
    squeeze = rng.uniform(0.55, 1.0)
    return [np.stack([np.cos(angle) * radius, np.sin(angle) * radius * squeeze], 1)]


def _outline(rng: np.random.Generator, kind: str) -> list[np.ndarray]:
    match kind:
        case "star":
            angle = np.arange(10) * np.pi / 5 - np.pi / 2
            radius = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.38, 0.5))
            return [np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]]
        case "ring":
            return [_circle(), _circle(rng.uniform(0.45, 0.65))]
        case "cross":
            a = rng.uniform(0.28, 0.42)
            corner = [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a)]
            return [np.array(corner + [(-x, -y) for x, y in corner])]
        case "triangle":
            return [np.array([(0, -1), (0.95, 0.75), (-0.95, 0.75)])]
        case "crescent":
            outer = np.linspace(0.35 * np.pi, 1.65 * np.pi, 40)
            inner = outer[::-1]
            bite = rng.uniform(0.35, 0.5)
            return [np.concatenate([
                np.stack([np.cos(outer), np.sin(outer)], 1),
                np.stack([bite + 0.82 * np.cos(inner) * 0.9, 0.88 * np.sin(inner)], 1),
            ])]  # fmt: skip
        case "disc":
            return [_circle(squeeze=rng.uniform(0.75, 1.0))]
    return _blob(rng)


def _coverage(outline: list[np.ndarray], centre: np.ndarray, radius: float, angle: float = 0.0) -> np.ndarray:
    """Anti-aliased coverage float32 (H, W) in [0, 1] of an outline placed in the scene."""
    scale = 1 << _SUBPIXEL_BITS
    polygons = [np.round((_turn(p, angle) * radius + centre) * scale).astype(np.int32) for p in outline]
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(canvas, polygons, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255


def _centres(rng: np.random.Generator, radii: np.ndarray, margin: float = 0.6) -> np.ndarray:
    """Places (K, 2) for discs of the given radii that overlap as little as 30 tries each allow."""
    placed: list[np.ndarray] = []
    for k, radius in enumerate(radii):
        low, high = margin * radius, SIZE - margin * radius
        tries = rng.uniform(low, high, (30, 2))
        if placed:
            gaps = np.linalg.norm(tries[:, None] - np.array(placed), axis=2) - radii[:k] - radius
            placed.append(tries[np.argmax(np.minimum(gaps.min(1), 0.2 * radius))])
        else:
            placed.append(tries[0])
    return np.array(placed)


class _Canvas:
    """A scene that is being painted: later objects cover earlier ones, in the image and in their masks."""

    def __init__(self, image: np.ndarray):
        self.image = image
        self.coverages: list[np.ndarray] = []

    def add(self, coverage: np.ndarray, surface: np.ndarray) -> int:
        """Paint an object and return its number."""
        self.image = self.image * (1 - coverage[..., None]) + surface * coverage[..., None]
        self.coverages = [below * (1 - coverage) for below in self.coverages]
        self.coverages.append(coverage)
        return len(self.coverages) - 1

    def mask(self, *which: int) -> np.ndarray:
        """Return the visible part of some objects together, bool (H, W)."""
        coverage: np.ndarray = np.sum([self.coverages[k] for k in which], axis=0)
        return coverage > 0.5

    def objects(self) -> list[np.ndarray]:
        return [coverage > 0.5 for coverage in self.coverages]


def _any_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(["blob", "blob", "blob", *KINDS]))


def _clutter(
    rng: np.random.Generator, canvas: _Canvas, hue: float, saturation: float, value: float, count: int
) -> None:
    """Paint objects whose colours are near the given one."""
    radii = rng.uniform(14, 40, count)
    for centre, radius in zip(_centres(rng, radii), radii, strict=True):
        shades = rng.normal([hue, saturation, value], [0.05, 0.08, 0.12], (2, 3))
        surface = _material(rng, [_rgb(*shade) for shade in shades], rng.uniform(0.3, 1.0))
        canvas.add(_coverage(_outline(rng, _any_kind(rng)), centre, radius, rng.uniform(0, 6.3)), surface)


# ---------------------------------------------------------------------------------------------------
# The five tasks.


def _saliency(rng: np.random.Generator) -> Scene:
    """The target is what has another hue than the rest of the scene."""
    hue, saturation, value = rng.random(), rng.uniform(0.15, 0.5), rng.uniform(0.35, 0.75)
    canvas = _Canvas(_background(rng, hue, saturation, value))
    _clutter(rng, canvas, hue, saturation, value, int(rng.integers(2, 7)))
    far = hue + 0.5 + rng.uniform(-0.17, 0.17)
    pieces = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    radii = rng.uniform(24, 62, pieces) / pieces**0.4
    kind, targets = _any_kind(rng), []
    for centre, radius in zip(_centres(rng, radii, margin=0.9), radii, strict=True):
        vivid = _rgb(far + rng.normal(0, 0.03), rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.95))
        second = _rgb(far + rng.choice([-1, 1]) * rng.uniform(0.05, 0.16), rng.uniform(0.4, 0.9), rng.uniform(0.3, 1))
        surface = _material(rng, [vivid, second], rng.uniform(0.4, 1.0))
        targets.append(canvas.add(_coverage(_outline(rng, kind), centre, radius, rng.uniform(0, 6.3)), surface))
    if rng.random() < 0.3:  # something in front of the target, which may split it
        _clutter(rng, canvas, hue, saturation, value, 1)
    return Scene(canvas.image, {"saliency": canvas.mask(*targets)}, canvas.objects())


def _shadow(rng: np.random.Generator) -> Scene:
    hue, saturation = rng.random(), rng.uniform(0.1, 0.4)
    canvas = _Canvas(_background(rng, hue, saturation, rng.uniform(0.55, 0.85)))
    for _ in range(int(rng.integers(1, 3))):  # dark, but no shadow
        _clutter(rng, canvas, rng.random(), 0.4, 0.2, 1)
    direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.8)
    offset = length * np.array([np.cos(direction), np.sin(direction)])
    radii = rng.uniform(20, 46, int(rng.integers(1, 4)))
    outlines = [_outline(rng, _any_kind(rng)) for _ in radii]
    centres, angles = _centres(rng, radii), rng.uniform(0, 6.3, len(radii))
    shade: np.ndarray = np.zeros((SIZE, SIZE), np.float32)
    for outline, centre, radius, angle in zip(outlines, centres, radii, angles, strict=True):
        for step in np.linspace(0.1, 1, 16):  # the sweep of the silhouette along the ground
            shade = np.maximum(shade, _coverage(outline, centre + step * offset * radius, radius, angle))
    shade = cv2.GaussianBlur(shade, (0, 0), rng.uniform(0.8, 3.0))
    tint = rng.uniform(0.3, 0.6) * np.array([0.95, 1.0, 1.08], np.float32)
    canvas.image = canvas.image * (1 - shade[..., None] * (1 - tint))
    below = len(canvas.coverages)
    for outline, centre, radius, angle in zip(outlines, centres, radii, angles, strict=True):
        colours = [_rgb(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.95)) for _ in range(2)]
        canvas.add(_coverage(outline, centre, radius, angle), _material(rng, colours, 0.7))
    visible = (shade > 0.5) & ~canvas.mask(*range(below, len(canvas.coverages)))
    return Scene(canvas.image, {"shadow": visible}, canvas.objects())


def _mirror(rng: np.random.Generator) -> Scene:
    hue, saturation, value = rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.4, 0.75)
    canvas = _Canvas(_background(rng, hue, saturation, value))
    _clutter(rng, canvas, rng.random(), 0.6, 0.6, int(rng.integers(3, 7)))
    if rng.random() < 0.7:
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * [rng.uniform(0.5, 1), 1]
        outline = [corner + rng.normal(0, 0.08, (4, 2))]
    else:
        outline = [_circle(squeeze=rng.uniform(0.6, 1))]
    radius, angle = rng.uniform(36, 78), rng.normal(0, 0.15)
    centre = rng.uniform(0.75 * radius, SIZE - 0.75 * radius, 2)
    image = canvas.image
    reflected = np.roll(image[:, ::-1], rng.integers(-60, 60, 2), axis=(0, 1))
    reflected = cv2.GaussianBlur(np.ascontiguousarray(reflected), (0, 0), rng.uniform(0.4, 1.2))
    glass = np.array([0.92, 0.98, 1.0], np.float32) * rng.uniform(0.8, 1.05)
    haze = rng.uniform(0.05, 0.3)
    surface = reflected * glass * (1 - haze) + haze * rng.uniform(0.6, 1.0)
    frame = np.broadcast_to(_rgb(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.1, 0.9)), image.shape)
    canvas.add(_coverage(outline, centre, radius + rng.uniform(1, 6), angle), frame)
    target = canvas.add(_coverage(outline, centre, radius, angle), surface)
    return Scene(canvas.image, {"mirror": canvas.mask(target)}, canvas.objects())


def _defocus(rng: np.random.Generator) -> Scene:
    """The target is what is blurred: mostly the background, sometimes objects too near the lens."""
    hue, saturation, value = rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.75)

    def crisp(surface: np.ndarray) -> np.ndarray:
        return surface * (1 + rng.uniform(0.1, 0.25) * _noise(rng, 32, 128, decay=1.0)[..., None])

    canvas = _Canvas(crisp(_background(rng, hue, saturation, value)))
    _clutter(rng, canvas, rng.random(), 0.5, 0.6, int(rng.integers(2, 6)))
    behind, blur = canvas.objects(), rng.uniform(2.5, 6.0)
    background_blurred = rng.random() < 0.7
    image = cv2.GaussianBlur(canvas.image, (0, 0), blur) if background_blurred else crisp(canvas.image)
    radii = rng.uniform(36, 74, int(rng.integers(1, 3)))
    coverage = np.zeros((SIZE, SIZE), np.float32)
    for centre, radius in zip(_centres(rng, radii), radii, strict=True):
        one = _coverage(_outline(rng, _any_kind(rng)), centre, radius, rng.uniform(0, 6.3))
        colours = [_rgb(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.9)) for _ in range(2)]
        surface = crisp(_material(rng, colours, 0.8))
        if not background_blurred:
            surface, one = (cv2.GaussianBlur(part, (0, 0), blur) for part in (surface, one))
        image = image * (1 - one[..., None]) + surface * one[..., None]
        coverage = np.maximum(coverage, one)
    front = coverage > 0.5
    target = ~front if background_blurred else front
    return Scene(image, {"defocus": target}, [front, *(mask & ~front for mask in behind)])


def _named(rng: np.random.Generator) -> Scene:
    hue, saturation, value = rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.3, 0.8)
    canvas = _Canvas(_background(rng, hue, saturation, value))
    kinds = rng.choice(KINDS, int(rng.integers(2, 5)), replace=False)
    names = [str(kind) for kind in np.concatenate([kinds, rng.choice(kinds, int(rng.integers(0, 4)))])]
    radii = rng.uniform(18, 50, len(names)) * (3 / max(3, len(names))) ** 0.5
    for name, centre, radius in zip(names, _centres(rng, radii, margin=0.9), radii, strict=True):
        colours = [_rgb(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.25, 0.95)) for _ in range(2)]
        tilt = rng.normal(0, 0.3)
        canvas.add(_coverage(_outline(rng, name), centre, radius, tilt), _material(rng, colours, rng.uniform(0.3, 0.9)))
    groups = {kind: [k for k, name in enumerate(names) if name == kind] for kind in KINDS}
    masks = {kind: canvas.mask(*members) for kind, members in groups.items() if members}
    return Scene(canvas.image, masks, canvas.objects())


_PAINTERS: dict[str, Callable[[np.random.Generator], Scene]] = {
    "saliency": _saliency,
    "shadow": _shadow,
    "mirror": _mirror,
    "defocus": _defocus,
    "named": _named,
}

TASKS = tuple(_PAINTERS)
"""The tasks, in the order in which they are listed above. A scene depends on its task's place in it."""
