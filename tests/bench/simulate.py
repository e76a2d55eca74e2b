"""Speed of the packet simulator, as `fedopt bench simulate` measures it.

python -m tests.bench.simulate
"""

import sys

from fedopt.cli import run

if __name__ == "__main__":
    sys.exit(run(["bench", "simulate"]))
