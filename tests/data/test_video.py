"""Video files: exact round trips, presentation times, and every kind of broken file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lvcf.data.video import clip_indices, read_video, write_lossless, write_mjpeg, write_preview, write_webm
from lvcf.errors import UserError


def noise(frames: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def numbered(frames: int, size: int = 32) -> np.ndarray:
    """Frame i has the gray level 8 i: which frame was read can be told after lossy compression."""
    levels = (8 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, size, size, 3)).copy()


def number_of(frames: np.ndarray) -> list[int]:
    return np.round(frames.mean(axis=(1, 2, 3)) / 8).astype(int).tolist()


def write_with_times(path: Path, frames: np.ndarray, stamps_ms: list[int], codec: str = "ffv1") -> None:
    """A file of variable frame rate, written with PyAV itself."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for frame, stamp in zip(frames, stamps_ms, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("shape", [(16, 112, 112), (5, 33, 47), (1, 2, 2), (3, 240, 320)])
@pytest.mark.parametrize("fps", [8.0, 29.97, 50.0])
def test_ffv1_returns_every_bit(tmp_path, shape, fps) -> None:
    frames = noise(*shape)
    write_lossless(tmp_path / "a.mkv", frames, fps)
    video = read_video(tmp_path / "a.mkv")
    assert video.frames.dtype == np.uint8
    assert (video.frames == frames).all()
    if shape[0] > 1:
        assert video.fps == pytest.approx(fps, rel=5e-3)  # matroska stores milliseconds


@pytest.mark.parametrize("shape", [(16, 112, 112), (5, 33, 47)])
def test_vp9_returns_every_bit_and_has_the_same_bytes_every_time(tmp_path, shape) -> None:
    frames = noise(*shape)
    for name in ("a.webm", "b.webm"):
        write_webm(tmp_path / name, frames, 16.0)
    video = read_video(tmp_path / "a.webm")
    assert (video.frames == frames).all()
    assert video.fps == pytest.approx(16.0, rel=5e-3)
    assert (tmp_path / "a.webm").read_bytes() == (tmp_path / "b.webm").read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.9])
@pytest.mark.parametrize(("write", "name"), [(write_webm, "a.webm"), (write_lossless, "a.mkv")])
def test_a_truncated_matroska_file_is_told_from_a_whole_one(tmp_path, write, name, share) -> None:
    path = tmp_path / name
    write(path, noise(40), 16.0)
    assert len(read_video(path).times) == 40
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=name):
        read_video(path)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("fps", [0.5, 12.0, 60.0])
def test_a_few_frames_are_no_truncated_file(tmp_path, frames, fps) -> None:
    write_webm(tmp_path / "a.webm", noise(frames), fps)
    assert len(read_video(tmp_path / "a.webm").times) == frames


def test_a_lossless_file_has_the_same_bytes_every_time(tmp_path) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_lossless(tmp_path / name, noise(3), 8.0)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


