"""Video files: pixels as they are shown, times as they are stated, damage told, and only chosen frames in memory."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lvcf.data.video import clip_indices, read_video, write_lossless, write_mjpeg, write_preview, write_webm
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.errors import UserError

RED, GREEN, BLUE, GRAY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)


def corners(frames: int = 24, height: int = 96, width: int = 128) -> np.ndarray:
    """Red, green, blue and gray quarters; in the middle a square whose level is ten times the frame's number."""
    video = np.zeros((frames, height, width, 3), dtype=np.uint8)
    video[:, : height // 2, : width // 2], video[:, : height // 2, width // 2 :] = RED, GREEN
    video[:, height // 2 :, : width // 2], video[:, height // 2 :, width // 2 :] = BLUE, GRAY
    for i in range(frames):
        video[i, height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = 10 * i
    return video


def write(path: Path, frames: np.ndarray, codec: str = "libx264", pixels: str = "yuv420p", **options: str) -> Path:
    """With PyAV itself, at 8 frames per second; ``sar`` is the width of a pixel to its height."""
    with av.open(str(path), "w") as container:
        sar = options.pop("sar", None)
        stream = container.add_stream(codec, rate=8, options=options or {"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        if sar:
            stream.codec_context.sample_aspect_ratio = Fraction(sar)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def patch(path: Path, box: bytes, offset: int, values: bytes) -> Path:
    """Overwrite what stands ``offset`` bytes after the name of an MP4 box."""
    content = bytearray(path.read_bytes())
    place = content.index(box) + offset
    content[place : place + len(values)] = values
    path.write_bytes(content)
    return path


def turned(path: Path, a: int, b: int, c: int, d: int, scale: float = 1.0) -> Path:
    """An MP4 with a display matrix in its track header."""
    matrix = [round(0x10000 * scale * value) for value in (a, b, 0, c, d, 0, 0, 0)]
    write(path, corners())
    return patch(path, b"tkhd", 44, struct.pack(">9i", matrix[0], matrix[1], 0, *matrix[3:5], 0, 0, 0, 0x40000000))


def numbers(frames: np.ndarray) -> list[int]:
    middle = frames[:, frames.shape[1] // 2, frames.shape[2] // 2].mean(axis=-1)
    return np.round(middle / 10).astype(int).tolist()


TURNS = {
    "90": ((0, 1, -1, 0), lambda f: np.rot90(f, -1, (1, 2))),
    "180": ((-1, 0, 0, -1), lambda f: np.rot90(f, 2, (1, 2))),
    "270": ((0, -1, 1, 0), lambda f: np.rot90(f, 1, (1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda f: f[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda f: f[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda f: f.swapaxes(1, 2)),
    "transposed the other way": ((0, -1, -1, 0), lambda f: f[:, ::-1, ::-1].swapaxes(1, 2)),
}


@pytest.mark.parametrize("case", TURNS)
def test_a_display_matrix_turns_and_mirrors(case, tmp_path) -> None:
    matrix, turn = TURNS[case]
    video = read_video(turned(tmp_path / "a.mp4", *matrix))
    stored = read_video(write(tmp_path / "b.mp4", corners()))
    assert (video.frames == turn(stored.frames)).all()
    assert len(video.done) == 1
    assert stored.done == ()


def test_a_slanted_display_matrix_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"a\.mp4: its frames are turned by no multiple of 90 degrees"):
        read_video(turned(tmp_path / "a.mp4", 1, 1, -1, 1, scale=0.7071))


@pytest.mark.parametrize(("sar", "width"), [("2", 256), ("4/3", 171), ("1/2", 64), ("1", 128)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pixels_that_are_not_square_are_made_so_in_width(sar, width, name, tmp_path) -> None:
    video = read_video(write(tmp_path / name, corners(), crf="4", sar=sar))
    assert video.frames.shape == (24, 96, width, 3)
    stored = read_video(write(tmp_path / f"plain_{name}", corners())).frames
    assert np.abs(video.frames[0, 5, width // 4].astype(int) - stored[0, 5, 32]).max() <= 2
    if width == 128:
        assert (video.frames == stored).all()


def test_the_centre_square_is_cut_from_the_picture_as_shown(tmp_path) -> None:
    """96x128 with pixels of 1/2 is shown as 96x64: the square is 64 high and holds the whole width."""
    frames = corners()
    frames[:, :, :12] = 255
    write(tmp_path / "a.mp4", frames, crf="4", sar="1/2")
    clip = VideoFolderDataset(tmp_path, "m", size=64)[0]
    assert clip["error"] == ""
    assert float(clip["video"][:, 0, 32, 2].min()) > 0.9


def trimmed(path: Path, first: int, codec: str = "libx264", pixels: str = "yuv420p", **options: str) -> Path:
    """A file whose edit list starts at a frame, as a lossless cut leaves it."""
    write(path, corners(), codec, pixels, **options)
    with av.open(str(path)) as container:
        ticks = round(first / 8 / container.streams.video[0].time_base)
    content = path.read_bytes()
    start = struct.unpack_from(">i", content, content.index(b"elst") + 16)[0]
    return patch(path, b"elst", 16, struct.pack(">i", start + ticks))


TRIMS = {
    "within the first group": ("a.mp4", 6, "libx264", "yuv420p", {"crf": "4", "bf": "2"}),
    "in a later group": ("a.mp4", 14, "libx264", "yuv420p", {"crf": "4", "bf": "0", "g": "6"}),
    "MJPEG": ("a.mov", 6, "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "2"}),
}


@pytest.mark.parametrize("case", TRIMS)
def test_an_edit_list_is_no_truncation(case, tmp_path) -> None:
    name, first, codec, pixels, options = TRIMS[case]
    video = read_video(trimmed(tmp_path / name, first, codec, pixels, **options))
    assert numbers(video.frames) == list(range(first, 24))
    assert video.times == pytest.approx(np.arange(24 - first) / 8)


def joined(path: Path, pieces: list[tuple[int, int]], parameters: str) -> Path:
    """An HEVC file whose edit list shows pieces of it, each from a frame and of a number of frames."""
    write(path, corners(), "libx265", **{"x265-params": f"log-level=none:{parameters}"})
    with av.open(str(path)) as container:
        ticks = Fraction(1, 8) / Fraction(container.streams.video[0].time_base)
    content = path.read_bytes()
    place = content.index(b"elst") - 4
    (size,) = struct.unpack_from(">I", content, place)
    (start,) = struct.unpack_from(">i", content, place + 20)
    entries = [struct.pack(">IiHH", n * 125, start + int(first * ticks), 1, 0) for first, n in pieces]
    box = b"elst" + content[place + 8 : place + 12] + struct.pack(">I", len(pieces)) + b"".join(entries)
    content = content[:place] + struct.pack(">I", len(box) + 4) + box + content[place + size :]
    path.write_bytes(content)
    for parent in (b"edts", b"trak", b"moov"):
        (old,) = struct.unpack_from(">I", content, content.index(parent) - 4)
        patch(path, parent, -4, struct.pack(">I", old + len(box) + 4 - size))
    return path


CLOSED, OPEN = "keyint=6:min-keyint=6:open-gop=0", "keyint=6:min-keyint=6"
JOINTS = {
    "at a group's begin": ([(0, 6), (12, 6)], CLOSED),
    "in a long group": ([(2, 5), (14, 6)], "bframes=3"),
    "swapped": ([(12, 6), (0, 6)], OPEN),
    "twice": ([(3, 6), (3, 6)], OPEN),
    "one piece": ([(6, 12)], OPEN),
}


@pytest.mark.parametrize("case", JOINTS)
def test_pieces_of_an_hevc_video_are_shown_one_after_the_other(case, tmp_path) -> None:
    pieces, parameters = JOINTS[case]
    video = read_video(joined(tmp_path / "a.mp4", pieces, parameters))
    assert numbers(video.frames) == [first + i for first, n in pieces for i in range(n)]
    assert video.times == pytest.approx(np.arange(len(video.frames)) / 8)


MISREAD = {
    "shown too late": ([(0, 6), (12, 6)], "bframes=3"),
    "shown too late, of a closed group": ([(2, 5), (14, 6)], CLOSED),
    "shown too late, without its first frame": ([(0, 6), (12, 6)], OPEN),
    "a frame that both need": ([(2, 5), (14, 6)], OPEN),
}


@pytest.mark.parametrize("case", MISREAD)
def test_pieces_that_ffmpeg_reads_wrongly_are_refused_with_the_reason(case, tmp_path) -> None:
    with pytest.raises(UserError, match=r"a\.mp4: its edit list joins pieces inside a group of pictures"):
        read_video(joined(tmp_path / "a.mp4", *MISREAD[case]))


def test_a_truncated_file_with_its_index_in_front_is_still_refused(tmp_path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "4", "g": "6"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for frame in corners():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(read_video(tmp_path / "a.mp4").times) == 24
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: int(0.8 * len(content))])
    with pytest.raises(UserError, match=r"a\.mp4: (truncated|damaged)"):
        read_video(tmp_path / "a.mp4", lambda times: np.arange(2))


def busy(frames: int = 24) -> np.ndarray:
    """Moving texture, so that there are bits to damage."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (frames, 15, 20, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


CODECS = {
    "h264.mp4": ("libx264", "yuv420p", {"crf": "10", "g": "24"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"q": "3", "bf": "2"}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", {"q": "3"}),
    "mjpeg.avi": ("mjpeg", "yuvj420p", {"q": "3"}),
    "ffv1.mkv": ("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}),
}


@pytest.mark.parametrize("name", CODECS)
def test_damaged_bytes_are_told_and_the_whole_file_reads(name, tmp_path) -> None:
    """30 random bytes at four tenths of the file."""
    codec, pixels, options = CODECS[name]
    if name.endswith(".mpg"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.height, stream.width, stream.pix_fmt = 120, 160, pixels
            for frame in busy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    else:
        write(tmp_path / name, busy(), codec, pixels, **options)
    assert len(read_video(tmp_path / name).times) == 24
    content = bytearray((tmp_path / name).read_bytes())
    place = int(0.4 * len(content))
    content[place : place + 30] = np.random.default_rng(0).bytes(30)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: (damaged|truncated|not a readable video)"):
        read_video(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.mp4", "libx265", "yuv420p"),
        ("a.wmv", "wmv2", "yuv420p"),
        ("a.m4v", "mpeg4", "yuv420p"),
        ("a.mpeg", "mpeg1video", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_other_codecs_and_endings_are_read(name, codec, pixels, tmp_path) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    rate = 25 if codec == "mpeg1video" else 8
    with av.open(str(tmp_path / name), "w", format="mp4" if name == "a.m4v" else None) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = 96, 128, pixels
        for frame in corners():
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels, threads=1))
            )
        container.mux(stream.encode(None))
    clip = VideoFolderDataset(tmp_path, "m", frames=4, fps=8.0, size=64)[0]
    assert clip["error"] == ""
    assert clip["video"][:, 0, 2, 2].argmax() == 0  # red


def of_two_sizes(path: Path) -> Path:
    """Matroska of 12 frames of 96x96, then 12 of 64x64."""
    with av.open(str(path), "w") as container:
        for k, size in enumerate((96, 64)):
            part = write(path.with_name(f"{k}.h264"), corners(12, size, size), crf="4", bf="0")
            with av.open(str(part), format="h264") as source:
                if not k:
                    stream = container.add_stream_from_template(source.streams.video[0])
                    stream.time_base = Fraction(1, 1000)
                for i, packet in enumerate(p for p in source.demux(video=0) if p.size):
                    packet.stream, packet.time_base = stream, Fraction(1, 1000)
                    packet.pts = packet.dts = (i + 12 * k) * 125
                    packet.duration = 125
                    container.mux(packet)
    return path


def test_frames_of_two_sizes_are_one_clips_failure(tmp_path) -> None:
    error = VideoFolderDataset(of_two_sizes(tmp_path / "a.mkv"), "m", size=32)[0]["error"]
    assert "a.mkv: its frames are of sizes 96x96 and 64x64" in error


def keep_the_failure_and_fork(path: Path) -> None:
    """The exception holds frames; a forked process frees them, which waited for threads that are not there."""
    try:
        read_video(path)
    except UserError as error:
        error.itself = error  # type: ignore[attr-defined]
    child = os.fork()
    if not child:
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_failure_leaves_nothing_behind_that_would_stop_a_forked_reader(tmp_path) -> None:
    """In a process of its own, since what other tests left in this one is not the reader's."""
    process = multiprocessing.get_context("spawn").Process(
        target=keep_the_failure_and_fork, args=(of_two_sizes(tmp_path / "a.mkv"),)
    )
    process.start()
    process.join(60)
    stuck = process.is_alive()
    if stuck:
        process.kill()
    assert not stuck
    assert process.exitcode == 0


def camera(path: Path, exif: bytes) -> Path:
    """MJPEG whose pictures have EXIF, as a camera writes it."""
    buffer = io.BytesIO()
    Image.fromarray(corners(1)[0]).save(buffer, "JPEG", exif=exif, quality=95)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=8)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuvj420p"
        for i in range(20):
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 8)
            container.mux(packet)
    return path


@pytest.mark.parametrize(("orientation", "corner"), [(1, RED), (3, GRAY), (6, BLUE), (8, GREEN)])
def test_exif_turns_a_cameras_motion_jpeg(orientation, corner, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    frames = read_video(camera(tmp_path / "a.avi", exif.tobytes())).frames
    assert frames.shape[1:3] == ((128, 96) if orientation in (6, 8) else (96, 128))
    assert np.abs(frames[0, 5, 5].astype(int) - corner).max() <= 4


def test_broken_exif_is_no_damage_to_a_picture(tmp_path) -> None:
    assert len(read_video(camera(tmp_path / "a.avi", b"Exif\0\0garbage!")).times) == 20


def test_a_title_in_latin_1_is_no_obstacle(tmp_path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["title"] = "Mxxller"
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in corners(20, 32, 32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.count(b"Mxxller") == 1
    (tmp_path / "a.mp4").write_bytes(content.replace(b"Mxxller", b"M\xfc\xfcller"))
    assert VideoFolderDataset(tmp_path, "m", size=32)[0]["error"] == ""


def test_a_name_like_a_protocols_is_a_file(tmp_path, monkeypatch) -> None:
    write(tmp_path / "a.mp4", corners()).rename(tmp_path / "12:30:05.mp4")
    monkeypatch.chdir(tmp_path)
    assert VideoFolderDataset(Path(), "m", size=32)[0]["error"] == ""


@pytest.mark.parametrize(
    ("rate", "fps", "frames", "different"),
    [
        (0.1, 8.0, 16, 0),
        (0.5, 8.0, 16, 0),
        (1.0, 8.0, 16, 0),
        (2.0, 8.0, 16, 5),
        (5.0, 8.0, 16, 10),
        (8.0, 8.0, 16, 16),
    ],
)
def test_a_clip_is_no_copies_of_one_frame(rate, fps, frames, different) -> None:
    times = np.arange(40) / rate
    if not different:
        with pytest.raises(ValueError, match=rf"{rate:g} frames per second in the file, 8 asked\); lower data\.fps"):
            clip_indices(times, frames, fps)
    else:
        assert len(set(clip_indices(times, frames, fps).tolist())) == different


def test_a_slow_file_fails_with_its_rate(tmp_path) -> None:
    write_lossless(tmp_path / "a.mkv", corners(4, 32, 32), 0.1)
    error = VideoFolderDataset(tmp_path, "m", size=32)[0]["error"]
    assert error.startswith(f"{tmp_path / 'a.mkv'}: ")
    assert "0.1 frames per second in the file, 8 asked" in error
    assert VideoFolderDataset(tmp_path, "m", size=32, frames=4, fps=0.1)[0]["error"] == ""


READ = """
import sys
from pathlib import Path
import numpy as np
from lvcf.data.video import clip_indices, read_video, write_preview
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
start = 0.0 if sys.argv[2] == "start" else 20.0
video = read_video(Path(sys.argv[1]), lambda times: clip_indices(times, 16, 8.0, start))
print(peak() - before, video.frames.shape[0])
"""


@pytest.mark.parametrize("where", ["start", "end"])
def test_only_the_chosen_frames_are_in_memory(where, tmp_path) -> None:
    """600 frames of 640x480 are 276 MB as YUV and 553 MB as RGB; 16 of them are 15 MB."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 480, 640, "yuv420p"
        for i in range(600):
            level = np.full((480, 640, 3), i % 255, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode(None))
    run = [sys.executable, "-c", READ, str(tmp_path / "a.mp4"), where]
    kilobytes, frames = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    assert int(frames) == 16
    assert int(kilobytes) < 120_000


@pytest.mark.parametrize("writer", [write_lossless, write_mjpeg, write_webm, write_preview])
def test_chosen_frames_are_those_of_the_whole_bit_for_bit(writer, tmp_path) -> None:
    path = (
        tmp_path / {write_lossless: "a.mkv", write_mjpeg: "a.avi", write_webm: "a.webm", write_preview: "a.mp4"}[writer]
    )
    writer(path, busy(), 25.0)
    whole, choice = read_video(path), np.array([3, 3, 17, 9])
    some = read_video(path, lambda times: choice)
    assert (some.frames == whole.frames[choice]).all()
    assert some.times == pytest.approx(whole.times[choice] - whole.times[3])


def test_packets_without_times_are_numbered_by_the_decoder(tmp_path) -> None:
    """H.264 with B-frames in AVI, which keeps the order of decoding alone."""
    write(tmp_path / "a.avi", corners(), crf="4", bf="2")
    assert numbers(read_video(tmp_path / "a.avi", lambda times: np.array([2, 11, 23])).frames) == [2, 11, 23]


def test_an_empty_chunk_of_an_avi_is_no_missing_frame(tmp_path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=8)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuvj420p"
        for i, picture in enumerate(corners(8)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = 2 * i  # the muxer fills the gaps with empty chunks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = read_video(tmp_path / "a.avi")
    assert numbers(video.frames) == list(range(8))
    assert video.times == pytest.approx(np.arange(8) / 4)


def test_a_codec_without_a_decoder_is_one_line(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", corners())
    content = path.read_bytes()
    place = content.index(b"stsd")
    tag = content.index(b"avc1", place)
    path.write_bytes(content[:tag] + b"zzzz" + content[tag + 4 :])
    with pytest.raises(UserError, match=r"a\.mp4: its codec has no decoder here; re-encode it"):
        read_video(path)


@pytest.mark.parametrize(("ending", "sound"), [("mkv", "flac"), ("mp4", "aac"), ("avi", "mp3")])
def test_damaged_sound_is_no_damage_to_the_pictures(ending, sound, tmp_path) -> None:
    path = tmp_path / f"clip.{ending}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 1, 1152)).astype(np.float32)
    with av.open(str(path), "w") as container:
        pictures, track = container.add_stream("libx264", rate=24), container.add_stream(sound, rate=44100)
        pictures.width, pictures.height, pictures.pix_fmt = 128, 96, "yuv420p"
        for number, samples in enumerate(noise):
            heard = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 44100, number * 1152, Fraction(1, 44100)
            container.mux(track.encode(heard))
        for frame in corners():
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(pictures.encode(None))
        container.mux(track.encode(None))
    content = path.read_bytes()
    with av.open(str(path)) as container:
        heard = [bytes(packet) for packet in container.demux(audio=0) if packet.size > 60][::3]
    for number, data in enumerate(heard):
        content = content.replace(data, np.random.default_rng(number).bytes(len(data)))
    path.write_bytes(content)
    assert len(read_video(path).frames) == 24


def test_the_same_frames_give_the_same_file_every_time(tmp_path) -> None:
    """Colours that are converted by several threads at once are rounded now so, now so."""
    ramp = np.linspace(20, 100, 32 * 320).reshape(1, 32, 320, 1)
    noise = np.random.default_rng(0).integers(0, 40, (4, 32, 320, 3))
    frames = (ramp + noise).astype(np.uint8).repeat(10, axis=1)
    seen = set()
    for number in range(120):
        write_preview(tmp_path / f"{number}.mp4", frames, 8.0)
        seen.add((tmp_path / f"{number}.mp4").read_bytes())
    assert len(seen) == 1
