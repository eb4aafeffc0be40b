"""Models that only answer: an ONNX file, an HTTP endpoint.  No gradients; guidance asks for them by queries."""

from __future__ import annotations

import hashlib
import io
import json
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections import OrderedDict
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.errors import UserError
from lvcf.models.targets.base import QueryPlan
from lvcf.models.targets.wrapping import Answer, ClipInput, WrappedTarget

Array = NDArray[np.float32]
REMEMBERED = 4096
"""Answers kept: the same clip is not asked about twice."""
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may pass."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class BlackBox(WrappedTarget):
    """A model outside this process's graph; counts the clips it was asked about and remembers its answers.

    Args:
        source: what messages call it.
        takes: the clip it takes.
        answer: what it says.
        plan: how its gradient is asked for.
    """

    differentiable = False

    def __init__(self, source: str, takes: ClipInput, answer: Answer, plan: QueryPlan) -> None:
        super().__init__(source, takes, answer)
        self.plan = plan
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    @abstractmethod
    def ask(self, clips: Array) -> Array:
        """The model's output for its own input."""

    @torch.no_grad()
    def run(self, prepared: Tensor) -> Tensor:
        """Ask about the clips that are new; the answers are on the clips' device."""
        clips: Array = prepared.float().cpu().numpy()
        keys = [hashlib.sha256(clip.tobytes()).digest() for clip in clips]
        new = {key: place for place, key in enumerate(keys) if key not in self._known}
        said = {key: self._known[key] for key in keys if key in self._known}
        if new:
            output = torch.from_numpy(np.array(self.ask(clips[list(new.values())]), dtype=np.float32))
            said |= dict(zip(new, self.answer.read(output, len(new)), strict=True))
            self.queries += len(new)
        self._remember(said)
        return torch.stack([said[key] for key in keys]).to(prepared.device)

    def check(self, clips: int = 2) -> None:
        """See the base class; what this asks is not counted."""
        super().check(clips)
        self.queries = 0

    def _remember(self, said: dict[bytes, Tensor]) -> None:
        for key, answer in said.items():
            self._known[key] = answer
            self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


class OnnxTarget(BlackBox):
    """An ONNX file run by onnxruntime (the ``onnx`` extra): one input of rank 5; its first output is the answer.

    Args:
        path: the file.
        takes: the clip it takes.
        answer: what it says.
        plan: how its gradient is asked for.
    """

    def __init__(self, path: Path, takes: ClipInput, answer: Answer, plan: QueryPlan | None = None) -> None:
        super().__init__(str(path), takes, answer, plan or QueryPlan())
        self.session = onnx_session(path)
        (entry, *more) = self.session.get_inputs()
        if more or len(entry.shape) != 5:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in (entry, *more))
            raise UserError(f"{path}: takes {shapes}; one input of rank 5 is needed ({takes.layout}); export it so")
        self.entry, self.fixed_batch = entry.name, entry.shape[0] if isinstance(entry.shape[0], int) else 0
        self.check(self.fixed_batch or 2)

    def ask(self, clips: Array) -> Array:
        """One run, or, where the file fixes its batch, several; the last one is filled up with copies."""
        size = self.fixed_batch or len(clips)
        padded = np.concatenate([clips, np.repeat(clips[-1:], -len(clips) % size, axis=0)])
        runs = [self.session.run(None, {self.entry: part})[0] for part in np.split(padded, len(padded) // size)]
        output: Array = np.concatenate(runs)[: len(clips)]
        return output


class HttpTarget(BlackBox):
    """An endpoint that answers POST requests.

    ``json``: ``{"instances": [clip, ...]}`` in nested lists, answered by ``{"predictions": [...]}`` (TensorFlow
    Serving's and KServe's version 1).  ``npy``: one float32 array in numpy's file format, answered by one.

    Args:
        url: http or https.
        takes: the clip it takes.
        answer: what it says.
        body: how clips and answers are written.
        timeout: seconds to wait for one answer.
        retries: how often to ask again when the endpoint is away, slow or busy; the wait doubles each time.
        back_off: seconds before the first of these.
        plan: how its gradient is asked for.
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
    ) -> None:
        super().__init__(url, takes, answer, plan or QueryPlan())
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url}: no address of an endpoint; write http:// or https://")
        if timeout <= 0.0 or retries < 0 or back_off < 0.0:
            raise UserError(
                f"{url}: timeout {timeout:g} must be above 0, retries {retries}, back_off {back_off:g} not below"
            )
        self.url, self.body = url, body
        self.timeout, self.retries, self.back_off = timeout, retries, back_off
        self.check()

    def ask(self, clips: Array) -> Array:
        """One request, repeated with a growing wait while the endpoint is away, slow or busy.

        Raises:
            UserError: it stays so, refuses the request, or answers with something else.
        """
        request = self._request(clips)
        for attempt in range(self.retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return self._answer(response.read())
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code} {error.reason}"
                if error.code not in TEMPORARY:
                    raise UserError(
                        f"{self.url}: {problem}; correct the address, the body or the declared input"
                    ) from error
            except (OSError, HTTPException) as error:  # no connection, a timeout, an answer cut short
                problem = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt < self.retries:
                time.sleep(self.back_off * 2.0**attempt)
        raise UserError(
            f"{self.url}: no answer after {self.retries + 1} attempts of {self.timeout:g} s ({problem}); start the "
            "endpoint and repeat the command: finished clips are kept"
        )

    def _request(self, clips: Array) -> urllib.request.Request:
        if self.body == "json":
            data, kind = json.dumps({"instances": clips.tolist()}).encode(), "application/json"
        else:
            stream = io.BytesIO()
            np.save(stream, clips, allow_pickle=False)
            data, kind = stream.getvalue(), "application/octet-stream"
        return urllib.request.Request(self.url, data, {"Content-Type": kind, "Accept": kind})

    def _answer(self, data: bytes) -> Array:
        try:
            said = (
                json.loads(data)["predictions"]
                if self.body == "json"
                else np.load(io.BytesIO(data), allow_pickle=False)
            )
            return np.asarray(said, dtype=np.float32)
        except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
            wanted = 'JSON with "predictions"' if self.body == "json" else "an .npy array"
            raise UserError(
                f"{self.url}: its answer is not {wanted} ({data[:60]!r}); correct the endpoint or body"
            ) from error


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
