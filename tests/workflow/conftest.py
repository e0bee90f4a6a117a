"""Fixtures of the workflow tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def outs_half(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated ``outs`` with overview images smaller than the full-resolution one, as real ones are."""
    outs = tmp_path_factory.mktemp("half") / "outs"
    shutil.copytree(simulated / "outs", outs)
    scalefactors = outs / "spatial/scalefactors_json.json"
    factors = json.loads(scalefactors.read_text())
    with Image.open(outs / "tissue_image.tif") as fullres:
        for kind, shrink in (("hires", 2), ("lowres", 4)):
            fullres.reduce(shrink).save(outs / f"spatial/tissue_{kind}_image.png")
            factors[f"tissue_{kind}_scalef"] = 1 / shrink
    scalefactors.write_text(json.dumps(factors))
    return outs
