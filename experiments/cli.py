"""`alignsam`, the command: what the modules of this package do, under one name.

Nothing heavy is imported before a command runs, so that ``--help`` and completion answer at once.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parent
_CONF = _HERE.parent / "conf"

app = typer.Typer(
    help="Point the Segment Anything Model at what you mean: train, measure and use AlignSAM agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_CHOSEN = ("dataset", "sam", "clip", "branch", "agent", "policy", "warm_start", "experiment")
_as_they_are = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a bundle: a folder or one file.")]
Sam = Annotated[str | None, typer.Option(help="Checkpoint, where the agent was trained with an own one.")]
Clip = Annotated[str | None, typer.Option(help="ARCHITECTURE/WEIGHTS, where the agent's own is a file, or not here.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]


class Format(StrEnum):
    """Of predictions."""

    mask = "mask"
    overlay = "overlay"
    rle = "rle"


@app.command(context_settings=_as_they_are, help="Train an agent on a few labelled images, and measure it.")
def train(context: typer.Context) -> None:
    _pass_on("train", context.args)


@app.command(context_settings=_as_they_are, help="Measure a trained agent again, perhaps on other data.")
def evaluate(context: typer.Context) -> None:
    _pass_on("evaluate", context.args)


@app.command(context_settings=_as_they_are, help="List the data sets, and check what is here of them.")
def datasets(context: typer.Context) -> None:
    _pass_on("datasets", context.args)


@app.command(context_settings=_as_they_are, help="List, download, verify or remove official SAM checkpoints.")
def weights(context: typer.Context) -> None:
    _pass_on("weights", context.args)


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="PNG, JPEG or BMP files, or folders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("predictions"),
    format: Annotated[Format, typer.Option(help="PNG masks, PNG overlays, or one JSON file with COCO's RLE.")] = (
        Format.mask
    ),
    text: Annotated[str | None, typer.Option(help="What to look for, where a text guides the agent.")] = None,
    sam: Sam = None,
    clip: Clip = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images prompted at once.")] = 16,
) -> None:
    """Masks for images that have none.

    Images that cannot be read are skipped, and named at the end. The exit status is 0 if any mask was written.

    alignsam predict outputs/train/2026-01-01_12-00-00 photos/ --out masks/

    alignsam predict shadows.alignsam photo.jpg --format overlay
    """
    with _told():
        from alignsam_gym.agents import prediction_files
        from alignsam_gym.agents.pretrained import AlignSAM
        from alignsam_gym.errors import DataError

        found = prediction_files.find_images(images, [out])
        writers = {"mask": prediction_files.mask_writer, "overlay": prediction_files.overlay_writer}
        rle = prediction_files.RleWriter(out / prediction_files.RLE_FILE) if format == Format.rle else None
        agent = AlignSAM.from_pretrained(run, sam=sam, clip=clip, device=device, batch_size=batch_size)
        written, skipped = prediction_files.predict_files(agent, found, rle or writers[format](out), text)
        for problem in skipped:
            typer.echo(f"skipped: {problem}", err=True)
        if not written:
            raise DataError(f"None of {len(skipped)} images could be read.")
        if rle:
            rle.save()
        typer.echo(f"{written} of {len(found)} images are in {rle.file if rle else out}")


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file NAME.alignsam, or a folder; NAME.zip of --sb3.")],
    sb3: Annotated[bool, typer.Option("--sb3", help="The policy alone, as the zip that PPO.load reads.")] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX graphs of SAM, SRM and policy, not of CLIP, into a folder.")
    ] = False,
    sam: Sam = None,
    clip: Clip = None,
) -> None:
    """Put a trained agent into one file or folder, for others.

    Such a bundle holds no pickle and no path of this machine; `alignsam predict` and AlignSAM.from_pretrained take it.

    alignsam export outputs/train/2026-01-01_12-00-00 shadows.alignsam

    alignsam export shadows.alignsam graphs/ --onnx
    """
    with _told():
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
        else:
            from alignsam_gym.agents import bundle

            bundle.export(run, out)
        typer.echo(f"The agent is in {out}")


@app.command()
def push(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="If the repository is made, make it private.")] = False,
) -> None:
    """Put a trained agent on the Hugging Face Hub, with a card of its measurements.

    Log in first: hf auth login, or $HF_TOKEN. It is loaded by AlignSAM.from_pretrained("user/name").
    """
    with _told():
        from alignsam_gym.agents import hub

        typer.echo(f"The agent is at {hub.push(run, repo, private)}")


@app.command()
def demo(
    run: Annotated[
        list[Path] | None, typer.Option(help="A training's folder, or a bundle, to choose from; as often as you like.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at.", min=1, max=65535)] = 7860,
    sam: Annotated[str | None, typer.Option(help="Another SAM than the run's, or than the embedded one.")] = None,
    clip: Annotated[str | None, typer.Option(help="Another CLIP, ARCHITECTURE/WEIGHTS.")] = None,
    device: Device = "auto",
) -> None:
    """A page in the browser: watch SAM being prompted step by step, and correct it.

    Without a run, CLIP's map of a text prompts: that needs no training.

    alignsam demo

    alignsam demo --run outputs/train/2026-01-01_12-00-00 --run shadows.alignsam
    """
    with _told():
        from alignsam_gym.demo.pointers import Pointers
        from alignsam_gym.demo.server import served

        pointers = Pointers(run or [], sam, clip, device)
        pointers.get(pointers.names[0])  # what is wrong with it is told here
        with served(pointers, host, port) as page:
            typer.echo(f"AlignSAM's demo is at {page.local_url} (Ctrl-C ends it)")
            page.block_thread()


def main() -> None:
    app(prog_name="alignsam")


def _pass_on(command: str, arguments: list[str]) -> None:
    """Run the module of that name as if it had been typed; it reads its arguments itself."""
    if {"-h", "--help"} & set(arguments):
        typer.echo(_help(command))
        return
    sys.argv = [f"alignsam {command}", *arguments]
    importlib.import_module(_module(command)).main()


def _module(command: str) -> str:
    return f"alignsam_gym.experiments.{command}{'.__main__' if (_HERE / command).is_dir() else ''}"


def _help(command: str) -> str:
    """The module's docstring, read without importing it, and what there is to choose from."""
    page = ast.get_docstring(ast.parse((_HERE / f"{command}.py").read_text(encoding="utf-8"))) or ""
    parts = [page]
    if (_CONF / f"{command}.yaml").exists():
        keys = (_CONF / f"{command}.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0]
        parts.append(f"Keys and their defaults, any of which an argument KEY=VALUE changes:\n\n{keys.strip()}")
    if command == "train":
        groups = (f"{name}={'|'.join(_choices(name))}" for name in _CHOSEN)
        parts += ["Choices:\n\n" + "\n".join(groups), "alignsam train --cfg job prints every key with its value."]
    return "\n\n".join(parts).replace("python -m experiments.", "alignsam ")


def _choices(group: str) -> list[str]:
    return sorted(file.stem for file in (_CONF / group).glob("*.yaml"))


@contextmanager
def _told() -> Iterator[None]:
    """Let a user's mistake end a command with its message alone, as does an interruption."""
    from alignsam_gym.errors import AlignSAMError

    try:
        yield
    except AlignSAMError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
