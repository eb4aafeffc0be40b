"""What came out for one clip: the edit, M's verdict on it (docs/method.md, 4), and the folder that holds both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import safe_name, to_clip, to_frames
from lvcf.data.video import Frames
from lvcf.edits import Edit
from lvcf.errors import UserError, told
from lvcf.files import read_record, write_json
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.check import of_the_setup
from lvcf.runs.panel import beside, panel_frames, player
from lvcf.runs.shapes import SCHEMA_VERSION
from lvcf.runs.writer import check_same, clip_folder, versions, write_others, write_shown
from lvcf.sampler import DRAWABLE, ask
from lvcf.sampling import finite, full_precision

VERSIONED = ("lvcf", "torch", "lightning", "diffusers", "transformers")


@dataclass(frozen=True)
class Explanation:
    """One clip's counterfactual, judged by M on its 8-bit levels; of a failed clip there is the ``hint`` alone.

    Attributes:
        id: the clip's name.
        status: ``reached``, ``not_reached``, ``not_drawable`` (the backbone cannot draw such clips) or ``failed``.
        hint: what to do if it is not ``reached``; else empty.
        facts: what ``result.json`` holds.
        factual: the clip ``(T, H, W, 3)`` uint8.
        video: the counterfactual, likewise.
        mask: where the edit was let through, ``(T, H, W)`` in 0-1.
        run: what is the same for every clip of a run; for the manifest of :meth:`save`.
        more: the clip's further counterfactuals, where several were asked for.
    """

    id: str
    status: str
    hint: str
    facts: dict[str, Any] = field(repr=False)
    factual: Frames = field(repr=False)
    video: Frames = field(repr=False)
    mask: NDArray[np.float32] = field(repr=False)
    run: dict[str, Any] = field(default_factory=dict, repr=False)
    more: tuple[Explanation, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is nothing but the hint."""
        return self.status == "failed"

    @property
    def before(self) -> float | None:
        """M's reading of the clip: its value, or the target class's probability."""
        return self.facts.get("prediction_before")

    @property
    def before_correction(self) -> float | None:
        """M's reading before a last correction, where there was one."""
        return self.facts.get("prediction_before_correction")

    @property
    def after(self) -> float | None:
        """M's reading of the counterfactual."""
        return self.facts.get("prediction_after")

    @property
    def trajectory(self) -> list[dict[str, float]]:
        """Per guided step: time, guidance weight, loss, M's reading."""
        return list(self.facts.get("trajectory", []))

    def show(self) -> None:
        """Play the panel in a notebook.

        Raises:
            UserError: IPython is not installed; a notebook has it.
        """
        try:
            from IPython.display import HTML, display
        except ImportError as error:
            raise UserError("show() needs IPython; pip install lvcf[notebook]") from error

        display(HTML(self._repr_html_()))  # type: ignore[no-untyped-call]

    def save(self, run: str | Path) -> None:
        """Write ``run``, a folder that ``lvcf evaluate`` and ``lvcf report`` read; clips of one method may share it.

        Raises:
            UserError: the folder holds another run, or this clip already.
        """
        folder = Path(run)
        path, name = folder / "manifest.json", safe_name(self.id)
        manifest = {"schema_version": SCHEMA_VERSION, "ids": list[str](), **self.run, "batch_size": 1, "ranks": 1}
        manifest |= {"threads": torch.get_num_threads(), "configuration": "", "command": "", "data": ""}
        check_same(folder, {key: value for key, value in self.run.items() if key != "target"}, "folder")
        if path.exists():
            manifest["ids"] = read_record(path)["ids"]
        if name in manifest["ids"]:
            raise UserError(f"{folder}: holds the clip {name} already; choose another folder, or another name")
        self.write(folder)
        write_json(path, manifest | {"ids": [*manifest["ids"], name], "versions": versions(*VERSIONED)})

    def write(self, run: Path) -> None:
        """Write the clip's folder of a run; it appears whole or not at all."""
        with clip_folder(run / "predictions" / safe_name(self.id)) as folder:
            if not self.failed:
                mask = (self.mask * 255.0).round().astype(np.uint8)
                fps = float(self.facts["fps"])
                write_shown(folder, self.factual, self.video, mask, fps)
                if self.more:
                    write_others(folder, self.factual, [each.video for each in (self, *self.more)], fps)
            write_json(folder / "result.json", self.facts)

    def _repr_html_(self) -> str:
        """The verdict, and the panel as a player that needs no other file."""
        verdict, hint = f"<b>{escape(self.id)}</b>: {self.status.replace('_', ' ')}", escape(self.hint)
        if self.failed:
            return f"<p>{verdict}: {hint}</p>"
        before, after = (escape(_shown(self.facts, when)) for when in ("before", "after"))
        target = escape(self.facts["target"]["text"])
        text = f"<p>{verdict}: {before} &rarr; {after}, target {target}<br><small>{hint}</small></p>"
        films = [panel_frames(self.factual, self.video, self.mask)]
        if self.more:
            films.append(beside(self.factual, [each.video for each in (self, *self.more)]))
        return text + "".join(player(film, self.facts["fps"]) for film in films)


