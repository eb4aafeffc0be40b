"""Models that only answer: an ONNX file, an HTTP endpoint.  No gradients; guidance asks for them by queries."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.addresses import hidden, shown_address
from lvcf.errors import UserError
from lvcf.models.targets.base import QueryPlan
from lvcf.models.targets.check import MisfitError
from lvcf.models.targets.outputs import chosen_name
from lvcf.models.targets.posting import LARGEST, TooLargeError, post
from lvcf.models.targets.wrapping import ANY, ONE, Answer, Batch, ClipInput, WrappedTarget

Array = NDArray[np.float32]
REMEMBERED = 4096
"""Answers kept: the same clip is not asked about twice."""
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may pass."""
SECRET = re.compile(
    r"(key|token|secret|sig|signature|pass|passwd|password|pwd|pw|auth|credentials?|sas|code)$", re.IGNORECASE
)
"""How names of parameters end that hold keys."""
TOKEN = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=.-]{24,}")
"""Values that look like one."""
INPUT_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
"""What an ONNX file calls the types that a clip can be given in."""
LEVELS = 200
"""Fewest levels from black to white that whole numbers can be given in."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class BlackBox(WrappedTarget):
    """A model outside this process's graph; counts the clips it was asked about and remembers its answers.

    Args:
        source: what messages call it.
        takes: the clip it takes.
        answer: what it says.
        plan: how its gradient is asked for.
        batches: how many clips it may take at once; the first that works is used.
    """

    differentiable = False

    def __init__(
        self, source: str, takes: ClipInput, answer: Answer, plan: QueryPlan, batches: Sequence[Batch] = (ANY, ONE)
    ) -> None:
        super().__init__(source, takes, answer, batches)
        self.plan = plan
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    @abstractmethod
    def ask(self, clips: Array) -> Array | dict[str, Array]:
        """The model's output for its own input, or its outputs by name."""

    def run(self, prepared: Tensor) -> object:
        """See the base class."""
        said = self.ask(prepared.numpy())
        return {name: _tensor(value) for name, value in said.items()} if isinstance(said, dict) else _tensor(said)

    @torch.no_grad()
    def read(self, prepared: Tensor) -> Tensor:
        """Ask about the clips that are new; the answers are on the clips' device."""
        inputs = prepared.float().cpu().contiguous()
        keys = [hashlib.sha256(clip.numpy().tobytes()).digest() for clip in inputs]
        new = {key: place for place, key in enumerate(keys) if key not in self._known}
        said = {key: self._known[key] for key in keys if key in self._known}
        if new:
            said |= dict(zip(new, super().read(inputs[list(new.values())]), strict=True))
            self.queries += len(new)
        if self.remembers:
            self._remember(said)
        return torch.stack([said[key] for key in keys]).to(prepared.device)

    def _remember(self, said: dict[bytes, Tensor]) -> None:
        for key, answer in said.items():
            self._known[key] = answer
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))


class OnnxTarget(BlackBox):
    """An ONNX file run by onnxruntime (the ``onnx`` extra): one input of rank 5; of several outputs one is named.

    Clips are given in the input's own type; to whole levels they are rounded.

    Args:
        file: the graph.
        takes: the clip it takes.
        answer: what it says.
        plan: how its gradient is asked for.

    Raises:
        UserError: onnxruntime is not installed, the file does not run, or it does not pass
            :func:`~lvcf.models.targets.check.check_target`.
    """

    def __init__(self, file: Path, takes: ClipInput, answer: Answer, plan: QueryPlan | None = None) -> None:
        session = onnx_session(file)
        (entry, *more) = session.get_inputs()
        if more or len(entry.shape) != 5:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in (entry, *more))
            raise UserError(f"{file}: takes {shapes}; one input of rank 5 is needed ({takes.layout}); export it so")
        if entry.type not in INPUT_TYPES:
            raise UserError(f"{file}: takes {entry.type}; export it for one of {', '.join(INPUT_TYPES)}")
        if np.issubdtype(INPUT_TYPES[entry.type], np.integer):
            _check_levels(file, entry.type, takes)
        fixed = entry.shape[0] if isinstance(entry.shape[0], int) else 0
        batches = ((fixed, fixed),) if fixed else (ANY, ONE)
        super().__init__(str(file), takes, answer, plan or QueryPlan(), batches)
        self.session, self.entry, self.kind = session, entry.name, INPUT_TYPES[entry.type]
        try:
            self.asked = chosen_name([output.name for output in session.get_outputs()], answer.output)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        self.check()

    def ask(self, clips: Array) -> dict[str, Array]:
        """One run of the file, of the chosen output alone."""
        if np.issubdtype(self.kind, np.integer):
            clips = np.rint(clips).clip(np.iinfo(self.kind).min, np.iinfo(self.kind).max)
        (output,) = self.session.run([self.asked], {self.entry: clips.astype(self.kind)})
        return {self.asked: output}


