"""A stock scheduler read as the backbone contract wants it: scales, the denoiser's own clock, and the time grid.

Schedulers know either a flow (alpha = 1 - t, sigma = t) or the N discrete steps of a variance-preserving diffusion
(alpha^2 + sigma^2 = 1), whose step k is the time t = (k + 1) / N here; t = 0 is clean in both.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from diffusers import (
    FlowMapEulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from numpy.typing import NDArray
from torch import Tensor

from lvcf.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "flow_prediction"]
"""What a denoiser says of z_t = alpha z_0 + sigma eps: eps; v = alpha eps - sigma z_0; or u = eps - z_0."""


def prediction_of(scheduler: SchedulerMixin) -> Prediction:
    """What the denoiser predicts, from the scheduler's configuration.

    Raises:
        UserError: something else, or the noise where there is nothing but noise.
    """
    if isinstance(scheduler, (FlowMatchEulerDiscreteScheduler, FlowMapEulerDiscreteScheduler)):
        return "flow_prediction"
    kind: Prediction = scheduler.config.get("prediction_type", "epsilon")
    known, name = get_args(Prediction), type(scheduler).__name__
    flow = kind == "flow_prediction"
    if kind not in known or (flow and not isinstance(scheduler, UniPCMultistepScheduler)):
        raise UserError(
            f"scheduler {name} with prediction_type '{kind}': flows want "
            f"FlowMatchEulerDiscreteScheduler or UniPCMultistepScheduler, others one of {', '.join(known[:2])}"
        )
    if flow != scheduler.config.get("use_flow_sigmas", False):
        raise UserError(
            f"scheduler {name} with prediction_type '{kind}' and use_flow_sigmas {str(not flow).lower()}: "
            "a flow has prediction_type flow_prediction and use_flow_sigmas true, a diffusion neither; correct its file"
        )
    if not hasattr(scheduler, "alphas_cumprod"):
        raise UserError(
            f"scheduler {name}: its noise schedule is not known here; flows want FlowMatchEulerDiscreteScheduler or "
            "UniPCMultistepScheduler, diffusions one with betas such as DDIMScheduler"
        )
    if not ((scheduler.alphas_cumprod >= 0.0) & (scheduler.alphas_cumprod <= 1.0)).all():
        raise UserError(f"scheduler {name}: its betas leave no share of signal in 0..1; correct its file")
    silent = scheduler.config.get("rescale_betas_zero_snr", False) or float(scheduler.alphas_cumprod.min()) <= 0.0
    if kind == "epsilon" and silent:
        raise UserError(
            f"scheduler {name} with prediction_type 'epsilon' and zero signal at its end (rescale_betas_zero_snr): "
            "the noise says nothing of the clip where alpha is 0; use weights that predict v (v_prediction)"
        )
    return kind


def is_flow(scheduler: SchedulerMixin) -> bool:
    """Whether its times are those of a flow."""
    return prediction_of(scheduler) == "flow_prediction"


def alpha_sigma(scheduler: SchedulerMixin, t: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise scales at times ``t`` in [0, 1], of any shape; a diffusion has those of its nearest step."""
    if is_flow(scheduler):
        return 1.0 - t, t
    cumulated = scheduler.alphas_cumprod.double().cpu()
    squares = torch.cat([torch.ones(1, dtype=torch.double), cumulated]).to(t.device)[_steps(scheduler, t)]
    return squares.sqrt().to(t), (1.0 - squares).sqrt().to(t)


def timestep(scheduler: SchedulerMixin, t: Tensor) -> Tensor:
    """Times ``t`` as the denoiser is told them: 0..N for a flow, the step's number 0..N - 1 for a diffusion."""
    if is_flow(scheduler):
        told: Tensor = t * scheduler.config.num_train_timesteps
        return told
    return (_steps(scheduler, t) - 1).clamp(min=0)


def time_grid(scheduler: SchedulerMixin, steps: int, strength: float, tokens: int) -> Tensor:
    """``steps + 1`` falling times from about ``strength`` to 0, spaced (and shifted) as the scheduler does.

    At ``strength`` 1 these are the times of the stock pipeline, each once: some solvers ask at a time twice.  A single
    step has nothing to space.

    Args:
        scheduler: of the backbone; its own state is set to these steps.
        steps: of the denoiser.
        strength: share of the noise axis that is used, in (0, 1].
        tokens: the denoiser's sequence length, by which some flows are shifted.

    Raises:
        UserError: a diffusion has fewer steps, or a flow's times do not fall to 0.
    """
    if steps == 1:
        return torch.tensor([strength, 0.0])
    number = scheduler.config.num_train_timesteps
    if is_flow(scheduler):
        scheduler.set_timesteps(sigmas=_even(scheduler, steps, strength), **_shift(scheduler, tokens))
        sigmas: Tensor = scheduler.sigmas.float()
        if not ((sigmas.diff() < 0).all() and sigmas[-1] == 0 and sigmas[0] <= 1):
            raise UserError(
                f"scheduler {type(scheduler).__name__}: its times from {float(sigmas[0]):g} to {float(sigmas[-1]):g} "
                "do not fall to 0; set shift (or flow_shift), invert_sigmas and final_sigmas_type as published"
            )
        return sigmas
    if steps > strength * number:
        raise UserError(f"model.steps {steps}: this backbone has {int(strength * number)} steps below model.strength")
    scheduler.set_timesteps(steps)
    times = ((scheduler.timesteps.cpu().double() + 1.0) * strength).round().clamp(min=1.0) / number
    return torch.cat([times.unique_consecutive(), torch.zeros(1)]).float()


def _steps(scheduler: SchedulerMixin, t: Tensor) -> Tensor:
    """0 for clean, k + 1 for step k."""
    steps: Tensor = (t * scheduler.config.num_train_timesteps).round().long()
    return steps


def _even(scheduler: SchedulerMixin, steps: int, strength: float) -> NDArray[np.float64]:
    """Even noise levels before any shift: those that LTX-Video's pipeline asks for, or UniPC's own, as Wan's takes."""
    if isinstance(scheduler, UniPCMultistepScheduler):
        return np.linspace(strength, strength / scheduler.config.num_train_timesteps, steps + 1)[:-1]
    return np.linspace(strength, strength / steps, steps)


def _shift(scheduler: SchedulerMixin, tokens: int) -> dict[str, float]:
    """The exponent of a shift by resolution (Esser et al. 2024, section 5.3.2), where the scheduler wants one."""
    config = scheduler.config
    if not config.get("use_dynamic_shifting"):
        return {}
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift  # here: heavy, and few need it

    lengths = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    return {"mu": calculate_shift(tokens, *lengths, config.get("base_shift", 0.5), config.get("max_shift", 1.15))}
