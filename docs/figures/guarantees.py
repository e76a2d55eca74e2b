"""Draw docs/figures/guarantees.svg: what the same network costs under each guarantee.

Usage: fedopt compare instances/germany50.yaml --guarantees … --json | python docs/figures/guarantees.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

ORDER = {
    "minplus": "minplus (least form counts)",
    "minplus:block-ville": "block-ville alone",
    "minplus:block": "block alone",
    "minplus:fine": "fine alone",
    "minplus:ville": "ville alone",
    "split": "split (one budget a domain)",
    "minplus:monotone": "monotone alone",
    "paper-path": "the paper's path bound",
}


def main() -> None:
    """Read the comparison on stdin and write the picture beside this file."""
    rows = {row["guarantee"]: row for row in json.load(sys.stdin) if row["cost"] is not None}
    shown = sorted((rows[name]["cost"], label) for name, label in ORDER.items() if name in rows)
    plt.rcParams.update({"svg.hashsalt": "fedopt", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.2, 3.0), layout="constrained")
    costs = [cost for cost, _ in shown][::-1]
    bars = axes.barh([label for _, label in shown][::-1], costs, color="#4477aa")
    bars[-1].set_color("#228833")
    axes.bar_label(bars, [f"{cost:,.0f}  ({cost / shown[0][0]:.2f}×)" for cost in costs], padding=3)
    axes.set_xlim(0, 1.2 * max(costs))
    axes.set_xlabel("cost of germany50 for whole requests")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("guarantees.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
