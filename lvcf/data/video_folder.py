"""A user's own clips: video files, DICOM files and folders of numbered pictures below a folder, all or a table's."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from lvcf.data.clip import Box, Clip, Fit, Split, check_names, check_sampling, safe_name, to_clip
from lvcf.data.clip_table import SPLITS, ClipTable, Entry, hashed_splits
from lvcf.data.decoding import Choose, Frames
from lvcf.data.dicom import SUFFIXES as DICOM_SUFFIXES
from lvcf.data.dicom import is_dicom, read_dicom
from lvcf.data.frame_folder import SUFFIXES as PICTURE_SUFFIXES
from lvcf.data.frame_folder import numbered_files, read_frame_folder
from lvcf.data.sampled import SampledDataset
from lvcf.data.video import SUFFIXES, clip_indices, read_video
from lvcf.errors import UserError

CLIP_SUFFIXES = (*SUFFIXES, *DICOM_SUFFIXES)


class VideoFolderDataset(SampledDataset):
    """A clip of every file, in the order of their names or of the table.

    Args:
        root: a folder (searched recursively), one file, or ``pydicom:NAME``.
        metadata: the neutral prompt: what the clips show, without the explained attribute.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip.
        fit: how a rectangle becomes a square: ``crop`` takes its centre, ``letterbox`` adds black bars.
        start: seconds into every video at which a clip begins; training draws its own.
        crop: left, top, right, bottom in pixels, cut out of every frame first, upright and with square pixels.
        loop: repeat a video that is too short (a cine loop) instead of refusing it.
        frame_folder_fps: frames per second of folders of numbered pictures, which do not say it themselves.
        table: which clips to read, with their labels and prompts; without it all are read, and labels are NaN.
        split: ``train``, ``val``, ``test`` (see :class:`~lvcf.data.clip_table.ClipTable`), or ``all``.
        random_start: start anywhere in the video (training) instead of at ``start``.
        record_errors: return an unreadable clip with its ``error`` instead of raising, and tell what was done to it.

    Raises:
        UserError: nothing is there to read, two clips share a name, the table is wrong, the split is empty, or there
            are frame folders but no rate.
    """

    def __init__(
        self,
        root: Path,
        metadata: str,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        fit: Fit = "crop",
        start: float = 0.0,
        crop: Box | None = None,
        loop: bool = False,
        frame_folder_fps: float | None = None,
        table: ClipTable | None = None,
        split: Split = "all",
        random_start: bool = False,
        record_errors: bool = True,
    ) -> None:
        super().__init__(resolve_root(Path(root)), frames, fps, size, random_start, record_errors)
        check_sampling(fit=fit, start=start, crop=crop, frame_folder_fps=frame_folder_fps)
        self.metadata, self.fit, self.begin, self.crop = metadata, fit, start, crop
        self.loop, self.frame_folder_fps = loop, frame_folder_fps
        self._treatment = ""  # of the clip read last
        entries = table.read(self.root) if table else find_entries(self.root)
        self.entries = [entry for entry in entries if split in ("all", entry.split)]
        if not self.entries:
            there = Counter(entry.split for entry in entries)
            counts = ", ".join(f"{name} {there[name]}" for name in SPLITS)
            raise UserError(
                f"{table.path if table else self.root}: no clip in split '{split}' ({counts}); add clips, or a column "
                "split to data.table"
            )
        self.ids = [safe_name(clip_name(self.root, entry.path)) for entry in self.entries]
        check_names(self.root, self.ids, [str(entry.path) for entry in self.entries])
        self._check_rate()

    def _check_rate(self) -> None:
        folder = next((entry.path for entry in self.entries if (self.root / entry.path).is_dir()), None)
        if folder is not None and self.frame_folder_fps is None:
            raise UserError(
                f"{self.root / folder}: numbered pictures do not say their rate; set data.frame_folder_fps (video is "
                "mostly 25 or 30), or take them out of the folder"
            )

    def __getitem__(self, index: int) -> Clip:
        entry = self.entries[index]
        path = self.root / entry.path
        done = list[str]()
        neutral = entry.prompt or self.metadata
        prompt = f"{neutral} {entry.words}".strip()
        clip = self.clip(self.ids[index], path, lambda: self._decode(path, done.append), entry.label, prompt, neutral)
        return {**clip, "treatment": "".join(done)} if self.record_errors else clip

    def _decode(self, path: Path, tell: Callable[[str], None]) -> torch.Tensor:
        rate = list[float]()

        def choose(times: NDArray[np.float64]) -> NDArray[np.int64]:
            chosen = self._choose(path, times)
            rate[:] = [(len(times) - 1) / (times[-1] - times[0])]
            return chosen

        frames = self._frames(path, choose)
        words = f"{frames.shape[2]}x{frames.shape[1]} at {rate[0]:.4g} fps -> "
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if not (0 <= left < right <= frames.shape[2] and 0 <= top < bottom <= frames.shape[1]):
                raise UserError(
                    f"{path}: data.crop {list(self.crop)} does not fit frames of {frames.shape[2]}x{frames.shape[1]}"
                )
            frames = frames[:, top:bottom, left:right]
            words += f"box {frames.shape[2]}x{frames.shape[1]}, "
        words += squared(frames.shape[2], frames.shape[1], self.size, self.fit)
        tell(f"{words}, {self.frames} frames at {self.fps:g} fps from {self.begin:.1f} s")
        return to_clip(frames, self.size, self.fit)

    def _frames(self, path: Path, choose: Choose) -> Frames:
        if path.is_dir():
            assert self.frame_folder_fps is not None  # checked at the beginning
            return read_whole_folder(path, self.frame_folder_fps, choose)
        return (read_dicom(path, choose) if is_dicom(path) else read_video(path, choose)).frames

    def _choose(self, path: Path, times: NDArray[np.float64]) -> NDArray[np.int64]:
        if len(times) < 2:
            raise UserError(f"{path}: holds 1 frame; a counterfactual video needs a moving picture")
        repeated = times
        if self.loop:
            period = times[-1] + float(np.diff(times).mean())
            turns = math.ceil((self.begin + self.frames / self.fps) / period)
            repeated = np.concatenate([times + turn * period for turn in range(turns)])
        start = self.start(times) if self.random_start else self.begin
        remedy = f"use a longer clip or set {'an earlier data.start or ' if start else ''}data.loop: true"
        return clip_indices(repeated, self.frames, self.fps, start, remedy) % len(times)


def squared(width: int, height: int, size: int, fit: Fit) -> str:
    """What :func:`~lvcf.data.clip.to_clip` does to frames of a size, in words."""
    side = min(width, height) if fit == "crop" else max(width, height)
    words = "whole" if width == height else f"{'centre' if fit == 'crop' else 'black bars to'} {side}x{side}"
    return words if side == size else f"{words}, resized to {size}x{size}"


def resolve_root(root: Path) -> Path:
    """``pydicom:NAME`` names a test file that the pydicom package ships; any other root is itself.

    Raises:
        UserError: it does not exist.
    """
    scheme, _, name = str(root).partition(":")
    if scheme == "pydicom":
        found = get_testdata_file(name, download=False)
        if found is None:
            raise UserError(f"{root}: pydicom ships no such test file; try pydicom:examples_ybr_color.dcm")
        return Path(str(found))
    if not os.path.exists(root):  # Path.exists raises on a name that is too long
        raise UserError(f"{root}: does not exist; point data.root to a folder of {', '.join(CLIP_SUFFIXES)} files")
    return root


def find_entries(root: Path) -> list[Entry]:
    """Every clip at or below ``root``, without a label."""
    paths = [path.relative_to(root) for path in find_clips(root)]
    return [Entry(path, split) for path, split in hashed_splits(paths).items()]


def find_clips(root: Path) -> list[Path]:
    """Video files, DICOM files and frame folders at or below ``root``, by name; nothing hidden.

    A frame folder holds numbered pictures, and no clip: a picture beside clips is a thumbnail.

    Raises:
        UserError: there is none.
    """
    if root.is_file():
        return [root]
    files, pictured = list[Path](), list[Path]()
    for folder, paths in walk(root):
        files += [path for path in paths if is_clip(path)]
        if any(path.suffix.lower() in PICTURE_SUFFIXES and re.search(r"\d", path.stem) for path in paths):
            pictured.append(folder)
    around = {parent for clip in (*files, *pictured) for parent in clip.parents}
    found = sorted([*files, *(folder for folder in pictured if folder not in around)])
    if not found:
        raise UserError(
            f"{root}: holds no {', '.join(CLIP_SUFFIXES)} files, no DICOM files without an ending and no folders of "
            "numbered jpg or png files"
        )
    return found


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder at or below ``root`` with the files in it; nothing hidden.

    Raises:
        UserError: a folder cannot be read; left out in silence, its clips would be missing.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); correct its permissions or move it out of {root}"
        ) from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield Path(folder), [Path(folder, name) for name in names if not name.startswith(".")]


def is_clip(path: Path) -> bool:
    """Whether a file is a video or DICOM: by its ending or, of all but pictures, by its first bytes."""
    ending = path.suffix.lower()
    return ending in CLIP_SUFFIXES or (ending not in PICTURE_SUFFIXES and is_dicom(path))


def clip_name(root: Path, path: Path) -> str:
    """What a clip ``path`` below ``root`` is called: its path without ending; the root itself by its own name.

    What follows the last dot of a number like 1.2.840 is no ending.
    """
    inside = str(path) if path.parts else root.resolve().name
    ending = Path(inside).suffix
    return inside if (root / path).is_dir() or ending[1:].isdigit() else inside.removesuffix(ending)


def read_whole_folder(folder: Path, fps: float, choose: Choose) -> Frames:
    """Read the pictures that ``choose`` picks, ``(T, H, W, 3)``, from a folder that lacks none.

    Raises:
        UserError: a number is missing in between, the pictures differ in size, or see
            :func:`~lvcf.data.frame_folder.read_frame_folder`.
    """
    refuse_gaps(folder)
    pictures = read_frame_folder(folder, fps, choose)
    refuse_sizes(folder, [picture.shape for picture in pictures])
    return np.stack(pictures)


def refuse_gaps(folder: Path) -> None:
    """Refuse a folder whose numbered pictures are not all there.

    Raises:
        UserError: a number is missing in between.
    """
    numbers = list(numbered_files(folder))
    gap = next((n for n, after in pairwise(numbers) if after != n + 1), None)
    if gap is not None:
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        raise UserError(
            f"{folder}: picture {gap + 1} is missing ({missing} between {numbers[0]} and {numbers[-1]}); copy the "
            "folder again or renumber its pictures"
        )


def refuse_sizes(folder: Path, shapes: Iterable[tuple[int, ...]]) -> None:
    """Refuse a folder of pictures ``(H, W, 3)`` of several sizes.

    Raises:
        UserError: they are not of one.
    """
    sizes = dict.fromkeys(f"{width}x{height}" for height, width, _ in shapes)
    if len(sizes) > 1:
        raise UserError(f"{folder}: its pictures are of sizes {' and '.join(sizes)}; bring them to one")
