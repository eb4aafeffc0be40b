"""A steering run's methods, and what their results are judged by.  Light: no torch."""

from __future__ import annotations

METHODS = {
    "initial": "the source prompt with the intervened word alone replaced",
    "paraphrase": "the initial prompt in other words",
    "graph": "the graph's prompt, unsteered",
    "best_of_n": "the graph's prompt with as many seeds as steering has edits, the judge's best, no feedback",
    "steered": "the loop, from the graph's prompt",
}
COLUMNS = {
    "joint": "every attribute right",
    "effectiveness": "share of intervened and descendant attributes that are right",
    "minimality": "share of preserved attributes that are right",
    "violations": "attributes that the intervention does not set and that are wrong",
}
"""What the evaluating judge's answers amount to, per clip."""
