"""The page: what is on it, and what follows when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.demo import words
from alignsam_gym.demo.drawing import ANSWERED, VIEWS, click_to_image, draw_image
from alignsam_gym.demo.images import (
    EXAMPLES,
    MOST_BYTES,
    MOST_PIXELS,
    DemoImage,
    draw_example,
    png,
    read_upload,
    with_truth,
)
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.demo.visit import Visit, add_point, prompt_to_end
from alignsam_gym.errors import AlignSAMError, OptionError
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import NAMES

POSITIVE, NEGATIVE = "Positive (disc): part of it", "Negative (square): not part of it"
_DROP = 140  # pixels
_LIMITS = f"PNG, JPEG or BMP, at most {MOST_BYTES // 1024**2} MB and {MOST_PIXELS // 10**6} million pixels."
_INTRODUCTION = """# AlignSAM: watch SAM being prompted
Choose an image, let it be prompted step by step, and correct the answer. Discs are positive prompts, squares negative
ones; **0** marks the initial pair, **1, 2, …** the steps, **a, b, …** points of your own. Images stay on the computer
that runs this page, and are deleted when it ends."""
_CACHE = (600, 3600)  # seconds: how often old uploads and pictures shown are deleted, and how old they are then


def build_page(pointers: Pointers) -> gr.Blocks:
    """Build the page, not yet served."""
    page = gr.Blocks(title="AlignSAM demo", analytics_enabled=False, delete_cache=_CACHE)
    with page:
        parts = _Parts(pointers)
        parts.connect(page, pointers)
    return page


class _Parts:
    """What is on the page, and what it remembers of a visit."""

    def __init__(self, pointers: Pointers) -> None:
        self.image, self.visit = gr.State(), gr.State()
        gr.Markdown(_INTRODUCTION)
        self.notice = gr.HTML()
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                self._lay_out_choices(pointers.names)
            with gr.Column(scale=3, min_width=280):
                self._lay_out_answer()
        self.table = gr.HTML()
        self.shown = [self.picture, self.status, self.download, self.table]

    def _lay_out_choices(self, names: list[str]) -> None:
        types = list(SUFFIXES)
        gr.Markdown("## 1. Choose an image")
        self.example = gr.Radio(
            list(EXAMPLES), value=next(iter(EXAMPLES)), label="A drawn scene, with its ground truth"
        )
        self.upload = gr.File(label="Or an image of yours", file_types=types, height=_DROP)
        gr.Markdown(_LIMITS)
        with gr.Accordion("Ground truth for it (optional)", open=False):
            self.truth = gr.File(label="A mask of the image's size", file_types=types, height=_DROP)
            gr.Markdown("Light is foreground. With it, the page shows IoU and rewards.")
        gr.Markdown("## 2. Let it be prompted")
        self.pointer = gr.Dropdown(names, value=names[0], label="What prompts")
        self.how = gr.Markdown()
        self.text = gr.Dropdown(
            [words[0] for words in NAMES],
            label="Text: what to look for",
            info="Choose, or type another and press Enter.",
            allow_custom_value=True,
        )
        self.run = gr.Button("Prompt SAM", variant="primary")

    def _lay_out_answer(self) -> None:
        self.picture = gr.Image(
            label="Picture", interactive=False, format="jpeg", buttons=[], show_label=False, elem_id="picture"
        )
        self.status = gr.HTML()
        self.step = gr.Slider(0, 1, step=1, precision=0, label="t: prompts after the initial pair", interactive=False)
        self.view = gr.Radio(VIEWS, value=ANSWERED, label="Show")
        gr.Markdown("## 3. Correct it\nClick on the picture, or type where a point is, in pixels of the image.")
        self.label = gr.Radio([POSITIVE, NEGATIVE], value=POSITIVE, label="Your next point is")
        with gr.Row():
            self.x, self.y = (gr.Number(label=axis, minimum=0, min_width=80) for axis in ("x", "y"))
            self.add = gr.Button("Add the point", min_width=140)
        with gr.Row():
            self.undo = gr.Button("Undo", min_width=100)
            self.reset = gr.Button("Remove all of mine", min_width=140)
        self.download = gr.HTML()

    def connect(self, page: gr.Blocks, pointers: Pointers) -> None:
        """Connect what a visitor does with what follows."""

        def on(
            event: Callable[..., Any],
            handler: Callable[..., tuple[Any, ...]],
            inputs: Sequence[Any],
            outputs: Sequence[Any],
            busy: str = "once",  # what is done with events meanwhile: all but the first are dropped
        ) -> None:
            event(
                _with_notice(handler, len(outputs)),
                list(inputs),
                [*outputs, self.notice],
                api_name=handler.__name__,
                concurrency_id="models",
                trigger_mode=busy,
                show_progress="minimal",
            )

        def introduce(name: str) -> tuple[Any, ...]:
            pointer = pointers.get(name)
            return pointer.how, gr.Dropdown(visible=pointer.guided)

        def prompt(image: DemoImage | None, name: str, text: str | None, view: str) -> tuple[Any, ...]:
            visit = prompt_to_end(pointers.get(name), _given(image), text)
            steps = visit.session.steps
            slider = gr.Slider(maximum=steps, value=steps, interactive=True)
            return visit, slider, *_show(visit, steps, view)

        fields = [self.example, self.upload, self.truth]
        chosen = [*fields, self.image, self.visit, self.step, self.view, self.text, *self.shown]
        seen = [self.visit, self.step, self.view]
        mine = [*seen, self.label]
        introduced = [self.how, self.text]
        on(page.load, introduce, [self.pointer], introduced)
        on(self.pointer.input, introduce, [self.pointer], introduced)
        on(page.load, choose_example, [self.example], chosen)
        on(self.example.input, choose_example, [self.example], chosen)
        on(self.upload.upload, upload_image, [self.upload], chosen)
        on(self.truth.upload, upload_truth, [self.truth, self.image], chosen)
        asked = [self.image, self.pointer, self.text, self.view]
        on(self.run.click, prompt, asked, [self.visit, self.step, *self.shown])
        on(self.step.input, look, [*seen, self.image], self.shown, busy="always_last")
        on(self.view.input, look, [*seen, self.image], self.shown)
        on(self.picture.select, click, mine, self.shown, busy="multiple")
        on(self.add.click, add_typed, [*mine, self.x, self.y], self.shown, busy="multiple")
        on(self.undo.click, undo, seen, self.shown, busy="multiple")
        on(self.reset.click, reset, seen, self.shown)


def choose_example(name: str) -> tuple[Any, ...]:
    """Show a drawn scene."""
    return name, None, None, *_chosen(draw_example(name))


def upload_image(file: str) -> tuple[Any, ...]:
    """Show an uploaded image."""
    return None, file, None, *_chosen(read_upload(Path(file)))


def upload_truth(file: str, image: DemoImage | None) -> tuple[Any, ...]:
    """Give the image ground truth, and show it unprompted."""
    return gr.skip(), gr.skip(), file, *_chosen(with_truth(_given(image), Path(file)))


def look(visit: Visit | None, step: int, view: str, image: DemoImage | None) -> tuple[Any, ...]:
    """Show another step, or another view."""
    return _show(visit, step, view) if visit else _unprompted(_given(image), view)


def click(visit: Visit | None, step: int, view: str, label: str, where: gr.SelectData) -> tuple[Any, ...]:
    """Add the point that was clicked on."""
    visit = _prompted(visit)
    add_point(visit, *click_to_image(visit.image, where.index), label == POSITIVE)
    return _show(visit, step, view)


def add_typed(
    visit: Visit | None, step: int, view: str, label: str, x: float | None, y: float | None
) -> tuple[Any, ...]:
    """Add the point that was typed, in pixels of the image."""
    visit = _prompted(visit)
    add_point(visit, x, y, label == POSITIVE)
    return _show(visit, step, view)


def undo(visit: Visit | None, step: int, view: str) -> tuple[Any, ...]:
    """Take back the last of the visitor's own points."""
    visit = _prompted(visit)
    visit.session.undo()
    return _show(visit, step, view)


