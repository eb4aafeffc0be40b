"""Two processes that each saw half of the clips report what one process with all of them does."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing
from torchmetrics import Metric

from lvcf.metrics import adherence, change, fidelity, latent_divergence, motion, realism, region, transition, truth

N = 6


def cases() -> dict[str, tuple[Callable[[], Metric], list[tuple[Any, ...]]]]:
    """Every metric and its clips, one tuple of arguments (batches of one) each."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(N, 2, 1, 3, 3, 24, 24, generator=generator) * 2 - 1
    pairs = [(one, other) for one, other in clips]
    masks = [tuple(pair) for pair in torch.rand(N, 2, 1, 3, 24, 24, generator=generator) > 0.5]
    readings = [tuple(row) for row in torch.rand(N, 3, 1, generator=generator).cumsum(1)]
    words = [("sad", "happy", "happy"), ("sad", "sad", "happy"), ("happy", "happy", "happy")] * 2
    said = [tuple([word] for word in row) for row in words]
    labelled = [(*row, [label]) for row, label in zip(said, ["sad", "happy"] * 3, strict=True)]
    curves = [tuple(pair) for pair in torch.rand(N, 2, 1, 9, generator=generator)]
    distances = [([float(row[0])], [row[1:5]], [row[5:]]) for row in torch.rand(N, 10, generator=generator)]
    frames = [tuple((clip * 127).to(torch.uint8).numpy() for clip in pair) for pair in clips[:, :, :, 0].abs()]
    triples = [(*pair, [clip]) for pair, clip in zip(frames, torch.rand(N, 3, 24, 24).numpy(), strict=True)]
    features = [(torch.randn(4, 5, generator=generator), bool(i % 2)) for i in range(N + 2)]
    features = [features[i] for i in (0, 2, 1, 3, 4, 6, 5, 7)]  # both kinds on both ranks
    return {
        "mae": (adherence.TargetMeanAbsoluteError, readings),
        "rmse": (adherence.TargetRootMeanSquaredError, readings),
        "r2": (adherence.TargetR2, readings),
        "within": (adherence.WithinTolerance, [(*row, [0.1]) for row in readings]),
        "flips": (adherence.FlipRate, said),
        "flips from right": (adherence.FlipRateFromRight, labelled),
        "confidence": (adherence.TargetConfidence, [row[:1] for row in readings]),
        "ssim": (fidelity.Ssim, pairs),
        "psnr": (fidelity.Psnr, pairs),
        "l1": (change.L1, pairs),
        "changed": (change.ChangedShare, pairs),
        "flicker": (change.Flicker, pairs),
        "outside": (change.ChangeOutside, [(*p, m[0]) for p, m in zip(pairs, masks, strict=True)]),
        "correlation": (change.ChangeCorrelation, pairs),
        "warping": (motion.WarpingError, [pair[:1] for pair in pairs]),
        "precision": (region.RegionPrecision, masks),
        "iou": (region.RegionIoU, masks),
        "recovered": (truth.ShareRecovered, triples),
        "cout": (transition.Cout, curves),
        "area": (transition.CurveArea, [pair[:1] for pair in curves]),
        "latent": (latent_divergence.CounterfactualLatentDivergence, distances),
        "frechet": (realism.FrechetDistance, features),
        "kernel": (realism.KernelDistance, features),
    }


def measured(share: slice) -> dict[str, Metric]:
    metrics = {}
    for name, (make, clips) in cases().items():
        metrics[name] = make()
        for clip in clips[share]:
            metrics[name].update(*clip)
    return metrics


def work(rank: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = {name: float(metric.compute()) for name, metric in measured(slice(rank, None, 2)).items()}
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_two_processes_say_what_one_does() -> None:
    alone = {name: float(metric.compute()) for name, metric in measured(slice(None)).items()}
    half = {name: float(metric.compute()) for name, metric in measured(slice(0, None, 2)).items()}
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, args=(folder,), nprocs=2)
        both = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
    for results in both:
        assert results == pytest.approx(alone, rel=1e-5, abs=1e-5)
    assert (
        sum(half[name] != pytest.approx(alone[name], rel=1e-5, abs=1e-5) for name in alone) > len(alone) / 2
    )  # it can fail


def test_every_metric_is_among_the_cases() -> None:
    modules = (adherence, change, fidelity, latent_divergence, motion, realism, region, transition, truth)
    made = {make for make, _ in cases().values()}
    public = {
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Metric) and value.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert public - made == {fidelity.Lpips}  # its network needs weights
