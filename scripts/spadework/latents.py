"""Image latents: principal components of the features, and two-dimensional embeddings to look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from spadework.errors import InputError

# Below this many spots scikit-learn's t-SNE is as fast as openTSNE's, above it openTSNE wins.
OPENTSNE_FROM = 2000
_TSNE_THREADS = 2
# A component with less variance than this, relative to the first, is rounding: features have seven digits.
RESOLUTION = 1e-13


@dataclass(frozen=True)
class LatentModel:
    """A principal component analysis of image features, fitted once and applied to any section.

    Attributes
    ----------
    mean, scale
        (d,) float64: what is subtracted from the features and what they are divided by.
    components
        (k, d) float64 orthonormal loadings. The loading of largest absolute value is positive in every
        component, which fixes the sign.
    variance
        (k,) float64: variance of each component.
    variance_ratio
        (k,) float64: share of the total variance.
    fitted_on
        Names of the sections it was fitted on.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64]
    variance: NDArray[np.float64]
    variance_ratio: NDArray[np.float64]
    fitted_on: NDArray[np.str_] = field(default_factory=lambda: np.array([], str))

    def project(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project features (n, d) to latents (n, k)."""
        return (np.asarray(features, np.float64) - self.mean) / self.scale @ self.components.T

    def save(self, path: str | Path) -> None:
        """Write the model as ``.npz``."""
        np.savez(path, **asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> LatentModel:
        """Read a model written by :meth:`save`."""
        with np.load(path) as arrays:
            return cls(**arrays)

    def describe(self, n_latents: int) -> dict[str, NDArray]:
        """Return the first ``n_latents`` components and all that is needed to apply them, fit for ``uns``."""
        return {
            "components": self.components[:n_latents],
            "variance": self.variance[:n_latents],
            "variance_ratio": self.variance_ratio[:n_latents],
            "mean": self.mean,
            "scale": self.scale,
            "fitted_on": self.fitted_on,
        }


def fit_latents(features: NDArray[np.floating], n_components: int, *, standardize: bool) -> LatentModel:
    """Fit a PCA by full singular value decomposition in double precision.

    Parameters
    ----------
    features
        (n, d).
    n_components
        Number of latents to keep. Where the features vary in fewer directions, the rest is rounding and is left out.
    standardize
        Scale every feature to unit variance first. Features that share one unit (a network's) are better left
        alone; constant features are never scaled.

    Raises
    ------
    ValueError
        If there are fewer spots or features than latents, or the features hold NaN.
    """
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values")
    if n_components > min(features.shape[0] - 1, features.shape[1]):
        raise ValueError(
            f"{n_components} latents asked for, but {features.shape[0]} spots with {features.shape[1]} features "
            f"allow at most {min(features.shape[0] - 1, features.shape[1])}"
        )
    scale = np.ones(features.shape[1])
    if standardize:
        spread = features.std(axis=0, ddof=1)
        scale = np.where(spread > 0, spread, 1.0)
        features = features / scale
    pca = PCA(n_components, svd_solver="full").fit(features)
    real = pca.explained_variance_ > RESOLUTION * pca.explained_variance_[0]
    components = pca.components_[real]
    sign = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return LatentModel(
        mean=pca.mean_ * scale,
        scale=scale,
        components=components * sign[:, None],
        variance=pca.explained_variance_[real],
        variance_ratio=pca.explained_variance_ratio_[real],
    )


def fit_sections(
    features: dict[str, ad.AnnData], n_latents: int, n_embed: int, standardize: str | bool
) -> LatentModel:
    """Fit the latents of one section, or shared ones of several, each spot weighing the same.

    Parameters
    ----------
    features
        Section name -> AnnData of the encoding stage.
    n_latents
        Latents that must exist.
    n_embed
        Further components for the embeddings, as far as there are any.
    standardize
        ``auto`` follows the encoder.

    Raises
    ------
    InputError
        If there are too few spots for the latents asked for.
    """
    for name, section in features.items():
        if section.n_obs < 4:
            raise InputError(
                name,
                None,
                found=f"{section.n_obs} spots on tissue",
                expected="at least 4, and hundreds for a result worth having",
                remedy="check the tissue detection of Space Ranger, or remove the section from the sample sheet",
            )
    stacked = np.concatenate([np.asarray(a.X) for a in features.values()])
    if standardize == "auto":
        standardize = not all(a.uns["encoder"]["same_units"] for a in features.values())
    most = min(stacked.shape[0] - 1, stacked.shape[1])
    if n_latents > most:
        raise InputError(
            ", ".join(features),
            None,
            found=f"{stacked.shape[0]} spots with {stacked.shape[1]} features",
            expected=f"enough for latents.n_latents: {n_latents}",
            remedy=f"set latents.n_latents to {most} or fewer",
        )
    model = fit_latents(stacked, min(max(n_latents, n_embed), most), standardize=bool(standardize))
    if len(model.variance) < n_latents:
        raise InputError(
            ", ".join(features),
            None,
            found=f"features that vary in {len(model.variance)} directions",
            expected=f"enough for latents.n_latents: {n_latents}",
            remedy="look at the image and the preflight overlay: most patches are alike; or lower latents.n_latents",
        )
    return replace(model, fitted_on=np.array(list(features)))


def _possible(perplexity: float, n: int) -> float:
    """Lower a perplexity to what n spots allow."""
    if n < 4:
        raise ValueError(f"t-SNE of {n} spots; at least 4 are needed")
    return min(perplexity, (n - 1) / 3)


def published_tsne(features: NDArray[np.floating], *, perplexity: float, seed: int) -> NDArray[np.float32]:
    """Embed raw features (n, d) as the published script does, (n, 2) float32.

    scikit-learn's t-SNE with its settings of 2021: learning rate 200, started at the first two components as they
    are (since version 1.2 it scales them down). Here they come from a full decomposition: a run can be repeated.

    Raises
    ------
    ValueError
        If there are fewer than four spots.
    """
    perplexity = _possible(perplexity, len(features))
    start = PCA(2, svd_solver="full").fit_transform(np.asarray(features, np.float64)).astype(np.float32)
    model = TSNE(
        2,
        perplexity=perplexity,
        learning_rate=200.0,
        init=start,
        random_state=seed,
        n_jobs=_TSNE_THREADS,
    )
    return model.fit_transform(np.asarray(features, np.float32))


def tsne(latents: NDArray[np.floating], *, perplexity: float, seed: int) -> NDArray[np.float32]:
    """Embed latents (n, k) in two dimensions by t-SNE, (n, 2) float32.

    The number of threads is fixed, because openTSNE's result depends on it.
    scikit-learn's implementation below :data:`OPENTSNE_FROM` spots, openTSNE (Poličar et al. 2024) from there on.
    The perplexity is lowered to (n - 1) / 3 where there are few spots; both start from the first two components.

    Raises
    ------
    ValueError
        If there are fewer than four spots.
    """
    perplexity = _possible(perplexity, len(latents))
    start = np.asarray(latents[:, :2], np.float64)
    if start.shape[1] < 2:
        start = np.hstack([start, np.zeros_like(start)])
    start = (start - start.mean(axis=0)) / start[:, 0].std() * 1e-4
    if len(latents) < OPENTSNE_FROM:
        model = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=_TSNE_THREADS)
        return model.fit_transform(np.asarray(latents, np.float32))
    import openTSNE

    model = openTSNE.TSNE(2, perplexity=perplexity, initialization=start, random_state=seed, n_jobs=_TSNE_THREADS)
    return np.asarray(model.fit(np.asarray(latents, np.float64)), np.float32)
