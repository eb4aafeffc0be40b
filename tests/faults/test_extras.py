"""What only some users need is named with its extra, in one line, where it is not installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from lvcf.errors import UserError
from lvcf.explanation import failure
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.lora import add_lora
from lvcf.models.targets.black_box import onnx_session
from lvcf.steering.editors.flow import DISFlow
from tests.families import save_family


def published_tokenizer(folder: Path) -> Path:
    """A backbone whose tokenizer is a file of sentencepiece's alone, as T5's are published."""
    save_family("wan_1_3b", folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 0}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


MISSING = {
    "onnxruntime": ("onnx", lambda tmp: onnx_session(tmp / "m.onnx")),
    "cv2": ("flow", lambda tmp: DISFlow()(torch.zeros(3, 2, 16, 16))),
    "peft": ("backbones", lambda tmp: add_lora(torch.nn.Linear(2, 2), 2)),
    "bitsandbytes": ("quantized", lambda tmp: load_backbone(str(save_family("latte", tmp)), quantized="int4")),
    "sentencepiece": ("backbones", lambda tmp: load_backbone(str(published_tokenizer(tmp)))),
    "IPython.display": ("notebook", lambda tmp: failure("clip", "no frame").show()),
}


@pytest.mark.parametrize("package", MISSING)
def test_a_package_of_an_extra_is_named_with_it(package, tmp_path, monkeypatch) -> None:
    extra, use = MISSING[package]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install '?lvcf\[{extra}\]") as told:
        use(tmp_path)
    assert "\n" not in str(told.value)
