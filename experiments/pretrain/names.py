"""What the embedded CLIP is taught to name by masks, and what the labels of photographs mean."""

from __future__ import annotations

from collections.abc import Sequence

from alignsam_gym.errors import check_choice
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import NAMES, VOC

CLOTHES = (
    *(("accessories",), ("bag",), ("belt",), ("blazer",), ("blouse",), ("bodysuit",), ("boots",), ("bra",)),
    *(("bracelet",), ("cape",), ("cardigan",), ("clogs",), ("coat",), ("dress",), ("earrings",), ("flats",)),
    *(("glasses", "spectacles"), ("gloves",), ("hair",), ("hat",), ("heels", "high heels"), ("hoodie",)),
    *(("intimate", "underwear"), ("jacket",), ("jeans",), ("jumper",), ("leggings",), ("loafers",), ("necklace",)),
    *(("panties",), ("pants", "trousers"), ("pumps",), ("purse", "handbag"), ("ring worn on a finger",)),
    *(("romper",), ("sandals",), ("scarf",), ("shirt",), ("shoes",), ("shorts",), ("skin", "face"), ("skirt",)),
    *(("sneakers",), ("socks",), ("stockings",), ("suit",), ("sunglasses",), ("sweater",), ("sweatshirt",)),
    *(("swimwear", "swimsuit"), ("t-shirt",), ("tie", "necktie"), ("tights",), ("top",), ("vest",), ("wallet",)),
    *(("watch", "wristwatch"), ("wedges",)),
)
"""The 58 labels of Clothing Co-Parsing after 0, in its order, each with other words for it."""

STREETS = (
    *(("sky",), ("building", "house"), ("pole",), ("road", "street"), ("pavement", "sidewalk"), ("tree",)),
    *(("traffic sign", "sign"), ("fence",), ("car on the road",), ("pedestrian",), ("bicyclist", "cyclist")),
)
"""CamVid's 11 classes in its order, each with other words for it."""

TAUGHT = (*NAMES, *CLOTHES, *STREETS)
"""Everything that has masks in the training, in tuples of words that mean the same."""

_NUMBERS = {words[0]: number for number, words in enumerate(TAUGHT)}
VOCABULARIES: dict[str, list[int]] = {
    "voc": [_NUMBERS[words[0]] for words in VOC],
    "clothing": [_NUMBERS[words[0]] for words in CLOTHES],
    "streets": [_NUMBERS[words[0]] for words in STREETS],
    "cats": [_NUMBERS["cat"]],
    "people": [_NUMBERS["person"]],
    "horses": [_NUMBERS["horse"]],
}
"""For each kind of labels (`training_images.Photograph`), the places in `TAUGHT` of its first, second, ... label."""


def check_names(names: Sequence[str]) -> list[int]:
    """Return the places in `TAUGHT` of names that masks are left out of. Raises OptionError for an unknown one."""
    return [_NUMBERS[check_choice("left_out", name, tuple(_NUMBERS))] for name in names]
