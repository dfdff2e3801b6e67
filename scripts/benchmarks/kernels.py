"""docs/kernels.md: every own kernel beside the library that could do its work.

    python scripts/benchmarks/kernels.py [--trials 15]

Ratios come from the committed results of the other benchmarks where they hold them; the kernels
measured nowhere else are measured here, into results/kernels/kernels.json. A kernel stays if it is
at least 1.5 times as fast at the same answer, or for the reason named in its line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from table import agreement  # type: ignore[import-not-found]

from coreset.core.store import fingerprint, to_json, write_atomic
from coreset.runs.run_folder import hardware, versions

ROOT = Path(__file__).parent.parent.parent
WORTH = 1.5  # a ratio from which on a kernel of our own stays

# kernel: result file, the libraries in it, why it stays where it is no faster
COLLECTED: list[tuple[str, str, tuple[str, ...], str]] = [
    ("numerics/neighbors/farthest_blocks", "strategies/kcenter_50k", ("fpsample", "scikit-activeml", "small-text"), ""),
    ("numerics/neighbors/farthest_blocks (small)", "strategies/kcenter_10k", ("fpsample", "scikit-activeml", "small-text"), ""),
    ("numerics/greedy, facility location", "strategies/facility_location", ("apricot", "submodlib LazyGreedy"), ""),
    ("numerics/similarity, facility location", "strategies/facility_location_features", ("apricot", "submodlib", "numpy similarities"), ""),
    ("numerics/similarity, sparse", "strategies/facility_location_sparse", ("scikit-learn", "submodlib"), ""),
    ("numerics/greedy, graph cut", "strategies/graph_cut", ("apricot", "submodlib"), ""),
    ("numerics/gradients, BADGE", "strategies/badge", ("scikit-activeml",), ""),
    ("strategies/coverage/herding", "strategies/herding", ("coreax",), ""),
    ("strategies/coverage/maxherding", "strategies/maxherding", ("scikit-activeml",), ""),
    ("strategies/coverage/probcover", "strategies/probcover", ("scikit-activeml",), ""),
    ("strategies/coverage/typiclust", "strategies/typiclust", ("scikit-activeml",), ""),
    ("numerics/text/minhash, near_duplicates", "curate/minhash", ("datasketch", "rensa"), ""),
    ("scorers/text, Gopher, C4 and FineWeb", "curate/web_rules", ("datatrove",), ""),
    ("numerics/neighbors/spherical, assignment", "multimodal/assign", ("faiss",), "exactness: near ties are decided in float64, the same in any batch"),
    ("scorers/text/trie", "multimodal/metaclip", ("pyahocorasick",), "the released rule: entries between spaces, in one pass of bytes"),
]  # fmt: skip


def collected() -> list[dict[str, Any]]:
    """Return one row per kernel that another benchmark measures: its strongest library."""
    rows = []
    for kernel, file, libraries, reason in COLLECTED:
        result = json.loads((ROOT / "results" / f"{file}.json").read_text())
        rivals = [
            m
            for m in result["methods"][1:]
            if "ratio" in m and any(m["name"].startswith(name) for name in libraries)
        ]
        best = min(rivals, key=lambda m: float(m["ratio"]))
        rows.append({
            "kernel": kernel, "task": result["what"], "rival": best["name"],
            "ratio": float(best["ratio"]), "same": agreement(best) or "see the result file",
            "reason": reason, "from": f"results/{file}.json",
        })  # fmt: skip
    return rows


def ratio(own: Callable[[], Any], rival: Callable[[], Any], trials: int) -> dict[str, float]:
    """Return median CPU seconds of both, in turns, and how many times ours the rival takes."""
    own(), rival()
    seconds: dict[str, list[float]] = {"own_s": [], "rival_s": []}
    for _ in range(trials):
        for name, call in (("own_s", own), ("rival_s", rival)):
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    out = {name: statistics.median(values) for name, values in seconds.items()}
    return {**out, "ratio": out["rival_s"] / out["own_s"]}


def measured(trials: int) -> list[dict[str, Any]]:
    """Return one row per kernel that no other benchmark measures."""
    return [hashes(trials), *prints(trials), *narrow(trials)]


def hashes(trials: int) -> dict[str, Any]:
    """Compare the perceptual hash with ImageHash's on pictures of several kinds."""
    import imagehash
    from PIL import Image

    from coreset.scorers.image.hashes import frequencies, perceptual_hash

    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (12, 16, 3), np.uint8) for _ in range(200)]
    images = [np.asarray(Image.fromarray(s).resize((320, 240))) for s in small]
    ours = [f"{perceptual_hash(frequencies(x)):016x}" for x in images]
    theirs = [str(imagehash.phash(Image.fromarray(x))) for x in images]
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return {
        "kernel": "scorers/image/hashes, perceptual hash", "task": "200 images of 320 x 240",
        "rival": "ImageHash phash", "same": f"{same} of {len(images)} hashes",
        "reason": "the same frequencies also give `texture`, by which flat images get no hash",
        "from": "results/kernels/kernels.json",
        **ratio(
            lambda: [perceptual_hash(frequencies(x)) for x in images],
            lambda: [imagehash.phash(Image.fromarray(x)) for x in images], trials,
        ),
    }  # fmt: skip


