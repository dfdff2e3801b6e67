"""The same jobs of curation, from a file to files, by whole processes of ours and of peers, in
turns: CPU seconds with the start and beyond it.

    make tools TOOLS="data-juicer datatrove nemo-curator"
    python scripts/benchmarks/curate_peers.py            writes results/curate/peers.json, peers.md
    python scripts/benchmarks/curate_peers.py --quick    few rows, one trial, nothing written

The peers live in environments of their own, .cache/NAME or where --env NAME=FOLDER says; one that is
not there is named in the table. Each job runs on 100 rows too: that is the start. CPU seconds are
user and system of a process and all below it, the larger of what it waited for and what was seen ten
times a second. One run on 100 rows before the first trial writes bytecode and numba's cache.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])

from scripts.benchmarks.threads import single_thread  # noqa: E402

single_thread()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from coreset.core.cache import asset_dir  # noqa: E402
from coreset.core.store import write_atomic  # noqa: E402
from scripts.benchmarks import harness  # noqa: E402

RESULTS = Path("results/curate")
FEW, QUICK, SHORT = 100, 400, 0.02  # rows of a start and of --quick; share of pages that are short
LONG = 120.0  # CPU seconds: what takes longer is run once
COPIES, CHANGED = 0.05, 0.05  # shares of rows that are copies, and copies with other words
PEERS = ("data-juicer", "datatrove", "nemo-curator")
PACKAGES = {
    "data-juicer": "py-data-juicer",
    "datatrove": "datatrove",
    "nemo-curator": "nemo-curator",
}
GOAL = 15.0  # times our CPU seconds that Data-Juicer takes for the duplicates

OURS: dict[str, list[Any]] = {
    "duplicates": [
        {"length": {"unit": "characters"}},
        {"threshold": {"column": "text_characters", "low": 200, "high": 100_000}},
        "exact_duplicates",
        "near_duplicates",
    ],
    "words": [
        {"length": {"unit": "white_space_words"}},
        {"threshold": {"column": "text_white_space_words", "low": 50, "high": 100_000}},
    ],
    "rules": [
        {"gopher_repetition": {"variant": "datatrove"}}, "gopher_repetition_filter",
        {"c4": {"punctuation": False}}, "c4_filter",
        {"gopher_quality": {"variant": "datatrove"}}, "gopher_quality_filter",
        {"fineweb": {"variant": "datatrove"}}, "fineweb_filter",
    ],
}  # fmt: skip
JUICER: dict[str, list[dict[str, Any]]] = {
    "duplicates": [
        {"text_length_filter": {"min_len": 200, "max_len": 100_000}},
        {"document_deduplicator": {}},
        {"document_minhash_deduplicator": {
            "tokenization": "space", "window_size": 5, "ignore_pattern": r"\p{P}",
            "num_permutations": 112, "num_bands": 14, "num_rows_per_band": 8,
        }},
    ],
    "words": [{"words_num_filter": {"min_num": 50, "max_num": 100_000}}],
    "rules": [
        {"alphanumeric_filter": {}}, {"average_line_length_filter": {}},
        {"character_repetition_filter": {}}, {"maximum_line_length_filter": {}},
        {"special_characters_filter": {}}, {"word_repetition_filter": {}},
        {"words_num_filter": {"min_num": 50, "max_num": 100_000}},
    ],
}  # fmt: skip
JOBS = {
    "duplicates": "Characters (200 to 100,000), exact duplicates, MinHash near duplicates: five words"
    " a shingle, 14 bands of 8. Only ours then counts the similarity of the pairs.",
    "words": "Words between white space (50 to 100,000) alone.",
    "rules": "Gopher's repetition and quality, C4 without end marks and FineWeb's rules. datatrove has"
    " the same, but its C4 filter also takes lines out of the text, which the rules after it see;"
    " NeMo Curator's English heuristics and Data-Juicer's filters at their defaults are"
    " other rules of the same kind, so rows decided alike say little there.",
}


def web_pages(count: int, folder: Path, seed: int = 0) -> tuple[Path, int]:
    """Return a file of pages, and how many of them are long enough and copies of none before.

    Each page has as many sentences as one of the 300 real pages of C4, at least eight, drawn from
    all of theirs: no two are alike by chance. One in twenty is a copy of a page before it, one in
    twenty a copy with a word in a hundred replaced (a Jaccard similarity of about 0.9), one in
    fifty is a line of at most 20 words.
    """
    with (asset_dir("llamafactory") / "data" / "c4_demo.jsonl").open(encoding="utf-8") as file:
        real = [json.loads(line)["text"].replace("\n", " ").split(". ") for line in file]
    sentences = np.array([s for page in real for s in page if 5 <= len(s.split()) <= 60], object)
    sizes = [max(8, len(page)) for page in real]
    words = np.array([w for s in sentences for w in s.split()], object)
    rng = np.random.default_rng(seed)
    fresh: list[str] = []
    path = folder / f"pages-{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            luck = rng.random()
            if luck < SHORT:
                text = " ".join(words[rng.integers(len(words), size=20)])[:190]
            elif fresh and luck < SHORT + COPIES + CHANGED:
                text = fresh[rng.integers(len(fresh))]
                if luck > SHORT + COPIES:
                    part = text.split(" ")
                    for at in rng.integers(len(part), size=max(1, len(part) // 100)).tolist():
                        part[at] = str(words[rng.integers(len(words))])
                    text = " ".join(part)
            else:
                chosen = sentences[rng.choice(len(sentences), sizes[i % len(sizes)], replace=False)]
                text = ". ".join(chosen) + "."
                fresh.append(text)
            file.write(json.dumps({"id": f"{i:08d}", "text": text}, ensure_ascii=False) + "\n")
    return path, len(fresh)


def command(tool: str, job: str, source: Path, out: Path, place: Path) -> list[str]:
    """Return the command of a job, its settings written into `out`."""
    if tool == "coreset":
        recipe = out / "recipe.yaml"
        recipe.write_text(json.dumps({"operators": OURS[job]}))
        return [str(place / "bin" / "coreset-curate"), f"recipe={recipe}", f"input={source}", f"out={out / 'run'}"]  # fmt: skip
    if tool == "data-juicer":
        settings = out / "settings.yaml"
        settings.write_text(json.dumps({
            "dataset_path": str(source), "export_path": str(out / "run" / "kept.jsonl"),
            "work_dir": str(out / "work"), "ds_cache_dir": str(out / "cache"),
            "np": 1, "auto_op_parallelism": False, "process": JUICER[job],
        }))  # fmt: skip
        return [str(place / "bin" / "dj-process"), "--config", str(settings)]
    program = Path(__file__).parent / "curate_jobs" / f"in_{tool.replace('-', '_')}.py"
    return [str(place / "bin" / "python"), str(program), job, str(source), str(out / "run")]


def kept(tool: str, out: Path) -> set[str]:
    """Return the ids of the rows that a tool wrote."""
    where = {"coreset": "run/data/*.jsonl", "data-juicer": "run/kept.jsonl"}
    files = list(out.glob(where.get(tool, "run/kept/*.jsonl")))
    return {json.loads(line)["id"] for f in files for line in f.open(encoding="utf-8")}


def measured(words: list[str], out: Path) -> dict[str, Any]:
    """Return CPU seconds, wall seconds, the largest resident set of any process and, if it failed,
    the last line it said.
    """
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")},
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "cache"), "RAY_AUTH_MODE": "disabled",
    }  # fmt: skip
    start, seen, largest = time.perf_counter(), {}, 0
    with (out / "log").open("w") as log:
        process = subprocess.Popen(
            words, stdout=log, stderr=log, cwd=out, env=environment, start_new_session=True
        )
        ended = 0
        while not ended:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            try:
                running = psutil.Process(process.pid)
                for p in [running, *running.children(recursive=True)]:
                    used = p.cpu_times()
                    seen[p.pid, p.create_time()] = used.user + used.system
                    largest = max(largest, p.memory_info().rss)
            except psutil.Error:  # it ended meanwhile
                pass
            time.sleep(0 if ended else 0.1)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it left behind
    result: dict[str, Any] = {
        "cpu_s": max(usage.ru_utime + usage.ru_stime, sum(seen.values())),
        "wall_s": wall,
        "peak_mb": largest / 1e6,  # of rusage it would be that of this process, if it is larger
    }
    if process.returncode:
        lines = (out / "log").read_text(errors="replace").strip().splitlines()
        wrong = [line for line in lines if "Error: " in line] or lines or ["no word"]
        result["error"] = wrong[-1].strip()[:200]
    return result


def once(tool: str, job: str, source: Path, place: Path) -> tuple[dict[str, Any], set[str]]:
    """Run a job with a tool in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        done = measured(command(tool, job, source, out, place), out)
        return done, set() if "error" in done else kept(tool, out)