def reset(visit: Visit | None, step: int, view: str) -> tuple[Any, ...]:
    """Take back all of the visitor's own points."""
    visit = _prompted(visit)
    while visit.session.user_points():
        visit.session.undo()
    return _show(visit, step, view)


def _chosen(image: DemoImage) -> tuple[Any, ...]:
    text = gr.Dropdown(value=image.text) if image.text else gr.skip()
    return image, None, gr.Slider(value=0, interactive=False), ANSWERED, text, *_unprompted(image, ANSWERED)


def _unprompted(image: DemoImage, view: str) -> tuple[Any, ...]:
    height, width = image.size
    sentence = f"{image.name}: {width} × {height} pixels, not prompted yet."
    return gr.Image(draw_image(image, view), alt_text=sentence), words.status(sentence), "", ""


def _show(visit: Visit, step: int, view: str) -> tuple[Any, ...]:
    """The image, what it shows, the mask to save, and the table."""
    prediction, image = visit.session.prediction(step=step), visit.image
    sentence = words.summary(visit, step, prediction)
    drawn = draw_image(image, view, prediction, visit.names(prediction, step))
    return (
        gr.Image(drawn, alt_text=f"{image.name}: {sentence}"),
        words.status(sentence),
        words.download_link(image, png(prediction.mask)),
        words.table(visit, step, prediction),
    )


def _with_notice(handler: Callable[..., tuple[Any, ...]], count: int) -> Callable[..., tuple[Any, ...]]:
    """The handler, with a last output that is a user's mistake in words; its `count` own ones then stay."""

    @wraps(handler)
    def answer(*inputs: Any) -> tuple[Any, ...]:
        try:
            return *handler(*inputs), ""
        except AlignSAMError as error:
            return *(gr.skip() for _ in range(count)), words.notice(str(error))

    return answer


def _given(image: DemoImage | None) -> DemoImage:
    if image is None:
        raise OptionError("Choose an image first.")
    return image


def _prompted(visit: Visit | None) -> Visit:
    if visit is None:
        raise OptionError("Press “Prompt SAM” first; then add points of your own.")
    return visit
