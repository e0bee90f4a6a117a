"""One page on whether what one section shows holds in the others."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from spadework.figures.style import SMALL, TINY, WIDTH, category_colours
from spadework.headline import Headline
from spadework.replication import EFFECT, ESS, TOP, Aligned, align, fisher

REPLICATED, SAME, OPPOSITE = "#0072B2", "#9FCBE6", "#D55E00"
NOT_FOUND, IN_X, IN_Y, IN_BOTH = "#CCCCCC", "#0072B2", "#E69F00", "#6A3D9A"
POOLED, PAIR = "#222222", "#BBBBBB"
_SCATTERS, _FORESTS = 3, 2
# Lines of a forest plot that can still be told apart, and genes that are enough.
_LINES, _GENES = 48, 10
_POOLED_LABEL = "correlation given sequencing depth, 95 % interval"


def replication_page(
    tables: dict[str, pd.DataFrame],
    pairs: pd.DataFrame,
    pooled: pd.DataFrame,
    by: Headline,
    fdr: float,
    heading: str,
) -> Figure:
    """Agreement of all latents above; of the latents that agree best, effects in the middle and pooled effects below.

    Parameters
    ----------
    tables
        Section -> association table.
    pairs, pooled
        What :func:`spadework.replication.pairwise` (with the same ``by`` and ``fdr``) and
        :func:`spadework.replication.random_effects` make of them.
    by
        The columns to go by; pooled are always the correlations given sequencing depth.
    fdr
        Genes below this false discovery rate are found.

    Raises
    ------
    ValueError
        As :func:`spadework.replication.align`.
    """
    figure = plt.figure(figsize=(WIDTH, 8.6), layout="constrained")
    rows = figure.add_gridspec(3, 1, height_ratios=[3.4, 4.6, 5.6])
    top, middle, bottom = (figure.add_subfigure(rows[i]) for i in range(3))
    colours = category_colours(list(tables))
    correlations, signs, found = top.subplots(1, 3)
    _correlations(correlations, pairs, colours)
    _signs(signs, pairs, colours)
    _found(found, pairs, fdr)
    effects = align(tables, [by.effect, by.fdr])
    for ax, (pair, name) in zip(middle.subplots(1, _SCATTERS), _scatters(pairs), strict=False):
        _scatter(ax, effects, pair, name, by, fdr)
    for ax in middle.axes:
        ax.set_visible(ax.has_data())
    evidence = align(tables, [EFFECT, ESS])
    latents = _by_agreement(pairs)[:_FORESTS]
    for ax, latent in zip(bottom.subplots(1, len(latents), squeeze=False)[0], latents, strict=True):
        _forest(ax, evidence, pooled[pooled["latent"] == latent], colours, latent, fdr)
    figure.suptitle(heading)
    return figure


def _one_way(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return every pair of sections once."""
    sections = list(pairs["discovery"].unique())
    return pairs[pairs["discovery"].map(sections.index) < pairs["validation"].map(sections.index)]


def _by_agreement(pairs: pd.DataFrame) -> list[int]:
    """List the latents, best median correlation first."""
    return list(pairs.groupby("latent")["spearman"].median().sort_values(ascending=False, kind="stable").index)


def _latent_axis(ax: Axes, pairs: pd.DataFrame) -> None:
    latents = pairs["latent"].unique()
    ax.set_xticks(latents)
    ax.set(xlabel="latent", xlim=(latents.min() - 0.6, latents.max() + 0.6))


def _offsets(colours: dict[str, str]) -> NDArray[np.float64]:
    """Keep the marks of the sections at one latent apart."""
    return np.linspace(-0.25, 0.25, len(colours))


def _legend_above(ax: Axes, low: float, title: str) -> None:
    """Leave room for a legend above values that are no larger than 1."""
    ax.set_ylim(low, 1.06 + 0.42 * (1.06 - low))
    ax.set_yticks([tick for tick in np.arange(-1, 1.1, 0.25) if tick >= low])
    ax.legend(fontsize=TINY, ncols=3, loc="upper left", title=title, title_fontsize=TINY, alignment="left")


