"""What labelling ends with: the agent's masks for the rest, COCO's annotations, and the agent as a bundle."""

from __future__ import annotations

from alignsam_gym.agents import bundle
from alignsam_gym.data.annotation_export import CocoExport
from alignsam_gym.data.mask_files import write_file
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.saved_masks import at_own_size, encode_mask, read_mask

PREDICTIONS, ANNOTATIONS, BUNDLE = "predictions", "annotations.json", "agent.alignsam"
"""What is written beside the masks."""


def predict_rest(project: LabellingProject) -> str:
    """Write the agent's mask of every photograph that has none, as PNG files into ``predictions/``.

    Returns:
        What was done, in a sentence.

    Raises:
        OptionError: There is no agent.
        DataError: A mask cannot be written.
    """
    if project.proposals is None:
        raise OptionError("There is no agent to predict with: train one first.")
    folder, skipped = project.folder.beside(PREDICTIONS), []
    rest = project.unlabelled()
    for stem in rest:
        try:
            mask = project.proposals.mask(stem, project.pixels(stem).shape[:2])
        except DataError as error:
            skipped.append(str(error))
            continue
        write_file(folder / f"{stem}.png", encode_mask(mask, project.folder.photographs[stem]))
    told = f"{len(rest) - len(skipped)} masks are in {folder}."
    return f"{told} Left out: {'; '.join(skipped)}" if skipped else told


def export_labels(project: LabellingProject) -> str:
    """Write the masks as COCO's annotations, and the agent as a bundle.

    The annotations hold the masks of ``masks/``, and those of ``predictions/`` for photographs without.

    Returns:
        What was done, in sentences.

    Raises:
        DataError: A mask cannot be read, or a file not written.
    """
    told = [f"Masks are in {project.folder.masks}."]
    try:
        annotations = project.folder.beside(ANNOTATIONS)
        _coco(project).save(annotations)
        told.append(f"COCO's annotations are in {annotations}.")
    except OptionError as error:
        told.append(f"COCO's annotations were left out: {error}")
    if project.proposals:
        target = project.folder.beside(BUNDLE)
        bundle.export(project.run, target)
        told.append(f"The agent is in {target}.")
    else:
        told.append("There is no agent to export.")
    return " ".join(told)


def _coco(project: LabellingProject) -> CocoExport:
    """Collect the masks of the photographs that have one."""
    files, annotations = project.masks.files(), CocoExport("target")
    for stem, photograph in project.folder.photographs.items():
        file = files.get(stem, project.folder.beside(PREDICTIONS) / f"{stem}.png")
        if file.is_file():
            mask = at_own_size(read_mask(file, photograph), photograph)
            annotations.add(photograph.relative_to(project.folder.images).as_posix(), mask)
    return annotations