def _check_levels(path: Path, kind: str, takes: ClipInput) -> None:
    """Refuse whole numbers that would be cut off at their type's ends, or too few of them.

    Raises:
        UserError: see above.
    """
    given = [(end - mean) / std for end in takes.range for mean, std in zip(takes.mean, takes.std, strict=True)]
    ends = np.iinfo(INPUT_TYPES[kind])
    low, high = min(given), max(given)
    if (takes.range[1] - takes.range[0]) / max(takes.std) < LEVELS or low < ends.min or high > ends.max:
        fit = "[0, 255]" if ends.max >= 255 else f"[{ends.min}, {ends.max}]"
        raise UserError(
            f"{path}: takes whole levels ({kind}), not {low:g}..{high:g}; declare range {fit}, without mean and std"
        )


class HttpTarget(BlackBox):
    """An endpoint that answers POST requests.

    ``json``: ``{"instances": [clip, ...]}`` in nested lists, answered by ``{"predictions": [...]}`` (TensorFlow
    Serving's and KServe's version 1), of several outputs ``[{"verb": [...], "noun": [...]}, ...]``.  ``npy``: one
    float32 array in numpy's file format, answered by one.

    Args:
        url: http or https, without a key: runs keep it.
        takes: the clip it takes.
        answer: what it says.
        body: how clips and answers are written.
        timeout: seconds to wait for one whole answer.
        retries: how often to ask again when the endpoint is away, slow or busy; the wait doubles each time.
        back_off: seconds before the first of these.
        plan: how its gradient is asked for.
        key_variable: the environment variable with its key, sent as ``Authorization: Bearer``; none sends no key.

    Raises:
        UserError: an argument is wrong, the key is not there, or the endpoint does not pass
            :func:`~lvcf.models.targets.check.check_target`.
    """

    def __init__(
        self,
        url: str,
        takes: ClipInput,
        answer: Answer,
        body: Literal["json", "npy"] = "npy",
        timeout: float = 30.0,
        retries: int = 4,
        back_off: float = 0.5,
        plan: QueryPlan | None = None,
        key_variable: str | None = None,
    ) -> None:
        check_address(url)
        super().__init__(shown_address(url), takes, answer, plan or QueryPlan())
        if not (0.0 < timeout < float("inf") and retries >= 0 and 0.0 <= back_off < float("inf")):
            raise UserError(
                f"{self.source}: timeout {timeout:g} must be above 0, retries {retries}, back_off {back_off:g} not "
                "below"
            )
        if body not in ("json", "npy"):
            raise UserError(f"{self.source}: body {body}: choose json or npy")
        if body == "npy" and answer.output:
            raise UserError(f"{self.source}: answer.output {answer.output}: an npy answer is one array; take body json")
        self.url, self.body = url, body
        self.timeout, self.retries, self.back_off = timeout, retries, back_off
        self.key = key_of(key_variable) if key_variable else ""
        self.check()

    def ask(self, clips: Array) -> Array | dict[str, Array]:
        """One request, repeated with a growing wait while the endpoint is away, slow or busy.

        Raises:
            UserError: it stays so, refuses the request, or answers with something else.
        """
        request = self._request(clips)
        for attempt in range(self.retries + 1):
            try:
                return self._answer(post(request, self.timeout))
            except TooLargeError as error:
                raise UserError(
                    f"{self.source}: its answer is larger than {LARGEST >> 20} MiB; correct the endpoint or body"
                ) from error
            except urllib.error.HTTPError as error:
                problem = self._told(f"HTTP {error.code} {error.reason}")
                if error.code not in TEMPORARY:
                    raise self._refusal(error.code, problem) from error
            except (OSError, HTTPException) as error:  # no connection, a timeout, an answer cut short
                problem = self._told(str(getattr(error, "reason", error))) or type(error).__name__
            if attempt < self.retries:
                time.sleep(self.back_off * 2.0**attempt)
        raise UserError(
            f"{self.source}: no answer after {self.retries + 1} attempts of {self.timeout:g} s ({problem}); start the "
            "endpoint and repeat the command: finished clips are kept"
        )

    def _refusal(self, code: int, problem: str) -> UserError:
        """A request that is refused may be one of too many clips."""
        if 300 <= code < 400:
            return UserError(f"{self.source}: {problem} sends elsewhere; give the address that answers itself")
        kind = MisfitError if code in (400, 413, 422) else UserError
        return kind(f"{self.source}: {problem}; correct the address, the body or the declared input")

    def _request(self, clips: Array) -> urllib.request.Request:
        if self.body == "json":
            data, kind = json.dumps({"instances": clips.tolist()}).encode(), "application/json"
        else:
            stream = io.BytesIO()
            np.save(stream, clips, allow_pickle=False)
            data, kind = stream.getvalue(), "application/octet-stream"
        headers = {"Content-Type": kind, "Accept": kind}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return urllib.request.Request(self.url, data, headers)

    def _answer(self, data: bytes) -> Array | dict[str, Array]:
        try:
            if self.body == "npy":
                return _numbers(np.load(io.BytesIO(data), allow_pickle=False))
            said = _columns(json.loads(data)["predictions"])
            if not isinstance(said, dict):
                return _numbers(said)
            name = chosen_name([*said], self.answer.output)
            return {name: _numbers(said[name])}
        except MisfitError as error:
            raise MisfitError(f"{self.source}: {self._told(str(error))}") from error
        except (ValueError, KeyError, TypeError, EOFError, OSError, MemoryError, RecursionError) as error:
            wanted = 'JSON with "predictions"' if self.body == "json" else "an .npy array"
            raise UserError(
                f"{self.source}: its answer is not {wanted} of numbers ({self._told(repr(data[:60]))}); correct the "
                "endpoint or body"
            ) from error

    def _told(self, text: str) -> str:
        """Foreign text in one printable line, without the key."""
        shown = hidden(text, self.key) if self.key else text
        return " ".join("".join(letter if letter.isprintable() else " " for letter in shown).split())[:200]


