"""What a Vox2Vox looks like, and the volumes it can work on. No numpy, no network library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spadework.errors import InputError

LEVELS = 4
# Sides in y and x are multiples of this.
MULTIPLE = 2**LEVELS
# Less than that in y and x leaves the bottom of an isotropic network a single voxel.
SMALLEST = 48
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """A generator and its discriminator (Isola et al. 2017; in 3-D: Cirillo et al. 2020).

    Attributes
    ----------
    inputs, outputs
        Channels of the volume translated from, and of the one translated to.
    activation
        Of the output: ``softmax`` for classes, ``linear`` for values.
    width
        Channels after the first convolution, doubled at each of four; 64 as published.
    strides_z
        Stride in z of each level: 2 as in y and x, or 1 for stacks of few sections, which then keep all their planes.
    dropout
        Share dropped at the bottom, while the network is trained.
    given
        The network is also given what was measured in the other planes of a stack: one more input channel per output,
        and one that says where something was measured.
    """

    inputs: int
    outputs: int
    activation: Literal["softmax", "linear"] = "softmax"
    width: int = 64
    strides_z: tuple[int, ...] = (2,) * LEVELS
    dropout: float = 0.2
    given: bool = False

    def __post_init__(self) -> None:
        """Refuse strides that no volume fits."""
        if len(self.strides_z) != LEVELS or not set(self.strides_z) <= {1, 2}:
            raise InputError(
                "config",
                None,
                found=f"volume.network.strides_z: {list(self.strides_z)}",
                expected=f"{LEVELS} numbers, each of them 1 or 2",
                remedy="correct the strides, or set null to have them chosen by the number of planes",
            )

    @property
    def channels(self) -> int:
        """Channels of all that the network looks at."""
        return self.inputs + (self.outputs + 1) * self.given

    @property
    def step(self) -> Shape:
        """Sides of volumes are multiples of this, in z, y and x."""
        return math.prod(self.strides_z), MULTIPLE, MULTIPLE

    def kernel(self, level: int) -> Shape:
        """Size of the kernels of a level: 4 where the stride is 2; in z, 3 where it is 1."""
        return 4 if self.strides_z[level] == 2 else 3, 4, 4

    @property
    def low_side(self) -> Shape:
        """Planes of zeros that put back, on the low side, what a kernel of 4 takes off at the bottom: 0 or 1 each."""
        z, y, x = (int(k == 4) for k in self.kernel(LEVELS - 1))
        return z, y, x

    def bottom(self, shape: Shape) -> Shape:
        """Voxels left at the bottom, where a kernel of 4 takes one off each side."""
        z, y, x = (n // step - lost for n, step, lost in zip(shape, self.step, self.low_side, strict=True))
        return z, y, x

    def fits(self, shape: Shape) -> bool:
        """Whether a volume (z, y, x) can be worked on.

        With a single voxel at the bottom, instance normalisation would make it zero: the network would be dead there,
        without a word.
        """
        whole = all(n % step == 0 for n, step in zip(shape, self.step, strict=True))
        left = self.bottom(shape)
        return whole and min(left) >= 1 and math.prod(left) > 1

    def fitting(self, shape: Shape) -> Shape:
        """Return the smallest sides that hold a volume and fit, in y and x at least :data:`SMALLEST`."""
        steps = self.step
        z, y, x = (-(-n // step) * step for n, step in zip(shape, steps, strict=True))
        y, x = max(y, SMALLEST), max(x, SMALLEST)
        while not self.fits((z, y, x)):
            z += steps[0]
        return z, y, x

    def check(self, shape: Shape, name: str) -> None:
        """Refuse a volume that does not fit, and say which one would.

        Raises
        ------
        InputError
            If a side is no multiple of :attr:`step`, or the volume is too small.
        """
        if not self.fits(shape):
            raise InputError(
                name,
                None,
                found=f"a volume of {_sides(shape)} voxels",
                expected=f"multiples of {_sides(self.step)} (z x y x x) that leave more than one voxel at the bottom "
                f"of the network, such as {_sides(self.fitting(shape))}",
                remedy="crop or pad the volume, or set volume.training.crop; with few planes, set "
                "volume.network.strides_z: [1, 1, 1, 1]",
            )


def strides_for(depth: int) -> tuple[int, ...]:
    """Choose strides in z by the number of planes: 2 where there are as many as the smallest cube has, else 1."""
    return (2 if depth >= SMALLEST else 1,) * LEVELS


def _sides(shape: Shape) -> str:
    return " x ".join(map(str, shape))
