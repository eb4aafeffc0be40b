"""Which clips a study shows: comparable pairs of two runs, sides and order drawn from a seed, and attention checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.files import Json
from lvcf.runs.folder import Prediction, read_predictions

Pair = tuple[Prediction, Prediction]
PAIRS_PER_CHECK = 10
FEWEST_CHECKS = 3
GRID = 4


@dataclass(frozen=True)
class Trial:
    """One screen of a study.

    Attributes:
        pair: both runs' predictions of the clip.
        shown: what panels A and B show: ``first`` and ``second`` (the runs), or ``intact`` and ``corrupted``.
        change: what was asked for, in words.
        seed: of the corruption.
    """

    pair: Pair
    shown: tuple[str, str]
    change: str
    seed: int

    @property
    def is_check(self) -> bool:
        """Whether the right answer is known."""
        return "intact" in self.shown

    def panel(self, side: int) -> Frames:
        """Frames ``(T, H, W, 3)`` of panel A (0) or B (1)."""
        first, second = self.pair
        match self.shown[side]:
            case "first":
                return first.counterfactual()
            case "second":
                return second.counterfactual()
            case "intact":
                return first.factual()
        return scramble(first.factual(), self.seed)


def draw_trials(first: Path, second: Path, n: int, seed: int, quantity: str) -> list[Trial]:
    """``n`` pairs and a check for every ten of them (at least three), in the order of their names.

    Each run is on either side equally often (but for one, if ``n`` is odd), and so is the checks' right answer.

    Raises:
        UserError: ``n`` is below 1, a run is missing or damaged, both are the same, or they share too few clips.
    """
    if n < 1:
        raise UserError(f"--n {n}: a study needs at least one pair")
    if first.resolve() == second.resolve():
        raise UserError(f"{second}: the same run twice; give two runs over the same clips")
    rng = np.random.default_rng(seed)
    pairs = _choose(first, second, n, rng)
    checks = max(FEWEST_CHECKS, round(n / PAIRS_PER_CHECK))
    checked = [pairs[i % n] for i in rng.permutation(max(n, checks))[:checks]]
    shown = [*_sides(("first", "second"), n, rng), *_sides(("intact", "corrupted"), checks, rng)]
    trials = [
        Trial(pair, sides, change_in_words(pair, quantity), int(rng.integers(2**31)))
        for pair, sides in zip([*pairs, *checked], shown, strict=True)
    ]
    return [trials[i] for i in rng.permutation(len(trials))]


def _choose(first: Path, second: Path, n: int, rng: np.random.Generator) -> list[Pair]:
    ours, theirs = ({p.id: p for p in read_predictions(run)} for run in (first, second))
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise UserError(f"{second}: no clip in common with {first}; predict both runs over the same clips")
    pairs: list[Pair] = []
    unfit: Counter[str] = Counter()
    for i in rng.permutation(len(shared)):
        pair = ours[shared[i]], theirs[shared[i]]
        if reason := _unfit(*pair):
            unfit[reason] += 1
        else:
            pairs.append(pair)
        if len(pairs) == n:
            return pairs
    left_out = "".join(f", {count} {reason}" for reason, count in sorted(unfit.items()))
    found = f"{len(shared)} common clips{left_out}: {len(pairs)} pairs to compare"
    fix = f"ask for --n {len(pairs)} or fewer" if pairs else "predict both runs with the same clips, sizes and targets"
    raise UserError(f"{first} and {second}: {found}, --n asks for {n}; {fix}")


def _unfit(first: Prediction, second: Prediction) -> str:
    if first.failed or second.failed:
        return "failed"
    if first.result["target"] != second.result["target"]:
        return "with different targets"
    if not np.array_equal(first.factual(), second.factual()):
        return "cut or sized differently"
    return ""


def _sides(names: tuple[str, str], n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    both = (names, names[::-1])
    return [both[i] for i in rng.permutation(np.arange(n) % 2)]


def change_in_words(pair: Sequence[Prediction], quantity: str) -> str:
    """What was asked for; what M said before stands beside it where both runs' models said the same."""
    before, other = (_before(prediction.result) for prediction in pair)
    result = pair[0].result
    unit = "" if result["task"] == "classification" else result["unit"]
    asked = " ".join(part for part in (quantity, result["target"]["text"], unit) if part)
    return f"{asked} instead of {before}" if before == other else asked


def _before(result: Json) -> str:
    if result["task"] == "classification":
        return str(result["class_before"])
    return f"{result['prediction_before']:.4g} {result['unit']}".strip()


def scramble(frames: Frames, seed: int) -> Frames:
    """Cut each frame ``(T, H, W, 3)`` into 4 x 4 tiles and let every tile take another's place, the same in all."""
    tall, wide = frames.shape[1] // GRID, frames.shape[2] // GRID
    places = [(slice(r * tall, (r + 1) * tall), slice(c * wide, (c + 1) * wide)) for r, c in np.ndindex(GRID, GRID)]
    order = np.random.default_rng(seed).permutation(len(places))
    result = frames.copy()
    for source, target in zip(order, np.roll(order, 1), strict=True):  # one cycle: no tile stays
        result[:, *places[target]] = frames[:, *places[source]]
    return result
