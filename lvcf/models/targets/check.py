"""One check for every target model, before any clip is edited.

M is asked about plausible clips, with gradient where it has one: one clip and three, the same clip alone, beside
others and twice.  Whatever depends on chance or on company (dropout, batch statistics) says nothing about a clip.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError, said

if TYPE_CHECKING:
    from lvcf.models.targets.base import TargetModel

SAME = 1e-3
"""How far two answers about one clip may be apart, in the value's scale or the spread of all logits."""
ROUNDING = 1e-5
"""The same, as a share of the answer; of half precision and on GPUs (TF32), four units in the last place."""
TF32 = 2.0**-10
SUM = 1e-3
"""How near to 1 the rows of a softmax sum."""
BRIGHTNESS = (-0.4, 0.0, 0.35)
DARKER = 0.6
"""What is taken from the darkest clip, and added to the brightest, where M says the same of all."""
HALVINGS = 12
"""Of the way between these two."""


class MisfitError(UserError):
    """M does not run on such a batch of clips, or answers in another shape; smaller batches may help."""


class NoNumberError(UserError):
    """M says no finite number of a made-up clip."""


def of_the_setup(error: Exception) -> bool:
    """Whether an error would come with every clip: the user's, but not that M, once checked, does not take one."""
    return isinstance(error, UserError) and not isinstance(error, MisfitError)


def check_target(model: TargetModel, size: Sequence[int], device: torch.device | str = "cpu") -> None:
    """Ask about made-up clips; the global random numbers stay as they are.

    Args:
        model: M, in eval mode.
        size: frames, height and width of the clips.
        device: where M is.

    Raises:
        UserError: M does not run, answers in another shape or kind than it declares, says no finite number, has no
            gradient though it should, or says another thing of the same clip beside others or a second time.
    """
    clips, asked = plausible_clips(size).to(device), model.queries
    gpus = [clips.device] if clips.device.type == "cuda" else []
    model.remembers = False
    try:
        with torch.random.fork_rng(devices=gpus):
            _check(model, clips)
    finally:
        model.remembers, model.queries = True, asked
    model.checked = True


def plausible_clips(size: Sequence[int]) -> Tensor:
    """Three clips ``(3, 3, T, H, W)`` in (-1, 1): smooth moving patches with grain, darker and brighter."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(3, 3, 3, 5, 5, generator=generator)
    smooth = functional.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)
    grain = torch.randn(smooth.shape, generator=generator)
    return (torch.tensor(BRIGHTNESS).view(3, 1, 1, 1, 1) + 0.2 * smooth + 0.03 * grain).clamp(-0.95, 0.9)


def _check(model: TargetModel, clips: Tensor) -> None:
    who = model.source or type(model).__name__
    if model.task == "classification" and len(set(model.labels)) < max(len(model.labels), 2):
        raise UserError(f"{who}: labels {list(model.labels)}: a classifier needs two or more different names")
    if not (isfinite(model.scale) and model.scale > 0.0):
        raise UserError(f"{who}: scale {model.scale:g}: give the training standard deviation of its value")
    with torch.no_grad():
        pair, three = _ask(model, clips[1:], who), _ask(model, clips, who)
        alone = _ask(model, clips[:1], who)
    twice = _check_gradient(model, clips, who) if model.differentiable else _ask(model, clips[:1], who)
    _check_kind(model, three, who)
    near = _tolerance(model, three)
    if _apart(twice, alone, near):
        raise UserError(
            f"{who}: gives the same clip two answers, {_told(alone[0])} and {_told(twice[0])}; take the chance out of "
            "it: call eval() before it is exported or served (dropout)"
        )
    for beside, by_itself, how in ((three[:1], alone, "alone"), (three[1:], pair, "in another batch")):
        if _apart(beside, by_itself, near):
            raise UserError(
                f"{who}: gives a clip another answer beside other clips, {_told(beside[0])}, than {how}, "
                f"{_told(by_itself[0])}: it mixes the clips of a batch; call eval() before it is exported or served "
                "(batch norm), and keep the clips apart"
            )


def _ask(model: TargetModel, clips: Tensor, who: str) -> Tensor:
    """M's output, which must be what it declares."""
    try:
        output = model(clips)
    except UserError as error:
        raise type(error)(str(error) if str(error).startswith(who) else f"{who}: {error}") from error
    except Exception as error:  # a foreign network may raise anything
        if is_oom_error(error):
            raise
        given, fix = model.described(clips)
        raise MisfitError(f"{who}: does not run on {given} ({said(error)}); correct {fix}") from error
    wanted = (len(clips), len(model.labels)) if model.task == "classification" else (len(clips),)
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.shape != wanted:
        found = f"{output.dtype} {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise MisfitError(f"{who}: forward returns {found}; a {model.task} model returns floats of shape {wanted}")
    if not bool(output.isfinite().all()):
        raise NoNumberError(
            f"{who}: its answer to a plausible clip is not a finite number ({_told(output[0])}); check it"
        )
    return output