def _correlations(ax: Axes, pairs: pd.DataFrame, colours: dict[str, str]) -> None:
    """Correlation of every pair of sections, and each section's mean, which shows one that differs from the rest."""
    one_way = _one_way(pairs)
    ax.plot(
        one_way["latent"], one_way["spearman"], "o", ms=3.3, color=PAIR, mec="white", mew=0.3, label="two sections"
    )
    if len(colours) > 2:
        for offset, (section, colour) in zip(_offsets(colours), colours.items(), strict=True):
            mean = pairs[pairs["discovery"] == section].groupby("latent")["spearman"].mean()
            ax.plot(mean.index + offset, mean, "D", ms=2.7, color=colour, label=section)
    ax.axhline(0, color="black", lw=0.4)
    _latent_axis(ax, pairs)
    ax.set(ylabel="Spearman correlation", title="effects of all genes,\nsection against section")
    low = min(-0.1, float(np.nanmin([0.0, *pairs["spearman"]])) - 0.08)
    _legend_above(ax, low, "◆ mean with the others" if len(colours) > 2 else "")


def _signs(ax: Axes, pairs: pd.DataFrame, colours: dict[str, str]) -> None:
    """Signs of the strongest genes of each section in the others, and what would be chance."""
    for offset, (section, colour) in zip(_offsets(colours), colours.items(), strict=True):
        rows = pairs[pairs["discovery"] == section]
        ax.plot(
            rows["latent"] + offset, rows["top_same_sign"], "o", ms=2.7, color=colour, label=section, clip_on=False
        )
    chance = pairs.groupby("latent")["top_same_sign_chance"].mean()
    ax.hlines(chance, chance.index - 0.4, chance.index + 0.4, color="#888888", lw=0.8, ls=":", label="chance")
    _latent_axis(ax, pairs)
    ax.set(ylabel="share with the same sign", title=f"signs of the {TOP} strongest genes\nin another section")
    _legend_above(ax, 0, "strongest in")


def _found(ax: Axes, pairs: pd.DataFrame, fdr: float) -> None:
    """What becomes of the genes that a section finds, mean over ordered pairs of sections."""
    mean = pairs.groupby("latent")[["n_found", "n_same_sign", "n_replicated"]].mean()
    parts = {
        f"same sign and FDR < {fdr:g} among them": (mean["n_replicated"], REPLICATED),
        "same sign": (mean["n_same_sign"] - mean["n_replicated"], SAME),
        "opposite sign": (mean["n_found"] - mean["n_same_sign"], OPPOSITE),
    }
    base = np.zeros(len(mean))
    for label, (height, colour) in parts.items():
        ax.bar(mean.index, height, bottom=base, width=0.6, color=colour, label=label)
        base += height.to_numpy()
    for row in mean.reset_index().itertuples():
        ax.annotate(
            f"{_number(row.n_replicated)} of {_number(row.n_found)}", (row.latent, row.n_found), (0, 3),
            textcoords="offset points", ha="center", fontsize=TINY,
        )  # fmt: skip
    _latent_axis(ax, pairs)
    ax.set(
        ylabel="genes, mean over pairs",
        ylim=(0, 1.55 * max(1.0, float(mean["n_found"].max()))),
        title=f"genes found in a section (FDR < {fdr:g}):\nin another section",
    )
    ax.legend(fontsize=TINY, loc="upper right")


def _number(mean: float) -> str:
    """Write a mean number of genes, so that less than one is not none."""
    return f"{mean:,.0f}" if mean >= 1 else f"{mean:.1g}"


