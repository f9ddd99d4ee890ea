"""The command ``alignsam``, which has all commands of this package.

Nothing heavy is imported before a command runs, so that ``--help`` and completion answer at once.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import alignsam_gym
from alignsam_gym.experiments.benchmark import Architecture, Benchmark
from alignsam_gym.experiments.cli_options import Clip, Device, Format, Run, Sam, path
from alignsam_gym.experiments.command_help import HELP_OPTIONS, first_sentence, help_page, module_of
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.command_output import prepare_output

app = typer.Typer(
    help="Points the Segment Anything Model at what you mean: trains, measures and uses AlignSAM agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": sorted(HELP_OPTIONS)},
)


AGENT, COMPARISON, PREPARATION, DEVELOPMENT = "An agent", "Comparisons", "Data and weights", "Development"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"alignsam-gym {alignsam_gym.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def run_module(command: str, arguments: list[str]) -> None:
    """Run the module of a command that Hydra configures, as ``python -m experiments.<command>`` does."""
    if HELP_OPTIONS & set(arguments):
        print(help_page(command))
        return
    sys.argv = [f"alignsam {command}", *arguments]
    importlib.import_module(f"alignsam_gym.experiments.{module_of(command)}").main()


def _add_hydra_command(name: str, panel: str) -> None:
    """Add a command that hands its arguments to the module of its name, as they are."""

    def command(context: typer.Context) -> None:
        run_module(name, context.args)

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    decorate: Callable[[Callable[..., None]], object] = app.command(
        name, help=first_sentence(name), rich_help_panel=panel, context_settings=settings
    )
    decorate(command)


_add_hydra_command("train", AGENT)
_add_hydra_command("evaluate", AGENT)


@app.command(rich_help_panel=AGENT)
def predict(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Images, TIFF stacks, videos, or folders of images.")
    ],
    out: Annotated[Path, typer.Option(parser=path, help="Folder to write to.")] = Path("predictions"),
    format: Annotated[
        Format,
        typer.Option(
            help="PNG masks, grey-level maps or overlays; masks and overlaid videos; COCO's JSON; YOLO's labels."
        ),
    ] = Format.mask,
    category: Annotated[str | None, typer.Option(help="What the target is called in COCO's and YOLO's files.")] = None,
    overwrite: Annotated[
        bool | None,
        typer.Option(
            "--overwrite/--skip-existing", help="Replace files that are there already, or leave their images alone."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="What to look for, where a text guides the agent.")] = None,
    sam: Sam = None,
    clip: Clip = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images prompted at once.")] = 16,
    shard: Annotated[
        str, typer.Option(metavar="INDEX/COUNT", help="Part of the files, such as 0/8: the first of eight.")
    ] = "0/1",
) -> None:
    """Predicts masks for images and videos that have none.

    Files that cannot be read are skipped, and named at the end. The exit status is 0 if any mask was written.
    Several commands divide the files among themselves by --shard.

    alignsam predict outputs/train/2026-01-01_12-00-00 photos/ --out masks/

    alignsam predict shadows.alignsam photo.jpg --format overlay

    alignsam predict shadows.alignsam clip.mp4 --format video

    alignsam predict shadows.alignsam photos/ --shard 0/8
    """
    with exit_on_user_error:
        from alignsam_gym.agents.prediction_files import predict_files, prediction_writer
        from alignsam_gym.agents.prediction_sources import find_sources
        from alignsam_gym.agents.pretrained import AlignSAM
        from alignsam_gym.experiments.shard import WHOLE, Shard

        part = Shard.parsed(shard)
        if part != WHOLE:
            format.check_one_file_an_image()
        found = find_sources(images, [out])
        agent = AlignSAM.from_pretrained(run, sam=sam, clip=clip, device=device, batch_size=batch_size)
        found = part.whole_batches(found, batch_size)
        writer = prediction_writer(format, out, overwrite, category, text or agent.config.text)
        outcome = predict_files(agent, found, writer, text)
        for problem in outcome.skipped:
            print(f"skipped: {problem}", file=sys.stderr)
        count = outcome.frames + outcome.left
        frames = f", as {count} frames" if count != outcome.files else ""
        left = f"; {outcome.left} of them were there before" if outcome.left else ""
        print(f"{outcome.files} of {len(found)} files are in {writer.place}{frames}{left}")


@app.command(rich_help_panel=AGENT)
def demo(
    run: Annotated[
        list[Path] | None,
        typer.Option(parser=path, help="A training's folder, or a bundle, to choose from; as often as you like."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at.", min=1, max=65535)] = 7860,
    sam: Annotated[str | None, typer.Option(help="Another SAM than the run's, or than the embedded one.")] = None,
    clip: Annotated[str | None, typer.Option(help="Another CLIP, ARCHITECTURE/WEIGHTS.")] = None,
    device: Device = "auto",
) -> None:
    """Serves a page for the browser: watch SAM being prompted step by step, and correct it.

    Without a run, CLIP's map of a text prompts: that needs no training.

    alignsam demo

    alignsam demo --run outputs/train/2026-01-01_12-00-00 --run shadows.alignsam
    """
    with exit_on_user_error:
        from alignsam_gym.demo.pointers import Pointers
        from alignsam_gym.demo.server import served

        pointers = Pointers(run or [], sam, clip, device)
        pointers.get(pointers.names[0])  # what is wrong with it is told here
        with served(pointers, host, port) as page:
            print(f"AlignSAM's demo is at {page.local_url} (Ctrl-C ends it)")
            page.block_thread()


@app.command(rich_help_panel=AGENT)
def label(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Photographs, or a folder with images/ in it.")],
    sam: Annotated[str, typer.Option(help="What answers clicks: tiny, vit_b, …, or a checkpoint.")] = "tiny",
    run: Annotated[
        Path | None,
        typer.Option(parser=path, help="An agent that proposes masks at once: a training's folder, or a bundle."),
    ] = None,
    train: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Key of `alignsam train`; as often as you like.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to serve at; 0 for any that is free.", min=0, max=65535)] = 7861,
    device: Device = "auto",
) -> None:
    """Serves a page for the browser: label photographs by clicks, train, and correct what the agent proposes.

    SAM answers each click. Each mask is saved at once, as PNG: for photos/images in photos/masks, for photographs that
    lie flat in photos/ in photos-masks/ beside it. After five masks an agent can be trained on them; it then proposes
    masks for the rest, the most doubtful first.

    alignsam label photos/

    alignsam label photos/ --sam vit_b --train clip=vit_b_16
    """
    with exit_on_user_error:
        from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
        from alignsam_gym.foundation.sam.predictor import load_sam
        from alignsam_gym.labelling.clicked_sam import ClickedSam
        from alignsam_gym.labelling.label_server import served_labels
        from alignsam_gym.labelling.labelling_project import LabellingProject
        from alignsam_gym.labelling.photo_folder import PhotoFolder
        from alignsam_gym.labelling.window_state import training_command

        found = PhotoFolder.find(folder)
        trainer = [sys.executable, "-m", "alignsam_gym.experiments.cli", "train"]
        keys = [*_sam_keys(sam), *(train or [])]
        project = LabellingProject(
            found, ClickedSam(load_sam(sam, device), EmbeddingStore()), trainer, keys, device, run
        )
        with served_labels(project, port) as address:
            print(f"Photographs: {len(found.photographs)}. Label them at {address} (Ctrl-C ends it).")
            print(f"Masks are saved in {found.masks}. To train on them:\n{training_command(project)}", flush=True)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a training is interrupted with it
            threading.Event().wait()


def _sam_keys(sam: str) -> list[str]:
    """The keys of `alignsam train` for a SAM by its name, by ``hf:…``, or by the path of its checkpoint."""
    from alignsam_gym.foundation.sam.hf_checkpoints import HF
    from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS

    if sam == "tiny":
        return []
    named = sam in CHECKPOINTS or sam.startswith(HF)
    return [f"sam={sam}"] if named else [f"env.sam={Path(sam).expanduser().resolve()}"]


@app.command(rich_help_panel=AGENT)
def export(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file NAME.alignsam, or a folder; NAME.zip of --sb3.")],
    sb3: Annotated[bool, typer.Option("--sb3", help="The policy alone, as the zip that PPO.load reads.")] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX graphs of all but CLIP's map of a text, into a folder.")
    ] = False,
    sam: Sam = None,
    clip: Clip = None,
) -> None:
    """Puts a trained agent into one file or folder, for others.

    Such a bundle holds no pickle and no path of this machine; `alignsam predict` and AlignSAM.from_pretrained take it.

    alignsam export outputs/train/2026-01-01_12-00-00 shadows.alignsam

    alignsam export shadows.alignsam graphs/ --onnx
    """
    with exit_on_user_error:
        from alignsam_gym.errors import OptionError

        if sb3 and onnx:
            raise OptionError("--sb3 and --onnx are two exports; give one.")
        if onnx:
            from alignsam_gym.agents.onnx_export import export_onnx
            from alignsam_gym.agents.pretrained import AlignSAM

            export_onnx(AlignSAM.from_pretrained(run, sam=sam, clip=clip, device="cpu", batch_size=1), out)
        elif sb3:
            from alignsam_gym.agents.sb3_export import export_sb3

            out = export_sb3(run, out, sam=sam, clip=clip)
        elif sam or clip:
            from alignsam_gym.agents.pretrained import AlignSAM

            AlignSAM.from_pretrained(run, sam=sam, clip=clip, device="cpu").save_pretrained(out)
        else:
            from alignsam_gym.agents import bundle

            bundle.export(run, out)
        print(f"The agent is in {out}")


@app.command(rich_help_panel=AGENT)
def push(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="If the repository is made, make it private.")] = False,
    image: Annotated[
        list[Path] | None,
        typer.Option(parser=path, help="Image to publish on the card with its mask; as often as you like."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="The Hub's name of a licence, such as apache-2.0.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What it was trained and measured on, Markdown.")] = None,
    sam: Sam = None,
    clip: Clip = None,
) -> None:
    """Puts a trained agent on the Hugging Face Hub, with a card of its measurements.

    Log in first: hf auth login, or $HF_TOKEN. It is loaded by AlignSAM.from_pretrained("user/name").

    alignsam push outputs/train/2026-01-01_12-00-00 user/shadows --licence apache-2.0 --image a.jpg --image b.jpg
    """
    with exit_on_user_error:
        from alignsam_gym.agents import hub

        if image or sam or clip:
            from alignsam_gym.agents.pretrained import AlignSAM

            agent = AlignSAM.from_pretrained(run, sam=sam, clip=clip, device="cpu")
            place = agent.push_to_hub(repo, private=private, images=image or (), licence=licence, data=data)
        else:
            place = hub.push(run, repo, private, licence, data)
        print(f"The agent is at {place}")


for _name in ("baseline", "score", "summarize", "report", "reproduce"):
    _add_hydra_command(_name, COMPARISON)


@app.command(rich_help_panel=PREPARATION)
def datasets(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets; all by default.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder of the data set or of several, else $ALIGNSAM_DATA.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Open every image and mask.")] = False,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the data set, such as foreground=[1].")
    ] = None,
) -> None:
    """Lists the data sets: which are here, how many samples they have, and what is wrong with them.

    The paper's data sets are looked for in --root or $ALIGNSAM_DATA. A name shows all that is known of a data set.

    alignsam datasets

    alignsam datasets DUTS --root ~/data --check

    alignsam datasets folder --root photos --check --option foreground=[1]
    """
    with exit_on_user_error:
        from alignsam_gym.experiments.datasets import list_datasets, parse_options

        list_datasets(names or [], root, check, parse_options(option or []))


_add_hydra_command("embed", PREPARATION)
_add_hydra_command("weights", PREPARATION)


@app.command(rich_help_panel=DEVELOPMENT)
def benchmark(
    name: Annotated[Benchmark, typer.Argument(help="What to time.")],
    sam: Annotated[Architecture, typer.Option(help="Architecture; vit_b's weights are random.")] = Architecture.vit_b,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU; by default PyTorch's own number.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds: to see that it works, not how fast.")] = False,
    output: Annotated[Path, typer.Option(parser=path, help="Folder of the JSON.")] = Path("outputs/benchmark"),
) -> None:
    """Times this package against another way of doing the same, in turn.

    It prints medians and spreads, writes them as JSON, and ends with the ratio
    of the other way's time to ours, so that more is better. For memory it is
    the ratio of bytes, and for store a start with an empty cache over one with
    a full one.

    gpu is for whoever has one: it checks that answers are the CPU's and that a
    training repeats and resumes, and measures decoding, steps, a whole run and
    encoding, in less than eight minutes. It takes no --sam.

    alignsam benchmark decode

    alignsam benchmark gpu

    alignsam benchmark store --sam tiny --quick
    """
    with exit_on_user_error:
        from alignsam_gym.experiments.benchmark.run_benchmark import run_benchmark

        run_benchmark(name, sam, device, threads, quick, output)


_add_hydra_command("pretrain", DEVELOPMENT)


def main() -> None:
    """Run the command that was typed."""
    prepare_output()
    app(prog_name="alignsam")


def run_from_module(command: str) -> None:
    """Run a command that was typed as ``python -m experiments.<command>``."""
    prepare_output()
    app([command, *sys.argv[1:]], prog_name="alignsam")


if __name__ == "__main__":
    main()
