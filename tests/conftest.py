"""Tests compile formulas when they are first called: what is compiled is what users run for long."""

from __future__ import annotations

import os

os.environ.setdefault("FEDOPT_KERNELS", "compiled")
