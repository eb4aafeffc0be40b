"""The plan of ``make bench-steering``, fixed before anything of it was run: the numbers, and the page that says them.

    python benchmarks/steering_plan.py

Writes ``benchmarks/plans/steering.md``.  ``benchmarks/steering_planned.py`` refuses a run that is another than this.
"""

from __future__ import annotations

from pathlib import Path

from lvcf.metrics.power import LEVEL, clips_needed, sign_test_power

BETTER, WORSE, POWER = 0.35, 0.10, 0.9
"""Assumed chances that steering does better, or worse, on a clip; the power wanted."""
CLIPS = clips_needed(BETTER, WORSE, POWER)
SET_SEED, RUN_SEED = 2411, 2412
METHODS = ["initial", "graph", "best_of_n", "steered"]
INTERVENTIONS = [{name: "other"} for name in ("age", "gender", "beard", "baldness")]
BUDGET = {"edits": 4, "calls": 12, "patience": 3}
SET, RUN = Path("runs/data/face_planned"), Path("runs/steering_planned")
PLAN = Path(__file__).parent / "plans" / "steering.md"
TEXT = """# Plan: does steering a prompt by a causal graph set faces right more often?

Written by `python benchmarks/steering_plan.py` and committed before any clip of it was made; `make
bench-steering` runs it.

**Question.** Of simulated faces under do(age), do(gender), do(beard) and do(baldness), each to another value
than the clip's: does the steered prompt get every attribute right more often than the initial one, in which the
intervened word alone is replaced?

**Primary hypothesis.** Of the clips on which the two differ, as many are better as worse. A clip is better if
the steered prompt gets every attribute right under more of its {interventions} interventions than the initial
prompt does, worse if under fewer. Tested by the exact sign test over clips, which are independent, two-sided at
{level:g}; clips that tie say nothing (McNemar's exact test).

**What is right** the simulator says, from the clip's own hidden noise. The method sees the factual attributes
and no noise. The evaluating judge is the ruler in the pixels; it is not told what was wanted.

**Clips.** {clips}, drawn with seed {set_seed}; edits with seed {run_seed}. Neither seed was used before for
anything. Methods: {methods}; everything else as in `configs/steering/face.yaml` (budget of a loop: {edits}
edits, {calls} calls, patience {patience}).

**Why {clips}.** Assumed is that a clip is better with chance {better:g} and worse with chance {worse:g}. That
is a smaller gain than the one the demo showed, which was looked at after 4, 8, 10 and 12 clips, and whose
method was handed the simulator's noise. With {clips} clips the test finds such a difference with chance
{found:.3f}, with {fewer} with {missed:.3f} ({power:g} was wanted).

**Looks.** One, when all {counterfactuals} counterfactuals are there. The script refuses a part of them. No clip
is left out: a counterfactual that failed, or about which the evaluating judge gave no answer, counts as not
right.

**Secondary**, told beside it with Holm's correction over the two, and no reason for a claim if the primary one
fails: the same test of steered against graph (the graph's own prompt, unsteered) and best_of_n (as many seeds,
no feedback). The demo showed no difference there, and {clips} clips are not enough to find a small one.

**What it cannot say.** These are painted faces and one small editor; nothing follows for people or for other
editors.
"""


def plan() -> str:
    """The plan's page."""
    return TEXT.format(
        interventions=len(INTERVENTIONS),
        level=LEVEL,
        clips=CLIPS,
        set_seed=SET_SEED,
        run_seed=RUN_SEED,
        methods=", ".join(METHODS),
        better=BETTER,
        worse=WORSE,
        power=POWER,
        found=sign_test_power(CLIPS, BETTER, WORSE),
        fewer=CLIPS - 1,
        missed=sign_test_power(CLIPS - 1, BETTER, WORSE),
        counterfactuals=CLIPS * len(INTERVENTIONS) * len(METHODS),
        **BUDGET,
    )


if __name__ == "__main__":
    PLAN.parent.mkdir(parents=True, exist_ok=True)
    PLAN.write_text(plan())