def _columns(predictions: Any) -> Any:
    """Several outputs by name, as TensorFlow Serving tells them, clip by clip; one output stays as it is."""
    if isinstance(predictions, list) and predictions and isinstance(predictions[0], dict):
        return {name: [row[name] for row in predictions] for name in predictions[0]}
    return predictions


def _numbers(values: Any) -> Array:
    """An answer as an array.

    Raises:
        TypeError: it holds something else than numbers.
    """
    said = np.asarray(values)
    if said.dtype.kind == "O":  # JSON has no NaN: null is what a service says of a clip that it cannot read
        said = np.array([np.nan if value is None else value for value in said.flat]).reshape(said.shape)
    if said.dtype.kind not in "fiu":
        raise TypeError("no numbers")
    return said.astype(np.float32)


def check_address(url: str) -> None:
    """Refuse what is no address of an endpoint, and keys in one: runs keep it, and messages show it.

    Raises:
        UserError: see above.
    """
    shown = shown_address(url)
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not url.isascii() or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise UserError(f"{shown}: no address of an endpoint; write http:// or https:// and the host, in ASCII")
    given = parse_qsl(f"{parts.query}&{parts.fragment}", keep_blank_values=True)
    secret = next((name for name, value in given if SECRET.search(name) or TOKEN.search(value)), "")
    if "@" in parts.netloc or secret:
        where = f"in its query ({secret})" if secret else "before its host"
        raise UserError(
            f"{shown}: the address holds a key {where}, and runs keep addresses; take it out and name the environment "
            "variable that has it: key_variable"
        )


def key_of(variable: str) -> str:
    """The key in an environment variable, without the white space around it.

    Raises:
        UserError: there is none, or it is nothing that a header can hold; the message does not show it.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"key_variable {variable}: not set in the environment; export it, or leave key_variable out")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"key_variable {variable}: holds what no key holds (white space, other letters); copy it again")
    return key


def onnx_session(path: Path) -> Any:
    """A session of onnxruntime.

    Raises:
        UserError: onnxruntime is not installed, the file is missing, or it does not run.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path}: ONNX files need onnxruntime; pip install lvcf[onnx]") from error
    if not path.is_file():
        raise UserError(f"{path}: not found; give the path of an .onnx file")
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise UserError(f"{path}: no ONNX model that runs here ({' '.join(str(error).split())[:200]})") from error
