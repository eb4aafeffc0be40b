"""Train a small regressor or classifier: a phantom's default target model, or its oracle."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from einops import rearrange
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torchmetrics import Accuracy, MeanAbsoluteError, Metric, MetricCollection, R2Score
from torchvision.transforms.functional import gaussian_blur

from lvcf.checks import check_number
from lvcf.data.clip import Batch
from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.saving import check_trainable, save_target
from lvcf.tasks.optim import finite, one_cycle

OVERSHOOT = 1.25
"""An adversarial step over the attack's size, as its authors found best."""


class TargetTask(LightningModule):
    """Training on degraded clips, so that the model reads what is shown and not the grain a VAE would lose.

    Args:
        network: the regressor or classifier.
        output: where its weights are put after training, see :func:`~lvcf.models.targets.saving.save_target`.
        lr: peak learning rate.
        blur: largest blur of the degradation, in pixels.
        noise: its largest noise, on the [-1, 1] scale.
        gain: its largest relative change of brightness.
        backbone: half of the batches go through its VAE and back, so that the model does not read what a VAE loses.
        attack: largest adversarial change of a colour, on the [-1, 1] scale: one signed gradient step from a random
            place (Wong, Rice and Kolter 2020); 0 for none.
        consistency: weight of the loss between M's answers to a clip and to what the VAE returns of it; every clip
            then counts both ways.
        shift: how far clips are shifted, turned and zoomed, in pixels, see :func:`shifted`.

    Raises:
        UserError: a number is out of range, or consistency is asked for without a backbone; when a training starts,
            that the network cannot be trained or saved.
    """

    def __init__(
        self,
        network: TargetModel,
        output: Path,
        lr: float = 1e-3,
        blur: float = 1.5,
        noise: float = 0.1,
        gain: float = 0.15,
        backbone: Backbone | None = None,
        attack: float = 0.0,
        consistency: float = 0.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        strengths = {"blur": blur, "noise": noise, "gain": gain, "attack": attack}
        for name, value in {**strengths, "consistency": consistency, "shift": shift}.items():
            check_number(f"model.{name}", value, 0.0)
        if consistency and backbone is None:
            raise UserError(f"model.consistency {consistency:g}: is between a clip and its VAE's; name model.backbone")
        self.network, self.output, self.lr = network, output, lr
        self.blur, self.noise, self.gain, self.attack = blur, noise, gain, attack
        self.consistency, self.shift = consistency, shift
        self.backbone = None if backbone is None else backbone.eval().requires_grad_(False)
        self.val_scores = MetricCollection(scores_of(network), prefix="val/")
        self.test_scores = self.val_scores.clone(prefix="test/")

    def setup(self, stage: str) -> None:
        """Refuse what could not be saved, before it is trained."""
        if stage == "fit":
            check_trainable(self.network)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Huber loss on the value in units of its scale, or the cross-entropy."""
        self._check(batch)
        video, label = shifted(batch["video"], self.shift), batch["label"]
        if self.backbone is not None and (self.consistency or torch.rand(()) < 0.5):
            restored = there_and_back(self.backbone, video)
            loss = self._both_ways(video, restored, label) if self.consistency else self._hard(restored, label)[1]
        else:
            loss = self._hard(video, label)[1]
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss)

    def _both_ways(self, video: Tensor, restored: Tensor, label: Tensor) -> Tensor:
        """The mean loss of clips and of what the VAE returns of them, and how far M's answers are apart."""
        (one, of_clip), (other, of_restored) = (self._hard(shown, label) for shown in (video, restored))
        apart = disagreement(self.network, one, other).mean()
        return 0.5 * (of_clip + of_restored) + self.consistency * apart

    def _hard(self, video: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """M's answers to clips made hard to read, and their loss."""
        video = degrade(video, self.blur, self.noise, self.gain)
        if self.attack:
            video = self._attacked(video, label)
        output = self.network(video)
        return output, self._of_output(output, label)

    def _loss(self, video: Tensor, label: Tensor) -> Tensor:
        return self._of_output(self.network(video), label)

    def _of_output(self, output: Tensor, label: Tensor) -> Tensor:
        if self.network.task == "classification":
            return functional.cross_entropy(output, label.long())
        error = (output - label.float()) / self.network.scale
        return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1)

    def _attacked(self, video: Tensor, label: Tensor) -> Tensor:
        change = (2.0 * torch.rand_like(video) - 1.0) * self.attack
        point = (video + change).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self._loss(point, label), point)
        worse = change + OVERSHOOT * self.attack * gradient.sign()
        return (video + worse.clamp(-self.attack, self.attack)).clamp(-1.0, 1.0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """MAE in the value's unit and R2, or the accuracy."""
        self._measure(batch, self.val_scores)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, self.test_scores)

    def _measure(self, batch: Batch, scores: MetricCollection) -> None:
        self._check(batch)
        label = batch["label"].long() if self.network.task == "classification" else batch["label"].float()
        scores.update(self.network(batch["video"]), label)
        self.log_dict(scores, prog_bar=True, batch_size=len(label))

    def _check(self, batch: Batch) -> None:
        classes = len(self.network.labels) if self.network.task == "classification" else None
        for name, label in zip(batch["id"], batch["label"].tolist(), strict=True):
            if math.isnan(label) or (classes is not None and label not in range(classes)):
                wanted = f"one of the network's {classes} classes" if classes else "a value"
                raise UserError(f"clip {name}: its label is {label:g}, not {wanted}; train on clips with labels")

    def on_fit_end(self) -> None:
        """Save the network."""
        if self.trainer.is_global_zero:
            save_target(self.network, self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle."""
        return one_cycle(self.network.parameters(), self.lr, int(self.trainer.estimated_stepping_batches), 0.05)


def disagreement(model: TargetModel, one: Tensor, other: Tensor) -> Tensor:
    """How far two answers to each clip are apart ``(B,)``; 0 where they are the same.

    Of logits ``(B, K)`` half of Jeffreys' divergence, the mean of both Kullback-Leibler divergences, in nats; of
    values ``(B,)`` the squared difference in units of the model's scale.
    """
    if model.task == "regression":
        return ((one - other) / model.scale).square()
    p, q = functional.log_softmax(one.float(), 1), functional.log_softmax(other.float(), 1)
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(1)


@torch.no_grad()
def there_and_back(backbone: Backbone, video: Tensor) -> Tensor:
    """Clips ``(B, 3, T, H, W)`` through the VAE and back, within [-1, 1]."""
    return backbone.decode(backbone.encode(video), video.shape[2]).float().clamp(-1.0, 1.0)


def scores_of(network: TargetModel) -> dict[str, Metric | MetricCollection]:
    """What a network's answers are measured by: accuracy, or MAE in the value's unit and R2."""
    if network.task == "classification":
        return {"accuracy": Accuracy(task="multiclass", num_classes=len(network.labels), average="micro")}
    return {"mae": MeanAbsoluteError(), "r2": _R2()}


class _R2(R2Score):
    """R2; NaN of a single value, of which it is not defined."""

    def compute(self) -> Tensor:
        """Over all values so far."""
        return super().compute() if int(self.total) > 1 else torch.tensor(math.nan, device=self.total.device)


def degrade(video: Tensor, blur: float, noise: float, gain: float) -> Tensor:
    """Blur, scale and add noise to clips ``(B, 3, T, H, W)`` in [-1, 1]; each strength is drawn once per call.

    Args:
        video: the clips.
        blur: largest standard deviation of the spatial blur, in pixels; every second call leaves it out.
        noise: largest standard deviation of the noise, on the [-1, 1] scale.
        gain: largest relative change of brightness.
    """
    sigma, level, change = torch.rand(3).tolist()
    if torch.rand(()) < 0.5:
        flat = rearrange(video, "b c t h w -> (b t) c h w")
        flat = gaussian_blur(flat, [9, 9], [max(sigma * blur, 0.05)] * 2)
        video = rearrange(flat, "(b t) c h w -> b c t h w", b=len(video))
    video = (video + 1.0) * (1.0 + gain * (2.0 * change - 1.0)) - 1.0
    shared = torch.randn_like(video[:, :1])  # gray clips stay gray
    degraded: Tensor = (video + level * noise * shared).clamp(-1, 1)
    return degraded


def shifted(video: Tensor, pixels: float) -> Tensor:
    """Clips ``(B, 3, T, H, W)`` shifted, turned and zoomed, each by its own draw, all frames of a clip alike.

    Args:
        video: the clips.
        pixels: largest shift; turn and zoom move a border as far at most; what comes in repeats it.
    """
    if not pixels:
        return video
    rows, columns = ((2.0 * torch.arange(n, device=video.device) + 1.0) / n - 1.0 for n in video.shape[3:])
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    reach = 2.0 * pixels / video.shape[3]
    draws = reach * (2.0 * torch.rand(4, len(video), 1, 1, device=video.device) - 1.0)
    right, down, turn, zoom = draws
    x = (1.0 + zoom) * (turn.cos() * column - turn.sin() * row) + right
    y = (1.0 + zoom) * (turn.sin() * column + turn.cos() * row) + down
    grid = torch.stack([x, y], dim=-1)
    seen = functional.grid_sample(video.flatten(1, 2), grid, padding_mode="border", align_corners=False)
    return seen.view_as(video)
