"""A folder of weights that brings code of its own: nothing of it runs, and nobody is asked whether it may."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lvcf.errors import UserError
from lvcf.metrics.captions import SentenceEmbedder
from lvcf.metrics.clip_score import ClipEmbedder
from lvcf.metrics.dover import Dover
from lvcf.metrics.features import load_extractor
from lvcf.steering.judges.local import LocalModel
from tests.metrics.test_captions import save_bert
from tests.metrics.test_clip_score import save_clip
from tests.metrics.test_dover import dover_file

CODE = "open({marker!r}, 'w')\nclass C: pass\n"


@pytest.fixture
def yes(monkeypatch) -> None:
    """Whoever is asked says yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))


def bring_code(folder: Path, file: str, **content: Any) -> Path:
    """Make a folder's configuration name code beside it; returns what exists once that has run."""
    marker = folder / "OWNED"
    (folder / "m.py").write_text(CODE.format(marker=str(marker)))
    path = folder / file
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(old | content))
    return marker


def test_a_judges_processor_runs_no_code(tmp_path, yes) -> None:
    marker = bring_code(tmp_path, "processor_config.json", processor_class="X", auto_map={"AutoProcessor": "m.C"})
    with pytest.raises(UserError, match="no image-text-to-text model loads"):
        LocalModel(str(tmp_path))
    assert not marker.exists()


def test_a_text_encoder_runs_no_code(tmp_path, yes) -> None:
    save_bert(tmp_path)
    auto = {"AutoConfig": "m.C", "AutoModel": "m.C"}
    marker = bring_code(tmp_path, "config.json", model_type="x", auto_map=auto)
    with pytest.raises(UserError, match="no text encoder loads"):
        SentenceEmbedder(str(tmp_path))
    assert not marker.exists()


@pytest.mark.parametrize("embedder", [ClipEmbedder, SentenceEmbedder])
def test_a_tokenizer_runs_no_code(embedder, tmp_path, yes) -> None:
    (save_clip if embedder is ClipEmbedder else save_bert)(tmp_path)
    auto = {"AutoTokenizer": ["m.C", None]}
    marker = bring_code(tmp_path, "tokenizer_config.json", tokenizer_class="X", auto_map=auto)
    bring_code(tmp_path, "config.json", model_type="x", auto_map={"AutoConfig": "m.C"})
    with pytest.raises(UserError, match="loads"):
        embedder(str(tmp_path))
    assert not marker.exists()


def test_a_damaged_pooling_is_no_encoder(tmp_path) -> None:
    save_bert(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="no text encoder loads"):
        SentenceEmbedder(str(tmp_path))


def test_a_feature_extractor_that_breaks_down_is_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "odd_features.py").write_text("class M:\n def __init__(self): raise RuntimeError('no\\nluck')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"does not load \(RuntimeError: no luck\)"):
        load_extractor("module:odd_features.M", None)


def test_a_quality_network_of_another_precision_is_told(tmp_path) -> None:
    import onnx

    path = dover_file(tmp_path / "d.onnx", aes_view=[1, 3, 4, 14, 14], tech_view=[2, 3, 8, 14, 14])
    model = onnx.load(path)
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"aes_view is tensor\(double\); export it in float32"):
        Dover(path)
