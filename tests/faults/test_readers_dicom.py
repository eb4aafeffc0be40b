"""DICOM: values become pixels by what the file states; times, regions and files of every naming."""

from __future__ import annotations

import importlib.util
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

from lvcf.data.dicom import read_dicom
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.errors import UserError

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"
FRAMES, ROWS, COLUMNS = 6, 32, 40


def write(path: Path, pixels: np.ndarray, kind: str = "MONOCHROME2", stored: int = 0, **more: Any) -> Path:
    """A multi-frame file; ``parts`` are its encoded frames and ``syntax`` how they are encoded, if they are."""
    parts, syntax = more.pop("parts", None), more.pop("syntax", ExplicitVRLittleEndian)
    bits, samples = 8 * pixels.dtype.itemsize, 3 if pixels.ndim == 4 else 1
    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = UID(syntax), UID(ULTRASOUND)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta, dataset.SOPClassUID = meta, UID(ULTRASOUND)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, kind
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, stored or bits, (stored or bits) - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if samples == 3:
        dataset.PlanarConfiguration = 0
    for name, value in {"FrameTime": 40.0, **more}.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = encapsulate(parts) if parts else pixels.tobytes()
    dataset["PixelData"].VR = "OB" if parts or bits == 8 else "OW"
    dataset["PixelData"].is_undefined_length = bool(parts)
    dataset.save_as(path, enforce_file_format=True)
    return path


def square(outside: int, inside: int, dtype: Any = np.uint8) -> np.ndarray:
    """A square of one value on another, in every frame."""
    pixels = np.full((FRAMES, ROWS, COLUMNS), outside, dtype=dtype)
    pixels[:, 8:24, 10:30] = inside
    return pixels


def colours(path: Path) -> tuple[list[int], list[int]]:
    """Of the first frame: outside, inside."""
    frame = read_dicom(path).frames[0]
    return frame[4, 4].tolist(), frame[16, 20].tolist()


def items(**values: Any) -> list[Dataset]:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return [item]


