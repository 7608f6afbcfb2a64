"""What is freed in large blocks goes back to the system."""

import subprocess
import sys

CODE = """
import numpy as np
from weighbridge.core.allocator import return_large_blocks
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
assert return_large_blocks()
np.ones(1 << 22)  # 32 MB, freed: glibc would now keep blocks of 16 MB
before, size = resident(), 1 << 24
blocks = [np.ones(size, np.uint8) for _ in range(8)]
kept = blocks[-1]
del blocks
print((resident() - before) / size)
"""


def test_memory_falls_when_blocks_are_freed() -> None:
    """Seven of eight blocks are gone, although the last one, above them, is still in use."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
