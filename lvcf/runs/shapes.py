"""What the JSON files of a run and of a study hold: the types of the entries that are read.  Light: no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 2
"""Of the manifest and of ``result.json``."""
Number = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Shape(BaseModel):
    """Entries with a default may be missing: who needs one is told so by :class:`lvcf.files.Record`."""

    model_config = ConfigDict(extra="allow", strict=True)


class AnyManifest(Shape):
    """``manifest.json`` of whatever verb."""

    ids: list[str]
    notice: list[str] = []
    versions: dict[str, str] = {}
    prompt: str = ""
    method: str = ""
    data: str = ""


class Manifest(AnyManifest):
    """``manifest.json`` of lvcf predict."""

    target: str = ""
    command: str = ""
    tolerance: float = 0.0
    seed: int = 0


class SteeringManifest(AnyManifest):
    """``manifest.json`` of lvcf steer."""

    graph: dict[str, Any] = {}
    evaluation_graph: dict[str, Any]
    interventions: list[dict[str, str]] = []
    methods: list[str] = []
    budget: dict[str, float] = {}
    editor: str = ""
    judge: str = ""
    rewriter: str = ""
    evaluator: str = ""


class Metrics(Shape):
    """``metrics.json``: figures by key, or why there are none."""

    __pydantic_extra__: dict[str, float | int | str | bool | None] = Field(init=False)
    n: int = 0
    failed: int = 0


class Edges(Shape):
    """A target."""

    low: float
    high: float
    text: str


class Step(Shape):
    """What guidance did at a step."""

    step: int
    t: float
    weight: float
    loss: float
    prediction: float


class AnyResult(Shape):
    """``result.json`` of whatever verb."""

    id: str
    hint: str = ""
    seed: int = 0
    fps: Number = 1.0
    frames: Number = 1.0


class Beside(Shape):
    """M's verdict on one of several counterfactuals of a clip."""

    status: Literal["reached", "not_reached", "not_drawable"]
    prediction_after: float
    class_after: str = ""


class OtherOutput(Shape):
    """What an output of M that is not explained says: of one number its value, of several the place of the largest."""

    numbers: int
    before: float | None
    after: float | None
    moved: float | None


class Result(AnyResult):
    """``result.json`` of lvcf predict."""

    status: Literal["reached", "not_reached", "not_drawable", "failed"]
    task: Literal["regression", "classification"] = "regression"
    unit: str = ""
    label: str | float | None = None
    target: Edges = Edges(low=0.0, high=0.0, text="")
    prediction_before: float = 0.0
    prediction_reference: float = 0.0
    prediction_before_correction: float = 0.0
    prediction_after: float = 0.0
    said_before: float = 0.0
    class_before: str = ""
    class_after: str = ""
    output: str = ""
    other_outputs: dict[str, OtherOutput] = {}
    trajectory: list[Step] = []
    steps: int = 0
    gradient_evaluations: float = 0.0
    queries: float = 0.0
    seconds: float = 0.0
    peak_memory_bytes: float = 0.0
    mask_share: float = 0.0
    counterfactuals: list[Beside] = []
    pairwise_levels: list[list[float]] = []


class Answer(Shape):
    """The evaluating judge's of an attribute."""

    attribute: str
    expected: str = ""
    observed: str = ""
    realised: bool
    confidence: float = 0.0


class SteeringResult(AnyResult):
    """``result.json`` of lvcf steer."""

    status: Literal["reached", "not_reached", "failed"]
    clip: str = ""
    method: str = ""
    intervention: dict[str, str] = {}
    words: str = ""
    factual: dict[str, str] = {}
    target: dict[str, str] = {}
    right: dict[str, str] = {}
    measured: dict[str, float | str | None] = {}
    evaluation: list[Answer] | str = []
    cost: dict[str, float | None] = {}
    problems: list[str] = []
    history: list[dict[str, Any]] = []
    best: int = 0


class Curves(Shape):
    """``curves.json``: a value per frame; ``ed`` and ``es`` are frames."""

    what: str
    unit: str
    factual: list[float]
    counterfactual: list[float]
    truth: list[float]
    ed: Annotated[int, Field(ge=0)] = 0
    es: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _same_frames(self) -> Self:
        shortest, *_, longest = sorted(map(len, (self.factual, self.counterfactual, self.truth)))
        if shortest < longest or max(self.ed, self.es) >= shortest:
            raise ValueError("its curves are not of the same frames")
        return self


class StudyRun(Shape):
    """One of a study's two runs."""

    run: str = ""
    name: str
    method: str


class StudyTrial(Shape):
    """What a trial of a study shows."""

    id: str
    check: bool
    A: Literal["first", "second", "intact", "corrupted"]
    B: Literal["first", "second", "intact", "corrupted"]


class StudyKey(Shape):
    """``key.json``."""

    study: str
    seed: int = 0
    first: StudyRun
    second: StudyRun
    trials: dict[str, StudyTrial]


class Analysis(Shape):
    """``analysis.json``."""

    raters: int
    rule: str
    dropped: list[dict[str, str]]
    questions: dict[str, dict[str, float | int | str]]
