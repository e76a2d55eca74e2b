"""Time of one fully optimised three-domain bound, as `fedopt bench bounds` measures it.

python -m tests.bench.bench_bounds
"""

import sys

from fedopt.cli import run

if __name__ == "__main__":
    sys.exit(run(["bench", "bounds"]))
