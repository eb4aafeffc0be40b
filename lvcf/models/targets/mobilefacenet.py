"""The first half of MobileFaceNet (Chen et al. 2018, arXiv 1804.07573): features of a face, 128 channels of 14 x 14."""

from __future__ import annotations

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, batch norm and, unless ``linear``, PReLU."""

    def __init__(self, a: int, b: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(b)
        self.prelu = nn.Identity() if linear else nn.PReLU(b)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, a, H, W)`` to ``(B, b, H / stride, W / stride)``."""
        result: Tensor = self.prelu(self.bn(self.conv(x)))
        return result


class Bottleneck(nn.Module):
    """Widen, convolve every channel alone, narrow; with a skip where the stride is 1."""

    def __init__(self, a: int, b: int, inside: int, stride: int) -> None:
        super().__init__()
        self.conv = ConvBlock(a, inside)
        self.conv_dw = ConvBlock(inside, inside, 3, stride, groups=inside)
        self.project = ConvBlock(inside, b, linear=True)
        self.skip = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """``(B, a, H, W)`` to ``(B, b, H / stride, W / stride)``."""
        result: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + result if self.skip else result


class Repeated(nn.Module):
    """Bottlenecks of one width."""

    def __init__(self, width: int, inside: int, number: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(Bottleneck(width, width, inside, 1) for _ in range(number)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, H, W)`` in and out."""
        result: Tensor = self.model(x)
        return result


class MobileFaceNetStem(nn.Module):
    """Up to the stage that S2D reads; the names are those of the published landmark checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 64, 3, 2)
        self.conv2_dw = ConvBlock(64, 64, 3, 1, groups=64)
        self.conv_23 = Bottleneck(64, 64, 128, 2)
        self.conv_3 = Repeated(64, 128, 4)
        self.conv_34 = Bottleneck(64, 128, 256, 2)
        self.conv_4 = Repeated(128, 256, 6)

    def forward(self, faces: Tensor) -> Tensor:
        """Faces ``(B, 3, 112, 112)`` to features ``(B, 128, 14, 14)``."""
        x = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(faces))))
        result: Tensor = self.conv_4(self.conv_34(x))
        return result
