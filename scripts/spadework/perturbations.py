"""Arbitrary choices of the image side, made differently: orientation, place and staining of the patches.

A section could have lain on its slide turned or upside down, spots could have been printed a little beside where they
are, and another laboratory would have stained a little differently. None of this is biology, so no result should
depend on it. Every perturbation is fixed, and the same for all patches of a section.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

# The start of the workflow looks up names of perturbations, with nothing installed but Snakemake.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Share of the patch edge: recorded spots lie up to 10 µm beside the printed ones where those can be seen.
SHIFT = 0.1
# In one data set, mean haematoxylin of breast sections differs by up to 8 % within a patient, 13 % between patients.
STAIN = 0.1
BRIGHTNESS = 0.02


def _unchanged(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return patch


def _turned(patch: NDArray[np.uint8], quarters: int) -> NDArray[np.uint8]:
    """Turn anticlockwise, as one sees the patch."""
    for _ in range(quarters):
        patch = patch.swapaxes(0, 1)[::-1]
    return patch


@dataclass(frozen=True)
class Perturbation:
    """One choice made differently.

    Attributes
    ----------
    shift
        Where the box of a patch goes, in shares of its width (rightwards) and its height (downwards).
    transform
        What happens to the patch once it is cut and square, (h, w, 3) uint8 to (h, w, 3) uint8.
    """

    name: str
    shift: tuple[float, float] = (0.0, 0.0)
    transform: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = _unchanged

    def centres(self, centres: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float64]:
        """Return where centres (n, 2) of boxes of ``size`` (width, height) go, (n, 2) float64, same pixels."""
        import numpy as np

        return np.asarray(centres, np.float64) + np.asarray(self.shift) * size


def restain(
    patch: NDArray[np.uint8], *, haematoxylin: float, eosin: float, brightness: float = 1.0
) -> NDArray[np.uint8]:
    """Scale the optical density of each stain, and the light.

    Stains are separated as in :class:`spadework.encoders.colour_texture.ColourTextureEncoder`, by the vectors of
    Ruifrok & Johnston (2001, Analytical and Quantitative Cytology and Histology 23:291-299); what is neither
    haematoxylin nor eosin stays. Scaling stains is how networks are made robust to staining (Tellez et al. 2018,
    IEEE Transactions on Medical Imaging 37:2126-2136). scikit-image's own separation cuts negative amounts off and
    would change colours that no factor changes; here factors of 1 give the patch back exactly.

    Parameters
    ----------
    patch
        (h, w, 3) uint8.
    haematoxylin, eosin
        Factors of the optical densities.
    brightness
        Factor of the light that reaches the camera.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) uint8, cut off at 0 and 255.
    """
    import numpy as np
    from skimage.color import hed_from_rgb, rgb_from_hed

    density = -np.log10((np.arange(256) + 1) / 256)
    change = hed_from_rgb @ np.diag([haematoxylin, eosin, 1.0]) @ rgb_from_hed
    light = brightness * 256 * 10 ** -(density[patch] @ change) - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


UNPERTURBED = Perturbation("unperturbed")
PERTURBATIONS: dict[str, Perturbation] = {
    p.name: p
    for p in (
        UNPERTURBED,
        *(Perturbation(f"rotate_{90 * k}", transform=partial(_turned, quarters=k)) for k in (1, 2, 3)),
        Perturbation("flip_horizontal", transform=lambda patch: patch[:, ::-1]),
        Perturbation("flip_vertical", transform=lambda patch: patch[::-1]),
        Perturbation("shift_left", shift=(-SHIFT, 0.0)),
        Perturbation("shift_right", shift=(SHIFT, 0.0)),
        Perturbation("shift_up", shift=(0.0, -SHIFT)),
        Perturbation("shift_down", shift=(0.0, SHIFT)),
        # Weak and strong in haematoxylin; eosin goes the other way, so that the hue changes too.
        Perturbation(
            "stain_weak",
            transform=partial(restain, haematoxylin=1 - STAIN, eosin=1 + STAIN, brightness=1 + BRIGHTNESS),
        ),
        Perturbation(
            "stain_strong",
            transform=partial(restain, haematoxylin=1 + STAIN, eosin=1 - STAIN, brightness=1 - BRIGHTNESS),
        ),
    )
}
