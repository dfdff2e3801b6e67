"""Compare this library's strategies with peers from PyPI and with the textbook loops, on one
thread, equal answers first.

python scripts/benchmarks/strategies.py --all          every row: results/strategies/*.json and
table.md python scripts/benchmarks/strategies.py kcenter_50k    some rows python
scripts/benchmarks/strategies.py                the table again from the files python
scripts/benchmarks/strategies.py --all --quick  tiny sizes, one trial, nothing written: does
everything run?

The peers live in an environment of their own: scripts/benchmarks/requirements.txt and this project.
"""

import sys
from pathlib import Path

# this file's own folder would hide the package `strategies`
sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

from collections.abc import Callable  # noqa: E402

from scripts.benchmarks import harness, runner  # noqa: E402
from scripts.benchmarks.harness import Row  # noqa: E402
from scripts.benchmarks.rows import coverage, gradient, scores, submodular  # noqa: E402

ROWS: dict[str, Callable[[float], Row]] = {
    "kcenter_50k": coverage.k_center_50k,
    "kcenter_10k": coverage.k_center_10k,
    "facility_location": submodular.facility_location,
    "facility_location_features": submodular.facility_location_features,
    "facility_location_sparse": submodular.facility_location_sparse,
    "facility_location_100k": submodular.facility_location_100k,
    "facility_location_100k_wide": submodular.facility_location_100k_wide,
    "graph_cut": submodular.graph_cut,
    "graph_cut_features": submodular.graph_cut_features,
    "gradmatch": gradient.grad_match,
    "craig": gradient.craig,
    "craig_distances": gradient.craig_distances,
    "badge": gradient.badge,
    "herding": coverage.herding,
    "probcover": coverage.prob_cover,
    "probcover_select": coverage.prob_cover_select,
    "typiclust": coverage.typi_clust,
    "typiclust_select": coverage.typi_clust_select,
    "maxherding": coverage.max_herding,
    "bald": scores.bald,
    "margin": scores.margin,
    "ccs": scores.ccs,
}

if __name__ == "__main__":
    runner.main(ROWS, __doc__, harness.RESULTS, "Strategies against peers")
