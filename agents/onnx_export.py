"""A trained agent as ONNX graphs, to be run where there is no PyTorch.

The graphs hold all that has weights, except what makes CLIP's map of a text, which an explicit branch must be given.
What is left is a short loop, which `examples/onnx_predict.py` shows in NumPy.

B is any batch, N the number of patches, R × h × w the encoding of an image, C its embedding's channels, g the cells a
side of the SRM's states; everything is float32 unless it says otherwise.

- ``encoder.onnx``: from image, uint8 (B, S, S, 3) RGB of the encoder's own size, to encoding (B, R, h, w).
- ``decoder.onnx``: from encoding, points (B, n, 2), which are (x, y) as fractions of the frame, and labels,
  int64 (B, n), 1, 0, or −1 for no point, to logits (B, 4h, 4w), SAM's answer (Eq. 2).
- ``features.onnx``, if the SRM sees a CLIP's dense features: from frame, uint8 (B, S, S, 3) RGB of features_size pixels
  a side, to features (B, F, g, g).
- ``srm.onnx``: from encoding, features if there are some, and mask (B, 4h, 4w), which is the last answer's
  probabilities, or ones before there is an answer, to srm_logits (B, g, g), y_r (Eq. 12) as logits, and centres (B, N),
  the same at the patches' centres: a prompt's label is whether this is above 0. An explicit branch needs similarity
  (B, g, g) too, CLIP's map of the text.
- ``answer.onnx``: from sam_logits, which are the decoder's, and srm_logits, the map of the state that they led to, to
  answer (B, 4h, 4w), logits that are positive in the mask.
- ``policy.onnx``: from mask, srm_logits, visited (B, N), 1 where a patch was prompted, and encoding, to scores (B, N),
  or (B, N + 1) with stopping last. The highest score is the action. With policy.network=evidence it takes points and
  labels, as decoder.onnx does, in the place of the encoding.

``agent.json`` has image_size, patch_size, max_steps, the encoder's input_size, and features_size if there are features.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gymnasium.spaces import Dict
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.agents.compact_rollouts import STATE
from alignsam_gym.agents.policies import PromptPolicyMixin
from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.envs.cell_states import form_cell_states
from alignsam_gym.envs.fused_answer import fuse_answers
from alignsam_gym.envs.patch_evidence import patch_evidence
from alignsam_gym.envs.patch_means import patch_means
from alignsam_gym.envs.rules import Rules
from alignsam_gym.envs.srm_examples import join_features
from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.srm import SRM
from alignsam_gym.state import make_srm_state
from alignsam_gym.transforms import resize_map

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_model import ClipModel

_OPSET = 18
_LARGEST = 2**31  # bytes that one ONNX file can hold


def export_onnx(agent: AlignSAM, folder: Path) -> None:
    """Write the graphs and ``agent.json`` into a folder.

    Args:
        agent: On the CPU.
        folder: Made if need be.

    Raises:
        OptionError: The packages of extra ``onnx`` are missing, the agent is on another device, or the graphs do not
            know its rules: labels by others than the SRM, maps that do not divide into cells.
        WeightsError: The folder cannot be written.
    """
    try:
        import onnxscript  # noqa: F401  # torch.onnx names it only in a traceback
    except ImportError as error:
        raise OptionError("The export needs onnx and onnxscript: pip install 'alignsam-gym[onnx]'.") from error
    _check_exportable(agent)
    folder = folder.expanduser()
    rules, model = agent.rules, agent.model
    cells = min(rules.srm_grid_size, model.embedding_shape[1])
    encoding, mask = torch.rand(2, *model.encoding_shape), torch.rand(2, *model.logits_shape)
    srm_logits, visited = torch.randn(2, cells, cells), torch.zeros(2, rules.grid.count)
    image = torch.randint(0, 256, (2, model.input_size, model.input_size, 3), dtype=torch.uint8)
    points, labels = torch.rand(2, 3, 2), torch.tensor([[1, 0, 1], [1, 0, PADDING]])
    more = {"similarity": torch.rand(2, cells, cells)} if agent.srm.kind == "explicit" else {}
    if agent.features:
        more["features"] = torch.rand(2, agent.features.channels, cells, cells)
    sizes = {"image_size": rules.grid.image_size, "patch_size": rules.grid.patch_size, "max_steps": rules.max_steps}
    sizes["input_size"] = model.input_size
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, "encoder", _Encoder(model), {"image": image}, ["encoding"])
        _write(
            folder, "decoder", _Decoder(model), {"encoding": encoding, "points": points, "labels": labels}, ["logits"]
        )
        if agent.features:
            side = agent.features.frame_side(rules.grid.image_size)
            sizes["features_size"] = side
            frame = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
            _write(folder, "features", _Features(agent.features, cells), {"frame": frame}, ["features"])
        srm = _SRM(agent.srm, rules, cells, model.embedding_shape[0])
        _write(folder, "srm", srm, {"encoding": encoding, "mask": mask, **more}, ["srm_logits", "centres"])
        answered = {"sam_logits": mask, "srm_logits": srm_logits}
        _write(folder, "answer", _Answer(rules), answered, ["answer"])
        seen = {"mask": mask, "srm_logits": srm_logits, "visited": visited}
        if agent.policy.features_extractor.sees == "evidence":
            policy: _Scores = _EvidencePolicy(agent.policy, rules)
            seen |= {"points": points, "labels": labels}
        else:
            policy = _Policy(agent.policy, rules, cells, model.embedding_shape[0])
            seen |= {"encoding": encoding}
        _write(folder, "policy", policy, seen, ["scores"])
        (folder / "agent.json").write_text(json.dumps(sizes))
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written ({error.strerror}).") from error


def _check_exportable(agent: AlignSAM) -> None:
    """Raise OptionError for an agent that has no graphs."""
    rules, model = agent.rules, agent.model
    if model.device.type != "cpu":
        raise OptionError(f"The export needs the agent on the CPU, not {model.device}: load it with device='cpu'.")
    for name in ("label_source", "initial_prompts"):
        if (value := getattr(rules, name)) != "srm":
            raise OptionError(f"env.{name}={value} has no ONNX graphs; only srm has.")
    if not isinstance(agent.policy, PromptPolicyMixin) or agent.policy.recurrent:
        raise OptionError("Only agents of ppo, a2c and maskable_ppo have ONNX graphs.")
    height = model.embedding_shape[1]
    if height % min(rules.srm_grid_size, height):
        raise OptionError(
            f"env.srm_grid_size={rules.srm_grid_size} does not divide the embedding's {height} cells: no ONNX graphs."
        )


def _write(folder: Path, name: str, module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> None:
    free = torch.export.Dim.DYNAMIC
    shapes = {key: {0: free, 1: free} if key in ("points", "labels") else {0: free} for key in inputs}
    module = module.eval()
    with torch.no_grad():
        module(**inputs)  # what is computed once and kept is kept now, and not as the symbols of an export
        torch.onnx.export(
            module,
            kwargs=inputs,
            f=folder / f"{name}.onnx",
            input_names=list(inputs),
            output_names=outputs,
            opset_version=_OPSET,
            dynamic_shapes=shapes,
            external_data=sum(value.nbytes for value in module.state_dict().values()) > _LARGEST,
            dynamo=True,
            verbose=False,
        )


class _Encoder(nn.Module):
    def __init__(self, model: BatchedSamPredictor) -> None:
        super().__init__()
        self.sam = model.sam

    def forward(self, image: Tensor) -> Tensor:
        pixels = (image.permute(0, 3, 1, 2).float() - self.sam.pixel_mean) / self.sam.pixel_std
        encoding: Tensor = self.sam.image_encoder(pixels)
        return encoding.half().float()  # as encodings are kept


class _Decoder(nn.Module):
    """`BatchedDecoder` without a branch on values: padding is masked out whether there is any or not."""

    def __init__(self, model: BatchedSamPredictor) -> None:
        super().__init__()
        self.decoder, self.size = model.decoder, model.input_size

    def forward(self, encoding: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        sparse = self.decoder.embed_prompts(points * self.size, labels)
        outputs = len(self.decoder.output_tokens)
        real = torch.cat([labels.new_ones(1, outputs).expand(labels.shape[0], -1), labels + 1], dim=1)
        visible = F.pad(real, (0, 1), value=1)[:, None, None] > 0
        return self.decoder.decode_tokens(self.decoder.prepare_image(encoding), sparse, visible)[0][:, 0]


class _Features(nn.Module):
    def __init__(self, clip: ClipModel, cells: int) -> None:
        super().__init__()
        self.clip, self.model, self.cells = clip, clip.model, cells

    def forward(self, frame: Tensor) -> Tensor:
        features = self.clip.dense_from_pixels(self.clip.resize(frame)).half().float()  # as features are kept
        return resize_map(features, (self.cells, self.cells))


class _GridMeans(nn.Module):
    """Averages an embedding, from an encoding, and a mask over the grid of g cells a side."""

    def __init__(self, cells: int, channels: int) -> None:
        super().__init__()
        self.cells, self.channels = cells, channels

    def forward(self, encoding: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        embedding = encoding[:, : self.channels]
        return self._means(embedding), self._means(mask[:, None])[:, 0]

    def _means(self, maps: Tensor) -> Tensor:
        factor = maps.shape[-1] // self.cells
        return F.avg_pool2d(maps, factor) if factor > 1 else maps


class _SRM(nn.Module):
    def __init__(self, srm: SRM, rules: Rules, cells: int, channels: int) -> None:
        super().__init__()
        self.srm, self.members = srm, srm.members  # the members as modules of this one, so that their weights are found
        self.grid, self.kind = rules.grid, rules.state
        self.grid_means = _GridMeans(cells, channels)

    def forward(
        self, encoding: Tensor, mask: Tensor, similarity: Tensor | None = None, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        seen, coarse = self.grid_means(encoding, mask)
        if features is not None:
            seen = join_features(seen, features, self.srm.config.features)
        srm_logits = self.srm.logits(make_srm_state(self.kind, seen, coarse, similarity=similarity))
        return srm_logits, self.grid.sample(srm_logits, self.grid.centres.expand(srm_logits.shape[0], -1, -1))


class _Answer(nn.Module):
    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.fused = rules.answer != "sam"

    def forward(self, sam_logits: Tensor, srm_logits: Tensor) -> Tensor:
        return fuse_answers(sam_logits, srm_logits) if self.fused else sam_logits.clone()


class _Scores(nn.Module):
    """From what a policy observes, but for ``visited``, to the scores of its actions."""

    def __init__(self, policy: Any, rules: Rules) -> None:
        super().__init__()
        self.policy, self.rules = policy, rules

    def scores(self, seen: Tensor, visited: Tensor) -> Tensor:
        parts = {self.policy.features_extractor.sees: seen, "visited": visited}
        space = self.policy.observation_space
        observation = {name: parts[name] for name in parts if name in space.spaces} if isinstance(space, Dict) else seen
        features = self.policy.extract_features(observation, self.policy.pi_features_extractor)
        scores: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))
        return scores


class _Policy(_Scores):
    def __init__(self, policy: Any, rules: Rules, cells: int, channels: int) -> None:
        super().__init__(policy, rules)
        self.grid_means = _GridMeans(cells, channels)

    def forward(self, mask: Tensor, srm_logits: Tensor, visited: Tensor, encoding: Tensor) -> Tensor:
        embedding, coarse = self.grid_means(encoding, mask)
        if self.policy.features_extractor.sees == STATE:
            maps = [coarse, srm_logits.sigmoid()] if self.rules.state == "guided" else [coarse]
            seen = form_cell_states(self.rules.state, embedding, torch.stack(maps, dim=1).half())
        else:
            seen = patch_means(self.rules, embedding, coarse, srm_logits).half()
        return self.scores(seen.float(), visited)  # rounded as it is observed


class _EvidencePolicy(_Scores):
    def forward(self, mask: Tensor, srm_logits: Tensor, visited: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        return self.scores(patch_evidence(self.rules, mask, srm_logits, points, labels), visited)
