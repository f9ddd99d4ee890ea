"""The page: what is on it, and which handler answers what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from alignsam_gym.data.image_files import KINDS, SUFFIXES
from alignsam_gym.demo.drawing import ANSWER, LAYER_COLOURS
from alignsam_gym.demo.episode_file import FORMATS
from alignsam_gym.demo.images import EXAMPLES, MOST_BYTES, MOST_PIXELS, PHOTOGRAPHS
from alignsam_gym.demo.page_handlers import (
    ALONE,
    NEGATIVE,
    POSITIVE,
    PointerHandlers,
    add_typed,
    choose_example,
    choose_photograph,
    click,
    keep_episode,
    look,
    reset,
    undo,
    upload_image,
    upload_truth,
    with_notice,
)
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import NAMES

_DROP = 140  # pixels
_LIMITS = f"{KINDS}, at most {MOST_BYTES // 1024**2} MB and {MOST_PIXELS // 10**6} million pixels."
_INTRODUCTION = """# AlignSAM: watch SAM being prompted
Choose an image, let it be prompted step by step, and correct the answer. Discs are positive prompts, squares negative
ones; **0** marks the initial pair, **1, 2, …** the steps, **a, b, …** points of your own. Images stay on the computer
that runs this page, and are deleted when it ends."""
_SOURCES = f"Photographs: {'; '.join(PHOTOGRAPHS.values())}. From scikit-image."
_AGENTS = f"""A file NAME.alignsam, or the folder of a run, at most {MOST_BYTES // 1024**2} MB a file. Nothing in it is
executed. Only you see it. It joins both lists above."""
_CACHE = (600, 3600)  # seconds: how often old uploads and pictures shown are deleted, and how old they are then


def build_page(pointers: Pointers) -> gr.Blocks:
    """Build the page, not yet served."""
    page = gr.Blocks(title="AlignSAM demo", analytics_enabled=False, delete_cache=_CACHE)
    with page:
        parts = _Parts(pointers.names)
        parts.connect(page, PointerHandlers(pointers))
    return page


class _Parts:
    """What is on the page, and what it remembers of a visit."""

    def __init__(self, pointers: list[str]) -> None:
        self.image, self.visits, self.dropped = gr.State(), gr.State(()), gr.State(())
        gr.Markdown(_INTRODUCTION)
        self.notice = gr.HTML()
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                self._lay_out_images()
                self._lay_out_pointers(pointers)
            with gr.Column(scale=4, min_width=280):
                self._lay_out_answers()
                self._lay_out_corrections()
        self.table = gr.HTML()
        self.shown = [*self.sides[0], self.beside, *self.sides[1], self.table, self.legend, self.episode]

    def _lay_out_images(self) -> None:
        types = list(SUFFIXES)
        gr.Markdown("## 1. Choose an image")
        self.photograph = gr.Radio(list(PHOTOGRAPHS), value=next(iter(PHOTOGRAPHS)), label="A photograph")
        self.example = gr.Radio(list(EXAMPLES), label="Or a drawn scene, with its ground truth")
        with gr.Accordion("Or an image of yours", open=False):
            self.upload = gr.File(label="An image", file_types=types, height=_DROP)
            gr.Markdown(_LIMITS)
            self.truth = gr.File(label="Its ground truth, if you have it", file_types=types, height=_DROP)
            gr.Markdown("A mask of the image's size; light is foreground. With it, the page shows IoU and rewards.")
        gr.Markdown(_SOURCES, elem_classes="small")

    def _lay_out_pointers(self, names: list[str]) -> None:
        gr.Markdown("## 2. Let it be prompted")
        self.pointer = gr.Dropdown(names, value=names[0], label="What prompts")
        self.other = gr.Dropdown([ALONE, *names], value=ALONE, label="Compare with")
        with gr.Accordion("Or an agent of yours", open=False):
            self.agent = gr.File(label="An agent's file or folder", file_count="multiple", height=_DROP)
            gr.Markdown(_AGENTS)
        self.how = gr.Markdown()
        self.text = gr.Dropdown(
            [words[0] for words in NAMES],
            label="Text: what to look for",
            info="Choose, or type another and press Enter.",
            allow_custom_value=True,
        )
        self.run = gr.Button("Prompt SAM", variant="primary")

    def _lay_out_answers(self) -> None:
        with gr.Row():
            self.sides = [self._lay_out_side("picture", True), self._lay_out_side("beside", False)]
        self.layers = gr.CheckboxGroup(list(LAYER_COLOURS), value=[ANSWER], label="Layers")
        self.legend = gr.HTML()
        self.step = gr.Slider(0, 1, step=1, precision=0, label="t: prompts after the initial pair", interactive=False)
        with gr.Row():
            self.formats = [gr.Button(f"All steps as {format}", min_width=140) for format in FORMATS]
        self.episode = gr.DownloadButton("Save", visible=False, variant="primary")

    def _lay_out_side(self, name: str, visible: bool) -> list[Any]:
        """An agent's picture, and what it shows in words, with its mask."""
        with gr.Column(min_width=240, visible=visible) as column:
            picture = gr.Image(
                label="Picture", interactive=False, format="jpeg", buttons=[], show_label=False, elem_id=name
            )
            side = [picture, gr.HTML()]
        if not visible:
            self.beside = column
        return side

    def _lay_out_corrections(self) -> None:
        gr.Markdown("## 3. Correct it\nClick on a picture, or type where a point is, in pixels of the image.")
        self.label = gr.Radio([POSITIVE, NEGATIVE], value=POSITIVE, label="Your next point is")
        with gr.Row():
            self.x, self.y = (gr.Number(label=axis, minimum=0, min_width=80) for axis in ("x", "y"))
            self.add = gr.Button("Add the point", min_width=140)
        with gr.Row():
            self.undo = gr.Button("Undo", min_width=100)
            self.reset = gr.Button("Remove all of mine", min_width=140)

    def connect(self, page: gr.Blocks, by: PointerHandlers) -> None:
        """Connect what a visitor does with what follows."""

        def on(
            event: Callable[..., Any],
            handler: Callable[..., tuple[Any, ...]],
            inputs: Sequence[Any],
            outputs: Sequence[Any],
            busy: str = "once",  # what is done with events meanwhile: all but the first are dropped
        ) -> None:
            event(
                with_notice(handler, len(outputs)),
                list(inputs),
                [*outputs, self.notice],
                api_name=handler.__name__,
                concurrency_id="models",
                trigger_mode=busy,
                show_progress="minimal",
            )

        fields = [self.photograph, self.example, self.upload, self.truth]
        chosen = [*fields, self.image, self.visits, self.step, self.text, *self.shown]
        on(page.load, choose_photograph, [self.photograph, self.layers], chosen)
        on(self.photograph.input, choose_photograph, [self.photograph, self.layers], chosen)
        on(self.example.input, choose_example, [self.example, self.layers], chosen)
        on(self.upload.upload, upload_image, [self.upload, self.layers], chosen)
        on(self.truth.upload, upload_truth, [self.truth, self.image, self.layers], chosen)

        pointing, introduced = [self.pointer, self.other, self.dropped], [self.how, self.text]
        for event in (page.load, self.pointer.input, self.other.input):
            on(event, by.introduce, pointing, introduced)
        listed = [self.dropped, self.pointer, self.other, self.agent]
        on(self.agent.upload, by.load_agent, [self.agent, self.dropped, self.other], [*listed, *introduced])
        asked = [self.image, *pointing, self.text, self.layers]
        on(self.run.click, by.prompt, asked, [self.visits, self.step, *self.shown])

        seen = [self.visits, self.step, self.layers]
        mine = [*seen, self.label]
        on(self.step.input, look, [*seen, self.image], self.shown, busy="always_last")
        on(self.layers.input, look, [*seen, self.image], self.shown, busy="always_last")
        for picture, *_ in self.sides:
            on(picture.select, click, mine, self.shown, busy="multiple")
        on(self.add.click, add_typed, [*mine, self.x, self.y], self.shown, busy="multiple")
        on(self.undo.click, undo, seen, self.shown, busy="multiple")
        on(self.reset.click, reset, seen, self.shown)
        for button, format in zip(self.formats, FORMATS, strict=True):
            on(button.click, keep_episode, [self.visits, self.layers, gr.State(format)], [self.episode])
