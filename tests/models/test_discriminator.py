"""What an adversarial loss learns against: it learns to tell, and its verdict teaches whoever draws."""

from __future__ import annotations

import torch

from lvcf.models.backbones.discriminator import PatchDiscriminator


def clips(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Checkerboards of a random phase, and the grey that blurring leaves of them."""
    generator = torch.Generator().manual_seed(seed)
    board = (torch.arange(16)[:, None] + torch.arange(16)[None]) % 2 * 2.0 - 1.0
    signs = torch.randint(2, (n, 1, 1, 1, 1), generator=generator) * 2.0 - 1.0
    real = (signs * board).expand(n, 3, 2, 16, 16).contiguous()
    return real, torch.zeros_like(real)


def test_it_learns_to_tell_blur_and_its_verdict_sharpens() -> None:
    torch.manual_seed(0)
    net = PatchDiscriminator(frames=2, channels=(8, 16))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for step in range(150):
        real, grey = clips(8, step)
        optimizer.zero_grad()
        net.loss(real, grey, grey).backward()
        optimizer.step()
    real, grey = clips(16, 999)
    with torch.no_grad():
        assert net(real, grey).mean() > 0.8 > 0.2 > net(grey, grey).mean()
    drawn = torch.zeros_like(real) + 0.1 * real
    drawn.requires_grad_(True)
    net.believed(drawn, grey).backward()
    with torch.no_grad():
        bolder = drawn - 50.0 * drawn.grad
        assert net.believed(bolder, grey) < net.believed(drawn, grey)
        assert bolder.std() > drawn.std()


def test_each_side_learns_by_its_own_loss_alone() -> None:
    net = PatchDiscriminator(frames=2, channels=(8,))
    real, grey = clips(2, 0)
    drawn = grey.clone().requires_grad_(True)
    net.believed(drawn, grey).backward()
    assert drawn.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in net.parameters())
    drawn.grad = None
    net.loss(real, drawn, grey).backward()
    assert drawn.grad is None
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_loss_is_one_half_where_it_says_one_half() -> None:
    net = PatchDiscriminator(frames=2, channels=(8,))
    torch.nn.init.zeros_(net.layers[-1].weight)
    torch.nn.init.constant_(net.layers[-1].bias, 0.5)
    real, grey = clips(2, 0)
    assert float(net.loss(real, grey, grey)) == 0.5
    assert float(net.believed(grey, grey)) == 0.25
