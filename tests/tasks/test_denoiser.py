"""Fine-tuning: what is shared, averaged and kept in checkpoints; times; wrong settings."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from lvcf.callbacks.average import TrainedWeightAverage
from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone
from lvcf.tasks.denoiser import DenoiserTask
from tests.families import save_family


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_family("wan_1_3b", tmp_path_factory.mktemp("wan"))


@pytest.fixture
def task(folder, tmp_path) -> DenoiserTask:
    return DenoiserTask(load_backbone(str(folder), text_dtype="bfloat16"), tmp_path, train_text_encoder=False)


def test_a_copy_shares_what_is_frozen_and_no_more(task) -> None:
    copied = deepcopy(task)
    assert copied is not task
    for (name, ours), (other, theirs) in zip(task.named_parameters(), copied.named_parameters(), strict=True):
        assert name == other
        assert (ours is theirs) is not ours.requires_grad
        assert torch.equal(ours, theirs)
    assert sum(p.requires_grad for p in task.parameters()) == len(list(task.backbone.transformer.parameters()))


def test_the_average_is_the_closed_form_and_leaves_frozen_weights_alone(task) -> None:
    """After steps with values 1, 2, 3: the first is copied, then d x + (1 - d) y."""
    average = TrainedWeightAverage(decay=0.75)
    model = AveragedModel(task, use_buffers=False, avg_fn=average._averaged)
    frozen = {n: p.detach().clone() for n, p in task.named_parameters() if not p.requires_grad}
    assert {p.dtype for p in frozen.values()} == {torch.float32, torch.bfloat16}
    weight = task.backbone.transformer.proj_out.bias
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            weight.fill_(value)
        model.update_parameters(task)
    expected = 0.75 * (0.75 * 1.0 + 0.25 * 2.0) + 0.25 * 3.0
    torch.testing.assert_close(model.module.backbone.transformer.proj_out.bias, torch.full_like(weight, expected))
    assert float(weight[0]) == 3.0
    for module in (task, model.module):
        parameters = dict(module.named_parameters())
        assert all(torch.equal(parameters[name], kept) for name, kept in frozen.items())
    assert [average.should_update(step_idx=0), average.should_update(epoch_idx=0)] == [True, False]


def test_a_checkpoint_goes_out_without_and_comes_back_with_what_is_frozen(task) -> None:
    checkpoint = {"state_dict": task.state_dict(), "epoch": 3}
    task.on_save_checkpoint(checkpoint)
    assert checkpoint["epoch"] == 3
    assert set(checkpoint["state_dict"]) == {n for n, p in task.named_parameters() if p.requires_grad}
    task.on_load_checkpoint(checkpoint)
    task.load_state_dict(checkpoint["state_dict"], strict=True)


def test_times_are_even_or_favour_noise(task) -> None:
    many = torch.zeros(20000, 1)
    task.noise_shift = None
    even = task._times(many)
    assert 0.0 < float(even.min()) < 0.01
    assert 0.99 < float(even.max()) <= 1.0
    assert float(even.mean()) == pytest.approx(0.5, abs=0.01)
    task.noise_shift = 1.0
    assert float(task._times(many).logit().mean()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("rank", "text"), [(-1, False), (4, True)])
def test_ranks_that_make_no_sense(rank, text, folder, tmp_path) -> None:
    with pytest.raises(UserError, match=f"model.lora_rank {rank}: choose 0 or more"):
        DenoiserTask(load_backbone(str(folder)), tmp_path, train_text_encoder=text, lora_rank=rank)


def test_embeddings_of_a_16_bit_text_encoder_are_float32(task) -> None:
    assert task.backbone.text_encoder.dtype == torch.bfloat16
    assert task.backbone.embed(["ejection fraction"]).tokens.dtype == torch.float32


def test_one_latent_is_measured_at_several_times(task, monkeypatch) -> None:
    seen: list[float] = []

    def loss(
        latent: torch.Tensor, t: torch.Tensor, prompts: list[str], noise: torch.Tensor, **_: object
    ) -> torch.Tensor:
        assert len(latent) == len(prompts) == len(noise)
        seen.extend(t.tolist())
        return torch.zeros(())

    monkeypatch.setattr(task, "_loss", loss)
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    for number, times in ((1, 4), (3, 6), (8, 8)):
        seen.clear()
        words = ["a"] * number
        task.validation_step({"latent": torch.zeros(number, 1, 1, 2, 2), "prompt": words, "neutral_prompt": words}, 0)
        assert seen == pytest.approx([*torch.linspace(0.05, 0.95, times).tolist()] * 2)
