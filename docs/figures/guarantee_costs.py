"""Draw docs/figures/guarantee_costs.svg: what each guarantee reserves above the least sufficient rate.

Usage: fedopt reproduce guarantees --out figures/ && python docs/figures/guarantee_costs.py figures/
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

CURVES = {
    "paper-path": ("the paper's path bound", "#bbbbbb", "s"),
    "minplus:fine": ("fine", "#ccbb44", "v"),
    "minplus:block-ville": ("block-ville", "#ee6677", "^"),
    "minplus:ville": ("ville", "#aa3377", "D"),
    "minplus": ("minplus (image)", "#4477aa", "o"),
    "minplus, arrivals credited": ("minplus, arrivals credited", "#228833", "o"),
    "simulated": ("simulated, 99 % confidence", "#222222", "x"),
}
PANELS = {
    "hops": ("domains in a row", False),
    "load": ("load, relative", True),
    "epsilon": ("−log10 ε", False),
    "burstiness": ("size of an impairment", True),
}


def curves(file: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Points (x, rate over least rate) of every series of a study's CSV."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            x, y = found.setdefault(row["series"], ([], []))
            x.append(float(row["x"]))
            y.append(float(row["mean"]))
    return found


def main() -> None:
    """Read the four studies of a folder and write the picture beside this file."""
    folder = Path(sys.argv[1])
    plt.rcParams.update({"svg.hashsalt": "fedopt", "font.size": 9})
    figure, panels = plt.subplots(1, 4, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axes, (study, (label, logarithmic)) in zip(panels, PANELS.items(), strict=True):
        found = curves(folder / f"guarantees-{study}.csv")
        for name, (title, color, marker) in CURVES.items():
            x, y = found[name]
            excess = [100.0 * (value - 1.0) for value in y]
            axes.plot(x, excess, marker=marker, markersize=4, color=color, label=title)
        axes.axhline(3.0, color="#228833", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(x, [f"{value:g}" for value in x], minor=False)
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("rate above the least sufficient one")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(Path(__file__).with_name("guarantee_costs.svg"), metadata={"Date": None})
    if len(sys.argv) > 2:
        figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
