"""Association under spatial dependence: the modified t-test with an effective number of spots.

Neighbouring spots resemble each other, so that a section of n spots says less about a correlation than n
independent spots would. The test of Clifford, Richardson & Hemon (1989, Biometrics 45:123-134), with the traces of
Dutilleul (1993, Biometrics 49:305-314), estimates the variance of the correlation from both autocorrelations and
turns it into an effective number of spots.

With B = I - QQ' (Q an orthonormal basis of intercept and covariates), unit residuals y = B gene and x = B latent,
W_h the 0/1 matrix of the spot pairs in distance class h (n_h of them, both directions; class 0 is a spot with
itself) and C_z(h) = z' W_h z / n_h::

    T_hh' = tr(B W_h B W_h')      t_h = tr(B W_h)
    var(r) = C_y' T C_x / ((t' C_y) (t' C_x))
    M = 1 + 1 / var(r)            t = r sqrt((M - 2) / (1 - r^2)) on M - 2 degrees of freedom

Sections hold too few independent parts of a field that varies over all of their width: of null tests between
exponential fields, 5 % have p < 0.05 up to a range of a quarter of the width, 7 % at half, 10 % at all of it (82,
87 and 86 % by the ordinary t).

Spots lie on a lattice, so that W_h is a convolution: all sums over pairs come from Fourier transforms of
lattice-shaped images in which spots that are missing hold zero. Nothing is approximated. var(r) is linear in C_y,
so that a gene costs one transform and k + 1 inner products with its power spectrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.fft import fft, irfft2, next_fast_len, rfft, rfft2
from scipy.spatial.distance import pdist
from scipy.stats import t as student

from spadework.association import two_sided_log10_p
from spadework.lattice import LatticeKind, is_checkerboard

# Physical size of one array row and one array column, in spot pitches (see lattice.array_to_um).
STEPS: dict[LatticeKind, tuple[float, float]] = {
    "hexagonal": (np.sqrt(3) / 2, 0.5),
    "checkerboard": (0.5, 0.5),
    "square": (1.0, 1.0),
}

MIN_SPOTS = 10

# What is left of a variable, relative to its spread, if it is a combination of the covariates but for rounding to
# single precision.
RESOLUTION = 1e-6

# An effective number of spots of 3: one degree of freedom, the least a t distribution can have here.
MAX_VARIANCE = 0.5


@dataclass(frozen=True)
class SpatialTest:
    """Results for all genes and latents, (genes, latents) float64; NaN for genes that the covariates explain.

    Attributes
    ----------
    r
        Partial correlation given the covariates.
    ess
        Effective number of spots M, between 3 and 1 + n - q. The upper bound is the test of independent spots; it
        also stands where var(r) is estimated smaller, or negative.
    t, p
        Statistic on M - 2 degrees of freedom and its two-sided p-value.
    log10_p
        log10 of p, exact where p itself underflows.
    """

    r: NDArray[np.float64]
    ess: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    log10_p: NDArray[np.float64]


class SpatialNull:
    """What the test needs to know of a section, whatever the gene and the latent.

    Takes little more than ``classes * n * 8`` bytes while it is built (2 MB for a full Visium slide), never n x n.

    Attributes
    ----------
    basis
        (n, q) float64, orthonormal: the intercept and the covariates (Q).
    n_pairs
        (classes,) ordered pairs of spots per distance class (n_h).
    T, trace
        (classes, classes) and (classes,) float64: tr(B W_h B W_h') and tr(B W_h).
    """

    def __init__(
        self,
        cells: NDArray[np.integer],
        step: tuple[float, float],
        covariates: NDArray[np.floating] | None = None,
    ) -> None:
        """Sort all pairs of spots into distance classes and compute the traces.

        Class 0 holds each spot with itself, class h the pairs at distances in (h - 1/2, h + 1/2] pitches, class 1
        also any that are closer; the last class is the one that holds half the largest distance.

        Parameters
        ----------
        cells
            (n, 2) integer array coordinates (row, column).
        step
            Physical size of one row and one column, in spot pitches; ``STEPS`` has those of the capture lattices.
        covariates
            (n, c), without an intercept. Those that are constant or combinations of others change nothing.

        Raises
        ------
        ValueError
            If there are fewer than 10 spots, or no more than 2 + q; if two spots share a position; if covariates
            are not finite.
        """
        cells = np.asarray(cells)
        n = len(cells)
        if cells.shape != (n, 2) or not np.issubdtype(cells.dtype, np.integer):
            raise ValueError(f"cells of shape {cells.shape} and type {cells.dtype}, not (n, 2) integers")
        if n < MIN_SPOTS:
            raise ValueError(f"{n} spots; the spatial test needs at least {MIN_SPOTS}")
        if len(np.unique(cells, axis=0)) < n:
            raise ValueError("two spots share a position of the array")
        self.basis = orthonormal_basis(n, covariates)
        if n < self.basis.shape[1] + 3:
            raise ValueError(f"{n} spots cannot be tested given {self.basis.shape[1] - 1} covariates")
        self._grid = _Grid.enclosing(cells, step)
        self.n_pairs, self.T, self.trace = _traces(self._grid, self.basis)

    def against(self, latents: NDArray[np.floating]) -> LatentTest:
        """Prepare the test of genes, any number of times, against latents (n, k), one latent at a time.

        Raises
        ------
        ValueError
            If shapes do not match, values are not finite, or a latent is a combination of the covariates.
        """
        values: NDArray[np.float64] = np.asarray(latents, np.float64)
        if values.ndim != 2 or len(values) != len(self.basis):
            raise ValueError(f"latents of shape {values.shape} for {len(self.basis)} spots")
        x = self._varying(values)
        # C_y enters through C_y' T C_x and t' C_y only: k + 1 weights per lattice offset take the place of classes.
        covariance = self._covariances(x)
        weights = np.column_stack([self.T @ covariance, self.trace]) / np.maximum(self.n_pairs, 1)[:, None]
        return LatentTest(self.basis, self._grid, x, self._grid.spectra(weights), self.trace @ covariance)

    def covariances(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean product of the spots in each distance class, C(h), (classes, m), of unit residuals of values (n, m).

        Raises
        ------
        ValueError
            If a column is a combination of the covariates, or not finite.
        """
        return self._covariances(self._varying(values))

    def _varying(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        residuals, varies = unit_residuals(self.basis, values)
        if not varies.all():
            raise ValueError(f"latent {int(np.argmin(varies)) + 1} is constant or a combination of the covariates")
        return residuals

    def _covariances(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._grid.class_sums(residuals) / np.maximum(self.n_pairs, 1)[:, None]


@dataclass(frozen=True)
class LatentTest:
    """The test against given latents (:meth:`SpatialNull.against`).

    Attributes
    ----------
    basis
        (n, q) intercept and covariates.
    x
        (n, k) unit residuals of the latents.
    weights
        (frequencies, k + 1): a gene's power spectrum times these is C_y' T C_x of each latent, and t' C_y.
    scale
        (k,) t' C_x.
    """

    basis: NDArray[np.float64]
    grid: _Grid
    x: NDArray[np.float64]
    weights: NDArray[np.float64]
    scale: NDArray[np.float64]

    def test(
        self, expression: sparse.csr_matrix | sparse.csc_matrix | NDArray[np.floating], *, block: int = 64
    ) -> SpatialTest:
        """Correlate every gene with every latent.

        Parameters
        ----------
        expression
            (n, genes), sparse or dense.
        block
            Genes transformed at a time; a few dozen stay in the cache and are faster than more.

        Raises
        ------
        ValueError
            If the number of spots does not match, or values are not finite.
        """
        n, k = self.x.shape
        if expression.shape[0] != n:
            raise ValueError(f"expression of {expression.shape[0]} spots, not {n}")
        genes = expression.shape[1]
        by_gene = expression if isinstance(expression, np.ndarray) else sparse.csc_matrix(expression)
        r, forms = np.empty((genes, k)), np.empty((genes, k + 1))
        for start in range(0, genes, block):
            part = by_gene[:, start : start + block]
            y, varies = unit_residuals(self.basis, part if isinstance(part, np.ndarray) else part.toarray())
            where = slice(start, start + block)
            r[where] = y.T @ self.x
            forms[where] = self.grid.power(y) @ self.weights
            r[where][~varies] = forms[where][~varies] = np.nan
        variance = forms[:, :k] / (forms[:, k:] * self.scale)
        # Between that of independent spots and that which leaves one degree of freedom.
        variance = np.clip(variance, 1 / (n - self.basis.shape[1]), MAX_VARIANCE)
        return t_test(np.clip(r, -1, 1), 1 + 1 / variance)


def unit_residuals(
    basis: NDArray[np.float64], values: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Take from values what lies in a basis, and scale the rest to unit length.

    Parameters
    ----------
    basis
        (n, q) float64, orthonormal, with the constant among its combinations.
    values
        (n, columns).

    Returns
    -------
    residuals
        (n, columns) float64.
    varies
        (columns,) whether there is a rest at all.

    Raises
    ------
    ValueError
        If values are not finite.
    """
    # Counting from the first spot leaves exact zeros of constants, and spares digits that a large mean costs.
    shifted = values.astype(np.float64)
    shifted -= shifted[0].copy()
    spread = np.sqrt(np.einsum("ij,ij->j", shifted, shifted))
    if not np.isfinite(spread).all():
        raise ValueError("NaN or infinite values in expression or latents")
    shifted -= basis @ (basis.T @ shifted)
    length = np.sqrt(np.einsum("ij,ij->j", shifted, shifted))
    varies = length > RESOLUTION * spread
    shifted /= np.where(varies, length, 1.0)
    return shifted, varies


def t_test(r: NDArray[np.float64], ess: NDArray[np.float64]) -> SpatialTest:
    """Test correlations (genes, latents) at their effective numbers of spots, of the same shape."""
    df = ess - 2
    # A gene that is the latent keeps a finite t.
    t = r * np.sqrt(df / np.maximum(1 - r**2, np.finfo(float).eps))
    p = 2 * student.sf(np.abs(t), df)
    with np.errstate(divide="ignore"):
        log10_p = np.log10(p)
    for i, j in np.argwhere(p < 1e-290):
        log10_p[i, j] = two_sided_log10_p(t[i, [j]], df[i, j])[0]
    # A table of doubles ends at 2e-308; log10_p goes on.
    return SpatialTest(r, ess, t, np.maximum(p, np.finfo(float).tiny), log10_p)


def orthonormal_basis(n: int, covariates: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """Orthonormal basis of the intercept and the covariates (n, c), (n, q) float64.

    Covariates that are constant or combinations of others change nothing.

    Raises
    ------
    ValueError
        If the covariates are not n finite rows.
    """
    ones = np.ones((n, 1))
    if covariates is None or np.size(covariates) == 0:
        return ones / np.sqrt(n)
    values: NDArray[np.float64] = np.asarray(covariates, np.float64)
    if values.ndim != 2 or len(values) != n:
        raise ValueError(f"covariates of shape {values.shape} for {n} spots")
    if not np.isfinite(values).all():
        raise ValueError("covariates hold NaN or infinite values")
    shifted = values - values[0]
    centred = shifted - shifted.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    varies = length > RESOLUTION * np.linalg.norm(shifted, axis=0)
    directions, size, _ = np.linalg.svd(centred[:, varies] / length[varies], full_matrices=False)
    return np.linalg.qr(np.column_stack([ones, directions[:, size > RESOLUTION]]))[0]


@dataclass(frozen=True)
class _Grid:
    """Spots on a periodic grid, and the distance class of every offset between grid positions.

    The grid is larger than the section by the reach of the last class, so that no pair of spots is taken for one
    within that reach around the edge. If only every second position of the array is used (hexagonal lattices,
    checkerboards), columns run along a diagonal and the grid is half as large.

    Attributes
    ----------
    rows, columns
        (n,) integer position of each spot; ``rows`` fill the first ``n_rows`` rows only.
    shape
        Size of the grid, lengths that transform fast.
    classes
        ``shape`` integer: distance class of each offset, ``n_classes`` where it is in none.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    n_rows: int
    shape: tuple[int, int]
    classes: NDArray[np.intp]
    n_classes: int

    @classmethod
    def enclosing(cls, cells: NDArray[np.integer], step: tuple[float, float]) -> _Grid:
        row, column = (cells - cells.min(axis=0)).astype(np.intp).T
        # Rounding must not move a distance across an edge between classes: lattices have none within 1e-9 of one.
        last = int(np.ceil(_largest_distance(row, column, step) / 2 - 0.5 - 1e-9))
        reach = [int((last + 0.5) / size + 1e-6) for size in step]
        stride = 2 if is_checkerboard(row, column) else 1
        n_rows = int(row.max()) + 1
        height = next_fast_len(n_rows + min(reach[0], n_rows))
        width = int(column.max()) + 1
        width = next_fast_len(-(-(width + min(reach[1], width)) // stride), real=True)
        # Offset of each grid position from the first, counted the short way around.
        down = (np.arange(height)[:, None] + height // 2) % height - height // 2
        across = stride * np.arange(width)[None, :] + (stride - 1) * down
        across = (across + stride * width // 2) % (stride * width) - stride * width // 2
        distance = np.hypot(down * step[0], across * step[1])
        # Class 0 is a spot with itself, however small the steps are.
        classes = np.maximum(np.ceil(distance - 0.5 - 1e-9), distance > 0).astype(np.intp)
        return cls(
            rows=row,
            columns=((column - row) // 2 if stride == 2 else column) % width,
            n_rows=n_rows,
            shape=(height, width),
            classes=np.minimum(classes, last + 1),
            n_classes=last + 1,
        )

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Fourier transforms (m, height, width // 2 + 1) of the images of values (n, m)."""
        images = np.zeros((values.shape[1], self.n_rows, self.shape[1]))
        images[:, self.rows, self.columns] = values.T
        # The rows below the section are zero: no need to transform them.
        return fft(rfft(images, axis=2), n=self.shape[0], axis=1, overwrite_x=True)

    def power(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power spectra (m, frequencies) of the images of values (n, m)."""
        spectrum = self.transform(values)
        power = spectrum.real**2
        power += spectrum.imag**2
        return power.reshape(len(power), -1)

    def spectra(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn weights per class (classes, m) into weights per frequency (frequencies, m).

        ``power(z) @ spectra(w)`` is the sum over all pairs of spots of w(class) z_a z_b.
        """
        padded = np.vstack([weights, np.zeros(weights.shape[1])])
        # Distance is the same both ways, so the transforms are real.
        spectra = rfft2(padded[self.classes], axes=(0, 1)).real / self.classes.size
        # Half of the frequencies stand for their negatives, too.
        spectra[:, 1 : (self.shape[1] + 1) // 2] *= 2
        return spectra.reshape(-1, weights.shape[1])

    def class_sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum z_a z_b over the pairs of spots in each class, (classes, m), for each column z of values (n, m)."""
        sums = np.empty((self.n_classes, values.shape[1]))
        for j in range(values.shape[1]):
            power = self.power(values[:, [j]]).reshape(self.shape[0], -1)
            products = irfft2(power, s=self.shape)
            sums[:, j] = np.bincount(self.classes.ravel(), products.ravel(), self.n_classes + 1)[:-1]
        return sums


def _largest_distance(row: NDArray[np.intp], column: NDArray[np.intp], step: tuple[float, float]) -> float:
    """Largest distance between two spots, in pitches. Only the first and last spot of a row can be at its ends."""
    order = np.lexsort((column, row))
    starts = np.r_[True, np.diff(row[order]) > 0]
    ends = np.r_[starts[1:], True]
    outline = order[starts | ends]
    return float(pdist(np.column_stack([row[outline] * step[0], column[outline] * step[1]])).max())


def _traces(
    grid: _Grid, basis: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Ordered pairs n_h, T_hh' = tr(B W_h B W_h') and t_h = tr(B W_h) of all classes.

    B = I - QQ' expands T into tr(W_h W_h') - 2 tr(Q' W_h W_h' Q) + tr(Q' W_h Q Q' W_h' Q), whose first term is n_h
    on the diagonal, as classes do not overlap.
    """
    n, q = basis.shape
    n_pairs = np.rint(grid.class_sums(np.ones((n, 1)))[:, 0]).astype(np.int64)
    T = np.diag(n_pairs.astype(float))
    inner = np.empty((grid.n_classes, q, q))
    neighbours = np.empty((grid.n_classes, n))
    images = grid.transform(basis)
    for j in range(q):
        for h in range(grid.n_classes):
            image = irfft2(rfft2(grid.classes == h) * images[j], s=grid.shape)
            neighbours[h] = image[grid.rows, grid.columns]
        T -= 2 * (neighbours @ neighbours.T)
        inner[:, j] = neighbours @ basis
    T += np.einsum("hij,gij->hg", inner, inner)
    return n_pairs, T, np.where(np.arange(grid.n_classes) == 0, n, 0) - np.einsum("hii->h", inner)
