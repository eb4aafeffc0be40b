"""The page: three steps side by side, the result below.  Gradio is the ``app`` extra; nothing else imports it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from lvcf.app.domains import DOMAINS, FRAMES, Given, example
from lvcf.app.jobs import Choice, Finish, OwnModel, StoppedError, Worker, pack
from lvcf.app.words import TEMPLATES, reading_html, result_html
from lvcf.data.video_folder import CLIP_SUFFIXES
from lvcf.errors import UserError, told
from lvcf.models.targets.wrapping import Answer, ClipInput, Gives, Layout

BY_NAME = {domain.name: domain for domain in DOMAINS}
SHIPPED, OWN = "the one that comes with it", "my own file"
RANGES = {"0 to 1": (0.0, 1.0), "0 to 255": (0.0, 255.0), "-1 to 1": (-1.0, 1.0)}
MODEL_SUFFIXES = (".pt2", ".pt", ".pth", ".torchscript", ".onnx")
KEPT = 3600
"""Seconds after which what was given and made is deleted; all of it is when the program ends."""
MOST_STEPS = 48
ASK_FOR_VALUE = "A value (30), a change (delta:-20), or a range (20..30)."
WAITING = '<p class="waiting">What the model would have had to see appears here.</p>'
FIRST_SEED = 1000
"""Of the examples: the shipped models saw seeds below."""
THEME = gr.themes.Base(
    primary_hue="emerald",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)


class Page:
    """The page's events; it holds the one worker and the folder of what is made.

    Args:
        folder: where examples and zips are written.
        finish: adds the report to a run's folder.
    """

    def __init__(self, folder: Path, finish: Finish) -> None:
        self.folder, self.finish, self.worker = folder, finish, Worker()
        self.seeds = itertools.count(FIRST_SEED)
        self.served: str | None = None
        """The session whose clip is being explained."""

    def uploaded(self, name: str, path: str | None) -> Given | None:
        """The clip that was dropped; none when it was taken away again."""
        return Given(Path(path), BY_NAME[name].metadata) if path else None

    def example(self, name: str) -> tuple[Given, None]:
        """A clip simulated now, another one every time, in the place of one that was dropped."""
        return example(BY_NAME[name], next(self.seeds), self.folder), None

    def read(self, given: Given | None, name: str, which: str, *own: Any) -> tuple[Any, ...]:
        """Show the clip and what M says, and ask for what it can be asked."""
        if given is None or (which == OWN and not own[0]):  # nothing to read, or nothing that reads it, yet
            return "", gr.skip(), gr.skip(), gr.Button(interactive=False)
        with told_on_the_page():
            choice = choose(name, which, own)
            found = self.worker.read(choice, given)
        html = reading_html(choice.domain, given, found, choice.own is not None)
        classes = list(found.says) if len(found.says) > 1 else []
        value = gr.Textbox(visible=not classes)
        other = [("any other than it says now", "other")] if classes else []
        target = gr.Dropdown([*other, *classes], value="other" if classes else None, visible=bool(classes))
        return html, value, target, gr.Button(interactive=True)

    def explain(
        self,
        request: gr.Request,
        given: Given,
        value: str,
        label: str | None,
        steps: float,
        name: str,
        which: str,
        *own: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio's way to ask for it
    ) -> tuple[str, Any]:
        """The verdict, and the folder to download."""

        def tell(start: int, done: int, places: int, left: float) -> None:
            again = f" again, try {start}" if start > 1 else ""
            words = f"Drawing{again}, about {left:.0f} s left" if done else f"Drawing{again}"
            progress((done, places), desc=words if done < places else "Checking what the model says", unit="steps")

        self.served = request.session_hash
        progress(0.0, desc="Loading the model")
        with told_on_the_page():
            choice = choose(name, which, own)
            found = self.worker.explain(choice, given, label or value, int(steps), tell)
            html = result_html(found, bool(given.truth), found.run["notice"])
            packed = pack(found, self.folder, self.finish)
        return html, gr.DownloadButton(value=str(packed), visible=True)

    def stop(self, request: gr.Request) -> None:
        """End what is being explained, if it is this page's and does not wait behind another's."""
        if request.session_hash == self.served:
            self.worker.stop()


@contextmanager
def told_on_the_page() -> Iterator[None]:
    """A user's mistake is one line on the page, as it is on the command line; M may be anybody's and raise anything.

    Raises:
        Error: with that line.
    """
    try:
        yield
    except StoppedError as error:
        raise gr.Error("Stopped. Nothing was kept.", title="Stopped", print_exception=False) from error
    except UserError as error:
        raise gr.Error(shown(error), duration=None, title="This does not work", print_exception=False) from error
    except Exception as error:
        raise gr.Error(told(error), duration=None, title="This failed") from error


def shown(error: UserError) -> str:
    """A message with the names of files alone: their folders are this program's, not the reader's."""
    return re.sub(r"(?:/[^/\s:;,']+)+/(?=[^/\s])", "", str(error))


def choose(name: str, which: str, own: tuple[Any, ...]) -> Choice:
    """What the fields of the first step say; ``own`` are those of :func:`own_fields`.

    Raises:
        UserError: a field says nothing that makes sense.
    """
    domain = BY_NAME[name]
    if which == SHIPPED:
        return Choice(domain)
    file, says, labels, gives, unit, scale, span, size, frames, layout, mean, std = own
    if not file:
        raise UserError("the model: no file yet; drop one of " + ", ".join(MODEL_SUFFIXES))
    takes = ClipInput(
        range=RANGES[span],
        size=int(size),
        frames=int(frames),
        mean=three("mean", mean),
        std=three("std", std),
        layout=layout,
    )
    if says == "a class":
        names = tuple(label.strip() for label in labels.split(",") if label.strip())
        answer = Answer("classification", labels=names, gives=gives)
    else:
        answer = Answer("regression", unit=unit.strip(), scale=float(scale))
    return Choice(domain, OwnModel(Path(file), takes, answer))


def three(name: str, text: str) -> tuple[float, float, float]:
    """A number for each channel, or one for all.

    Raises:
        UserError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
        red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    except ValueError as error:
        raise UserError(f"{name} '{text}': give one number, or three with commas between") from error
    return red, green, blue


