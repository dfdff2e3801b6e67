"""Ask every registered strategy thousands of random questions; print what is neither answered nor
refused in words.

python scripts/fuzz.py --calls 20000 --seed 1 [--strategy kcenter]
"""

import argparse
import faulthandler
import os
import sys
import time
from collections import Counter

from coreset.fuzz import ask, random_question


def main() -> int:
    """Return 0 when every call was answered or refused in words, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=0, help="number of the first question")
    parser.add_argument("--strategy", help="ask this one only")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    for index in range(args.first, args.first + args.calls):
        faulthandler.dump_traceback_later(300, exit=True)  # a loop that no alarm reaches
        try:
            counts[ask(random_question(args.seed, index, args.strategy))] += 1
        except AssertionError as error:
            counts["failed"] += 1
            print(f"[{index}] {error}", flush=True)
        if os.environ.get("FUZZ_PROGRESS") and index % 1000 == 0:
            print(f"# {index} {dict(counts)}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(f"seed {args.seed}: {args.calls} calls, {dict(counts)}")
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
