"""What the motion phantom can paint on one table: every action, in every way that its name leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lvcf.data.video import Frames
from lvcf.phantoms.manifold import nudged
from lvcf.phantoms.motion.draw import Array
from lvcf.phantoms.motion.ruler import measure
from lvcf.phantoms.motion.simulate import ACTIONS, DELAY, DURATION, REACH, MotionFactors, X, render

OPEN = {"x": X, "reach": REACH, "duration": DURATION, "delay": DELAY}
"""The factors that an action's name leaves open, and what they are drawn between; so is the side, which starts try."""


@dataclass(frozen=True)
class MotionWorld:
    """See :class:`lvcf.phantoms.manifold.World`.

    Attributes:
        factors: of the clip.
        times: of its frames, in seconds.
    """

    factors: MotionFactors
    times: Array

    def starts(self, clip: Frames) -> Iterator[MotionFactors]:
        """See the protocol: of every action the clip's own way, and the one whose path lies nearest to the object's."""
        yield from (self.factors.do(action) for action in ACTIONS)
        yield from measure(clip, self.factors, self.times).nearest.values()

    def around(self, factors: MotionFactors, reach: float) -> Iterator[MotionFactors]:
        """See the protocol."""
        return nudged(factors, OPEN, reach)

    def paint(self, factors: MotionFactors, look: slice) -> Frames:
        """See the protocol; the set's codec is lossless."""
        return render(factors, self.times[look])