def palette(count: int, first: int, bits: int, table: dict[int, tuple[int, int, int]]) -> dict[str, Any]:
    """Palette attributes; ``table`` gives 8-bit colours by stored value."""
    entries = np.zeros((count, 3), dtype=np.uint16)
    for value, colour in table.items():
        entries[value - first] = np.array(colour) << (8 if bits == 16 else 0)
    packed = entries.astype(np.uint8) if bits == 8 else entries
    stated: dict[str, Any] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        stated[f"{name}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        stated[f"{name}PaletteColorLookupTableData"] = np.ascontiguousarray(packed[:, i]).tobytes()
    return stated


ORANGE, NAVY = (250, 128, 0), (10, 20, 240)
PALETTES = {
    "16 bits": (np.uint8, 50, 200, palette(256, 0, 16, {50: ORANGE, 200: NAVY})),
    "8 bits": (np.uint8, 50, 200, palette(256, 0, 8, {50: ORANGE, 200: NAVY})),
    "from 40 on": (np.uint8, 50, 200, palette(200, 40, 16, {50: ORANGE, 200: NAVY})),
    "1000 entries of 8 bits": (np.uint16, 50, 900, palette(1000, 0, 8, {50: ORANGE, 900: NAVY})),
    "8-bit values in 16 bits": (np.uint8, 50, 200, {
        **palette(256, 0, 16, {50: ORANGE, 200: NAVY}),
        **{f"{name}PaletteColorLookupTableData": np.array([0] * 50 + [a] * 100 + [b] * 106, dtype=np.uint16).tobytes()
           for name, a, b in zip(("Red", "Green", "Blue"), ORANGE, NAVY, strict=True)},
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", PALETTES)
def test_a_palette_is_looked_up(case, tmp_path) -> None:
    dtype, outside, inside, stated = PALETTES[case]
    path = write(tmp_path / "a.dcm", square(outside, inside, dtype), "PALETTE COLOR", **stated)
    assert colours(path) == (list(ORANGE), list(NAVY))


MISSING = {
    "no blue": ("BluePaletteColorLookupTableData", None),
    "no descriptor": ("RedPaletteColorLookupTableDescriptor", None),
    "an empty descriptor": ("RedPaletteColorLookupTableDescriptor", []),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_palette_that_lacks_something_is_one_clips_failure(case, tmp_path) -> None:
    name, value = MISSING[case]
    stated = palette(256, 0, 16, {50: ORANGE, 200: NAVY}) | {name: value}
    path = write(tmp_path / "a.dcm", square(50, 200), "PALETTE COLOR", **stated)
    with pytest.raises(UserError, match=r"a\.dcm: not a readable DICOM video"):
        read_dicom(path)


RAMP = np.arange(4096, dtype=np.uint16) >> 4  # 12 bits to 8
GRAYS = {
    "8 bits as they are": (square(50, 200), {}, 50, 200),
    "MONOCHROME1": (square(50, 200), {"kind": "MONOCHROME1"}, 205, 55),
    "10 of 16 bits": (square(0, 512, np.uint16), {"stored": 10}, 0, 128),
    "8 of 16 bits": (square(50, 200, np.uint16), {"stored": 8}, 50, 200),
    "16 bits": (square(0, 65535, np.uint16), {}, 0, 255),
    "signed 12 bits": (square(-2048, 2047, np.int16), {"stored": 12}, 0, 255),
    "signed 12 bits, the middle": (square(0, 1024, np.int16), {"stored": 12}, 128, 191),
    "a window": (square(300, 700, np.uint16), {"stored": 12, "WindowCenter": 500, "WindowWidth": 400}, 0, 255),
    "its middle": (square(500, 600, np.uint16), {"stored": 12, "WindowCenter": 500.5, "WindowWidth": 401}, 128, 191),
    "the first of two windows": (
        square(300, 700, np.uint16),
        {"stored": 12, "WindowCenter": [500, 2000], "WindowWidth": [400, 4000]},
        0,
        255,
    ),
    "a window of MONOCHROME1": (
        square(300, 700, np.uint16),
        {"stored": 12, "WindowCenter": 500, "WindowWidth": 400, "kind": "MONOCHROME1"},
        255,
        0,
    ),
    "a window after the rescale": (
        square(300, 700, np.uint16),
        {"stored": 12, "WindowCenter": 0, "WindowWidth": 800, "RescaleSlope": 2, "RescaleIntercept": -1000},
        0,
        255,
    ),
    "an exact window": (
        square(300, 500, np.uint16),
        {"stored": 12, "WindowCenter": 500, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
        0,
        128,
    ),
    "a sigmoid": (
        square(500, 600, np.uint16),
        {"stored": 12, "WindowCenter": 500, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        128,
        186,
    ),
    "a rescale alone": (
        square(0, 4095, np.uint16),
        {"stored": 12, "RescaleSlope": 1, "RescaleIntercept": -1024},
        0,
        255,
    ),
    "a negative rescale": (
        square(0, 4095, np.uint16),
        {"stored": 12, "RescaleSlope": -1, "RescaleIntercept": 0},
        255,
        0,
    ),
    "the window 128/256 of 8 bits": (square(50, 200), {"WindowCenter": 128, "WindowWidth": 256}, 50, 200),
    "a VOI table of 8-bit entries": (
        square(300, 4000, np.uint16),
        {"stored": 12, "VOILUTSequence": items(LUTDescriptor=[4096, 0, 8], LUTData=RAMP.tobytes())},
        300 >> 4,
        4000 >> 4,
    ),
    "a modality table": (
        square(300, 4000, np.uint16),
        {
            "stored": 12,
            "ModalityLUTSequence": items(
                LUTDescriptor=[4096, 0, 8], LUTData=RAMP.astype(np.uint8).tobytes(), ModalityLUTType="US"
            ),
        },
        300 >> 4,
        4000 >> 4,
    ),
    "a window for all frames of an enhanced file": (
        square(300, 700, np.uint16),
        {
            "stored": 12,
            "SharedFunctionalGroupsSequence": items(FrameVOILUTSequence=items(WindowCenter=500, WindowWidth=400)),
        },
        0,
        255,
    ),
    "colours of 16 bits": (
        np.repeat(square(0, 32768, np.uint16)[..., None], 3, axis=-1),
        {"kind": "RGB"},
        0,
        128,
    ),
}


@pytest.mark.parametrize("case", GRAYS)
def test_values_become_levels_by_what_the_file_states(case, tmp_path) -> None:
    """One pixel of an extreme value, as a burnt-in mark has, changes nothing."""
    pixels, stated, outside, inside = GRAYS[case]
    stated = dict(stated)
    bits = stated.get("stored") or 8 * pixels.dtype.itemsize
    pixels = pixels.copy()
    pixels[0, 0, 0] = 2 ** (bits - (pixels.dtype.kind == "i")) - 1
    path = write(tmp_path / "a.dcm", pixels, stated.pop("kind", "MONOCHROME2"), stated.pop("stored", 0), **stated)
    assert colours(path) == ([outside] * 3, [inside] * 3)


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("HSV", {}, "PhotometricInterpretation HSV"),
        ("MONOCHROME2", {"WindowCenter": 100, "WindowWidth": 0}, "Window Width must be"),
        ("MONOCHROME2", {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, "CUBIC"),
    ],
)
def test_values_without_a_meaning_are_refused(kind, more, says, tmp_path) -> None:
    pixels = np.zeros((FRAMES, ROWS, COLUMNS, 3), dtype=np.uint8) if kind == "HSV" else square(50, 200)
    error = VideoFolderDataset(write(tmp_path / "a.dcm", pixels, kind, **more), "m", frames=2, size=32)[0]["error"]
    assert error.startswith(f"{tmp_path / 'a.dcm'}: ")
    assert says in error


STEADY = [0.0, 0.025, 0.05, 0.075, 0.1, 0.125]
TIME, VECTOR = Tag("FrameTime"), Tag("FrameTimeVector")
TIMES = {
    "the pointer names FrameTime": (
        {"FrameTime": 25, "FrameTimeVector": [100] * 6, "FrameIncrementPointer": TIME},
        STEADY,
    ),
    "the pointer names the vector": (
        {"FrameTime": 99, "FrameTimeVector": [25] * 5, "FrameIncrementPointer": VECTOR},
        STEADY,
    ),
    "a vector of zeros beside FrameTime": ({"FrameTime": 25, "FrameTimeVector": [0] * 6}, STEADY),
    "a pointer to a vector of zeros": (
        {"FrameTime": 25, "FrameTimeVector": [0] * 6, "FrameIncrementPointer": VECTOR},
        STEADY,
    ),
    "a short vector beside FrameTime": ({"FrameTime": 25, "FrameTimeVector": [0, 40, 40]}, STEADY),
    "a vector of zeros beside a rate": ({"FrameTime": None, "FrameTimeVector": [0] * 6, "CineRate": 40}, STEADY),
    "a negative FrameTime beside a rate": ({"FrameTime": -25, "RecommendedDisplayFrameRate": 40}, STEADY),
    "a rate of 0 beside another": ({"FrameTime": 0, "CineRate": 0, "RecommendedDisplayFrameRate": 40}, STEADY),
    "a first increment without meaning": ({"FrameTime": None, "FrameTimeVector": [7] + [25] * 5}, STEADY),
}


@pytest.mark.parametrize("case", TIMES)
def test_frame_times_are_those_that_count(case, tmp_path) -> None:
    stated, wanted = TIMES[case]
    video = read_dicom(write(tmp_path / "a.dcm", square(50, 200), **stated))
    assert len(video.frames) == FRAMES
    assert video.times == pytest.approx(wanted)


def test_a_vector_of_one_increment(tmp_path) -> None:
    video = read_dicom(write(tmp_path / "a.dcm", square(50, 200)[:2], FrameTime=None, FrameTimeVector=40.0))
    assert video.times.tolist() == [0.0, 0.04]


@pytest.mark.parametrize(
    "stated",
    [
        {"FrameTime": None, "FrameTimeVector": [0, 40, 40]},
        {"FrameTime": None, "FrameTimeVector": [0, 40, 40, -40, 40, 40]},
        {"FrameTime": None, "FrameTimeVector": [0] * 6},
        {"FrameTime": -33.3},
    ],
)
def test_times_that_cannot_be_are_refused_with_what_stands_there(stated, tmp_path) -> None:
    path = write(tmp_path / "a.dcm", square(50, 200), **stated)
    with pytest.raises(UserError, match=r"a\.dcm: states no frame time for 6 frames \(FrameTime"):
        read_dicom(path)


def region(left: Any, top: Any, right: Any, bottom: Any, form: int = 1) -> Dataset:
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    places = {f"RegionLocation{n}": v for n, v in zip(names, (left, top, right, bottom), strict=True) if v is not None}
    return items(RegionSpatialFormat=form, RegionDataType=form, RegionFlags=0, **places)[0]


REGIONS = {
    "one": ([region(10, 8, 29, 23)], (16, 20)),
    "the 2D one, though a spectrum is larger": ([region(0, 0, 9, 7), region(0, 8, 39, 31, 3)], (8, 10)),
    "the larger of two 2D ones": ([region(0, 0, 9, 7), region(10, 8, 29, 23), region(0, 24, 39, 31, 2)], (16, 20)),
    "a spectrum alone": ([region(0, 8, 39, 31, 3)], (32, 40)),
    "one that ends a pixel too late": ([region(10, 8, 40, 32)], (24, 30)),
    "a stale one of a larger picture": ([region(100, 80, 600, 400)], (32, 40)),
    "an empty item": ([Dataset()], (32, 40)),
    "an empty item beside one": ([Dataset(), region(10, 8, 29, 23)], (16, 20)),
    "no right edge": ([region(10, 8, None, 23)], (32, 40)),
    "turned inside out": ([region(29, 23, 10, 8)], (32, 40)),
}


@pytest.mark.parametrize("case", REGIONS)
def test_the_2d_region_is_cut_out(case, tmp_path) -> None:
    regions, shape = REGIONS[case]
    video = read_dicom(write(tmp_path / "a.dcm", square(50, 200), SequenceOfUltrasoundRegions=regions))
    assert video.frames.shape[1:3] == shape


@pytest.mark.parametrize(("ratio", "width"), [([1, 2], 80), ([2, 1], 20), ([1, 1], 40)])
def test_a_pixel_aspect_ratio_changes_the_width(ratio, width, tmp_path) -> None:
    video = read_dicom(write(tmp_path / "a.dcm", square(50, 200), PixelAspectRatio=ratio))
    assert video.frames.shape == (FRAMES, ROWS, width, 3)
    assert video.frames[0, 16, width // 2].tolist() == [200] * 3


def test_files_without_an_ending_are_found_by_their_first_bytes(tmp_path) -> None:
    for name in ("IM_0001", "1.2.840.10008.1", "1.2.840.10008.2", "DICOMDIR"):
        write(tmp_path / name, square(50, 200))
    (tmp_path / "LIESMICH").write_text("no clip")
    dataset = VideoFolderDataset(tmp_path, "m", frames=2, fps=8.0, size=32)
    assert dataset.ids == ["1.2.840.10008.1", "1.2.840.10008.2", "IM_0001"]
    assert [dataset[i]["error"] for i in range(3)] == [""] * 3
    assert VideoFolderDataset(tmp_path / "IM_0001", "m", frames=2, size=32)[0]["error"] == ""


def encoded(codec: str, frames: np.ndarray, pixels: str) -> list[bytes]:
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = frames.shape[1:3]
    context.pix_fmt, context.time_base = pixels, Fraction(1, 25)
    pictures = [av.VideoFrame.from_ndarray(frame, format=pixels) for frame in frames]
    return [bytes(packet) for picture in (*pictures, None) for packet in context.encode(picture)]


def test_a_lossless_jpeg_is_read_with_the_extra_or_names_it(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, ROWS, COLUMNS), dtype=np.uint8)
    parts = encoded("jpegls", pixels, "gray")
    path = write(tmp_path / "a.dcm", pixels, parts=parts, syntax=JPEGLSLossless)
    if importlib.util.find_spec("libjpeg") is None:
        with pytest.raises(UserError, match=r"compressed as JPEG-LS.*pip install 'lvcf\[dicom\]'"):
            read_dicom(path)
    else:
        assert (read_dicom(path).frames == pixels[..., None]).all()


@pytest.mark.parametrize(
    ("codec", "container", "syntax"),
    [
        ("mpeg2video", "mpegts", "1.2.840.10008.1.2.4.100"),
        ("libx264", "h264", "1.2.840.10008.1.2.4.102"),
        ("libx264", "mp4", "1.2.840.10008.1.2.4.102"),
    ],
)
def test_an_mpeg_stream_inside_is_read_with_the_headers_times(codec, container, syntax, tmp_path) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as stored:
        stream = stored.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for i in range(20):
            level = np.full((32, 48, 3), 10 * i, dtype=np.uint8)
            stored.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        stored.mux(stream.encode(None))
    content = file.getvalue()
    parts = [content + b"\0" * (len(content) % 2)]
    stated = {"parts": parts, "syntax": syntax, "FrameTime": 50.0}
    path = write(tmp_path / "a.dcm", np.zeros((20, 32, 48, 3), dtype=np.uint8), "YBR_PARTIAL_420", **stated)
    video = read_dicom(path, lambda times: np.array([0, 7, 19]))
    assert np.round(video.frames.mean(axis=(1, 2, 3)) / 10).tolist() == [0, 7, 19]
    assert video.times == pytest.approx([0.0, 0.35, 0.95])


@pytest.mark.parametrize(
    "more",
    [{"NumberOfFrames": 1_000_000}, {"NumberOfFrames": 7}, {"PhotometricInterpretation": None}, {"BitsStored": 0}],
)
def test_a_header_that_cannot_be_is_one_clips_failure(more, tmp_path) -> None:
    write(tmp_path / "bad.dcm", square(50, 200), **more)
    write(tmp_path / "good.dcm", square(50, 200))
    bad, good = VideoFolderDataset(tmp_path, "m", frames=2, size=32)
    assert bad["error"].startswith(f"{tmp_path / 'bad.dcm'}: ") or more == {"PhotometricInterpretation": None}
    assert good["error"] == ""


def test_uncompressed_half_width_colour_is_read_frame_by_frame(tmp_path) -> None:
    levels = np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * 40
    parts = np.broadcast_to(levels, (FRAMES, ROWS, COLUMNS // 2, 4)).copy()
    parts[..., 2:] = 128  # Y Y Cb Cr
    path = write(tmp_path / "ybr.dcm", np.zeros((FRAMES, ROWS, COLUMNS, 3), dtype=np.uint8), "YBR_FULL_422")
    dataset = pydicom.dcmread(path)
    dataset.PixelData = parts.tobytes()
    dataset.save_as(path)
    assert read_dicom(path).frames[:, 3, 5, 0].tolist() == [0, 40, 80, 120, 160, 200]


SPACED = {
    "unequal spacing": ({"PixelSpacing": [1.0, 2.0]}, 2 * COLUMNS),
    "equal spacing": ({"PixelSpacing": [0.3, 0.3]}, COLUMNS),
    "at the detector": ({"ImagerPixelSpacing": [0.4, 0.2]}, COLUMNS // 2),
    "a ratio of zeros": ({"PixelAspectRatio": [0, 0]}, COLUMNS),
}


@pytest.mark.parametrize("case", SPACED)
def test_pixel_spacing_tells_the_shape_where_no_ratio_does(case, tmp_path) -> None:
    stated, columns = SPACED[case]
    assert read_dicom(write(tmp_path / "a.dcm", square(50, 200), **stated)).frames.shape == (FRAMES, ROWS, columns, 3)