def _shown(facts: dict[str, Any], when: str) -> str:
    value = facts[f"prediction_{when}"]
    if facts["task"] == "regression":
        return f"{value:.1f} {facts['unit']}".strip()
    return f"{facts[f'class_{when}']} (p of the target {value:.2f})"


def explained(edit: Edit, factual: Frames, model: TargetModel, method: str, **known: Any) -> Explanation:
    """M's verdict on an edit, on the levels that a file would hold.

    Args:
        edit: what sampling made.
        factual: the clip ``(T, H, W, 3)``.
        model: M.
        method: what the method is called.
        known: what else ``result.json`` tells: ``seed``, ``fps``, ``label``.
    """
    output, problem = _reading(edit.video[None].to(_device(model, edit.video)), model)
    if problem:
        return failure(edit.id, problem, seed=known["seed"])
    mask = (edit.mask[0].cpu().numpy() * 255.0).round().astype(np.uint8)
    after, reached = float(edit.goal.reading(output)[0]), bool(edit.goal.reached(output)[0])
    status, hint = "reached" if reached else "not_reached", "" if reached else _missed(edit, after, model, method)
    if edit.facts["reconstruction_ssim"] < DRAWABLE:
        status, hint = "not_drawable", not_drawable(edit.facts["reconstruction_ssim"])
    facts = {
        "schema_version": SCHEMA_VERSION,
        "id": safe_name(edit.id),
        "status": status,
        "hint": hint,
        "task": model.task,
        "unit": model.unit if model.task == "regression" else "probability",
        **edit.facts,
        "prediction_after": after,
        "class_after": model.class_of(output[0], float(edit.goal.low)),
        **_by_outputs(model, factual, edit.video),
        "seed": known["seed"],
        "method": method,
        "fps": known["fps"],
        "label": _label(model, known["label"]),
        "mask_share": float((mask > 127).mean()),
        "frames": edit.video.shape[1],
        "versions": versions(*VERSIONED),
    }
    shares = (mask / 255.0).astype(np.float32)
    found = Explanation(edit.id, status, hint, facts, factual, to_frames(edit.video), shares)
    return _beside(found, [explained(other, factual, model, method, **known) for other in edit.more])


def _beside(first: Explanation, others: list[Explanation]) -> Explanation:
    """A clip's counterfactuals as one explanation, with M's verdict on each and how far every two are apart."""
    more = tuple(other for other in others if not other.failed)
    if not more:
        return first
    each = (first, *more)
    told = [{name: one.facts[name] for name in ("status", "prediction_after", "class_after")} for one in each]
    levels = [[difference(one.video, other.video) for other in each] for one in each]
    return replace(first, more=more, facts=first.facts | {"counterfactuals": told, "pairwise_levels": levels})


