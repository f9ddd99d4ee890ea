"""What follows when the page is used: what its parts show next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from alignsam_gym.demo import words
from alignsam_gym.demo.drawing import click_to_image, draw_image
from alignsam_gym.demo.episode_file import save_episode, side_by_side
from alignsam_gym.demo.images import DemoImage, draw_example, png, read_photograph, read_upload, with_truth
from alignsam_gym.demo.pointers import Pointer, Pointers
from alignsam_gym.demo.visit import Visit, add_point, prompt_to_end
from alignsam_gym.envs.prompting_session import Prediction
from alignsam_gym.errors import AlignSAMError, OptionError

POSITIVE, NEGATIVE = "Positive (disc): part of it", "Negative (square): not part of it"
ALONE = "Nothing"
"""What the agent is compared with by default."""

_MOST_DROPPED = 4  # agents of a visit, which are in memory

Layers = Sequence[str]
Visits = tuple[Visit, ...]
Shown = tuple[Any, ...]


class PointerHandlers:
    """What follows when a visitor chooses what prompts.

    Args:
        pointers: That the page offers to all visitors.
    """

    def __init__(self, pointers: Pointers) -> None:
        self.pointers = pointers

    def introduce(self, name: str, other: str, dropped: tuple[Pointer, ...]) -> Shown:
        """Say what prompts, and ask for a text if one guides it."""
        chosen = self._chosen(name, other, dropped)
        how = "\n\n".join(pointer.how for pointer in chosen)
        return how, gr.Dropdown(visible=any(pointer.guided for pointer in chosen))

    def load_agent(self, files: Sequence[str], dropped: tuple[Pointer, ...], other: str) -> Shown:
        """Load an agent that a visitor dropped, and choose it."""
        new = self.pointers.load_dropped([Path(file) for file in files], f"dropped run {len(dropped) + 1}")
        kept = tuple(pointer for pointer in dropped if pointer.name != new.name)
        if len(kept) == _MOST_DROPPED:
            raise OptionError(f"{_MOST_DROPPED} agents of your own are the most; reload the page to begin anew.")
        dropped = (*kept, new)
        names = [*(pointer.name for pointer in dropped), *self.pointers.names]
        other = other if other in names else ALONE
        return (
            dropped,
            gr.Dropdown(names, value=new.name),
            gr.Dropdown([ALONE, *names], value=other),
            None,
            *self.introduce(new.name, other, dropped),
        )

    def prompt(
        self,
        image: DemoImage | None,
        name: str,
        other: str,
        dropped: tuple[Pointer, ...],
        text: str | None,
        layers: Layers,
    ) -> Shown:
        """Let one or two agents prompt SAM to the end."""
        chosen = self._chosen(name, other, dropped)
        visits = tuple(prompt_to_end(pointer, _given(image), text) for pointer in chosen)
        steps = max(visit.session.steps for visit in visits)
        return visits, gr.Slider(maximum=steps, value=steps, interactive=True), *_show(visits, steps, layers)

    def _chosen(self, name: str, other: str, dropped: tuple[Pointer, ...]) -> list[Pointer]:
        own = {pointer.name: pointer for pointer in dropped}
        names = [name] if other == ALONE else [name, other]
        return [own.get(name) or self.pointers.get(name) for name in names]


def choose_photograph(name: str, layers: Layers) -> Shown:
    """Show a photograph of the package's own."""
    return name, None, None, None, *_chosen(read_photograph(name), layers)


def choose_example(name: str, layers: Layers) -> Shown:
    """Show a drawn scene."""
    return None, name, None, None, *_chosen(draw_example(name), layers)


def upload_image(file: str, layers: Layers) -> Shown:
    """Show an uploaded image."""
    return None, None, file, None, *_chosen(read_upload(Path(file)), layers)


def upload_truth(file: str, image: DemoImage | None, layers: Layers) -> Shown:
    """Give the image ground truth, and show it unprompted."""
    return gr.skip(), gr.skip(), gr.skip(), file, *_chosen(with_truth(_given(image), Path(file)), layers)


def look(visits: Visits, step: int, layers: Layers, image: DemoImage | None) -> Shown:
    """Show another step, or other layers."""
    return _show(visits, step, layers) if visits else _unprompted(_given(image), layers)


def click(visits: Visits, step: int, layers: Layers, label: str, where: gr.SelectData) -> Shown:
    """Add the point that was clicked on."""
    x, y = click_to_image(_prompted(visits)[0].image, where.index)
    return add_typed(visits, step, layers, label, x, y)