def own_fields() -> list[Any]:
    """The fields that say what a model file takes and says."""
    file = gr.File(
        label="Model file (TorchScript, .pt2 or ONNX)",
        file_types=list(MODEL_SUFFIXES),
        height=110,
        elem_id="model",
    )
    says = gr.Radio(["a class", "a value"], value="a class", label="It says")
    labels = gr.Textbox(label="Class names, in its order", placeholder="absent, present", elem_id="labels")
    gives = gr.Dropdown(list(get_args(Gives)), value="logits", label="As")
    unit = gr.Textbox(label="Unit of the value", placeholder="%", visible=False)
    scale = gr.Number(1.0, label="Standard deviation of the value in training", visible=False)
    says.change(
        lambda kind: [gr.update(visible=(kind == "a class") == of_class) for of_class in (True, True, False, False)],
        says,
        [labels, gives, unit, scale],
        queue=False,
    )
    with gr.Row():
        span = gr.Dropdown(list(RANGES), value="0 to 1", label="Black to white", min_width=90)
        size = gr.Number(112, precision=0, label="Pixels", min_width=70)
        frames = gr.Number(FRAMES, precision=0, label="Frames", min_width=70)
    with gr.Row():
        layout = gr.Dropdown(list(get_args(Layout)), value="BCTHW", label="Axes", min_width=90)
        mean = gr.Textbox("0", label="Mean", min_width=70)
        std = gr.Textbox("1", label="Std", min_width=70)
    return [file, says, labels, gives, unit, scale, span, size, frames, layout, mean, std]


