"""One run of one client: ``python -m benchmarks.client floor --url … --tasks …``.

Prints one line of JSON: how many tasks were completed, the processor time they took, and how
often the kernel had to map memory for them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import resource
import sys
import time
from typing import Final

from benchmarks.server import client_cpus, new_event_loop

__all__ = ["IN_FLIGHT"]

IN_FLIGHT: Final = 16


def main() -> None:
    """Run a client and print what it cost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("client", choices=("floor", "ours"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=32)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    # Only the one: whatever else was imported and freed tells on how the allocator behaves.
    client = importlib.import_module(f"benchmarks.{options.client}")
    run = client.run
    if sys.platform == "linux":
        os.sched_setaffinity(0, client_cpus())
    with asyncio.Runner(loop_factory=lambda: new_event_loop(options.loop)) as runner:
        # What is loaded, compiled or cached at the first call is the import's cost, not a call's.
        runner.run(run(options.url, tasks=options.warm_up, in_flight=IN_FLIGHT))
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        began_s = time.process_time()
        completed = runner.run(run(options.url, tasks=options.tasks, in_flight=IN_FLIGHT))
        spent_s = time.process_time() - began_s
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    print(json.dumps({"completed": completed, "cpu_s": spent_s, "faults": faults}))


if __name__ == "__main__":
    main()
