"""From a batch of clips to their edits: what goes in, what fails a clip, what comes out."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor

from lvcf.data.clip import Batch, round_to_8_bits
from lvcf.errors import told
from lvcf.guidance.goal import Goal
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.check import of_the_setup
from lvcf.region import ClipRegionError, may_change
from lvcf.runs.cost import forget_peak, now, peak_memory
from lvcf.sampler import Sampler, ask
from lvcf.sampling import SamplingState, finite
from lvcf.targets import TargetRequest


@dataclass
class Edit:
    """What came out for one clip.

    Attributes:
        id: the clip's name.
        video: the counterfactual ``(3, T, H, W)`` on 8-bit levels in [-1, 1].
        mask: ``(1, T, H, W)`` in [0, 1], where the edit was let through.
        goal: what M should say, a batch of one.
        facts: the entries of ``result.json`` that only sampling knows.
        more: the clip's further counterfactuals, where several were asked for.
    """

    id: str
    video: Tensor
    mask: Tensor
    goal: Goal
    facts: dict[str, Any]
    more: list[Edit] = field(default_factory=list)


def make_edits(sampler: Sampler, batch: Batch, tracebacks: dict[str, str]) -> list[Edit]:
    """Edit a batch; a clip that fails is not among the results and says why in ``batch["error"]``.

    M and the backbone may be anybody's: what they raise fails the clip, not the run.  The others of its batch are
    made again one by one.  Out of memory, this batch and those after it are made in parts of half the size.

    Args:
        sampler: with its callbacks.
        batch: the clips.
        tracebacks: takes those of clips on which M or a part of the backbone raised, by name.

    Raises:
        UserError: the setup is wrong, whatever the clip.
    """
    size = len(batch["id"])
    at_once = sampler.at_once or size
    if size <= at_once:
        try:
            with torch.no_grad():
                return _edits(sampler, batch)
        except Exception as error:
            lacks_memory = out_of_memory(error)
            if (lacks_memory and size == 1) or (of_the_setup(error) and not lacks_memory):
                raise
            if size == 1:
                batch["error"][0] = told(error)
                tracebacks[batch["id"][0]] = traceback.format_exc()
                return []
        at_once = 1
        if lacks_memory:
            garbage_collection_cuda()  # here, where the failed attempt's tensors are no longer held by its traceback
            at_once = sampler.at_once = -(-size // 2)
            rank_zero_warn(f"out of memory; goes on with {at_once} clip{'s' * (at_once > 1)} at once")
    edits = []
    for start in range(0, size, at_once):
        rows = [row for row in range(start, min(start + at_once, size)) if not batch["error"][row]]
        if rows:
            part = select(batch, rows)
            edits += make_edits(sampler, part, tracebacks)
            for row, problem in zip(rows, part["error"], strict=True):
                batch["error"][row] = problem
    return edits


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or the one that it was made from, is a lack of memory."""
    return any(one is not None and is_oom_error(one) for one in (error, error.__cause__))


def _edits(sampler: Sampler, batch: Batch) -> list[Edit]:
    """Edit the clips that can be read, all at once."""
    model, device = sampler.model, batch["video"].device
    measured = forget_peak(device)
    started, asked = now(device), model.queries
    before = ask(model, batch["video"])
    check_labels(batch, sampler.request, model)
    restrict(batch, sampler)
    good = readable(batch, before)
    if not good:
        return []
    rounds = list[list[_Made]]()
    for _ in range(sampler.settings.n_counterfactuals):
        rounds.append(_best_of_starts(sampler, select(batch, good), before[good], rounds))
    costs: dict[str, Any] = {"seconds": (now(device) - started) / len(good)}
    if measured:
        costs["peak_memory_bytes"] = peak_memory(device)
    if not model.differentiable:
        costs["queries"] = (model.queries - asked) / len(good)
    edits = list[Edit]()
    for place, (made, *more) in zip(good, zip(*rounds, strict=True), strict=True):
        batch["error"][place] = made.problem
        if not made.problem:
            edits.append(_edit(sampler, made, costs))
            edits[-1].more = [_edit(sampler, other, {}) for other in more if not other.problem]
    return edits