def build(page: Page) -> gr.Blocks:
    """The page with its events; what needs a model waits in one queue with one worker."""
    one = {"concurrency_id": "model", "concurrency_limit": 1}
    with gr.Blocks(title="lvcf", analytics_enabled=False, delete_cache=(KEPT // 12, KEPT), fill_width=True) as blocks:
        given = gr.State(None)
        gr.HTML((TEMPLATES / "head.html").read_text(encoding="utf-8"))
        with gr.Row(equal_height=True):
            name, which, own, use = _first()
            with gr.Column(elem_classes="step"):
                gr.HTML("<h2><b>2</b> Give it a clip</h2>")
                upload = gr.File(label="Drop a video", file_types=list(CLIP_SUFFIXES), height=120, elem_id="upload")
                draw = gr.Button("or use a simulated example", elem_id="example", size="md")
                reading = gr.HTML("", elem_id="reading", min_height=60)
            with gr.Column(elem_classes="step"):
                gr.HTML("<h2><b>3</b> Ask for something else</h2>")
                value = gr.Textbox("30", label="The model should say", info=ASK_FOR_VALUE, elem_id="value")
                label = gr.Dropdown([], label="The model should say", visible=False, elem_id="label")
                steps = gr.Slider(
                    2,
                    MOST_STEPS,
                    Choice(DOMAINS[0]).usual_steps,
                    step=1,
                    label="Effort (denoising steps)",
                    info="Fewer are faster; more reach further.",
                    elem_id="steps",
                )
                go = gr.Button("Show me", variant="primary", interactive=False, elem_id="go")
                stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop", size="md")
        result = gr.HTML(WAITING, elem_id="result", min_height=160)
        download = gr.DownloadButton("Download everything (zip)", visible=False, elem_id="download", size="md")

        choice = [name, which, *own]
        read = {"fn": page.read, "inputs": [given, *choice], "outputs": [reading, value, label, go], **one}
        unread = {"fn": _unread, "outputs": [reading, go], "queue": False}
        dropped = gr.on([upload.upload, upload.clear], page.uploaded, [name, upload], given, queue=False)
        dropped.then(**unread).then(**read)
        draw.click(**unread).then(page.example, name, [given, upload], **one).then(**read)
        name.change(_another, name, [steps, given, upload], queue=False).then(**unread).then(**read)
        gr.on([which.change, use.click], **unread).then(**read)
        go.click(_begin, None, [go, stop, download], queue=False).then(
            page.explain, [given, value, label, steps, *choice], [result, download], **one
        ).then(_end, None, [go, stop], queue=False)
        stop.click(page.stop, queue=False)
    return blocks


def _first() -> tuple[Any, Any, list[Any], Any]:
    """The first step: the kind of clip, which draws it, and the model."""
    with gr.Column(elem_classes="step"):
        gr.HTML("<h2><b>1</b> Choose what is explained</h2>")
        name = gr.Radio(
            [(domain.title, domain.name) for domain in DOMAINS],
            value=DOMAINS[0].name,
            label="Kind of video",
            info="lvcf can redraw these three. They were learnt from simulated clips.",
            elem_id="domain",
        )
        which = gr.Radio([SHIPPED, OWN], value=SHIPPED, label="Model", elem_id="which")
        with gr.Column(visible=False) as fields:
            own = own_fields()
            use = gr.Button("Use this model", elem_id="use", size="md")
        which.change(lambda kind: gr.update(visible=kind == OWN), which, fields, queue=False)
    return name, which, own, use


def _another(name: str) -> tuple[int, None, None]:
    """Of another kind of clip: its usual steps, and no clip yet."""
    return Choice(BY_NAME[name]).usual_steps, None, None


def _unread() -> tuple[str, Any]:
    """Until a clip has been read."""
    return "", gr.Button(interactive=False)


def _begin() -> tuple[Any, Any, Any]:
    return gr.Button(interactive=False), gr.Button(visible=True), gr.DownloadButton(visible=False)


def _end() -> tuple[Any, Any]:
    return gr.Button(interactive=True), gr.Button(visible=False)
