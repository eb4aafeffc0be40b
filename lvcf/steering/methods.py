"""A steering run's methods, and what their results are judged by.  Light: no torch."""

from __future__ import annotations

METHODS = {
    "initial": "the source prompt with the intervened word alone replaced",
    "given": "the data set's own prompt of the intervention, as CelebV-Text's benchmark has one",
    "paraphrase": "the initial prompt in other words",
    "graph": "the graph's prompt, unsteered",
    "best_of_n": "the graph's prompt with as many seeds as steering has edits, the judge's best, no feedback",
    "steered": "the loop, from the graph's prompt",
}
DEFAULT = [method for method in METHODS if method != "given"]
"""Those that every data set can have."""
COLUMNS = {
    "joint": "every attribute right",
    "effectiveness": "share of intervened and descendant attributes that are right",
    "minimality": "share of preserved attributes that are right",
    "violations": "attributes that the intervention does not set and that are wrong",
}
"""What the evaluating judge's answers amount to, per clip."""
