"""Which pixels of a mask file are foreground. Ground truth, predictions and uploads are all read by `MaskRule`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ImageColor

from alignsam_gym.data.stored_mask import StoredMask, distinct, read_stored
from alignsam_gym.errors import DataError, OptionError, check_number, check_switch

Colour = int | float | str | Sequence[int]
"""A palette index or grey level, as it is stored; or a colour: its name, ``"#ff0000"``, or red, green and blue."""

MIDDLE = 127
"""The luminance, of 255, at which a mask is cut that is lossy or that alpha describes."""

_MOST_UNCLEAR = 0.05
"""The largest fraction of a lossy mask's pixels that may be neither dark nor bright: compression blurs outlines."""
_DARK, _BRIGHT = 64, 191
_LISTED = 8  # colours in a message
_USUAL_VOID = 255  # the index of pixels without a label in palette masks, as Pascal VOC has it


@dataclass(frozen=True)
class MaskRule:
    """Decides which pixels of a mask file are foreground.

    By default it takes what can be meant in one way only. Of two colours, the one that is not black is foreground; if
    neither is black, the white one, unless the other is coloured. Transparency counts if the colours are all alike. A
    lossy file is cut at the middle of luminance if nearly all of its pixels are dark or bright. Anything else is an
    error, which lists the colours, and one of these options says what is meant. [ours]

    Attributes:
        threshold: Foreground is what has a luminance above this: 0 to 255, or the levels of a grey file as they are
            stored. None to go by the colours.
        invert: Whether to swap foreground and background.
        foreground: Palette indices, grey levels or colours (`Colour`) that are foreground, all others being background;
            ``nonzero``, for all but index 0, level 0 or black; or ``alpha``, for what is opaque. None to go by
            `threshold`.
        void: Palette indices, grey levels or colours of pixels that have no label, neither foreground nor background.
        prefix: What stands before the options' names in messages; None where a user has no options to set.

    Raises:
        OptionError: If an option has a value that makes no sense.
    """

    threshold: float | None = None
    invert: bool = False
    foreground: str | Sequence[Colour] | None = None
    void: Sequence[Colour] | None = None
    prefix: str | None = "dataset."

    def __post_init__(self) -> None:
        check_switch("invert", self.invert)
        if self.threshold is not None:
            check_number("threshold", self.threshold)
            if not 0 <= self.threshold < 65535:
                raise OptionError(
                    f"threshold={self.threshold} leaves nothing to tell apart; give a luminance from 0 to 254, or a "
                    "stored level below the brightest."
                )
        if self.foreground not in (None, "alpha", "nonzero"):
            _check_colours("foreground", self.foreground, "alpha, nonzero, or ")
        if self.void is not None:
            _check_colours("void", self.void)

    def __str__(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in ("threshold", "invert", "foreground", "void"))

    def read(self, file: Path, orientation: int | None = None) -> np.ndarray:
        """Read a mask.

        Args:
            file: The mask's file.
            orientation: How to turn it, an EXIF orientation, if the file does not say.

        Returns:
            bool (H, W), True in the foreground.

        Raises:
            DataError: If the file cannot be read, or its colours can be meant in more than one way.
        """
        return self.read_with_void(file, orientation)[0]

    def read_with_void(self, file: Path, orientation: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a mask, and which of its pixels have no label.

        Args:
            file: The mask's file.
            orientation: How to turn it, an EXIF orientation, if the file does not say.

        Returns:
            bool (H, W), True in the foreground, which no void pixel is; and bool (H, W), True where a pixel is void, or
            None if none is.

        Raises:
            DataError: As `read`.
        """
        stored = read_stored(file, orientation)
        void = None if self.void is None else self._listed("void", self.void, stored)
        if void is None or not void.any():
            mask = self._foreground(stored, stored.codes)
            return (~mask if self.invert else mask), None
        if void.all():
            return ~void, void
        mask = self._foreground(stored, stored.codes[~void])
        return (~mask if self.invert else mask) & ~void, void

    def read_levels(self, file: Path) -> np.ndarray:
        """Read a prediction, which may be a mask or a map of grey levels.

        Returns:
            uint8 (H, W), 255 where the prediction is certain of foreground. A mask, which `read` tells apart, has 0 and
            255; grey levels are as they are stored, brought to 8 bits.

        Raises:
            DataError: As `read`; a file of grey levels is no error.
        """
        stored = read_stored(file)
        is_map = stored.values.ndim == 2 and stored.palette is None and stored.alpha is None
        if self.foreground is None and self.threshold is None and is_map:
            codes = distinct(stored.codes)
            if stored.is_lossy or len(codes) > 2 or 0 not in codes:
                levels = stored.values.astype(np.float64) * (255 / stored.brightest)
                return levels.round().clip(0, 255).astype(np.uint8)
        return self._foreground(stored, stored.codes).astype(np.uint8) * 255

    def _foreground(self, stored: StoredMask, codes: np.ndarray) -> np.ndarray:
        """Return what is foreground in a mask, given the codes of its pixels that have a label."""
        if self.foreground == "alpha":
            return self._opaque(stored)
        if self.foreground is not None:
            return self._listed("foreground", self.foreground, stored)
        if self.threshold is not None:
            if stored.alpha is not None and len(distinct(stored.codes)) == 1:
                return stored.alpha > self.threshold
            return stored.luminance > self.threshold
        if stored.is_lossy:
            return self._cut_lossy(stored)
        mask = self._by_colours(stored, codes)
        if stored.alpha is None:
            return self._decided(mask, stored, codes)
        opaque = stored.alpha > 0 if set(distinct(stored.alpha)) == {0, 255} else None
        if len(distinct(codes)) == 1:
            return self._decided(opaque, stored, codes)
        agree = mask is not None and opaque is not None and (mask == opaque).all()
        return self._decided(mask if agree else None, stored, codes)

    def _decided(self, mask: np.ndarray | None, stored: StoredMask, codes: np.ndarray) -> np.ndarray:
        if mask is None:
            raise self._unclear(stored, codes)
        return mask

    @staticmethod
    def _by_colours(stored: StoredMask, codes: np.ndarray) -> np.ndarray | None:
        """Return what is foreground if the colours say so in one way only, or None."""
        found = distinct(codes)
        if len(found) > 2:
            return None
        colours = {code: stored.colour(code) for code in found}
        black = [code for code in found if not any(colours[code])]
        white = [code for code in found if min(colours[code]) == 255]
        if len(black) == 1:
            mask: np.ndarray = stored.codes != black[0]
            return mask
        if len(found) == 1 and not white:
            return None
        others_are_grey = all(len(set(colours[code])) == 1 for code in found if code not in white)
        if len(white) != 1 or not others_are_grey:
            return None
        mask = stored.codes == white[0]
        return mask

    def _cut_lossy(self, stored: StoredMask) -> np.ndarray:
        colours = stored.values if stored.values.ndim == 3 else stored.values[..., None]
        unclear = (colours.max(2) >= _DARK) & (colours.min(2) <= _BRIGHT)
        if stored.alpha is not None or unclear.mean() > _MOST_UNCLEAR:
            raise self._unclear(stored, stored.codes)
        return stored.luminance > MIDDLE

    def _opaque(self, stored: StoredMask) -> np.ndarray:
        if stored.alpha is None:
            raise DataError(
                f"{stored.file} is equally opaque everywhere, so {self.prefix}foreground=alpha finds no mask."
            )
        return stored.alpha > (MIDDLE if self.threshold is None else self.threshold)

    def _listed(self, name: str, colours: str | Sequence[Colour], stored: StoredMask) -> np.ndarray:
        """Return the pixels that have one of the colours that an option, whose name is given, lists."""
        option = f"{self.prefix or ''}{name}"
        if stored.is_lossy:
            raise DataError(
                f"{stored.file} is lossy (JPEG or WebP), which keeps no exact colours, so {option} cannot find them; "
                f"save masks as PNG, or cut them by {self.prefix}threshold."
            )
        if colours == "nonzero":
            nonzero: np.ndarray = stored.codes != 0
            return nonzero
        codes = [code for colour in colours for code in _codes_of(_as_colour(colour, name), stored, option)]
        return np.isin(stored.codes, codes)

    def _unclear(self, stored: StoredMask, codes: np.ndarray) -> DataError:
        """Return the error that lists the colours, and says how to choose among them."""
        if stored.is_lossy and stored.values.ndim == 2:
            codes = codes // 32 * 32  # or it would list the ringing
        values, counts = np.unique(codes, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        listed = [
            f"{stored.describe(values[i])} {counts[i] / codes.size:.1%} "
            f"({'above' if stored.code_luminance(values[i]) > MIDDLE else 'below'} {MIDDLE})"
            for i in order[:_LISTED]
        ]
        more = f", and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
        transparency = " and transparency" if stored.alpha is not None else ""
        if self.prefix is None:
            advice = "Save it in black and white."
        else:
            has_void = self.prefix and stored.palette is not None and len(values) > 2 and values[-1] == _USUAL_VOID
            labels = [value for value in values[order] if not has_void or value != _USUAL_VOID]
            names = ",".join(stored.name(label) for label in labels[1 : _LISTED // 2]) or "…"
            nonzero = f"{self.prefix}foreground=nonzero all but {stored.name(0)}, " if 0 in values else ""
            alpha = f"{self.prefix}foreground=alpha what is opaque, " if stored.alpha is not None else ""
            advice = (
                f"Say what is meant: {self.prefix}foreground=[{names}] takes what it lists, {nonzero}{alpha}and "
                f"{self.prefix}threshold={MIDDLE} cuts by luminance."
            )
            if has_void:
                advice += (
                    f" {self.prefix}void=[{_USUAL_VOID}] leaves out the pixels of this index, if they have no label."
                )
        return DataError(
            f"{stored.file} does not say what is foreground. Its values{transparency}, with the part of the image and "
            f"the side of the middle of luminance: {', '.join(listed)}{more}. {advice}"
        )


def _check_colours(name: str, colours: object, words: str = "") -> None:
    """Raise `OptionError` unless an option is a list of colours; `words` says what else it may be."""
    if isinstance(colours, str) or not isinstance(colours, Sequence) or not colours:
        raise OptionError(
            f"{name}={colours!r}: it must be {words}a list of palette indices, grey levels or colours, such as "
            "[1, 2] or ['#ff0000']."
        )
    for colour in colours:
        _as_colour(colour, name)


def _as_colour(colour: object, name: str) -> float | tuple[int, int, int]:
    """Check what an option lists: return an index or level, or red, green and blue."""
    if isinstance(colour, int | float) and not isinstance(colour, bool) and colour >= 0:
        return colour
    try:
        parts = list(ImageColor.getrgb(colour) if isinstance(colour, str) else cast(Sequence[int], colour))
        if len(parts) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in parts):
            return parts[0], parts[1], parts[2]
    except (TypeError, ValueError):
        pass
    raise OptionError(
        f"{name} lists {colour!r}, which is no palette index, grey level or colour; a colour is written "
        "'#ff0000', red or [255, 0, 0]."
    )


def _codes_of(colour: float | tuple[int, int, int], stored: StoredMask, option: str) -> list[float]:
    """Return the codes that a listed index, level or colour has in a mask."""
    if isinstance(colour, tuple):
        if stored.palette is not None:
            return [float(index) for index, entry in enumerate(stored.palette) if tuple(entry) == colour]
        if stored.values.ndim == 3:
            red, green, blue = colour
            return [red << 16 | green << 8 | blue]
        level = colour[0] * stored.brightest / 255
        return [float(stored.values.dtype.type(level))] if len(set(colour)) == 1 else []
    if stored.values.ndim == 3:
        raise DataError(
            f"{stored.file} holds colours, no indices or grey levels, so {option}={colour:g} means nothing there; list "
            "colours, such as '#ff0000'."
        )
    return [colour]
