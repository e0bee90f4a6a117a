"""Nuclei by StarDist (Schmidt et al. 2018), through its own package."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spadework.device import Device, select_device
from spadework.errors import InputError


@dataclass(frozen=True)
class StarDistSegmenter:
    """A StarDist model, with the thresholds that are stored with it.

    Pixels are divided by 255. To stretch every block to its own darkest and brightest pixels, as StarDist's examples
    do with small images, would make a nucleus depend on what else is in its block.
    """

    model: Any
    name: str
    um_per_px: float
    context_px: int
    step_px: int

    @classmethod
    def load(cls, folder: str | Path, um_per_px: float | None, device: Device) -> StarDistSegmenter:
        """Read the folder of a model.

        Raises
        ------
        InputError
            If StarDist is not installed, or the folder holds no model of RGB images with a known scale.
        """
        folder = Path(folder)
        if device == "cpu":
            # Read by TensorFlow when it starts.
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        try:
            from stardist.models import StarDist2D
        except ImportError as error:
            raise InputError(
                "config",
                None,
                found=f"nuclei.engine: stardist, which cannot be loaded ({error})",
                expected="the package stardist",
                remedy="run with --use-conda (envs/stardist.yaml brings it); or pip install stardist; or set "
                "nuclei.engine: unet",
            ) from error
        select_device(device, "nuclei.device")
        if not (folder / "config.json").is_file() or not um_per_px:
            raise InputError(
                "config",
                folder,
                found="no config.json" if um_per_px else "nuclei.um_per_px: null",
                expected="the folder of a StarDist model, and the µm per pixel of the images it was trained on",
                remedy="correct nuclei.model and nuclei.um_per_px",
            )
        model = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
        if model.config.n_channel_in != 3:
            raise InputError(
                "config",
                folder,
                found=f"a model of images with {model.config.n_channel_in} channel(s)",
                expected="a model of H&E images, RGB",
                remedy="correct nuclei.model",
            )
        # What StarDist itself goes by where it cuts large images up.
        return cls(
            model,
            folder.name,
            um_per_px,
            max(model._axes_tile_overlap("YX")),
            int(np.lcm.reduce(model._axes_div_by("YX"))),
        )

    def segment(self, pixels: NDArray[np.uint8], part: tuple[slice, slice]) -> NDArray[np.int32]:
        """Label a part of a block."""
        labels, _ = self.model.predict_instances(
            pixels.astype(np.float32) / 255, axes="YXC", show_tile_progress=False
        )
        return np.asarray(labels, np.int32)[part]

    def describe(self) -> dict[str, Any]:
        """Return name and thresholds of the model."""
        prob, nms = self.model.thresholds
        return {"engine": "stardist", "model": self.name, "prob_threshold": float(prob), "nms_threshold": float(nms)}
