"""What the page has done: a model loaded, a clip read, a clip explained, a folder packed.  No word of Gradio."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from lvcf.app.domains import Domain, Given
from lvcf.configuration import read_section
from lvcf.data.clip import safe_name
from lvcf.explain import Explainer, Reading
from lvcf.explanation import Explanation
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.presets import methods
from lvcf.sampling import SamplingCallback, SamplingState

Tell = Callable[[int, int, int, float], None]
"""Is told which start it is, the places of the time grid that are done, all of them, and the seconds that are left."""
FULL = "full, n = 1"
"""The method for a model of one's own: it needs nothing that was taught that model's answers."""
Finish = Callable[[Path], object]
"""Adds a page to a run's folder."""


class StoppedError(Exception):
    """Somebody pressed Stop."""


@dataclass(frozen=True)
class OwnModel:
    """A model file, and what it takes and says."""

    file: Path
    takes: ClipInput
    answer: Answer


@dataclass(frozen=True)
class Choice:
    """What is explained, and by what it is drawn.

    Attributes:
        domain: the backbone, and its own model.
        own: another model in that one's place.
    """

    domain: Domain
    own: OwnModel | None = None

    @property
    def method(self) -> str:
        """By its name in :func:`lvcf.presets.methods`."""
        return self.domain.method if self.own is None else FULL

    @property
    def usual_steps(self) -> int:
        """Denoising steps of the method, or of the shipped configuration."""
        shipped = read_section(f"{self.domain.name}.yaml", "predict")["model"]["init_args"]
        return int((shipped | methods(self.domain.name)[self.method].settings)["steps"])


class Steps(SamplingCallback):
    """Tells how far the sampling is, and ends it when it is asked to; it has no part in the result."""

    def __init__(self) -> None:
        self.tell: Tell = lambda start, done, steps, left: None
        self.stop = Event()
        self.start, self.began = 0, 0.0

    def label(self) -> str:
        """See the base class."""
        return ""

    def on_sampling_start(self, state: SamplingState) -> None:
        """The clock starts; again where the clip is sampled again, from other noise."""
        self.start += 1
        self.began = time.monotonic()
        self._tell(state)

    def on_step_end(self, state: SamplingState) -> None:
        """One more place of the grid, or several."""
        if not self.stop.is_set():
            self._tell(state)

    def on_clean_estimate(self, state: SamplingState) -> None:
        """Between two steps nothing is half done: here is where it ends.

        What is raised fails the clip, as whatever a part of M or the backbone raises.
        """
        if self.stop.is_set():
            raise StoppedError("stopped")

    def _tell(self, state: SamplingState) -> None:
        done, steps = int(state.index.min()), len(state.grid) - 1
        spent = time.monotonic() - self.began
        self.tell(self.start, done, steps, spent / done * (steps - done) if done else 0.0)


class Worker:
    """Keeps the model that was loaded last; one thing at a time, but :meth:`stop`, is asked of it."""

    def __init__(self) -> None:
        self.choice: Choice | None = None
        self.steps = Steps()

    def read(self, choice: Choice, given: Given) -> Reading:
        """What M says of a clip.

        Raises:
            UserError: the model or the clip cannot be read.
        """
        self._load(choice)
        self.explainer.metadata = given.metadata
        return self.explainer.read(given.path)

    def explain(self, choice: Choice, given: Given, target: str, steps: int, tell: Tell) -> Explanation:
        """A clip's counterfactual.

        Args:
            choice: what is explained.
            given: the clip.
            target: as the command line takes it.
            steps: denoising steps.
            tell: see :data:`Tell`.

        Raises:
            UserError: the target is none that M can say, or the setup is wrong.
            StoppedError: somebody asked to stop.
        """
        self.steps.stop.clear()
        self._load(choice)
        self.steps.tell, self.steps.start = tell, 0
        self.explainer.metadata = given.metadata
        self.explainer.settings = replace(self.explainer.settings, steps=steps)
        found: Explanation = self.explainer.explain(given.path, target.strip())
        if found.failed and self.steps.stop.is_set():
            raise StoppedError("stopped")
        return found

    def stop(self) -> None:
        """End what is being explained, at its next step."""
        self.steps.stop.set()

    def _load(self, choice: Choice) -> None:
        if choice == self.choice:
            return
        self.choice = None  # until it is loaded
        domain, own = choice.domain, choice.own
        if own is None:
            self.explainer = Explainer(domain.model(), domain.name, choice.method, progress=False)
        else:
            self.explainer = Explainer(
                own.file, domain.name, choice.method, own.takes, own.answer, frames=own.takes.frames, progress=False
            )
        self.explainer.callbacks.insert(0, self.steps)
        self.choice = choice


def pack(found: Explanation, folder: Path, finish: Finish) -> Path:
    """The run's folder as a zip below ``folder``, in the last one's place, with the page that ``finish`` writes."""
    packed = folder / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    run = packed / f"lvcf_{safe_name(found.id)}"
    found.save(run)
    finish(run)
    return Path(shutil.make_archive(str(run), "zip", packed, run.name))
