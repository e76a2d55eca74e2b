"""A million answers while the process is killed again and again: nothing lost, nothing twice, memory flat.

`SOAK_ANSWERS=100000 pytest tests/learn/test_soak.py -m slow -s` takes a tenth of the time; -s tells more.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fedopt.learn import keep

ANSWERS = int(os.environ.get("SOAK_ANSWERS", "1000000"))
DOMAINS, BATCH = 10, 25

PROGRAM = f"""
import sys
from fedopt.learn import Answer, Orchestrator, Settings, keep
from tests.learn.test_soak import DOMAINS, asked
names = [f"d{{n}}" for n in range(DOMAINS)]
kept = keep(sys.argv[1], lambda: Orchestrator(names, Settings(requests=5_000)))
k = int(kept.buffer.seen[0])
while k < {ANSWERS // DOMAINS}:
    batch = []
    for step in range(k, k + {BATCH}):
        for n, name in enumerate(names):
            delay, accepted = asked(n, step)
            batch.append(Answer(name, accepted, delay, 0.5, request=f"r{{step}}"))
    assert kept.observe(batch).learned == len(batch)
    k += {BATCH}
    pages = int(open("/proc/self/statm").read().split()[1])
    print(k, pages * 4096 / 2**20, flush=True)
kept.close()
print("done", flush=True)
"""


def asked(domain: int, step: int) -> tuple[float, bool]:
    """Delay and answer, a function of both numbers; every 20,000 steps the domains change."""
    lot = random.Random(domain * 1_000_003 + step)
    delay, chance = lot.uniform(1, 90), lot.random()
    need = 10.0 + 5.0 * domain + 15.0 * (step // 20_000 % 2)
    return delay, chance < 1 / (1 + (need / delay) ** 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_million_answers_and_sudden_ends(tmp_path):
    path, lot = tmp_path / "learned.db", random.Random(1)
    kills, memory, acknowledged, done, begun = 0, [], 0, False, time.monotonic()
    while not done:
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            left = max(1, int(lot.expovariate(1.0) * ANSWERS / DOMAINS / BATCH / 40))
            for line in process.stdout:
                if line.startswith("done"):
                    done = True
                    break
                step, megabytes = line.split()
                assert int(step) > acknowledged
                acknowledged = int(step)
                memory.append((acknowledged, float(megabytes)))
                left -= 1
                if left == 0:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                    break
            else:
                pytest.fail("the process ended by itself")
        if not done:  # what was in the pipe had been acknowledged too; one batch may be written but not said
            kept = keep(path, lambda: pytest.fail("it is there"))
            seen = kept.buffer.seen
            assert (seen == seen[0]).all()
            assert seen[0] >= acknowledged
            check_newest(kept)
            kept.close()
    kept = keep(path, lambda: pytest.fail("it is there"))
    assert (kept.buffer.seen == ANSWERS // DOMAINS).all()
    check_newest(kept)
    kept.close()
    early = [m for k, m in memory if k <= ANSWERS // DOMAINS // 5]
    late = [m for k, m in memory if k > ANSWERS // DOMAINS * 4 // 5]
    taken, size = time.monotonic() - begun, path.stat().st_size / 2**20
    print(
        f"{ANSWERS:,} answers, {kills} kills, {taken:.0f} s, {size:.1f} MB on disk; memory at most "
        f"{max(early):.0f} MB in the first fifth, {max(late):.0f} MB in the last"
    )
    assert kills >= 10
    assert max(late) < 1.15 * max(early)


def check_newest(kept) -> None:
    """The memory holds the newest answers of every domain, each once, in order."""
    capacity = kept.buffer.capacity
    for domain in range(DOMAINS):
        seen = int(kept.buffer.seen[domain])
        for step in range(max(0, seen - capacity), seen):
            delay, accepted = asked(domain, step)
            assert kept.buffer.delay[domain, step % capacity] == delay
            assert kept.buffer.accepted[domain, step % capacity] == accepted
    assert np.isfinite(kept.model.loss).all()