class _Made(NamedTuple):
    """One clip's sample of a finished sampling.

    Attributes:
        state: of its batch.
        row: its place there.
        steps: denoising steps of all starts.
        gradients: evaluations of the gradient of all starts.
        start: the one it is from.
    """

    state: SamplingState
    row: int
    steps: int
    gradients: int
    start: int

    @property
    def problem(self) -> str:
        """Why it failed; empty where it did not."""
        return self.state.problems[self.row]

    def loss(self) -> float:
        """The target loss of M's reading of the clip that would be saved; -1 within tolerance."""
        goal, clip = self.state.goal[torch.tensor([self.row])], round_to_8_bits(self.state.decoded[self.row])
        output = ask(self.state.model, clip[None])
        return -1.0 if bool(goal.reached(output)) else float(goal.loss(output))


def _best_of_starts(sampler: Sampler, batch: Batch, before: Tensor, rounds: list[list[_Made]]) -> list[_Made]:
    """Every clip sampled, and again from other noise while M is outside tolerance; of its starts the nearest.

    What is sampled keeps away from the counterfactuals of the ``rounds`` before.
    """
    others = [torch.stack([made.state.z[made.row] for made in found]) for found in rounds]
    first = len(rounds) * sampler.settings.starts
    best = _sampled(sampler, batch, before, first, others)
    losses = {place: made.loss() for place, made in enumerate(best) if sampler.settings.starts > 1 and not made.problem}
    for start in range(first + 1, first + sampler.settings.starts):
        far = [place for place, loss in losses.items() if loss >= 0.0]
        if not far:
            break
        again = _sampled(sampler, select(batch, far), before[far], start, [other[far] for other in others])
        for place, made in zip(far, again, strict=True):
            last = nearer = best[place]
            if not made.problem and (loss := made.loss()) < losses[place]:
                nearer, losses[place] = made, loss
            best[place] = nearer._replace(steps=last.steps + made.steps, gradients=last.gradients + made.gradients)
    return best


def _sampled(sampler: Sampler, batch: Batch, before: Tensor, start: int, others: list[Tensor]) -> list[_Made]:
    state = sampler(batch, before, start, others)
    costs = zip(state.steps, state.gradient_evaluations, strict=True)
    return [_Made(state, row, steps, gradients, start) for row, (steps, gradients) in enumerate(costs)]


def _edit(sampler: Sampler, made: _Made, costs: dict[str, Any]) -> Edit:
    state, row = made.state, made.row
    low, high = float(state.goal.low[row]), float(state.goal.high[row])
    return Edit(
        id=state.ids[row],
        video=round_to_8_bits(state.decoded[row]),
        mask=torch.ones_like(state.video[row, :1]) if state.mask is None else state.mask[row],
        goal=state.goal[torch.tensor([row])],
        facts={
            **state.notes[row],
            "target": {"low": low, "high": high, "text": sampler.wording.text(low, high)},
            "trajectory": state.trajectory[row],
            "steps": made.steps,
            "gradient_evaluations": made.gradients,
            **({"start": made.start} if sampler.settings.starts > 1 else {}),
            **costs,
        },
    )


def readable(batch: Batch, output: Tensor) -> list[int]:
    """The samples that can be explained; one on which M says no number gets that for its error."""
    for i, fine in enumerate(finite(output).tolist()):
        if not (fine or batch["error"][i]):
            batch["error"][i] = "the target model's output is not a finite number on this clip; check its weights"
    return [i for i, error in enumerate(batch["error"]) if not error]


def select(batch: Batch, rows: list[int]) -> Batch:
    """Some samples of a batch."""
    return {k: v[rows] if isinstance(v, Tensor) else [v[i] for i in rows] for k, v in batch.items()}  # type: ignore[return-value,index]  # keys are Batch's


def restrict(batch: Batch, sampler: Sampler) -> None:
    """Say of a batch where its clips may change; a clip that has no region gets that for its error.

    Raises:
        UserError: the region or the frozen frames fit no such clip.
    """
    frozen = sampler.settings.freeze_frames
    if sampler.region is None and not frozen:
        return
    editable = torch.ones_like(batch["video"][:, :1], dtype=torch.bool)
    for i, name in enumerate(batch["id"]):
        try:
            editable[i] = may_change(sampler.region, frozen, name, batch["video"][i])
        except ClipRegionError as error:
            batch["error"][i] = batch["error"][i] or str(error)
    batch["editable"] = editable


def check_labels(batch: Batch, request: TargetRequest, model: TargetModel) -> None:
    """A clip without a label M knows cannot be asked for its own label: that is its error."""
    known = range(len(model.labels)) if model.task == "classification" else None
    for i, label in enumerate(batch["label"].tolist() if request.kind == "label" else []):
        if not batch["error"][i] and (math.isnan(label) or (known is not None and label not in known)):
            batch["error"][i] = f"model.target label: the clip's label is {label:g}; ask for a class or a value"