def spread(values: list[float]) -> list[float]:
    """Return the median, the lowest and the highest."""
    return [statistics.median(values), min(values), max(values)]


def compare(
    job: str, source: Path, few: Path, places: dict[str, Path], trials: int
) -> dict[str, Any]:
    """Return a job's entries by tool: the first is ours."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    answers: dict[str, set[str]] = {}
    entries: dict[str, dict[str, Any]] = {}
    for tool in ["coreset", *PEERS]:
        if not (places[tool] / "bin" / "python").exists():
            entries[tool] = {"error": f"not there: make tools TOOLS={tool}"}
            continue
        first, _ = once(tool, job, few, places[tool])  # bytecode
        entries[tool] = {"error": first["error"]} if "error" in first else {}
        runs[tool] = {"start": [], "whole": []}
    alive = [tool for tool, entry in entries.items() if not entry]
    for turn in range(trials):
        for tool in alive[turn % len(alive) :] + alive[: turn % len(alive)]:
            for part, path in (("start", few), ("whole", source)):
                if any(one["cpu_s"] > LONG for one in runs[tool][part]):
                    continue
                done, ids = once(tool, job, path, places[tool])
                print(job, tool, part, turn, done, len(ids), flush=True)
                if "error" in done:
                    entries[tool]["error"] = done["error"]
                    continue
                runs[tool][part].append(done)
                if part == "whole":
                    answers[tool] = ids
    rows = sum(1 for _ in source.open(encoding="utf-8"))
    for tool in alive:
        if not all(runs[tool].values()):
            continue
        for part, ended in runs[tool].items():
            entries[tool][part] = {
                k: spread([one[k] for one in ended]) for k in ("cpu_s", "wall_s", "peak_mb")
            } | {"trials": len(ended)}
        whole, start = (entries[tool][part]["cpu_s"][0] for part in ("whole", "start"))
        entries[tool]["beyond_s"] = whole - start
        entries[tool]["kept"] = len(answers[tool])
        entries[tool]["alike"] = rows - len(answers[tool] ^ answers["coreset"])
        ours = entries["coreset"]
        entries[tool]["ratio"] = whole / ours["whole"]["cpu_s"][0]
        entries[tool]["ratio_beyond"] = entries[tool]["beyond_s"] / ours["beyond_s"]
    return {"rows": rows, "bytes": source.stat().st_size, "tools": entries}


def version(tool: str, place: Path) -> str:
    """Return the version of a tool in its environment."""
    code = f"import importlib.metadata as m; print(m.version({PACKAGES[tool]!r}))"
    python = place / "bin" / "python"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip() if python.exists() else "not there"  # fmt: skip


def _seconds(values: list[float]) -> str:
    one = values[1] == values[2]
    return f"{values[0]:.1f}" + (", one trial" if one else f" ({values[1]:.1f} to {values[2]:.1f})")


def table(result: dict[str, Any]) -> str:
    """Return the jobs as Markdown."""
    peers = ", ".join(f"{tool} {v}" for tool, v in result["peers"].items())
    lines = [
        "# The same jobs by whole processes of ours and of peers",
        "",
        f"{result['hardware']}; one process on one thread each, as its documentation says; median"
        " (lowest to highest) of user and system seconds of whole processes, in turns. "
        f"{peers}. The start is the same job on {FEW} rows; beyond it is the difference. MB: the"
        " largest resident set of any process. Alike: rows decided as by ours, by id; another row"
        " of a group of copies may be kept.",
        f"`{result['command']}` makes this again.",
    ]
    for name, job in result["jobs"].items():
        lines += [
            "", f"## {name}, {job['rows']:,} pages ({job['bytes'] / 1e6:.0f} MB)", "",
            f"{JOBS[name]} {job['trials']} trials, one where a trial takes over {LONG:g} CPU"
            f" seconds; load {job['load']:.1f}.", "",
            "| tool | CPU s | of it the start | times ours | times ours beyond the start | wall s | MB | rows kept | alike |",
            "|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for tool, e in job["tools"].items():
            if "whole" not in e:
                lines.append(
                    f"| {tool} | – | – | – | – | – | – | – | {e['error'].replace('|', '/')} |"
                )
                continue
            whole = e["whole"]
            lines.append(
                f"| {tool} | {_seconds(whole['cpu_s'])} | {_seconds(e['start']['cpu_s'])} |"
                f" {e['ratio']:.1f} | {e['ratio_beyond']:.1f} | {whole['wall_s'][0]:.0f} |"
                f" {whole['peak_mb'][2]:.0f} | {e['kept']:,} | {e['alike']:,} |"
            )
        if name == "duplicates":
            lines += ["", f"Long enough and copies of none before: {job['fresh']:,}. Goal: {result['goal']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all jobs, each written when it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rows, one trial, nothing written")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument(
        "--jobs", nargs="*", choices=[[], *JOBS], default=list(JOBS),
        help="measure these, the others stay as they are; none: the table again from the file",
    )  # fmt: skip
    parser.add_argument("--env", action="append", default=[], metavar="NAME=FOLDER")
    args = parser.parse_args()
    if not args.jobs:
        write_atomic(RESULTS / "peers.md", table(json.loads((RESULTS / "peers.json").read_text())))
        return
    rows, trials = (QUICK, 1) if args.quick else (args.rows, args.trials)
    places = {"coreset": Path(sys.prefix)} | {
        tool: Path(".cache", tool).absolute() for tool in PEERS
    }
    for one in args.env:
        name, _, folder = one.partition("=")
        if name not in PEERS or not folder:
            parser.error(f"--env: expected NAME=FOLDER with one of {', '.join(PEERS)}, got {one!r}")
        places[name] = Path(folder).absolute()
    result: dict[str, Any] = {
        "goal": f"Data-Juicer takes at least {GOAL:g} times our CPU seconds for the duplicates",
        "peers": {tool: version(tool, places[tool]) for tool in PEERS},
    }  # fmt: skip
    result |= harness.about("python scripts/benchmarks/curate_peers.py") | {"jobs": {}}
    file = RESULTS / "peers.json"
    if file.exists() and not args.quick:
        result["jobs"] = json.loads(file.read_text())["jobs"]  # those that are not measured again
    with tempfile.TemporaryDirectory() as name:
        few, _ = web_pages(FEW, Path(name))
        for job in args.jobs:
            # a tenth of the rows for the rules, which cost datatrove some 20 ms a page
            source, fresh = web_pages(
                max(QUICK, rows // 10) if job == "rules" else rows, Path(name)
            )
            load = os.getloadavg()[0]
            measured_now = compare(job, source, few, places, trials)
            result["jobs"][job] = {"fresh": fresh, "load": load, "trials": trials} | measured_now
            if not args.quick:
                harness.write("peers", result, RESULTS)
                write_atomic(RESULTS / "peers.md", table(result))
    print(table(result))


if __name__ == "__main__":
    main()
