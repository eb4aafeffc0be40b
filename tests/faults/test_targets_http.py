"""Endpoints and ONNX files: answers that are none, deadlines, redirects, keys; types of input and baked batches."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lvcf.addresses import shown_address
from lvcf.errors import UserError
from lvcf.models.targets.black_box import HttpTarget, OnnxTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.faults.toy_runs import run
from tests.helpers import results
from tests.http_server import QuietHandler, serve
from tests.models.targets.endpoint import Endpoint
from tests.toys import GaussianBackbone, make_clips

TAKES = ClipInput(range=(-1.0, 1.0), size=8, frames=4)
VALUE = Answer("regression", scale=20.0)
QUICK = {"retries": 0, "back_off": 0.01}
KEY = "sk-Ab3" + "x9" * 12
ESCAPED = KEY.replace("-", "\\u002d").replace("A", "%41")
"""As a server may write it."""


def mean(x: np.ndarray) -> np.ndarray:
    return 50.0 + 50.0 * x.mean(axis=(1, 2, 3, 4))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint("json", mean)
    yield made
    made.close()


def told(url: str, **options: object) -> str:
    """The one line that making the target ends with."""
    with pytest.raises(UserError) as caught:
        HttpTarget(url, **{"takes": TAKES, "answer": VALUE, "timeout": 5.0, "body": "json", **QUICK, **options})
    line = str(caught.value)
    assert line.isprintable(), line
    return line


# --- answers that are none -------------------------------------------------------------------------------------------


def rows(value: str) -> Callable[[bytes], bytes]:
    """Answers every clip with a piece of JSON."""
    return lambda asked: f'{{"predictions": [{", ".join([value] * len(json.loads(asked)["instances"]))}]}}'.encode()


NO_ANSWERS = {
    "NaN": (rows("NaN"), "not a finite number"),
    "Infinity": (rows("1e999"), "not a finite number"),
    "null": (rows("null"), "not a finite number"),
    "null and strings": (lambda asked: b'{"predictions": [null, "1.5"]}', "of numbers"),
    "strings": (rows('"1.5"'), "of numbers"),
    "truth": (rows("true"), "of numbers"),
    "uneven": (lambda asked: b'{"predictions": [1, [2]]}', "of numbers"),
    "too few": (lambda asked: b'{"predictions": []}', "shape"),
    "nested for ever": (lambda asked: b'{"predictions": ' + b"[" * 100000, "of numbers"),
    "a list": (lambda asked: b"[1, 2]", "of numbers"),
}


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_an_answer_without_numbers_is_refused_at_the_start(case, endpoint) -> None:
    endpoint.answer, says = NO_ANSWERS[case]
    line = told(endpoint.url)
    assert says in line
    assert endpoint.url in line


@pytest.mark.parametrize("fault", ["null", 400, 422])
def test_a_clip_that_the_endpoint_does_not_take_fails_and_the_others_stand(fault, endpoint, tmp_path) -> None:
    def odd(asked: bytes) -> list[bool]:
        return [abs(clip[0][0][0][0] - 0.4321) < 1e-6 for clip in json.loads(asked)["instances"]]

    usual, asked = endpoint.answer, b""

    def answer(content: bytes) -> bytes:
        said = json.loads(usual(content))["predictions"]
        values = [None if spoilt and fault == "null" else v for v, spoilt in zip(said, odd(content), strict=True)]
        return json.dumps({"predictions": values}).encode()

    class Refusing(HttpTarget):
        def ask(self, clips: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked = json.dumps({"instances": clips.tolist()}).encode()
            return super().ask(clips)

    endpoint.answer = answer
    endpoint.fault = lambda: fault if isinstance(fault, int) and asked and any(odd(asked)) else None
    model = Refusing(endpoint.url, TAKES, VALUE, "json", **QUICK)
    clips = make_clips(4)
    clips[1]["video"][0, 0, 0, 0] = 0.4321
    run(CounterfactualTask(GaussianBackbone(), model, "60", tmp_path, steps=2), clips, tmp_path, batch_size=2)
    found = results(tmp_path)
    assert {name for name, result in found.items() if result["status"] == "failed"} == {"clip1"}
    assert len(found) == 4


def test_an_array_that_claims_terabytes_is_refused() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**42,)})
    served = Endpoint("npy", mean)
    served.answer = lambda asked: header.getvalue()
    assert "of numbers" in told(served.url, body="npy")
    served.close()


def test_an_answer_without_end_is_cut_off(endpoint, monkeypatch) -> None:
    monkeypatch.setattr("lvcf.models.targets.posting.LARGEST", 1000)
    endpoint.answer = lambda asked: b"1" * 5000
    assert "larger than" in told(endpoint.url)


# --- slow, elsewhere, misleading -------------------------------------------------------------------------------------


def raw_server(answer: Callable[[socket.socket], None]) -> tuple[socket.socket, str]:
    """Answers every connection by hand."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5.0)
                connection.recv(65536)
                with contextlib.suppress(OSError):
                    answer(connection)

    threading.Thread(target=run, daemon=True).start()
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def drip(connection: socket.socket, text: bytes) -> None:
    for place in range(len(text)):
        connection.sendall(text[place : place + 1])
        time.sleep(0.1)


