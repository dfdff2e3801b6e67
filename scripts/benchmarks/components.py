"""The components step alone: rounds of large-star and small-star on graphs generated on the fly,
beside one task by scipy where the edges fit it.

python scripts/benchmarks/components.py                       writes results/scale/components.json
python scripts/benchmarks/components.py --edges 100000 1000000
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from coreset.curation.engines.local import Local  # noqa: E402
from coreset.curation.runtime.components import components, label, write_edges  # noqa: E402
from coreset.curation.runtime.steps import read_columns  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402

Int = NDArray[np.int64]
FILES = 8


def pairs(edges: int, rng: np.random.Generator) -> Int:
    """Duplicates as they are found: small groups, their rows in a chain."""
    node = rng.permutation(2 * edges)[: edges + edges // 2]
    sizes = rng.geometric(0.5, edges) + 1
    ends = np.cumsum(sizes)
    start = np.setdiff1d(np.arange(len(node) - 1), ends[ends < len(node)] - 1)
    return np.stack([node[start], node[start + 1]], axis=1)[:edges]


def path(edges: int, rng: np.random.Generator) -> Int:
    """One path through all nodes, in random order: the largest diameter there is."""
    node = rng.permutation(edges + 1)
    return np.stack([node[:-1], node[1:]], axis=1)


def hub(edges: int, rng: np.random.Generator) -> Int:
    """One node joined to all others."""
    return np.stack([np.zeros(edges, np.int64), np.arange(1, edges + 1)], axis=1)


def dense(edges: int, rng: np.random.Generator) -> Int:
    """A random graph of mean degree 4: one component of nearly all nodes."""
    return rng.integers(0, edges // 2, (edges, 2))


GRAPHS = {"pairs": pairs, "path": path, "hub": hub, "dense": dense}


def measured(name: str, count: int) -> dict[str, Any]:
    """Return rounds and CPU seconds of one graph, checked against scipy."""
    edges = GRAPHS[name](count, np.random.default_rng(0))
    edges = edges[edges[:, 0] != edges[:, 1]].astype(np.int64)
    start = time.process_time()
    nodes, lowest = label(edges)
    alone = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder)
        files = [
            write_edges(held / f"{i}.parquet", part[:, 0], part[:, 1])
            for i, part in enumerate(np.array_split(edges, FILES))
        ]
        start = time.process_time()
        labels, rounds = components(Local(), files, held / "r", one_task=max(1, count // FILES))
        cost = time.process_time() - start
        tables = [read_columns(one.path) for one in labels]
    u = np.concatenate([t["u"].to_numpy() for t in tables])
    v = np.concatenate([t["v"].to_numpy() for t in tables])
    order, other = np.argsort(u), nodes != lowest
    assert np.array_equal(u[order], nodes[other])
    assert np.array_equal(v[order], lowest[other])
    return {
        "graph": name,
        "edges": len(edges),
        "nodes": len(nodes),
        "components": len(np.unique(lowest)),
        "largest": int(np.unique(lowest, return_counts=True)[1].max()),
        "rounds": rounds,
        "cpu_s_by_rounds": cost,
        "cpu_s_in_one_task": alone,
    }


def main() -> None:
    """Measure all graphs at all sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edges", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    args = parser.parse_args()
    measured("pairs", 1000)  # imports
    runs = []
    for count in args.edges:
        for name in GRAPHS:
            runs.append(measured(name, count))
            print(runs[-1], flush=True)
            result = {
                "what": "large-star and small-star rounds through the local engine's files, every"
                " answer equal to scipy's connected components",
                "runs": runs,
            }
            command = "python scripts/benchmarks/components.py " + " ".join(sys.argv[1:])
            about = harness.about(command.strip())
            harness.write("components", result | about, Path("results/scale"))


if __name__ == "__main__":
    main()
