"""Target-gradient guidance: RG, SG, SGA, fixed guidance and AGG, by estimator and weight."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_choice, check_number
from lvcf.diffusion.parameterization import expand
from lvcf.errors import UserError
from lvcf.guidance.gradient import attention_mask, normalised, smooth_gradient, strongest
from lvcf.guidance.weight import GuidanceWeight
from lvcf.models.backbones.tiny_decoder import load_tiny_decoder
from lvcf.sampling import Read, SamplingCallback, SamplingState
from lvcf.wording import Wording


class GradientGuidance(SamplingCallback):
    """z0 <- z0 - lambda(t) g / rms(g) while M, reading the decoded clean estimate, is outside tolerance.

    AG-LDM-CE, Eq. 2 with its sign corrected (docs/method.md, 2, 5 and 6); RG is ``samples: 1``, SG ``samples: n``, SGA
    adds ``attention: true``, all with a ConstantWeight; AGG is SG with an AdaptiveWeight.

    Args:
        weight: lambda(t).
        samples: perturbed gradients that are averaged.
        noise: standard deviation of the perturbations, in units of the latent's own deviation.
        attention: keep the gradient only where it is strong; with ``cross``, only where the denoiser looks at the
            target's words (backbones of the LTX family, prompt ``target``).  That costs one more pass of the denoiser.
        through_denoiser: differentiate through the denoiser too: its Jacobian at z_t is, up to a factor, the covariance
            of z_0 given z_t (Tweedie), so the edit follows what the backbone thinks can change together, and directions
            that only fool M vanish.  Costs one more pass of the denoiser, forwards and backwards.
        tiny_decoder: a folder that ``lvcf fit --config phantom/tiny_decoder.yaml`` wrote, or a TAEHV file: M reads and
            is differentiated through it instead of the VAE's decoder.  What is saved and scored never passes it.
        true_steps: last places of the time grid at which M still reads through the VAE's decoder.  There both
            gradients are taken, and ``gradient_cosine`` in ``result.json`` lists the cosine between them.
        until: time at which guidance ends, 0-1: what is left is the denoiser's alone, so that it may wash out what no
            clip has (FMRG, 2604.27147, guides a fifth of its steps).

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        weight: GuidanceWeight,
        samples: int = 4,
        noise: float = 0.1,
        attention: bool | Literal["cross"] = False,
        through_denoiser: bool = False,
        tiny_decoder: str | None = None,
        true_steps: int = 2,
        until: float = 0.0,
    ) -> None:
        check_number("GradientGuidance.samples", samples, 1)
        check_number("GradientGuidance.noise", noise, 0.0)
        check_choice("GradientGuidance.attention", str(attention).lower(), ("true", "false", "cross"))
        check_number("GradientGuidance.until", until, 0.0, 1.0)
        if true_steps < 1:
            raise UserError(f"true_steps {true_steps}: at least the last step needs the VAE's own decoder")
        self.weight, self.samples, self.noise = weight, samples, noise
        self.attention, self.through_denoiser = attention, through_denoiser
        self.tiny = load_tiny_decoder(tiny_decoder).eval().requires_grad_(False) if tiny_decoder else None
        self.true_steps, self.until = true_steps, until
        self.tiny_read: Read | None = None
        self.at_once = samples

    def label(self) -> str:
        """RG, SG, SGA or AGG, and what else differs from the papers' forms of them."""
        cross = self.attention == "cross"
        if self.weight.adaptive:
            name = "AGG" + (" with cross-attention" if cross else " with attention" if self.attention else "")
        else:
            name = "SG" if self.samples > 1 else "RG"
            name += ("A by cross-attention" if cross else "A") if self.attention else ""
        through = " through the denoiser" if self.through_denoiser else ""
        tiny = " by a tiny decoder" if self.tiny is not None else ""
        until = f" until t = {self.until:g}" if self.until else ""
        printed = f", {' and '.join(self.weight.printed)} as printed" if self.weight.printed else ""
        return name + through + tiny + until + printed

    def on_sampling_start(self, state: SamplingState) -> None:
        """Decode the clips' own latents with the tiny decoder: what residual decoding compares with."""
        if self.tiny is not None:
            tiny = self.tiny.to(state.z.device)
            with torch.no_grad():
                tiny.decode_as(state.backbone.unpadded(state.z_ref[:1]), state.video[:1])
            self.tiny_read = state.read_through(tiny)

    def on_clean_estimate(self, state: SamplingState) -> None:
        """One guided edit of every active sample that is outside tolerance."""
        early = state.t > self.until
        readers = [(early, state.read)]
        if self.tiny_read is not None:
            far = len(state.grid) - 1 - state.index[state.rows] > self.true_steps
            readers = [(early & far, self.tiny_read), (early & ~far, state.read)]
        for chosen, read in readers:
            if bool(chosen.any()):
                self._guide(state, chosen.nonzero()[:, 0], read)

    def _guide(self, state: SamplingState, places: Tensor, read: Read) -> None:
        """Edit the active rows ``places``, which M reads through ``read``."""
        rows, t = state.rows[places], state.t[places]
        goal, seen = state.goal[rows], self._seen(state, places)
        with torch.no_grad():
            output = read(seen, rows)
        loss, reached = goal.loss(output), goal.reached(output)
        state.prediction[rows], state.reached[rows] = goal.reading(output), reached
        weight = torch.where(reached, torch.zeros_like(loss), self.weight(loss, t))
        todo = (~reached).nonzero()[:, 0]
        if len(todo):
            state.clean[places[todo]] -= expand(weight[todo], seen) * self._direction(state, places[todo], read)
        state.keep_step(weight.tolist(), loss.tolist(), places)

    def _seen(self, state: SamplingState, places: Tensor) -> Tensor:
        """The latents of the active rows ``places`` that M reads."""
        return (state.clean + state.offset)[places]

    def _direction(self, state: SamplingState, todo: Tensor, read: Read) -> Tensor:
        """The normalised gradient of the active rows ``todo``."""
        rows = state.rows[todo]
        seen = self._seen(state, todo)
        shape = torch.Size([self.samples, *seen.shape[1:]])
        perturbations = self.noise * state.draw(rows, shape).transpose(0, 1)
        gradient = self._gradient(state, rows, seen, perturbations, read)
        if self.tiny_read is not None and read is not self.tiny_read and state.model.differentiable:
            other = self._gradient(state, rows, seen, perturbations, self.tiny_read)
            cosines = functional.cosine_similarity(gradient.flatten(1), other.flatten(1))
            for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
                state.notes[row].setdefault("gradient_cosine", []).append(cosine)
                state.gradient_evaluations[row] += self.samples
        if self.through_denoiser:
            gradient = state.pull_back(state, todo, gradient)
        if self.attention:
            gradient = gradient * self._mask(state, todo, gradient)
        for row in rows.tolist():
            state.gradient_evaluations[row] += self.samples
        return normalised(gradient)

    def _mask(self, state: SamplingState, todo: Tensor, gradient: Tensor) -> Tensor:
        """Where SGA keeps the gradient of the active rows ``todo``."""
        if self.attention != "cross":
            return attention_mask(gradient)
        rows, goal = state.rows[todo], state.goal[state.rows[todo]]
        edges = list(zip(goal.low.tolist(), goal.high.tolist(), strict=True))
        words = Wording("{target}", state.model).prompts([""] * len(edges), edges)
        return strongest(state.backbone.attention_to(words, state.z[rows], state.t[todo], state.prompts.sampled[rows]))

    def _gradient(self, state: SamplingState, rows: Tensor, seen: Tensor, perturbations: Tensor, read: Read) -> Tensor:
        """SmoothGrad; out of memory, it goes on with half as many perturbations in one batch.

        Raises:
            UserError: one perturbation is too much.
        """
        while True:
            try:
                return smooth_gradient(state.reader(rows, read), seen, state.goal[rows], perturbations, self.at_once)
            except RuntimeError as error:
                if not is_oom_error(error):
                    raise
                if self.at_once == 1:
                    raise UserError(
                        "out of memory: one gradient of one clip does not fit; give the guidance callback a "
                        "tiny_decoder, or a published backbone checkpointing: true"
                    ) from error
            garbage_collection_cuda()  # here, where the failed attempt's tensors are no longer held by its traceback
            self.at_once = -(-self.at_once // 2)
            rank_zero_warn(f"out of memory; guidance goes on with {self.at_once} perturbations at once")
