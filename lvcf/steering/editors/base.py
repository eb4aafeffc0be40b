"""The protocol of video editors: black boxes from a clip and a prompt to a clip."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from lvcf.data.clip import to_frames
from lvcf.errors import UserError


class Editor(ABC):
    """Edits a clip by words alone; steering never looks inside."""

    @property
    def draws(self) -> bool:
        """Whether edits that differ by their seed alone differ: best of n needs that."""
        return True

    @property
    @abstractmethod
    def identity(self) -> str:
        """What decides an edit beside clip, prompts and seed: the editor and its settings, for the record."""

    @abstractmethod
    def prepare(self, clip: Tensor, source_prompt: str) -> Any:
        """What every edit of a clip shares: inversion, flow, tuning.  Costly ones are kept by :func:`content_key`.

        Args:
            clip: ``(3, T, H, W)`` in [-1, 1].
            source_prompt: what the clip shows, in words.
        """

    @abstractmethod
    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Tensor:
        """The edited clip ``(3, T, H, W)`` in [-1, 1], the same for the same arguments.

        Args:
            state: from :meth:`prepare`; it is left as it was.
            prompt: what the clip should show.
            negative: what it should move away from; empty for the editor's own choice.
            seed: of all noise.

        Raises:
            UserError: the edit is not finite; the message names the step from which on.
        """


class Remembering(Editor):
    """Another editor, with what it prepared last: interventions and methods on one clip share it.

    Args:
        editor: the editor.
    """

    def __init__(self, editor: Editor) -> None:
        self.editor, self._key, self._state = editor, "", None

    @property
    def identity(self) -> str:
        """The editor's."""
        return self.editor.identity

    @property
    def draws(self) -> bool:
        """The editor's."""
        return self.editor.draws

    def prepare(self, clip: Tensor, source_prompt: str) -> Any:
        """See the base class."""
        key = content_key(clip, source_prompt, self.identity)
        if key != self._key:
            self._state = self.editor.prepare(clip, source_prompt)
            self._key = key
        return self._state

    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Tensor:
        """See the base class."""
        return self.editor.edit(state, prompt, negative, seed)


def finite(values: Tensor, what: str, step: int | str) -> Tensor:
    """The values themselves: numbers that are none would be cast to black frames, and judged.

    Args:
        values: any shape.
        what: they are of, such as ``edit``.
        step: that made them, counted from 1, or what did.

    Raises:
        UserError: one is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise not_finite(what, f"step {step}" if isinstance(step, int) else step)
    return values


def not_finite(what: str, when: str) -> UserError:
    """The error about numbers that are none."""
    return UserError(
        f"the {what} is not finite from {when} on; check the editor's weights, lower its guidance, "
        "or load them in float32"
    )


def device_of(name: str | None) -> str:
    """PyTorch's name of a device; none: the GPU if there is one.

    Raises:
        UserError: there is no such device here.
    """
    chosen = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"editor.device {chosen}: not usable here ({cause}); choose cpu or cuda") from error
    return chosen


def content_key(clip: Tensor, source_prompt: str, identity: str) -> str:
    """sha256 of what :meth:`Editor.prepare` works from, as a file name for its result: 8-bit clip, prompt, editor."""
    frames = to_frames(clip)
    digest = hashlib.sha256(f"{identity}\0{source_prompt}\0{frames.shape}\0".encode())
    digest.update(frames.tobytes())
    return digest.hexdigest()