def add_typed(visits: Visits, step: int, layers: Layers, label: str, x: float | None, y: float | None) -> Shown:
    """Add the point that was typed, in pixels of the image, to the prompts of each agent."""
    for visit in _prompted(visits):
        add_point(visit, x, y, label == POSITIVE)
    return _show(visits, step, layers)


def undo(visits: Visits, step: int, layers: Layers) -> Shown:
    """Take back the last of the visitor's own points."""
    for visit in _prompted(visits):
        visit.session.undo()
    return _show(visits, step, layers)


def reset(visits: Visits, step: int, layers: Layers) -> Shown:
    """Take back all of the visitor's own points."""
    for visit in _prompted(visits):
        while visit.session.user_points():
            visit.session.undo()
    return _show(visits, step, layers)


def keep_episode(visits: Visits, layers: Layers, format: str) -> Shown:
    """Make a file of all steps as they are shown, for the visitor to save."""
    steps = max(visit.session.steps for visit in _prompted(visits))
    frames = [side_by_side([_draw(visit, *_at(visit, step), layers) for visit in visits]) for step in range(steps + 1)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{PurePath(visits[0].image.name).stem}-episode.{format.lower()}"
        save_episode(frames, file)
        size = file.stat().st_size / 1e6
        kept = save_file_to_cache(file, get_upload_folder())
    return (gr.DownloadButton(f"Save the {format} ({len(frames)} pictures, {size:.1f} MB)", value=kept, visible=True),)


def with_notice(handler: Callable[..., Shown], count: int) -> Callable[..., Shown]:
    """The handler, with a last output that is a user's mistake in words; its `count` own ones then stay."""

    @wraps(handler)
    def answer(*inputs: Any) -> Shown:
        try:
            return *handler(*inputs), ""
        except AlignSAMError as error:
            return *(gr.skip() for _ in range(count)), words.notice(str(error))

    return answer


def _chosen(image: DemoImage, layers: Layers) -> Shown:
    text = gr.Dropdown(value=image.text) if image.text else gr.skip()
    return image, (), gr.Slider(value=0, interactive=False), text, *_unprompted(image, layers)


def _unprompted(image: DemoImage, layers: Layers) -> Shown:
    height, width = image.size
    sentence = f"{image.name}: {width} × {height} pixels, not prompted yet."
    picture = gr.Image(draw_image(image, layers), alt_text=sentence)
    return picture, words.status(sentence), *_nothing_beside(), "", words.legend(layers, image, ()), _no_episode()


def _show(visits: Visits, step: int, layers: Layers) -> Shown:
    """Each agent's picture, what it shows with the mask to save; then tables, legend, and no episode to save yet."""
    image = visits[0].image
    shown = [(visit, *_at(visit, step)) for visit in visits]
    sides = [part for visit, t, prediction in shown for part in _show_side(visit, t, prediction, layers)]
    beside = (gr.Column(visible=True), *sides[2:]) if len(visits) > 1 else _nothing_beside()
    tables = [words.table(*at, number) for number, at in enumerate(shown, 1)]
    return *sides[:2], *beside, "".join(tables), words.legend(layers, image, visits), _no_episode()


def _at(visit: Visit, step: int) -> tuple[int, Prediction]:
    """The agent's last step up to this one, for it may stop before the other; and what it answers there."""
    t = min(step, visit.session.steps)
    return t, visit.session.prediction(step=t)


def _show_side(visit: Visit, t: int, prediction: Prediction, layers: Layers) -> Shown:
    sentence = words.summary(visit, t, prediction)
    return (
        gr.Image(_draw(visit, t, prediction, layers), alt_text=f"{visit.image.name}, {sentence}"),
        words.status(sentence) + words.download_link(visit.image, png(prediction.mask)),
    )


def _draw(visit: Visit, t: int, prediction: Prediction, layers: Layers) -> np.ndarray:
    names = visit.names(prediction, t)
    return draw_image(visit.image, layers, prediction, visit.session.maps(step=t), names)


def _nothing_beside() -> Shown:
    return gr.Column(visible=False), None, ""


def _no_episode() -> Any:
    return gr.DownloadButton(visible=False)


def _given(image: DemoImage | None) -> DemoImage:
    if image is None:
        raise OptionError("Choose an image first.")
    return image


def _prompted(visits: Visits) -> Visits:
    if not visits:
        raise OptionError("Press “Prompt SAM” first; then add points of your own, or save the episode.")
    return visits
