"""``lvcf data check``: read a whole data set and tell what is there and what is wrong with it."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table
from tqdm import tqdm

from lvcf.data.clip import SIMULATED
from lvcf.data.echonet import numbered_rows, parse_row
from lvcf.data.ferv39k import CLIPS, find_list, read_list
from lvcf.data.sampled import failure
from lvcf.data.ssv2 import SPLITS, class_name, label_problems, missing_videos, read_items, read_labels, video_folder
from lvcf.data.video import Video, clip_indices
from lvcf.data.video_folder import find_clips, walk
from lvcf.data.whole import read_all_frames, read_any, read_pictures
from lvcf.errors import UserError
from lvcf.report.terminal import console

FRAMES, FPS = 16, 8.0
"""What a file has to give a clip of."""
MOST_SHOWN = 40
"""Problems printed; the rest is counted."""
PUBLISHED = {
    "echonet": {"TRAIN": 7465, "VAL": 1288, "TEST": 1277},
    "ferv39k": {"train": 31088, "test": 7847},
    "ssv2": {"train": 168913, "validation": 24777, "test": 27157, "classes": 174},
}


@dataclass
class Contents:
    """What a data set's own lists say.

    Attributes:
        counts: clips per split, and classes.
        clips: the listed files that are there.
        problems: a line for everything wrong.
        unlisted: how many files no list names; None where there are no lists.
        read: decodes all of one of ``clips``; of its frames the first is enough.
    """

    counts: dict[str, int]
    clips: list[Path]
    problems: list[str]
    unlisted: int | None = None
    read: Callable[[Path], Video] = read_all_frames


@dataclass(frozen=True)
class Reading:
    """What one file holds.

    Attributes:
        size: width and height, e.g. ``"112x112"``; empty if the file is unreadable.
        fps: frames per second.
        seconds: from the first frame to the last.
        problem: what is wrong with it; empty for a good one.
        done: what was done to its pixels for them to be square and upright.
    """

    size: str
    fps: float
    seconds: float
    problem: str
    done: tuple[str, ...] = ()


def read_echonet(root: Path) -> Contents:
    """EchoNet-Dynamic: ``FileList.csv`` and ``Videos/*.avi``."""
    path, listed, counts, problems = root / "FileList.csv", dict[str, int](), Counter[str](), list[str]()
    for number, row in numbered_rows(root):
        try:
            name, _, split = parse_row(path, number, row)
        except UserError as error:
            problems.append(str(error))
            continue
        if listed.setdefault(name, number) != number:
            problems.append(f"{path}, line {number}: {name} is on line {listed[name]} already; remove one of the two")
        if split not in PUBLISHED["echonet"]:
            problems.append(f"{path}, line {number}: Split '{row['Split']}' of {name} is not TRAIN, VAL or TEST")
        counts[split] += 1
    there = {p.stem for p in (root / "Videos").glob("*.avi")}
    problems += [
        f"{root / 'Videos' / name}.avi: not found, but {path.name} lists it" for name in listed if name not in there
    ]
    clips = [root / "Videos" / f"{name}.avi" for name in listed if name in there]
    return Contents(dict(counts), clips, problems, len(there - set(listed)))


def read_ferv39k(root: Path) -> Contents:
    """FERV39K: lists of clips, and ``2_ClipsforFaceCrop/<Scene>/<Emotion>/<id>/*.jpg``."""
    counts, problems, listed = Counter[str](), list[str](), dict[str, str]()
    for split in ("train", "test"):
        try:
            entries = read_list(find_list(root, split))
        except UserError as error:
            problems.append(str(error))
            continue
        counts[split] = len(entries)
        for entry in entries:
            if entry.path in listed:
                problems.append(f"{root}: {entry.path} is in {listed[entry.path]} and again in {split}; remove one")
            listed[entry.path] = split
    folder = root / CLIPS
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*/*") if path.is_dir()}
    problems += [
        f"{folder / path}: not found, but {split}'s list has it" for path, split in listed.items() if path not in there
    ]
    clips = [folder / path for path in listed if path in there]
    return Contents(dict(counts), clips, problems, len(there - set(listed)), read=read_pictures)


def read_ssv2(root: Path) -> Contents:
    """Something-Something V2: ``something-something-v2-*.json`` and ``<id>.webm``."""
    labels, folder = read_labels(root), video_folder(root)
    counts, problems, where = {"classes": len(labels)}, list[str](), dict[str, str]()
    for split in SPLITS:
        try:
            items = read_items(root, split)
        except UserError as error:
            problems.append(str(error))
            continue
        counts[split] = len(items)
        problems += [*label_problems(root, split, items, labels), *missing_videos(root, split, items)]
        for item in items:
            if where.setdefault(item.id, split) != split:
                problems.append(f"{root}: id {item.id} is in {where[item.id]} and in {split}; remove one entry")
        absent = len(set(labels) - {class_name(item.template) for item in items}) if split != "test" else 0
        if absent:
            counts[f"classes without a clip in {split}"] = absent
    there = {p.stem for p in folder.glob("*.webm")}
    clips = [folder / f"{name}.webm" for name in where if name in there]
    return Contents(counts, clips, problems, len(there - set(where)))


