"""What a volume shows, in colours: domains, or one latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from spadework.figures.style import DIVERGING, SMALL, category_colours, shortened

_LIMIT = 2.0  # of latents, standard deviations


@dataclass(frozen=True)
class Content:
    """What a volume shows: domains, or one latent.

    Attributes
    ----------
    volume
        (z, y, x): index of a domain, -1 for none; or values, NaN for none.
    names
        Of the domains; empty for a latent.
    label
        What it is, in words.
    """

    volume: NDArray
    names: tuple[str, ...]
    label: str

    def rgba(self, plane: NDArray, alpha: float = 1.0) -> NDArray[np.float64]:
        """Colour an array of the same kind, (..., 4); see-through where there is nothing."""
        if self.names:
            palette = np.array([to_rgb(c) for c in category_colours(list(self.names)).values()])
            there = plane >= 0
            colours = palette[np.where(there, plane, 0)]
        else:
            there = np.isfinite(plane)
            colours = plt.get_cmap(DIVERGING)(Normalize(-_LIMIT, _LIMIT)(np.where(there, plane, 0)))[..., :3]
        return np.concatenate([colours, np.where(there, alpha, 0.0)[..., None]], axis=-1)

    def explain(self, figure: Figure, axes: Sequence[Axes]) -> None:
        """Say beside or below the axes what the colours mean."""
        if self.names:
            handles = [Patch(color=c, label=shortened(n, 24)) for n, c in category_colours(list(self.names)).items()]
            columns = 1 + len(handles) // 16
            figure.legend(handles=handles, loc="outside right center", ncols=columns, title=self.label)
            return
        scale = ScalarMappable(Normalize(-_LIMIT, _LIMIT), DIVERGING)
        # a colour bar has to be in that part of the figure which its axes are in
        part: Any = axes[0].get_figure(root=False)
        bar = part.colorbar(scale, ax=list(axes), shrink=0.5, extend="both", aspect=25, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label(f"{self.label} (standard deviations)", fontsize=SMALL)


def predicted_content(
    prediction: NDArray[np.floating], tissue: NDArray[np.bool_], classes: Sequence[str], values: Sequence[str]
) -> Content:
    """Make of a prediction (z, y, x, k) what is drawn: the likeliest domain, or the first latent, on tissue."""
    if classes:
        return Content(np.where(tissue, prediction.argmax(axis=-1), -1), tuple(classes), "domain")
    return Content(np.where(tissue, prediction[..., 0], np.nan), (), values[0].replace("_", " "))
