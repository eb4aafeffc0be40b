"""How steady a clip is, and how near to a text, in the embedding of CLIP (Radford et al. 2021).

Both are cosines in [-1, 1] of embeddings divided by their L2 norm, without CLIPScore's factor of 2.5 or 100 and without
its clipping at 0 (Hessel et al. 2021).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, CLIPModel

from lvcf.errors import UserError
from lvcf.models.targets.video_classifier import preprocessing_of


class ClipEmbedder:
    """A CLIP of transformers with its tokenizer and image processor.

    Args:
        folder: of all three, or a hub id.

    Raises:
        UserError: one of them does not load.
    """

    def __init__(self, folder: str) -> None:
        self.preprocessing = preprocessing_of(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network = CLIPModel.from_pretrained(folder)
        except Exception as error:  # transformers, safetensors and tokenizers raise their own
            raise UserError(f"--clip {folder}: no CLIP loads ({' '.join(str(error).split())[:200]})") from error
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.longest = int(self.network.config.text_config.max_position_embeddings)

    @torch.no_grad()
    def frames(self, video: Tensor) -> Tensor:
        """Unit embeddings ``(T, D)`` of a clip ``(3, T, H, W)`` in [-1, 1]."""
        pixels = rearrange(self.preprocessing(video[None].to(self.device)), "b t c h w -> (b t) c h w")
        return functional.normalize(self.network.get_image_features(pixel_values=pixels).pooler_output, dim=-1).cpu()

    @torch.no_grad()
    def text(self, prompt: str) -> Tensor:
        """The unit embedding ``(D,)`` of a text, cut at CLIP's length."""
        tokens = self.tokenizer(prompt, truncation=True, max_length=self.longest, return_tensors="pt").to(self.device)
        found = self.network.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return functional.normalize(found.pooler_output[0], dim=-1).cpu()


def temporal_consistency(frames: Tensor) -> float:
    """Mean cosine of consecutive frames' unit embeddings ``(T, D)``: 1 for a clip that stands still."""
    return float((frames[1:] * frames[:-1]).sum(dim=-1).mean())


def text_alignment(frames: Tensor, text: Tensor) -> float:
    """Mean cosine of frames' unit embeddings ``(T, D)`` with a text's ``(D,)``."""
    return float((frames @ text).mean())
