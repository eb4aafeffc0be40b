"""What the face phantom can paint of one person: every expression, as strong, as late and as fast as it draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.data.video import Frames
from lvcf.phantoms.face.factors import RANGES, Array, FaceFactors
from lvcf.phantoms.face.set import through_codec
from lvcf.phantoms.face.simulate import render
from lvcf.phantoms.manifold import nudged

OPEN = {name: RANGES[name] for name in ("intensity", "onset", "rise")}
"""The factors that an expression's name leaves open, and what they are drawn between; none has descendants."""


@dataclass(frozen=True)
class FaceWorld:
    """See :class:`lvcf.phantoms.manifold.World`.

    Attributes:
        factors: of the clip.
        times: of its frames, in seconds.
    """

    factors: FaceFactors
    times: Array

    def starts(self, clip: Frames) -> Iterator[FaceFactors]:
        """See the protocol."""
        for expression in EXPRESSIONS:
            shown = self.factors.do(expression=expression)
            yield shown
            if expression != "Neutral":
                yield from (shown.do(intensity=intensity) for intensity in RANGES["intensity"])

    def around(self, factors: FaceFactors, reach: float) -> Iterator[FaceFactors]:
        """See the protocol."""
        return nudged(factors, OPEN, reach)

    def paint(self, factors: FaceFactors, look: slice) -> Frames:
        """See the protocol."""
        return through_codec(render(factors, self.times[look]))
