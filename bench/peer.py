"""An interpreter of the rows about memory: `python -m bench.peer MEBIBYTES WAY,... ARG...`.

Takes and touches the memory, prints the resident size in bytes, then for each line "WAY NUMBER" it
reads runs the child that many times, that way, and prints the nanoseconds it took. Ends at the end
of its input.
"""

from __future__ import annotations

import mmap
import sys
import time

from bench import dropin
from bench.subjects import ATTRIBUTED

WAYS = {**ATTRIBUTED, **dropin.PEERS}


def _touched(mebibytes: int) -> mmap.mmap | None:
    """Private pages of 4 KiB, each written to: what a fork must copy the page table of.

    Huge pages are refused, because they would make the table 512 times smaller and the row
    easier than for a heap that grew bit by bit.
    """
    if mebibytes == 0:
        return None
    size = mebibytes << 20
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, size, mmap.PAGESIZE):
        memory[page] = 1
    return memory


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * mmap.PAGESIZE


def main() -> int:
    mebibytes, ways, *args = sys.argv[1:]
    onces = {way: WAYS[way](args) for way in ways.split(",")}
    memory = _touched(int(mebibytes))
    resident = _resident()
    if resident < int(mebibytes) << 20:
        print(f"bench.peer: {resident} bytes resident: not the size asked for", file=sys.stderr)
        return 1
    print(resident, flush=True)
    for line in sys.stdin:
        way, _, number = line.rpartition(" ")
        once, runs = onces[way], int(number)
        start = time.perf_counter_ns()
        for _ in range(runs):
            once()
        print(time.perf_counter_ns() - start, flush=True)
    del memory
    return 0


if __name__ == "__main__":
    sys.exit(main())
