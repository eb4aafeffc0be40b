"""Regions that a user named, for all clips of a run: boxes, polygons and masks from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from lvcf.errors import UserError, told
from lvcf.measure.changes import Marked
from lvcf.region import ClipRegionError, Find, check_box, read_polygon, read_region
from lvcf.runs.folder import Prediction

FORMS = "a box [left, top, right, bottom], a polygon [[x, y], [x, y], [x, y]] or the file of a mask"


def read_regions(path: Path) -> dict[str, Marked]:
    """A YAML or JSON file of names, each with :data:`FORMS`; files are looked for beside it.

    Raises:
        UserError: it cannot be read, or names something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"--regions {path}: no such file; name a YAML or JSON file of regions") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"--regions {path}: is no YAML ({told(error)}); write lines such as 'septum: [40, 30, 60, 80]'"
        ) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"--regions {path}: names no region; give each name {FORMS}")
    return {
        str(name): _marked(_find(region, path.parent, f"--regions {path}, {name}:")) for name, region in content.items()
    }


def _find(region: Any, folder: Path, named: str) -> Find:
    if isinstance(region, str):
        found = read_region(str(folder / region), named)
    elif isinstance(region, list) and region and all(type(number) is int for number in region):
        check_box(region, named)
        found = read_region((region[0], region[1], region[2], region[3]), named)
    elif isinstance(region, list) and region and all(isinstance(point, list) for point in region):
        found = read_polygon(region, named.removesuffix(":"))
    else:
        raise UserError(f"{named} {region!r} is no region; give {FORMS}")
    assert found is not None  # only of no region
    return found


def _marked(find: Find) -> Marked:
    """The region of a clip; a table of polygons need not name every one."""

    def marked(prediction: Prediction, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        try:
            mask = find(prediction.file_name, torch.empty(3, *shape, device="meta"))
        except ClipRegionError:
            return None
        return np.asarray(mask.expand(shape).numpy())

    return marked
