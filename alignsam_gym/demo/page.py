"""The page: what is on it, and what follows when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.demo import words
from alignsam_gym.demo.drawing import ANSWERED, VIEWS, on_picture, shown
from alignsam_gym.demo.images import EXAMPLES, MOST_BYTES, MOST_PIXELS, Picture, example, png, uploaded, with_truth
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.demo.session import OwnPoint, Session, add, corrected, mask, names, run_episode
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


def build(pointers: Pointers) -> gr.Blocks:
    """The page, not yet served."""
    with gr.Blocks(title="AlignSAM demo", analytics_enabled=False, delete_cache=_CACHE) as page:
        parts = _Parts(pointers)
        parts.connect(page, pointers)
    return page


class _Parts:
    """What is on the page, and what it remembers of a visit."""

    def __init__(self, pointers: Pointers) -> None:
        self.picked, self.session, self.own = gr.State(), gr.State(), gr.State([])
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
        self.image = gr.File(label="Or an image of yours", file_types=types, height=_DROP)
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
        """Say what follows from what."""

        def on(
            event: Callable[..., Any],
            handler: Callable[..., tuple],
            inputs: Sequence,
            outputs: Sequence,
            busy: str = "once",  # what is done with events meanwhile: all but the first are dropped
        ) -> None:
            event(
                _told(handler, len(outputs)),
                list(inputs),
                [*outputs, self.notice],
                api_name=handler.__name__,
                concurrency_id="models",
                trigger_mode=busy,
                show_progress="minimal",
            )

        def introduce(name: str) -> tuple:
            pointer = pointers.get(name)
            return pointer.how, gr.Dropdown(visible=pointer.clip is not None)

        def prompt(picture: Picture | None, name: str, text: str | None, view: str) -> tuple:
            session = run_episode(pointers.get(name), _given(picture), text)
            slider = gr.Slider(maximum=session.steps, value=session.steps, interactive=True)
            return session, [], slider, *_show(session, session.steps, [], view)

        fields = [self.example, self.image, self.truth]
        chosen = [*fields, self.picked, self.session, self.own, self.step, self.view, self.text, *self.shown]
        seen = [self.session, self.step, self.own, self.view]
        mine = [*seen, self.label]
        corrected = [self.own, *self.shown]
        told = [self.how, self.text]
        on(page.load, introduce, [self.pointer], told)
        on(self.pointer.input, introduce, [self.pointer], told)
        on(page.load, choose_example, [self.example], chosen)
        on(self.example.input, choose_example, [self.example], chosen)
        on(self.image.upload, upload_image, [self.image], chosen)
        on(self.truth.upload, upload_truth, [self.truth, self.picked], chosen)
        asked = [self.picked, self.pointer, self.text, self.view]
        on(self.run.click, prompt, asked, [self.session, self.own, self.step, *self.shown])
        on(self.step.input, look, [*seen, self.picked], self.shown, busy="always_last")
        on(self.view.input, look, [*seen, self.picked], self.shown)
        on(self.picture.select, click, mine, corrected, busy="multiple")
        on(self.add.click, add_typed, [*mine, self.x, self.y], corrected, busy="multiple")
        on(self.undo.click, undo, seen, corrected, busy="multiple")
        on(self.reset.click, reset, seen, corrected)


def choose_example(name: str) -> tuple:
    return name, None, None, *_chosen(example(name))


def upload_image(file: str) -> tuple:
    return None, file, None, *_chosen(uploaded(Path(file)))


def upload_truth(file: str, picture: Picture | None) -> tuple:
    return gr.skip(), gr.skip(), file, *_chosen(with_truth(_given(picture), Path(file)))


def look(session: Session | None, step: int, own: list[OwnPoint], view: str, picture: Picture | None) -> tuple:
    return _show(session, step, own, view) if session else _unprompted(_given(picture), view)


def click(
    session: Session | None, step: int, own: list[OwnPoint], view: str, label: str, where: gr.SelectData
) -> tuple:
    session = _prompted(session)
    own = add(own, session.picture, *on_picture(session.picture, where.index), label == POSITIVE)
    return own, *_show(session, step, own, view)


def add_typed(
    session: Session | None, step: int, own: list[OwnPoint], view: str, label: str, x: float | None, y: float | None
) -> tuple:
    session = _prompted(session)
    own = add(own, session.picture, x, y, label == POSITIVE)
    return own, *_show(session, step, own, view)


def undo(session: Session | None, step: int, own: list[OwnPoint], view: str) -> tuple:
    return own[:-1], *_show(_prompted(session), step, own[:-1], view)


def reset(session: Session | None, step: int, own: list[OwnPoint], view: str) -> tuple:
    return [], *_show(_prompted(session), step, [], view)


def _chosen(picture: Picture) -> tuple:
    text = gr.Dropdown(value=picture.text) if picture.text else gr.skip()
    return picture, None, [], gr.Slider(value=0, interactive=False), ANSWERED, text, *_unprompted(picture, ANSWERED)


def _unprompted(picture: Picture, view: str) -> tuple:
    height, width = picture.size
    sentence = f"{picture.name}: {width} × {height} pixels, not prompted yet."
    return gr.Image(shown(picture, view), alt_text=sentence), words.status(sentence), "", ""


def _show(session: Session, step: int, own: Sequence[OwnPoint], view: str) -> tuple:
    """A picture, what it shows, the mask to save, and the table."""
    answer, picture = corrected(session, step, own), session.picture
    sentence = words.summary(session, step, answer)
    return (
        gr.Image(shown(picture, view, answer, names(session, answer, step)), alt_text=f"{picture.name}: {sentence}"),
        words.status(sentence),
        words.download(picture, png(mask(picture, answer))),
        words.table(session, step, answer),
    )


def _told(handler: Callable[..., tuple], count: int) -> Callable[..., tuple]:
    """The handler, with a last output that is a user's mistake in words; its `count` own ones then stay."""

    @wraps(handler)
    def answer(*inputs: Any) -> tuple:
        try:
            return *handler(*inputs), ""
        except AlignSAMError as error:
            return *(gr.skip() for _ in range(count)), words.notice(str(error))

    return answer


def _given(picture: Picture | None) -> Picture:
    if picture is None:
        raise OptionError("Choose an image first.")
    return picture


def _prompted(session: Session | None) -> Session:
    if session is None:
        raise OptionError("Press “Prompt SAM” first; then add points of your own.")
    return session
