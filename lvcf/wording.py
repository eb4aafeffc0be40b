"""What the denoiser is told: prompts made of a clip's metadata and of a target in words.  docs/method.md, 13."""

from __future__ import annotations

from string import Formatter

from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel

FIELDS = ("metadata", "target")


class Wording:
    """Says targets in the words of a template.

    Args:
        template: how a target is said; ``{metadata}`` and ``{target}`` are filled in.
        model: M, which knows its classes' names.

    Raises:
        UserError: the template holds another field, or is none.
    """

    def __init__(self, template: str, model: TargetModel) -> None:
        self.template, self.model = template, model
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise UserError(f"model.prompt_template '{template}': {error}; write {{{{ for a brace") from error
        for _, field, form, conversion in parts:
            if field is not None and (field not in FIELDS or form or conversion):
                raise UserError(f"model.prompt_template '{template}': fill in {{metadata}} and {{target}}, as they are")

    def prompts(self, metadata: list[str], edges: list[tuple[float, float]]) -> list[str]:
        """One prompt per clip.

        Args:
            metadata: of each clip, in words.
            edges: the lower and upper edge of each target; of a classifier its class, twice.
        """
        words = [self._say(low, high) for low, high in edges]
        pairs = zip(metadata, words, strict=True)
        return [self.template.format(metadata=known, target=word).strip() for known, word in pairs]

    def text(self, low: float, high: float) -> str:
        """A target for tables: a class's name, a value or a range."""
        if self.model.task == "classification":
            return self.model.labels[int(low)]
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def _say(self, low: float, high: float) -> str:
        """A class's name, or the middle of a range as a whole number."""
        if self.model.task == "classification":
            return self.model.labels[int(low)]
        return str(round((low + high) / 2.0))
