"""Draw docs/figures/growth.svg: time of the central method against tenants, stages and domains.

Usage: fedopt bench growth --json | python docs/figures/growth.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

COLOURS = {"tenants": "#4477aa", "stages": "#228833", "domains": "#cc6677"}
LABELS = {"tenants": "tenants", "stages": "stages", "domains": "domains a stage"}


def main() -> None:
    """Read the rows on stdin and write the picture beside this file."""
    rows = [row for row in json.load(sys.stdin) if row["suite"] == "growth"]
    plt.rcParams.update({"svg.hashsalt": "fedopt", "font.size": 10})
    figure, panels = plt.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained", sharey=True)
    for panel, (axis, colour) in zip(panels, COLOURS.items(), strict=True):
        mine = [row for row in rows if row["axis"] == axis]
        sizes = np.array([row["size"] for row in mine], float)
        seconds = np.array([row["seconds"] for row in mine])
        slope, level = np.polyfit(np.log(sizes), np.log(seconds), 1)
        panel.loglog(sizes, np.exp(level) * sizes**slope, color=colour, linewidth=1, alpha=0.6)
        met = np.array([row["status"] == "optimal" for row in mine])
        panel.loglog(sizes[met], seconds[met], "o", color=colour)
        panel.loglog(sizes[~met], seconds[~met], "o", color=colour, fillstyle="none")
        panel.set_title(f"time ∝ {axis}$^{{{slope:.2f}}}$", fontsize=10)
        panel.set_xlabel(LABELS[axis])
        panel.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds")
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    figure.savefig(Path(__file__).with_name("growth.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
