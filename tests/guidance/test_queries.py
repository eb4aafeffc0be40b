"""Gradients by queries against analytic gradients, in theory's numbers, and through a linear toy from end to end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.guidance.goal import Goal
from lvcf.guidance.gradient import target_gradient
from lvcf.guidance.queries import Ledger, probe_directions, queried
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.targets.base import QueryPlan
from lvcf.sampler import ask
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, Capture, GaussianBackbone, LinearTarget, make_clips, predict

SHAPE = torch.Size([2, 3, 4, 5])
DIMENSION = SHAPE.numel()


def draw(rows: Tensor, shape: torch.Size) -> Tensor:
    return torch.randn(len(rows), *shape)


class Linear:
    """M(z) = a.z of K outputs; counts how often it is asked, and of how many latents at once."""

    def __init__(self, outputs: int = 1) -> None:
        self.a, self.asked, self.most = torch.randn(outputs, *SHAPE), 0, 0

    def __call__(self, z: Tensor, rows: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()  # a black box is never differentiated
        assert len(z) == len(rows)
        self.asked, self.most = self.asked + len(z), max(self.most, len(z))
        output = torch.einsum("kcfhw,bcfhw->bk", self.a, z)
        return output[:, 0] if len(self.a) == 1 else output


def gradient(read, z: Tensor, plan: QueryPlan, ledger: Ledger | None = None) -> Tensor:
    """Of M itself: the loss (M - y)^2 with M - y = 1/2 has that gradient, but M is read first."""
    rows = torch.arange(len(z))
    goal_at = read(z, rows) - 0.5
    aim = Goal(goal_at, goal_at, scale=1.0, tolerance=0.0)
    found, _ = target_gradient(lambda at: queried(read, at, rows, plan, draw, ledger or Ledger()), z, aim)
    return found


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.cosine_similarity(one.flatten(1), other.flatten(1))


@torch.no_grad()
def test_as_many_directions_as_dimensions_give_the_gradient_itself() -> None:
    linear = Linear()
    found = gradient(linear, torch.randn(3, *SHAPE), QueryPlan(grid=1, directions=DIMENSION))
    torch.testing.assert_close(found, linear.a.expand(3, *SHAPE), atol=1e-3, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("directions", [4, 12, 40, 90])
def test_the_squared_cosine_has_the_mean_n_over_dimension(directions) -> None:
    """Of a fixed vector and its projection on a random n-dimensional subspace: Beta(n / 2, (d - n) / 2)."""
    linear, clips = Linear(), 400
    found = gradient(linear, torch.zeros(clips, *SHAPE), QueryPlan(grid=1, directions=directions, batch=10_000))
    squared = cosine(found, linear.a.expand(clips, *SHAPE)) ** 2
    mean = directions / DIMENSION
    spread = (2 * mean * (1 - mean) / (DIMENSION + 2)) ** 0.5
    assert float(squared.mean()) == pytest.approx(mean, abs=4 * spread / clips**0.5)
    assert float(squared.std()) == pytest.approx(spread, rel=0.2)


@torch.no_grad()
def test_a_newton_step_along_the_projection_solves_a_linear_model() -> None:
    """a.(Pa) = |Pa|^2: the step that |Pa| alone suggests is exact, with 3 directions of 120."""
    linear, z = Linear(), torch.randn(5, *SHAPE)
    found = gradient(linear, z, QueryPlan(grid=1, directions=3))
    along = (found * linear.a).flatten(1).sum(1)
    torch.testing.assert_close(along, found.flatten(1).square().sum(1), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_what_was_found_is_kept_as_a_direction() -> None:
    """n - 1 new directions each time: 1 - cos^2 falls by the factor 1 - (n - 1) / (d - 1) with every gradient."""
    linear, z, ledger = Linear(), torch.zeros(200, *SHAPE), Ledger()
    plan = QueryPlan(grid=1, directions=9, budget=10**6, batch=10_000)
    squared = [float((cosine(gradient(linear, z, plan, ledger), linear.a[None]) ** 2).mean()) for _ in range(6)]
    left = [(1 - 9 / DIMENSION) * (1 - 8 / (DIMENSION - 1)) ** k for k in range(6)]
    assert squared == pytest.approx([1 - part for part in left], abs=0.02)


@torch.no_grad()
def test_several_outputs_follow_the_chain_rule() -> None:
    """Cross-entropy of K logits: sum_k (p_k - y_k) a_k, exactly, with every direction asked."""
    linear, z = Linear(outputs=3), 0.1 * torch.randn(2, *SHAPE)
    rows, wanted = torch.arange(2), torch.tensor([2.0, 0.0])
    aim = Goal(wanted, wanted, scale=1.0, tolerance=0.0, classification=True)
    plan = QueryPlan(grid=1, directions=DIMENSION, radius=0.01)
    found, output = target_gradient(lambda at: queried(linear, at, rows, plan, draw, Ledger()), z, aim)
    torch.testing.assert_close(output, linear(z, rows))
    weight = output.softmax(-1) - torch.nn.functional.one_hot(wanted.long(), 3)
    torch.testing.assert_close(found, torch.einsum("bk,kcfhw->bcfhw", weight, linear.a), atol=2e-2, rtol=1e-2)


def test_directions_are_orthonormal_and_begin_with_what_is_known() -> None:
    known = torch.stack([torch.randn(SHAPE), torch.zeros(SHAPE)])
    found = probe_directions(torch.randn(2, 7, *SHAPE), SHAPE, known).flatten(2)
    torch.testing.assert_close(found @ found.transpose(1, 2), torch.eye(7).expand(2, 7, 7), atol=1e-5, rtol=0)
    assert abs(float(cosine(found[:1, 0], known[:1]))) == pytest.approx(1.0, abs=1e-5)


def test_directions_of_a_coarse_grid_are_smooth() -> None:
    shape = torch.Size([2, 4, 8, 8])
    fine = probe_directions(torch.randn(1, 6, *shape), shape, torch.zeros(1, *shape))
    coarse = probe_directions(torch.randn(1, 6, 2, 4, 2, 2), shape, torch.zeros(1, *shape))
    rough = [float(one.diff(dim=-1).square().mean() / one.square().mean()) for one in (fine, coarse)]
    assert rough[1] < 0.2 * rough[0]


@torch.no_grad()
@pytest.mark.parametrize(("budget", "spent", "moved"), [(2, 2, True), (7, 6, True), (16, 16, True), (999, 16, True)])
def test_the_budget_holds_for_every_row(budget, spent, moved) -> None:
    linear, ledger, z = Linear(), Ledger(), torch.randn(3, *SHAPE)
    found = gradient(linear, z, QueryPlan(grid=1, directions=8, budget=budget, batch=5), ledger)
    assert [ledger.spent[row] for row in range(3)] == [spent] * 3
    assert linear.asked == 3 * (2 + spent)  # once for the goal, once for the output
    assert linear.most <= 6
    assert bool(found.any()) == moved


def test_nothing_is_spent_where_no_gradient_is_wanted() -> None:
    linear, ledger = Linear(), Ledger()
    with torch.no_grad():
        queried(linear, torch.randn(2, *SHAPE), torch.arange(2), QueryPlan(), draw, ledger)
    assert linear.asked == 2
    assert not ledger.spent


# --- from end to end ---------------------------------------------------------------------------------------------


class Opaque(LinearTarget):
    """The linear toy without its gradient; counts what it is asked."""

    differentiable = False
    plan = QueryPlan(grid=1, directions=24, radius=0.05, budget=400)

    @torch.no_grad()
    def forward(self, video: Tensor) -> Tensor:
        self.queries += len(video)
        return super().forward(video)


class OpaqueClasses(BrightDark):
    differentiable = False
    plan = QueryPlan(grid=1, directions=48, radius=0.05)

    @torch.no_grad()
    def forward(self, video: Tensor) -> Tensor:
        return super().forward(video)


def run(tmp_path, model, target: str, callbacks: list, clips: int = 2, **options):
    settings = {"steps": 6, "strength": 0.9, "tolerance": 0.5, **options}
    task = CounterfactualTask(GaussianBackbone(), model, target, tmp_path, **settings)
    return task, predict(task, make_clips(clips), callbacks)


@pytest.mark.parametrize("target", ["20", "80"])
def test_guidance_by_queries_moves_a_black_box_from_both_sides(tmp_path, target) -> None:
    def distance(callbacks: list) -> Tensor:
        task, edits = run(tmp_path, Opaque(), target, callbacks)
        return (ask(task.target_model, torch.stack([e.video for e in edits])) - float(target)).abs()

    def guided(weight: float) -> GradientGuidance:
        return GradientGuidance(ConstantWeight(weight), samples=1, noise=0.0)

    unguided = distance([])
    assert (distance([guided(0.1)]) < unguided - 2.0).all()
    assert (distance([guided(-0.1)]) > unguided + 2.0).all()


def test_one_newton_step_by_queries_solves_the_linear_toy(tmp_path) -> None:
    """With 24 directions of 768; small enough that no voxel is clamped where it is not linear."""
    capture = Capture()
    _, edits = run(tmp_path, Opaque(), "delta:1", [LastCorrection(largest=1.0), capture])
    assert LinearTarget()(capture.latents[0]).tolist() == pytest.approx([float(e.goal.low) for e in edits], abs=0.05)
    assert [edit.facts["gradient_evaluations"] for edit in edits] == [1, 1]


def test_every_query_is_reported_and_the_budget_bounds_gradients(tmp_path) -> None:
    """Both clips of a batch, the readings too: what the model counted, shared out."""
    model = Opaque()
    callbacks = [GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0), LastCorrection()]
    _, edits = run(tmp_path, model, "95", callbacks)
    assert sum(edit.facts["queries"] for edit in edits) == model.queries
    readings = 2 + 2 * 6 + 7 + 6  # before, reference; guided steps; the last correction's; a gradient reads M, too
    assert [edit.facts["queries"] for edit in edits] == [400 + readings] * 2


def test_a_model_with_gradients_is_not_queried(tmp_path) -> None:
    _, edits = run(tmp_path, LinearTarget(), "60", [LastCorrection()])
    assert all("queries" not in edit.facts for edit in edits)


def test_a_black_box_classifier_changes_its_class(tmp_path) -> None:
    for name, sign in (("bright", 1.0), ("dark", -1.0)):
        model = OpaqueClasses(threshold=0.1 + 0.05 * sign)
        _, edits = run(tmp_path, model, name, [LastCorrection(largest=0.5, steps=8)])
        said = OpaqueClasses(threshold=0.1 + 0.05 * sign)(torch.stack([e.video for e in edits]))
        assert (said.argmax(-1) == ("bright", "dark").index(name)).all()


def test_the_same_seed_asks_the_same_questions(tmp_path) -> None:
    callbacks = [GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0), LastCorrection()]
    videos = [torch.stack([e.video for e in run(tmp_path, Opaque(), "70", callbacks)[1]]) for _ in range(2)]
    assert torch.equal(*videos)


def test_clips_together_are_edited_as_each_alone(tmp_path) -> None:
    callbacks = [GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0), LastCorrection()]
    together = run(tmp_path, Opaque(), "70", callbacks, clips=2)[1]
    alone = run(tmp_path, Opaque(), "70", callbacks, clips=1)[1]
    torch.testing.assert_close(together[0].video, alone[0].video, atol=2.1 / 127.5, rtol=0)
