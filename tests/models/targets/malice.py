"""A pickle that runs code when it is loaded, for every format that could carry one."""

from __future__ import annotations

import os
from pathlib import Path


class Malice:
    """Unpickling makes the file ``marker``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)
