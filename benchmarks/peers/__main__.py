"""Side by side with other libraries of inference-time compute, written to PEERS.md.

python -m benchmarks.peers [--only genlm-control its_hub treequest] [--model pocket] [--threads 1] [--quick]

They are no dependencies: pip install genlm-control 'its_hub[lm]' treequest, each in an environment that has
outthink; what is missing is left out, and PEERS.md says so.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.machine import Watch, describe

PEERS = {  # by distribution: the module that it is found by, and ours that runs it
    "genlm-control": ("genlm.control", "genlm_rival"),
    "its_hub": ("its_hub", "its_hub_rival"),
    "treequest": ("treequest", "treequest_rival"),
}
HEAD = """# Peers

Written by `python -m benchmarks.peers`; do not edit. Every library runs unmodified, as its documentation
says.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--model", default="pocket", help="an embedded model or a plain Llama directory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "PEERS.md")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    return parser.parse_args()


def is_there(module: str) -> bool:
    """Whether a module is there; one that is broken then says so itself."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is its parent
        return False


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    watch, began, sections, missing = Watch(), time.perf_counter(), [], []
    machine = [*describe(), f"Threads: {given.threads}."]
    for name in given.only:
        module, rival = PEERS[name]
        if not is_there(module):
            missing.append(f"{name} is left out: it is not installed (pip install '{name}').")
            print(missing[-1], file=sys.stderr)
            continue
        print(f"{time.perf_counter() - began:6.0f} s  {name}", file=sys.stderr, flush=True)
        machine.append(f"{name} {version(name)}.")
        with watch.section(name):
            sections += importlib.import_module(f"benchmarks.peers.{rival}").measure(given.model, given.quick)
    ran = f"The run took {(time.perf_counter() - began) / 60:.1f} minutes."
    text = report.render([*machine, *missing, ran, *watch.lines()], sections, head=HEAD)
    report.write(given.out, text)
    print(f"written to {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
