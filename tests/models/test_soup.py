"""One classifier of several trainings."""

from __future__ import annotations

import torch

from lvcf.models.soup import main
from lvcf.models.targets.clip_classifier import ClipResNet3D, clip_resnet_3d


def test_weights_are_averaged_and_logits_sharpened(tmp_path) -> None:
    torch.manual_seed(0)
    networks = [ClipResNet3D(("a", "b"), channels=(8, 8), pool=(1, 1, 1)) for _ in range(3)]
    for i, network in enumerate(networks):
        network.save_pretrained(tmp_path / str(i))
    main([str(tmp_path / "mean"), "2.5", *(str(tmp_path / str(i)) for i in range(3))])
    main([str(tmp_path / "alone"), "2.5", str(tmp_path / "0")])
    mean, alone = (clip_resnet_3d(str(tmp_path / name)) for name in ("mean", "alone"))
    wanted = sum(network.features[0].weight for network in networks) / 3
    assert torch.allclose(mean.features[0].weight, wanted, atol=1e-6)
    clips = torch.rand(2, 3, 4, 32, 32)
    assert torch.allclose(alone(clips), 2.5 * networks[0](clips), atol=1e-4)
    assert not torch.allclose(mean(clips), alone(clips), atol=1e-2)