def failure(name: str, problem: str, **known: Any) -> Explanation:
    """A clip of which there is nothing but the reason; ``known`` is what else ``result.json`` tells."""
    facts = {"schema_version": SCHEMA_VERSION, "id": safe_name(name), "status": "failed", "hint": problem, **known}
    nothing = np.zeros((0, 0, 0, 3), dtype=np.uint8)
    return Explanation(name, "failed", problem, facts, nothing, nothing, nothing[..., 0].astype(np.float32))


def difference(one: Frames, other: Frames) -> float:
    """Mean absolute difference of two clips ``(T, H, W, 3)``, in levels of 255."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def not_drawable(similarity: float) -> str:
    """What to do about a clip that the backbone cannot draw."""
    return (
        f"this backbone cannot draw the clip (SSIM of its reconstruction {similarity:.2f}, at least {DRAWABLE:g} is "
        "needed): it was trained on another kind; train one on yours: lvcf fit --config own/autoencoder.yaml"
    )


def _reading(video: Tensor, model: TargetModel) -> tuple[Tensor, str]:
    """M's output ``(1, ...)`` on a counterfactual, and why that is no verdict, or nothing."""
    try:
        output = ask(model, video)
    except Exception as error:  # M may be anybody's
        if of_the_setup(error):
            raise
        return video[:0], f"the target model fails on the saved counterfactual: {told(error)}"
    if not finite(output).all():
        return output, "the target model's output is not a finite number on the saved counterfactual"
    return output, ""


def _by_outputs(model: TargetModel, factual: Frames, video: Tensor) -> dict[str, Any]:
    """Which output of M is explained, and what the others say of the clip and of its counterfactual."""
    if not model.output:
        return {}
    clips = torch.stack([to_clip(factual, video.shape[-1]).to(video), video])
    with torch.no_grad(), full_precision(video.device):
        said = model.other_outputs(clips.to(_device(model, video)))
    return {"output": model.output, "other_outputs": {name: _moved(rows.cpu()) for name, rows in said.items()}}


def _moved(rows: Tensor) -> dict[str, Any]:
    """Of one number its value, of several the place of the largest; and the largest change of any; None: no number.

    Args:
        rows: of the clip and of its counterfactual, ``(2, K)``.
    """
    before, after = rows.unbind()
    told: dict[str, Any] = {"numbers": len(before), "moved": float((after - before).abs().max())}
    for name, row in (("before", before), ("after", after)):
        told[name] = float(row[0]) if len(row) == 1 else int(row.argmax())
    return (
        told if bool(rows.isfinite().all()) else {"numbers": len(before), "moved": None, "before": None, "after": None}
    )


def _device(model: TargetModel, video: Tensor) -> torch.device:
    return next((p.device for p in model.parameters()), video.device)


def _label(model: TargetModel, label: float) -> str | float | None:
    """The clip's label: a class's name, or a value; None where it is unknown, or M knows no such class."""
    if model.task == "regression":
        return label if math.isfinite(label) else None
    return model.labels[int(label)] if label in range(len(model.labels)) else None


def _missed(edit: Edit, after: float, model: TargetModel, method: str) -> str:
    """What to try where the target was missed."""
    text = edit.facts["target"]["text"]
    reading = f"reads {after:.1f} {model.unit} on the saved clip, target {text}"
    if model.task == "classification":
        reading = f"gives '{text}' a probability of {after:.2f} on the saved clip"
    correction = [] if "last correction" in method else ["the LastCorrection callback"]
    larger = ["more that may change (--model.region, --model.freeze_frames)"] if "editable_share" in edit.facts else []
    knobs = ["more --model.steps", "a larger guidance weight", "the prompt 'target'", *correction, *larger]
    return f"the model {reading}; try {', '.join(knobs[:-1])}, or {knobs[-1]}"