def _check_kind(model: TargetModel, outputs: Tensor, who: str) -> None:
    """Probabilities are no logits, whatever was declared."""
    if model.task == "regression" or float(outputs.min()) < 0.0:
        return
    if model.multi_label and float(outputs.max()) <= 1.0:
        raise UserError(
            f"{who}: declared multi-label, but all its numbers lie in 0..1 ({_told(outputs[0])}), as behind a sigmoid; "
            "return the logits before it"
        )
    for whole, remedy in ((1.0, "declare answer.gives: probabilities"), (100.0, "divide them by 100 and declare them")):
        if not model.multi_label and bool(((outputs.sum(1) / whole - 1.0).abs() <= SUM).all()):
            raise UserError(
                f"{who}: its rows are probabilities ({_told(outputs[0])} sums to {whole:g}), not logits; {remedy}, or "
                "return the logits before the softmax"
            )
    if not model.multi_label and float(outputs.max()) <= 1.0:
        warnings.warn(
            f"{who}: all its numbers lie in 0..1 ({_told(outputs[0])}), which is rare of logits; if a sigmoid makes "
            "them, return the logits before it (of labels that do not exclude each other: answer.gives: multi-label)",
            stacklevel=2,
        )


def _check_gradient(model: TargetModel, clips: Tensor, who: str) -> Tensor:
    """Of one clip, whose answer is returned; where it is 0, M may be saturated, and others are tried."""
    answer, gradient, problem = _gradient(model, clips[:1], who)
    if gradient is None or not bool(gradient.any()):
        _, gradient, problem = _gradient(model, clips, who)
    if gradient is not None and (bool(gradient.any()) or _is_slope(model, clips, who)):
        return answer
    raise UserError(
        f"{who}: has no gradient ({problem}); take detach(), no_grad(), numpy and rounding out of it, or explain it as "
        "a black box (OnnxTarget, HttpTarget)"
    )


def _gradient(model: TargetModel, clips: Tensor, who: str) -> tuple[Tensor, Tensor | None, str]:
    """M's answer, the gradient of a mixture of its numbers, and why there is none."""
    point = clips.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        output = _ask(model, point, who)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    try:
        (gradient,) = torch.autograd.grad(output, point, weights, allow_unused=True)
    except Exception as error:  # a foreign network's backward pass may raise anything, too
        return output.detach(), None, said(error)
    if gradient is not None and not bool(gradient.isfinite().all()):
        raise UserError(
            f"{who}: its gradient on a plausible clip is not finite; correct its forward (sqrt, log, division by 0)"
        )
    return output.detach(), gradient, "it does not depend on the clip"


def _is_slope(model: TargetModel, clips: Tensor, who: str) -> bool:
    """Whether M, clamped or saturated on all clips, has a gradient where its answer changes; rounding has none."""
    low, high = (clips[:1] - DARKER).clamp(min=-0.95), (clips[-1:] + DARKER).clamp(max=0.95)
    answer, _, _ = _gradient(model, low, who)
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        there, gradient, _ = _gradient(model, middle, who)
        if gradient is not None and bool(gradient.any()):
            return True
        low, high = (middle, high) if torch.equal(there, answer) else (low, middle)
    return False


def _tolerance(model: TargetModel, outputs: Tensor) -> float:
    units = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    rounding = max([ROUNDING, *(4.0 * unit for unit in (*units, TF32 if outputs.is_cuda else 0.0))])
    scale = model.scale if model.task == "regression" else float(outputs.max() - outputs.min())
    return SAME * scale + rounding * float(outputs.abs().max())


def _apart(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return float((a.detach() - b.detach()).abs().max()) > tolerance


def _told(output: Tensor) -> str:
    """One clip's answer, its first numbers."""
    numbers = [f"{value:.4g}" for value in output.detach().flatten()[:4].tolist()]
    return numbers[0] if output.dim() == 0 else f"[{', '.join(numbers)}{', ...' if output.numel() > 4 else ''}]"
