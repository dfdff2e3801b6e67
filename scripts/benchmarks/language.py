"""Language identification by both models: how often they are right about the paragraphs of one
document in ten languages (the Debian FAQ), what a page costs, and what the recipe `pretrain` costs,
by operator and from a file to files.

python scripts/benchmarks/language.py     writes results/scale/language.json; gets the ten packages
                                          debian-faq* with apt-get, unpacked, not installed
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import gzip  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from coreset.core.batch import Batch, as_batch  # noqa: E402
from coreset.core.cache import asset_dir  # noqa: E402
from coreset.curation.operators.base import GroupBy, flatten  # noqa: E402
from coreset.curation.operators.contract import run_in_memory  # noqa: E402
from coreset.scorers.text.language import MODELS, Language  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402
from scripts.benchmarks.curate_peers import web_pages  # noqa: E402

LANGUAGES = ("en", "de", "fr", "it", "ja", "ko", "nl", "pt", "ru", "zh")
PARAGRAPHS, PAGES = 60, 900
FEW, MANY, TRIALS = 100, 20_000, 3  # pages from a file to files


def paragraphs(folder: Path) -> dict[str, list[str]]:
    """Return up to 60 paragraphs of at least 80 letters, evenly spaced, by language."""
    out = {}
    for language in LANGUAGES:
        package = "debian-faq" + {"en": "", "zh": "-zh-cn"}.get(language, f"-{language}")
        subprocess.run(
            ["apt-get", "download", package], cwd=folder, check=True, capture_output=True
        )
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / "root")], check=True)
        name = {"zh": "zh-cn"}.get(language, language)
        path = folder / "root/usr/share/doc/debian/FAQ" / f"debian-faq.{name}.txt.gz"
        text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        parts = [" ".join(p.split()) for p in text.split("\n\n")]
        least = 40 if language in ("ja", "ko", "zh") else 80
        whole = [p for p in parts if sum(c.isalpha() for c in p) >= least and "....." not in p]
        at = np.unique(np.linspace(0, len(whole) - 1, PARAGRAPHS).astype(int))
        out[language] = [whole[i] for i in at.tolist()]
    return out


def pages() -> list[str]:
    """Return pages of C4 as they are, again and again."""
    with (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").open(encoding="utf-8") as file:
        real = [json.loads(line)["text"] for line in file]
    return [real[i % len(real)] for i in range(PAGES)]


def recipe_ms(texts: list[str], model: str) -> dict[str, float]:
    """Return CPU milliseconds a page of the operators of `pretrain`, and of the row-wise ones by
    name; the pages are numbered, so that no two are the same.
    """
    plain = yaml.safe_load(Path("conf/recipe/pretrain.yaml").read_text())["operators"]
    plain[0] = {"language": {"model": model}}
    table = as_batch(
        {"id": np.array([f"{i:06d}" for i in range(len(texts))], object),
         "text": np.array([f"{t} {i}" for i, t in enumerate(texts)], object)}
    ).table  # fmt: skip
    spent = {}
    for operator in flatten(plain):
        if isinstance(operator, GroupBy):
            continue
        cost = []
        for _ in range(3):
            start = time.process_time()
            answers = run_in_memory(operator, Batch(table))
            cost.append(1000 * (time.process_time() - start) / len(texts))
        spent[type(operator).__name__] = float(np.median(cost))
        for name in sorted(operator.gives):
            table = table.append_column(name, answers[name])
    return spent


def whole(folder: Path) -> dict[str, Any]:
    """Return CPU seconds, user and system, of whole processes `coreset-curate recipe=pretrain`, by
    their number of pages, and milliseconds a page beyond the start; medians.
    """
    files = {n: web_pages(n, folder)[0] for n in (FEW, MANY)}
    spent: dict[int, list[float]] = {n: [] for n in files}
    for trial in range(TRIALS + 1):  # the first writes bytecode and numba's cache
        for n, path in files.items():
            begin = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [f"{sys.prefix}/bin/coreset-curate", "recipe=pretrain", f"input={path}", f"out={folder}/{n}-{trial}"],
                check=True, capture_output=True,
            )  # fmt: skip
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            if trial:
                spent[n].append(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime)
    few, many = (float(np.median(spent[n])) for n in (FEW, MANY))
    return {
        "pages": MANY, "bytes": files[MANY].stat().st_size, "cpu_s": spent[MANY],
        "cpu_s_of_100_pages": spent[FEW], "cpu_ms_per_page": 1000 * many / MANY,
        "cpu_ms_per_page_beyond_start": 1000 * (many - few) / (MANY - FEW),
    }  # fmt: skip


def main() -> None:
    """Measure both models."""
    with tempfile.TemporaryDirectory() as folder:
        held = paragraphs(Path(folder))
        files = whole(Path(folder))
        print(json.dumps(files), flush=True)
    texts = pages()
    models: dict[str, Any] = {}
    for model in MODELS:
        scorer = Language(model=model)
        scorer({"text": texts[:10]})
        right = {}
        for language, some in held.items():
            names = scorer({"text": some})["language"].tolist()
            right[language] = [sum(n == language for n in names), len(some)]
        cost = []
        for _ in range(3):
            start = time.process_time()
            scorer({"text": texts})
            cost.append(1000 * (time.process_time() - start) / len(texts))
        recipe_ms(texts[:300], model)  # compiles
        spent = recipe_ms(texts, model)
        models[model] = {
            "right": sum(r for r, _ in right.values()),
            "of": sum(n for _, n in right.values()),
            "right_by_language": right,
            "cpu_ms_per_page": float(np.median(cost)),
            "recipe_cpu_ms_per_page": sum(spent.values()),
            "recipe_by_operator": spent,
        }
        print(model, json.dumps(models[model]), flush=True)
    result = {
        "what": f"the Debian FAQ in ten languages, {PARAGRAPHS} paragraphs each; {PAGES} pages of C4;"
        " the recipe's operators without its two groups and without reading and writing, CPU, one"
        " thread, median of three; whole: drawn pages, from a file to files",
        "characters_per_page": sum(map(len, texts)) / len(texts),
        "models": models,
        "whole": files,
    }
    command = "python scripts/benchmarks/language.py"
    harness.write("language", result | harness.about(command), Path("results/scale"))


if __name__ == "__main__":
    main()
