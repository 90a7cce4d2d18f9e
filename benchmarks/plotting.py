"""Ratios as bars: what each takes, against what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # needs no screen

from matplotlib import pyplot as plt

from figures import Figure, spread


def plot(figures: Sequence[Figure], path: Path) -> None:
    """A PNG with a panel for each figure that was not skipped."""
    shown = [figure for figure in figures if figure.rows]
    heights = [len(figure.rows) + 1 for figure in shown] or [1]
    picture, panels = plt.subplots(
        len(heights),
        figsize=(9, 0.36 * sum(heights) + 0.5 * len(heights)),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    for panel, figure in zip(panels[:, 0], shown, strict=False):
        _draw(panel, figure)
    picture.savefig(path, dpi=120)
    plt.close(picture)


def _draw(panel: Any, figure: Figure) -> None:
    names = list(figure.rows)
    ratios = [spread(figure.ratios(name)) for name in names]
    medians = [one.median for one in ratios]
    errors = [
        [one.median - one.least for one in ratios],
        [one.most - one.median for one in ratios],
    ]
    colors = ["#999999" if name == figure.baseline else "#2f6f9f" for name in names]
    panel.barh(names, medians, xerr=errors, color=colors, capsize=2, height=0.7)
    panel.invert_yaxis()
    panel.axvline(1, color="#444444", linewidth=0.8)
    panel.set_xlim(0, 1.18 * max(one.most for one in ratios))
    for place, one in enumerate(ratios):
        panel.text(one.most, place, f"  {one.median:.3g}", va="center", fontsize=8)
    of = f", {figure.entries:,} entries" if figure.entries else ""
    panel.set_title(f"{figure.title}{of}: times {figure.baseline}", fontsize=9, loc="left")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