DRIPS = {
    "the body": lambda c: (c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"), drip(c, b"1" * 300)),
    "the headers": lambda c: drip(c, b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 50),
}


@pytest.mark.parametrize("case", DRIPS)
def test_the_whole_answer_has_a_deadline(case) -> None:
    listening, url = raw_server(DRIPS[case])
    started = time.monotonic()
    assert "no answer after 1 attempts of 0.5 s (timed out)" in told(url, timeout=0.5)
    assert time.monotonic() - started < 20.0
    listening.close()


def test_a_bad_status_line_is_told_on_one_printable_line() -> None:
    listening, url = raw_server(lambda c: c.sendall(b"\x1b[31mNO\r\nHTTP\r\n\r\n"))
    assert "start the endpoint" in told(url)
    listening.close()


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(code) -> None:
    asked: list[str] = []

    class Handler(QuietHandler):
        def reply(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(code)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server, address = serve(Handler)
    line = told(f"{address}/v1")
    assert f"HTTP {code}" in line
    assert "layout" not in line
    assert set(asked) == {"/v1"}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://", "https:///path", "http://h:99999/", "http://h:x/", "ftp://h/", "http://h /", "h"]
)
def test_a_bad_address_is_called_so(url) -> None:
    line = told(url)
    assert "no address of an endpoint" in line
    assert "layout" not in line


def test_an_endpoint_for_one_clip_is_asked_one_by_one() -> None:
    """It refuses more, as a model served for one does."""
    sizes: list[int] = []

    class Handler(QuietHandler):
        def reply(self) -> None:
            asked = np.array(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"])
            sizes.append(len(asked))
            body = json.dumps({"predictions": mean(asked).tolist()}).encode() if asked.shape[:3] == (1, 3, 4) else b""
            self.send_response(200 if body else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server, address = serve(Handler)
    refused = told(address, takes=ClipInput((-1.0, 1.0), size=8, frames=3))
    assert refused.startswith(f"{address}: HTTP 400")
    model = HttpTarget(address, TAKES, VALUE, "json", **QUICK)
    sizes.clear()
    clips = 1.8 * torch.rand(3, 3, 4, 8, 8) - 0.9
    torch.testing.assert_close(model(clips), torch.from_numpy(mean(clips.numpy())), atol=1e-4, rtol=1e-5)
    assert sizes == [1, 1, 1]
    server.shutdown()
    server.server_close()


# --- keys ------------------------------------------------------------------------------------------------------------

ADDRESSES = {
    "http://h/v1/m": "http://h/v1/m",
    f"http://h:80/v1?key={KEY}": "http://h:80/v1",
    f"https://user:{KEY}@h/v1#top": "https://h/v1",
    f"https://{KEY}@h": "https://h",
    f"user:{KEY}@h/v1": "h/v1",
    f"http://[::1?{KEY}": "http://[::1",
    f"http://h/a\n\x1b[31m?{KEY}": "http://h/a[31m",
    "http://h/models/m@latest": "http://h/models/m@latest",
    "": "",
    "//": "//",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_shown_address_has_no_key(address) -> None:
    assert shown_address(address) == ADDRESSES[address]


@pytest.mark.parametrize(
    "query",
    [f"key={KEY}", f"api_key={KEY}", f"X-Amz-Signature={KEY}", "access_token=short", f"v=1&code={KEY}", f"x={KEY}"],
)
def test_a_key_in_the_query_is_refused_and_not_shown(query) -> None:
    line = told(f"http://127.0.0.1:9/v1?{query}")
    assert "key_variable" in line
    assert KEY not in line
    assert "short" not in line


def test_a_key_before_the_host_is_refused_and_not_shown() -> None:
    line = told(f"http://user:{KEY}@127.0.0.1:9/v1")
    assert "key_variable" in line
    assert KEY not in line


def test_a_query_without_a_key_is_sent_and_not_shown(endpoint) -> None:
    url = f"{endpoint.url}?api-version=2024-10-21&signature_name=serving_default"
    assert HttpTarget(url, TAKES, VALUE, "json", **QUICK).source == endpoint.url


@pytest.mark.parametrize("spaced", [KEY, f"{KEY}\n", f" {KEY}\r\n"])
def test_the_key_of_the_environment_is_sent_and_not_shown(spaced, endpoint, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", spaced)
    seen: list[str] = []

    class Handler(QuietHandler):
        def reply(self) -> None:
            seen.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(403, f"no {seen[-1]} {ESCAPED}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server, address = serve(Handler)
    line = told(address, key_variable="MY_KEY")
    assert seen == [f"Bearer {KEY}"]
    assert "HTTP 403" in line
    assert KEY not in line
    assert ESCAPED not in line
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("value", [None, "", "  ", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\n{KEY}"])
def test_a_key_that_cannot_be_one_is_told_without_it(value, monkeypatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    line = told("http://127.0.0.1:9/", key_variable="MY_KEY")
    assert "key_variable MY_KEY" in line
    assert KEY not in line


WRONG = [{"timeout": float("nan")}, {"timeout": float("inf")}, {"back_off": float("nan")}, {"back_off": float("inf")}]


@pytest.mark.parametrize("options", [*WRONG, {"body": "xml"}])
def test_a_wrong_argument_is_told(options) -> None:
    (name,) = options
    assert name in told("http://127.0.0.1:9/", **options)


# --- ONNX ------------------------------------------------------------------------------------------------------------


def onnx_file(path: Path, kind: str = "FLOAT", baked: bool = False, last: bool = False, training: bool = False) -> Path:
    """The mean of the third channel of the second frame; its Reshape may say that there is one clip."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    shape = ["clips", 4, 8, 8, 3] if last else ["clips", 3, 4, 8, 8]
    frame, channel = (1, 4) if last else (2, 1)
    ends = {"starts": [1, 2], "ends": [2, 3], "axes": [frame, channel], "over": [1, 2, 3, 4]}
    constants = {name: np.array(value, np.int64) for name, value in ends.items()}
    constants["to"] = np.array([1, 1] if baked else [-1, 1], np.int64)
    nodes = [
        helper.make_node("Cast", ["clip"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["real", "starts", "ends", "axes"], ["part"]),
        helper.make_node("ReduceMean", ["part", "over"], ["mean"], keepdims=0),
    ]
    if training:
        nodes.append(helper.make_node("ReduceMean", ["mean"], ["level"], keepdims=1))
        nodes.append(helper.make_node("Sub", ["mean", "level"], ["apart"]))
    nodes.append(helper.make_node("Reshape", ["apart" if training else "mean", "to"], ["said"]))
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("clip", getattr(TensorProto, kind), shape)],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, ["clips", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("options", [{}, {"baked": True}, {"last": True}, {"last": True, "baked": True}])
@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "DOUBLE", "UINT8"])
def test_an_onnx_file_is_given_its_own_type_layout_and_batch(kind, options, tmp_path) -> None:
    takes = ClipInput((0.0, 255.0), size=8, frames=4, layout="BTHWC" if options.get("last") else "BCTHW")
    model = OnnxTarget(onnx_file(tmp_path / "m.onnx", kind, **options), takes, Answer("regression", scale=50.0))
    clips = 1.8 * torch.rand(5, 3, 4, 8, 8) - 0.9
    wanted = ((clips[:, 2, 1] + 1.0) * 127.5).round().mean((1, 2))
    torch.testing.assert_close(model(clips), wanted, atol=0.3, rtol=0)


def test_whole_levels_need_the_range_of_levels(tmp_path) -> None:
    with pytest.raises(UserError, match=r"takes whole levels .* declare range \[0, 255\]"):
        OnnxTarget(onnx_file(tmp_path / "m.onnx", "UINT8"), ClipInput((0.0, 1.0), size=8, frames=4), VALUE)


CUT_OFF = {
    "above 127": ("INT8", ClipInput((0.0, 255.0), size=8, frames=4), r"\[-128, 127\]"),
    "below 0": ("UINT8", ClipInput((-128.0, 127.0), size=8, frames=4), r"\[0, 255\]"),
    "few levels after std": ("UINT8", ClipInput((0.0, 255.0), 8, 4, std=(64.0, 64.0, 64.0)), "without mean and std"),
}


@pytest.mark.parametrize("case", CUT_OFF)
def test_whole_levels_that_the_type_would_cut_off_are_refused(case, tmp_path) -> None:
    kind, takes, says = CUT_OFF[case]
    with pytest.raises(UserError, match=says):
        OnnxTarget(onnx_file(tmp_path / "m.onnx", kind), takes, VALUE)


def test_a_type_that_no_clip_has_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"takes tensor\(bool\); export it for one of tensor\(float\)"):
        OnnxTarget(onnx_file(tmp_path / "m.onnx", "BOOL"), TAKES, VALUE)


def test_an_onnx_file_that_mixes_the_clips_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="mixes the clips of a batch"):
        OnnxTarget(onnx_file(tmp_path / "m.onnx", training=True), TAKES, Answer("regression", scale=0.2))