def _scatters(pairs: pd.DataFrame) -> list[tuple[pd.Series, str]]:
    """Choose the rows of ``pairs`` that are shown, and say which they are.

    Of the latent that agrees best, all pairs of sections, or the closest, the median and the farthest; of two
    sections, the latents that agree best.
    """
    one_way = _one_way(pairs).sort_values("spearman", ascending=False, kind="stable")
    best = one_way[one_way["latent"] == _by_agreement(pairs)[0]]
    names = [""] * _SCATTERS
    if len(best) == 1:
        best = one_way.head(_SCATTERS)
    elif len(best) > _SCATTERS:
        best = best.iloc[[0, len(best) // 2, -1]]
        names = ["closest pair, ", "median pair, ", "farthest pair, "]
    return [(row, name) for (_, row), name in zip(best.iterrows(), names, strict=False)]


def _scatter(ax: Axes, effects: Aligned, pair: pd.Series, name: str, by: Headline, fdr: float) -> None:
    sections = [pair["discovery"], pair["validation"]]
    at = [effects.sections.index(section) for section in sections]
    values, rates = (effects.of_latent(pair["latent"], column)[:, at] for column in (by.effect, by.fdr))
    common = np.isfinite(values).all(axis=1)
    found = rates[common] < fdr
    (x, y), (in_x, in_y) = values[common].T, found.T
    for members, colour, size, label in (
        (~in_x & ~in_y, NOT_FOUND, 1, "in neither"),
        (in_x & ~in_y, IN_X, 3, f"in {sections[0]} only"),
        (~in_x & in_y, IN_Y, 3, f"in {sections[1]} only"),
        (in_x & in_y, IN_BOTH, 4, "in both"),
    ):
        ax.scatter(
            x[members], y[members], s=size, color=colour, linewidths=0, rasterized=True,
            label=f"{label} ({members.sum():,})",
        )  # fmt: skip
    reach = 1.05 * float(np.abs(values[common]).max(initial=1e-3))
    ax.axhline(0, color="#888888", lw=0.4)
    ax.axvline(0, color="#888888", lw=0.4)
    ax.set(
        xlim=(-reach, reach), ylim=(-reach, 1.45 * reach), aspect="equal",
        xlabel=f"{sections[0]}: {by.label}", ylabel=f"{sections[1]}: {by.label}",
        title=f"latent {pair['latent']}: {name}Spearman {pair['spearman']:.2f}",
    )  # fmt: skip
    ax.legend(fontsize=TINY, loc="upper left", ncols=2, title=f"genes with FDR < {fdr:g}", title_fontsize=TINY,
              alignment="left", handletextpad=0.1, columnspacing=0.8)  # fmt: skip


def _forest(
    ax: Axes, evidence: Aligned, pooled: pd.DataFrame, colours: dict[str, str], latent: int, fdr: float
) -> None:
    """Draw the surest pooled genes of a latent: a line per section, and the pooled effect below them."""
    n_found = int((pooled["fdr"] < fdr).sum())
    ax.set_title(f"latent {latent}, sections pooled: {n_found:,} of {len(pooled):,} genes with FDR < {fdr:g}")
    if not len(pooled):
        ax.text(0.5, 0.5, "no two sections with a spatial test", ha="center", transform=ax.transAxes)
        ax.axis("off")
        return
    best = pooled.head(min(_GENES, max(1, _LINES // (len(colours) + 1))))
    keys = pd.MultiIndex.from_frame(evidence.genes[["latent", "gene", "gene_id"]])
    rows = keys.get_indexer(pd.MultiIndex.from_frame(best[["latent", "gene", "gene_id"]]))
    z, variance = fisher(evidence.columns[EFFECT][rows], evidence.columns[ESS][rows])
    reach = norm.ppf(0.975) * np.sqrt(variance)
    heights = np.arange(len(best), dtype=float)
    lines = np.linspace(-0.36, 0.36, len(colours) + 1)
    for i, (section, colour) in enumerate(colours.items()):
        low, middle, high = np.tanh(z[:, i] - reach[:, i]), np.tanh(z[:, i]), np.tanh(z[:, i] + reach[:, i])
        at = heights + lines[i]
        ax.hlines(at, low, high, color=colour, lw=0.7)
        ax.plot(middle, at, "s", ms=2.3, color=colour, label=section)
    at = heights + lines[-1]
    ax.hlines(at, best["r_low"], best["r_high"], color=POOLED, lw=1.2)
    ax.plot(best["r"], at, "D", ms=3.7, color=POOLED, label="pooled")
    for height, row in zip(heights, best.itertuples(), strict=True):
        if height % 2:
            ax.axhspan(height - 0.5, height + 0.5, color="#F3F3F3", zorder=0, lw=0)
        ax.annotate(
            f"FDR {row.fdr:.2g}\nsame sign in {row.n_same_sign} of {row.n_sections}", (1, height), (3, 0),
            fontsize=TINY, xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            annotation_clip=False,
        )  # fmt: skip
    ax.axvline(0, color="black", lw=0.4)
    ax.set_yticks(heights, best["gene"], fontsize=SMALL)
    ax.set(ylim=(len(best) - 0.5, -0.5), xlabel=_POOLED_LABEL)
    ax.tick_params(axis="y", length=0)
    ax.legend(fontsize=TINY, ncols=len(colours) + 1, loc="upper center", bbox_to_anchor=(0.5, -0.1))