@pytest.mark.parametrize(("height", "width"), [(33, 47), (32, 47), (33, 32), (32, 32)])
def test_a_preview_of_odd_size_is_h264_and_padded_to_even(tmp_path, height, width) -> None:
    frames = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[:, None], (9, height, width, 3))
    write_preview(tmp_path / "a.mp4", np.ascontiguousarray(frames), 8.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == (height + height % 2, width + width % 2)
        assert float(stream.average_rate) == pytest.approx(8.0)
    read = read_video(tmp_path / "a.mp4").frames[:, :height, :width]
    assert np.abs(read.astype(int) - frames).mean() < 6


@pytest.mark.parametrize("choice", [[0, 3, 7], [7, 0], [2, 2, 5], list(range(9))])
@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_chosen_frames_are_those_asked_for_in_that_order(tmp_path, choice, suffix) -> None:
    write = {"avi": write_mjpeg, "mkv": write_lossless, "mp4": write_preview}[suffix]
    path = tmp_path / f"a.{suffix}"
    write(path, numbered(9), 10.0)
    video = read_video(path, choose=lambda times: np.array(choice))
    assert number_of(video.frames) == choice


def test_variable_frame_rate_is_read_by_presentation_time(tmp_path) -> None:
    stamps = [0, 20, 40, 300, 320, 700, 710, 1000]
    write_with_times(tmp_path / "a.mkv", numbered(8), stamps)
    video = read_video(tmp_path / "a.mkv")
    assert video.times.tolist() == pytest.approx([s / 1000 for s in stamps])
    clip = read_video(tmp_path / "a.mkv", choose=lambda times: clip_indices(times, 5, 4.0))
    assert number_of(clip.frames) == [0, 3, 4, 6, 7]  # nearest to 0, 250, 500, 750, 1000 ms


def test_frames_that_the_decoder_holds_back_keep_their_times(tmp_path) -> None:
    stamps = [0, 20, 40, 300, 320, 700, 710, 1000]
    write_with_times(tmp_path / "a.mp4", 2 * numbered(8), stamps, "libx264")
    assert read_video(tmp_path / "a.mp4").times.tolist() == pytest.approx([s / 1000 for s in stamps])


def test_no_times_and_no_rate_is_an_error(tmp_path) -> None:
    """Matroska without its frame duration (element 23 E3 83, here made void), every frame at 0."""
    path = tmp_path / "a.mkv"
    write_with_times(path, numbered(8), [0] * 8)
    content = bytearray(path.read_bytes())
    place = content.index(b"\x23\xe3\x83\x83")
    content[place : place + 2] = b"\xec\x85"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mkv: states neither frame times nor a frame rate"):
        read_video(path)


def test_times_begin_at_zero(tmp_path) -> None:
    write_with_times(tmp_path / "a.mkv", numbered(4), [500, 600, 700, 800])
    assert read_video(tmp_path / "a.mkv").times.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_sixteen_frames_at_eight_fps_from_fifty() -> None:
    times = np.arange(128) / 50.0
    chosen = clip_indices(times, 16, 8.0)
    assert np.abs(times[chosen] - np.arange(16) / 8.0).max() <= 0.01 + 1e-9
    assert chosen.tolist() == [round(i * 6.25 - 1e-6) for i in range(16)]


@pytest.mark.parametrize(
    ("times", "frames", "fps", "start", "wanted"),
    [
        ([0, 1, 2, 3], 4, 1.0, 0.0, [0, 1, 2, 3]),
        ([0, 1, 2, 3], 2, 1.0, 1.6, [2, 3]),
        ([0, 0.1, 5.0], 2, 0.2, 0.0, [0, 2]),
        ([0.0], 1, 8.0, 0.0, [0]),
        ([0, 1, 2], 3, 2.0, 0.0, [0, 0, 1]),
        ([0, 1, 2], 4, 1.25, 0.0, [0, 1, 2, 2]),  # ends 0.4 s late, half an interval is allowed
    ],
)
def test_clip_indices_take_the_nearest_frame(times, frames, fps, start, wanted) -> None:
    assert clip_indices(np.array(times, dtype=float), frames, fps, start).tolist() == wanted


def test_a_video_that_is_too_short_is_refused_with_both_lengths() -> None:
    with pytest.raises(ValueError, match=r"lasts 1\.00 s; 16 frames at 8 fps need 1\.88 s"):
        clip_indices(np.array([0.0, 0.5, 1.0]), 16, 8.0)


def broken(kind: str, path: Path) -> None:
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("FileName,EF\n" * 500)
    elif kind == "random bytes":
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "header only":
        write_mjpeg(path, noise(20), 8.0)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "truncated":
        write_mjpeg(path, noise(40, 64, 64), 8.0)
        content = path.read_bytes()
        path.write_bytes(content[: int(0.6 * len(content))])
    elif kind == "no frame":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mjpeg", rate=8)
            stream.height = stream.width = 32
            stream.pix_fmt = "yuvj420p"
            container.start_encoding()
    elif kind == "sound only":
        with av.open(str(path), "w", format="wav") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
            sound.rate = 8000
            container.mux(stream.encode(sound))
            container.mux(stream.encode(None))
    elif kind == "a folder":
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    ["missing", "zero bytes", "text", "random bytes", "header only", "truncated", "no frame", "sound only", "a folder"],
)
def test_a_broken_file_is_a_users_error_that_names_it(tmp_path, kind) -> None:
    path = tmp_path / "clip.avi"
    broken(kind, path)
    with pytest.raises(UserError) as caught:
        read_video(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_says_how_much_is_there(tmp_path) -> None:
    broken("truncated", tmp_path / "clip.avi")
    with pytest.raises(UserError, match=r"truncated, \d+ of 40 frames"):
        read_video(tmp_path / "clip.avi")
