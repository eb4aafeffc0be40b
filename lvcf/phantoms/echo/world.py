"""What the echo phantom can paint with one clip's heart: every ejection fraction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lvcf.data.video import Frames
from lvcf.phantoms.echo.set import through_codec
from lvcf.phantoms.echo.simulate import Array, EchoFactors, render

EF = np.arange(5.0, 90.0, 5.0)
"""Where the search begins, in percent."""
STEP = 2.5


@dataclass(frozen=True)
class EchoWorld:
    """See :class:`lvcf.phantoms.manifold.World`.

    Attributes:
        factors: of the clip.
        times: of its frames, in seconds.
        target: an EF that is tried beside the grid and the clip's own.
    """

    factors: EchoFactors
    times: Array
    target: float

    def starts(self, clip: Frames) -> Iterator[EchoFactors]:
        """See the protocol."""
        for ef in (self.factors.ef, self.target, *EF.tolist()):
            yield self.factors.do(ef=ef)

    def around(self, factors: EchoFactors, reach: float) -> Iterator[EchoFactors]:
        """See the protocol."""
        for sign in (-1.0, 1.0):
            yield factors.do(ef=float(np.clip(factors.ef + sign * reach * STEP, EF[0], EF[-1])))

    def paint(self, factors: EchoFactors, look: slice) -> Frames:
        """See the protocol."""
        return through_codec(render(factors, self.times[look]))