def prints(trials: int) -> list[dict[str, Any]]:
    """Compare the fingerprint of columns with joblib's and xxHash's."""
    import joblib
    import xxhash

    x = np.random.default_rng(0).normal(size=(20_000, 256)).astype(np.float32)
    strided = np.asfortranarray(x)
    same = fingerprint(x) == fingerprint(strided), joblib.hash(x) == joblib.hash(strided)
    about = "the same content in another order of memory: ours " + " / theirs ".join(
        "one key" if s else "two keys" for s in same
    )
    reason = (
        "keys lie in stored run folders; SHA-256 of untrusted content has no collisions; plain types"
        " alone are taken, where joblib pickles anything"
    )
    shared = {"kernel": "core/store, fingerprint", "task": "20,000 x 256 float32", "reason": reason,
              "from": "results/kernels/kernels.json"}  # fmt: skip
    return [
        {**shared, "rival": "joblib.hash (SHA-1 or MD5 of the pickle)", "same": about,
         **ratio(lambda: fingerprint(x), lambda: joblib.hash(x), trials)},
        {**shared, "rival": "xxhash.xxh3_128 (bytes alone)", "same": "not cryptographic",
         **ratio(lambda: fingerprint(x), lambda: xxhash.xxh3_128(x).hexdigest(), trials)},  # type: ignore[arg-type]
    ]  # fmt: skip


def narrow(trials: int) -> list[dict[str, Any]]:
    """Compare products in bfloat16 with float32: the rule of `bfloat16_pays`."""
    import torch

    from coreset.numerics.neighbors.bfloat16 import bfloat16_pays
    from coreset.numerics.neighbors.distances import float32_products

    torch.set_num_threads(1)
    rows = []
    for dim in (8, 32, 128, 512, 768):
        a, b = torch.randn(4096, dim), torch.randn(256, dim)
        short = a.bfloat16(), b.bfloat16()
        rows.append({
            "kernel": "numerics/neighbors/bfloat16", "task": f"4,096 x {dim} by 256 x {dim}",
            "rival": "float32 product (numpy)", "same": "to 2^-8; open comparisons go to float64",
            "reason": "" if bfloat16_pays(dim, 1) else "not used on this processor",
            "from": "results/kernels/kernels.json",
            **ratio(lambda s=short: [s[0] @ s[1].T for _ in range(20)],  # type: ignore[misc]
                    lambda a=a, b=b: [float32_products(a, b) for _ in range(20)], trials),  # type: ignore[misc]
        })  # fmt: skip
    return rows


def page(rows: list[dict[str, Any]], about: str) -> str:
    """Return docs/kernels.md."""
    lines = [
        "# Kernels of our own, and the libraries that could do their work", "",
        "`python scripts/benchmarks/kernels.py` writes this page. Times ours: CPU seconds of the"
        " strongest library rival over ours, on one thread. A kernel stays where that is at least"
        f" {WORTH}, or for the reason in its line. Spherical k-means is faiss, components of keys are"
        " scipy's, the cosine transform of the image hash is scipy's: no kernels of our own.", "",
        "| kernel in `coreset/` | task | strongest rival | times ours | its answer | stays because | from |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        why = "faster" if r["ratio"] >= WORTH else r["reason"] or "**nothing: to be replaced**"
        why += f"; {r['reason']}" if r["ratio"] >= WORTH and r["reason"] else ""
        lines.append(
            f"| {r['kernel']} | {r['task']} | {r['rival']} | {r['ratio']:.3g} | {r['same']} | {why} |"
            f" `{r['from']}` |"
        )
    return "\n".join([*lines, "", about, ""])


def main() -> None:
    """Measure, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=15)
    args = parser.parse_args()
    rows = measured(args.trials)
    used = versions("numpy", "torch", "scipy", "ImageHash", "joblib", "xxhash")
    result = {
        "hardware": hardware(), "threads": 1, "trials": args.trials, "versions": used,
        "load": os.getloadavg()[0], "rows": rows,
    }  # fmt: skip
    write_atomic(ROOT / "results/kernels/kernels.json", to_json(result, indent=1) + "\n")
    about = (
        f"Measured here: {result['hardware']}, {args.trials} trials in turns, medians; "
        + ", ".join(f"{k} {v}" for k, v in used.items())
        + ". The others: hardware and versions in their result files."
    )
    write_atomic(ROOT / "docs/kernels.md", page([*collected(), *rows], about))


if __name__ == "__main__":
    main()
