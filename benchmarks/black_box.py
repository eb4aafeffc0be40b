"""The echo phantom's target model as an ONNX file, which answers but has no gradient.

    pip install lvcf[onnx] onnx
    lvcf simulate echo --out runs/data/echo_bench --n 64 --seed 200
    python benchmarks/black_box.py
    lvcf ablate --config ablations/black_box.yaml --n 16

The file takes clips ``(B, 3, 16, 112, 112)`` in [-1, 1], any B, and says ejection fractions in percent.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lvcf.models.targets.ejection_fraction import echo_resnet_3d

FILE = Path("runs/weights/phantom_target.onnx")


class Column(torch.nn.Module):
    """The model's values as a column ``(B, 1)``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = echo_resnet_3d("phantom/target").freeze()

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.model(video)[:, None]


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    clip = torch.zeros(2, 3, 16, 112, 112)
    torch.onnx.export(
        Column().eval(), (clip,), FILE, input_names=["clip"], dynamic_axes={"clip": {0: "batch"}}, dynamo=False
    )
    print(FILE)


if __name__ == "__main__":
    main()
