"""Run one step in this process and say how much memory it took at its peak.

    python -m benchmarks.beside.child REPORT ours stage compress static-int8
    python -m benchmarks.beside.child REPORT peer NAME OUT

The peak is the kernel's `VmHWM` of this very process: what `wait` reports for a child starts from its parent's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    """The step's exit code; the report is written where it is 0."""
    report, kind, *arguments = sys.argv[1:]
    code = _ours(arguments) if kind == "ours" else _peer(*arguments)
    if code == 0:
        Path(report).write_text(json.dumps({"peak_bytes": peak_bytes()}))
    return code


def _ours(arguments: list[str]) -> int:
    from weighbridge.entry import main as command_line

    sys.argv = ["weighbridge", *arguments]
    try:
        command_line()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _peer(name: str, out: str) -> int:
    from benchmarks.beside.peers import PEERS

    try:
        PEERS[name].run(Path(out))
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed: pip install 'weighbridge[bench]'", file=sys.stderr)
        return 2
    return 0


def peak_bytes() -> int:
    """Most resident memory that this process ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("this kernel does not say VmHWM")


if __name__ == "__main__":
    raise SystemExit(main())