def read_folder(root: Path) -> Contents:
    """Every video file, DICOM file or folder of numbered pictures below a folder, and how many files are no clips."""
    clips = find_clips(root)
    known, folders = set(clips), {path for path in clips if path.is_dir()}
    files = [path for _, paths in walk(root) for path in paths] if root.is_dir() else []
    others = [path for path in files if path not in known and path.parent not in folders]
    endings = Counter(f"left out: {path.suffix.lower() or 'no ending'}" for path in others)
    counts = {"files": len(clips) - len(folders), "frame folders": len(folders), **endings}
    return Contents(counts, clips, [], read=read_any)


READERS: dict[str, Callable[[Path], Contents]] = {
    "echonet": read_echonet,
    "ferv39k": read_ferv39k,
    "ssv2": read_ssv2,
    "folder": read_folder,
}


def main(args: list[str]) -> int:
    """Check a data set; 0 if it is clean, 1 if it has problems."""
    parser = argparse.ArgumentParser(prog="lvcf data", description="Look after data sets.")
    verbs = parser.add_subparsers(required=True)
    check = verbs.add_parser("check", help=__doc__, description=f"{__doc__} Exit code 0: clean, 1: problems.")
    check.add_argument("root", metavar="DIR", type=Path, help="the data set's folder")
    check.add_argument("--as", dest="kind", choices=list(READERS), required=True, help="its layout")
    options = parser.parse_args(args)
    if not options.root.exists():
        raise UserError(f"{options.root}: no such folder; name the data set's own")
    contents = READERS[options.kind](options.root)
    readings = read_all(contents)
    problems = contents.problems + [reading.problem for reading in readings if reading.problem]
    show(options.root, options.kind, contents, readings, len(problems))
    for problem in problems[:MOST_SHOWN]:
        print(problem)
    if len(problems) > MOST_SHOWN:
        print(f"... and {len(problems) - MOST_SHOWN} more")
    return 1 if problems else 0


def read_all(contents: Contents) -> list[Reading]:
    """Decode every clip, on all processors."""
    one = partial(read_one, read=contents.read)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(one, contents.clips, chunksize=4)
        return list(tqdm(jobs, total=len(contents.clips), desc="data check", unit="clip", disable=None))


def read_one(path: Path, read: Callable[[Path], Video]) -> Reading:
    """Decode one file and try whether a clip can be sampled from it."""
    try:
        video = read(path)
    except Exception as error:
        return Reading("", 0.0, 0.0, failure(path, error))
    problem = ""
    try:
        clip_indices(video.times, FRAMES, FPS)
    except ValueError as error:
        problem = f"{path}: {error}"
    height, width = video.frames.shape[1:3]
    return Reading(f"{width}x{height}", video.fps, float(video.times[-1]), problem, video.done)


def show(root: Path, kind: str, contents: Contents, readings: list[Reading], problems: int) -> None:
    """The table."""
    print(f"{root} as {kind}")
    if (root / "Factors.csv").exists():
        print(SIMULATED)
    table = Table()
    table.add_column("what")
    table.add_column("here", justify="right")
    table.add_column("published", justify="right")
    published = PUBLISHED.get(kind, {})
    for name in [*published, *(name for name in contents.counts if name not in published)]:
        wanted = published.get(name)
        here = contents.counts.get(name, 0)
        table.add_row(name, f"{here:,}", "" if wanted is None else f"{wanted:,}")
    if contents.unlisted is not None:
        table.add_row("files that no list names", f"{contents.unlisted:,}", "")
    good = [reading for reading in readings if reading.size]
    table.add_row("unreadable files", f"{len(readings) - len(good):,}", "", end_section=True)
    for size, number in Counter(reading.size for reading in good).most_common():
        table.add_row(f"size {size}", f"{number:,}", "")
    for rate, number in Counter(round(reading.fps, 1) for reading in good).most_common():
        table.add_row(f"{rate:g} frames per second", f"{number:,}", "")
    for done, number in Counter(done for reading in good for done in reading.done).most_common():
        table.add_row(done, f"{number:,}", "")
    if good:
        low, middle, high = np.percentile([reading.seconds for reading in good], [0, 50, 100])
        table.add_row("seconds (least, median, most)", f"{low:.2f}, {middle:.2f}, {high:.2f}", "")
    table.add_section()
    table.add_row("problems", f"{problems:,}", "")
    console().print(table)
