"""Repairing a target model: the losses against what they are made of, and a model that is cured of a corner."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence

from lvcf.errors import UserError
from lvcf.models.targets.exported import ModuleTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.tasks.repair import RepairTask
from lvcf.tasks.target import disagreement
from tests.toys import BrightDark, LinearTarget

FRAMES, SIZE = 2, 16
CORNER = (0, 0, 4, 4)


def test_of_logits_disagreement_is_the_mean_of_both_divergences() -> None:
    one, other = torch.randn(2, 5, 4)
    p, q = Categorical(logits=one), Categorical(logits=other)
    wanted = 0.5 * (kl_divergence(p, q) + kl_divergence(q, p))
    assert torch.allclose(disagreement(BrightDark(), one, other), wanted, atol=1e-6)
    assert torch.equal(disagreement(BrightDark(), one, one + 3.0), torch.zeros(5)) or torch.allclose(
        disagreement(BrightDark(), one, one + 3.0), torch.zeros(5), atol=1e-6
    )


def test_of_values_disagreement_is_the_square_in_units_of_the_scale() -> None:
    one, other = torch.tensor([50.0, 40.0]), torch.tensor([50.0, 80.0])
    assert disagreement(LinearTarget(), one, other).tolist() == [0.0, 4.0]  # the scale is 20


class Seeing(nn.Module):
    """The mean of the corner and that of the rest, weighed; keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([4.0, 0.0]))  # the corner alone
        self.seen: list[Tensor] = []

    def forward(self, video: Tensor) -> Tensor:
        self.seen.append(video.detach().clone())
        corner = video[..., :4, :4].mean((1, 2, 3, 4))
        rest = video[..., 4:, 4:].mean((1, 2, 3, 4))
        odds = self.weight[0] * corner + self.weight[1] * rest
        return torch.stack([odds, -odds], dim=1)


def model() -> ModuleTarget:
    takes = ClipInput(range=(-1, 1), size=SIZE, frames=FRAMES)
    made = ModuleTarget(Seeing(), takes, Answer("classification", labels=("bright", "dark")))
    made.network.seen.clear()
    return made


def painted(corner: float, rest: float) -> Tensor:
    video = torch.full((3, FRAMES, SIZE, SIZE), rest)
    video[..., :4, :4] = corner
    return video


def batch_of(clips: list[Tensor], labels: list[int], factual: Tensor, counterfactual: Tensor, **told):
    n = len(clips)
    return {
        "id": [f"c{i}" for i in range(n)],
        "video": torch.stack(clips),
        "label": torch.tensor(labels, dtype=torch.float64),
        "pair": ["p"] * n,
        "factual": factual.expand(n, -1, -1, -1, -1),
        "counterfactual": counterfactual.expand(n, -1, -1, -1, -1),
        "pair_label": ["bright"] * n,
        "declared": ["bright"] * n,
        "same": torch.ones(n, dtype=torch.bool),
        **told,
    }


def repair(tmp_path, **options) -> RepairTask:
    task = RepairTask(model(), tmp_path, blur=0.0, noise=0.0, gain=0.0, **options)
    task.log = lambda *arguments, **named: None  # type: ignore[method-assign]  # without a trainer
    return task


BRIGHT, DARK = painted(0.5, 0.5), painted(-0.5, -0.5)
TURNED = painted(-0.5, 0.4)
"""BRIGHT's counterfactual: the corner is dark, and a little changed elsewhere."""


def test_a_clip_is_shown_with_the_counterfactuals_content_in_the_region_alone(tmp_path) -> None:
    task = repair(tmp_path, region=CORNER)
    task.training_step(batch_of([BRIGHT, DARK], [0, 1], BRIGHT, TURNED), 0)
    as_is, pasted = task.network.network.seen
    assert torch.equal(as_is, torch.stack([BRIGHT, DARK]))
    assert torch.equal(pasted, torch.stack([painted(-0.5, 0.5), DARK]))


def test_the_loss_is_what_is_written(tmp_path) -> None:
    """docs/method.md, 25: of the whole change, of a label that differs, of a region."""

    def entropy(odds: float, label: int) -> Tensor:
        return nn.functional.cross_entropy(torch.tensor([[odds, -odds]]), torch.tensor([label]))

    def apart(one: float, other: float) -> Tensor:
        return disagreement(BrightDark(), torch.tensor([[one, -one]]), torch.tensor([[other, -other]]))[0]

    whole = repair(tmp_path, consistency=3.0)
    found = whole.training_step(batch_of([DARK], [1], BRIGHT, TURNED), 0)
    assert torch.allclose(found, entropy(-2.0, 1) + entropy(-2.0, 0) + 3.0 * apart(2.0, -2.0))
    other = batch_of([DARK], [1], BRIGHT, TURNED, declared=["dark"], same=torch.tensor([False]))
    assert torch.allclose(whole.training_step(other, 0), 2.0 * entropy(-2.0, 1))
    inside = repair(tmp_path, consistency=3.0, region=CORNER)
    found = inside.training_step(batch_of([BRIGHT], [0], BRIGHT, TURNED), 0)
    assert torch.allclose(found, entropy(2.0, 0) + entropy(-2.0, 0) + 3.0 * apart(2.0, -2.0))


@pytest.mark.parametrize("region", [CORNER, None])
def test_a_model_that_reads_the_corner_learns_to_read_the_rest(tmp_path, region) -> None:
    """Corner and rest always agree in the training clips; counterfactuals alone tell them apart."""
    task = repair(tmp_path, region=region)
    optimizer = torch.optim.Adam(task.parameters(), 0.1)
    for step in range(300):
        turned = (BRIGHT, TURNED, "bright") if step % 2 else (DARK, -TURNED, "dark")
        batch = batch_of([BRIGHT, DARK], [0, 1], *turned[:2], declared=[turned[2]] * 2)
        optimizer.zero_grad()
        task.training_step(batch, step).backward()
        optimizer.step()
    corner, rest = task.network.network.weight.tolist()
    assert rest > 2.0
    assert abs(corner) < 0.1 * rest if region else corner < 0.5 * rest


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"consistency": -1.0}, "model.consistency -1"),
        ({"region": (4, 0, 2, 8)}, "model.region"),
        ({"region": "no_such.png"}, "no such file"),
        ({"lr": 0.0}, "model.lr"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, reason) -> None:
    with pytest.raises(UserError, match=reason):
        repair(tmp_path, **options)


def test_labels_that_do_not_exclude_each_other_are_refused(tmp_path) -> None:
    takes = ClipInput(range=(-1, 1), size=SIZE, frames=FRAMES)
    several = ModuleTarget(Seeing(), takes, Answer("classification", ("a", "b"), gives="multi-label"))
    with pytest.raises(UserError, match="multi-label"):
        RepairTask(several, tmp_path)


@pytest.mark.parametrize(
    ("network", "text", "reason"),
    [
        (None, "brigt", "did you mean bright"),
        (LinearTarget(), "bright", "is no number"),
        (LinearTarget(), "nan", "no num"),
    ],
)
def test_a_label_that_is_none_of_m_is_told_with_its_clip(tmp_path, network, text, reason) -> None:
    task = RepairTask(network or model(), tmp_path)
    with pytest.raises(UserError, match=f"clip 'c7': label '{text}'.*{reason}"):
        task._numbers([text], ["c7"])
