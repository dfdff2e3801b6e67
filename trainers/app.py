"""The command line: `coreset-train` runs the loops and `coreset-compare` puts several runs side by
side. Help and settings need neither torch nor Lightning: a run imports them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from coreset.cli.answer import answer, answers_json, run
from coreset.cli.common import conf_dir, fail
from coreset.trainers.multirun import register


def run_dir(resume: str | None, pattern: str) -> str:
    """Return the folder of a run: the one to resume, or a new one that no other run has."""
    if resume:
        return str(resume)
    path, number = Path(pattern), 1
    while path.exists():
        number += 1
        path = Path(f"{pattern}_{number}")
    return str(path)


register()
OmegaConf.register_new_resolver("run_dir", run_dir, replace=True, use_cache=True)


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")  # type: ignore[untyped-decorator]
def configured_main(cfg: DictConfig) -> float | None:
    """Train on chosen subsets and report accuracy against budget."""
    from coreset.trainers.curve_name import curve_name
    from coreset.trainers.experiment import run_experiment
    from coreset.trainers.oracles import AwaitingLabels
    from coreset.trainers.settings import resolve, to_name_again

    hydra_cfg = HydraConfig.get()
    console = Console(stderr=True)
    if str(Path.cwd()) not in sys.path:  # modules of the user's own, as with `python -m`
        sys.path.append(str(Path.cwd()))
    try:
        composed: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        plain = resolve(composed, list(hydra_cfg.overrides.task))
        if not plain["resume"]:
            plain["strategy_name"] = curve_name(plain, hydra_cfg.runtime.choices)
        folder = Path(hydra_cfg.runtime.output_dir)
        area = run_experiment(plain, folder, console).folder.curve.area("log")
        report = folder / "report.html"
        answer(
            run_folder=folder, curve_file=folder / "curve.jsonl", area=area,
            strategy=plain["strategy_name"],
            seed=plain["seed"], **({"report_file": report} if report.exists() else {}),
        )  # fmt: skip
        return area
    except AwaitingLabels as waiting:
        answer(run_folder=hydra_cfg.runtime.output_dir, waiting=str(waiting))
        again = " ".join([f"resume={hydra_cfg.runtime.output_dir}", *to_name_again(plain, folder)])
        console.print(
            f"[bold]waiting:[/] {waiting}\n  resume with: {again}",
            soft_wrap=True,
        )
        return None
    except Exception as error:
        fail(error, console, go_on=hydra_cfg.mode == RunMode.MULTIRUN)
        raise


def main() -> Any:
    """Run `coreset-train`; `mode=active` without a strategy, experiment, task or run is `auto`."""
    named = ("strategy=", "strategy/", "experiment=", "task=", "resume=", "--config")
    if "mode=active" in sys.argv and not any(a.startswith(named) for a in sys.argv):
        sys.argv.append("strategy=auto")
    return run("coreset-train", configured_main, "train.yaml")


def compare_main(arguments: list[str] | None = None) -> int:
    """Run `coreset-compare`."""
    return int(run("coreset-compare", lambda: compared(arguments)) or 0)


def compared(arguments: list[str] | None = None) -> int:
    """Put several runs on one plot: `coreset-compare outputs/<multirun> [more...] [--out DIR]`."""
    from coreset.report.compare_curations import is_curation
    from coreset.report.console import print_comparison
    from coreset.report.page import write_report

    parser = argparse.ArgumentParser(
        prog="coreset-compare",
        description="Several strategies and seeds: one table, one plot, one report.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        help="run folders, or folders that hold them; or two curations",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where the report goes (default: the first path)"
    )
    args = parser.parse_args(arguments)
    console = Console()
    try:
        if curations := [path for path in args.paths if is_curation(path)]:
            if len(args.paths) != 2 or len(curations) != 2:
                raise ValueError(
                    f"expected two curations, or runs of training: of {len(args.paths)} folders"
                    f" {len(curations)} are curations, first {curations[0]}"
                )
            return _compare_curations(args.paths, args.out or args.paths[1], console)
        report = write_report(args.paths, args.out or args.paths[0])
        print_comparison(args.paths, console)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", soft_wrap=True)
        if answers_json():
            raise
        return 1
    answer(report_file=report)
    console.print(f"report: {report}", soft_wrap=True)
    return 0


def _compare_curations(paths: list[Path], out: Path, console: Console) -> int:
    """Say what changed between two curations, and write the page."""
    from coreset.report.compare_curations import write_comparison

    page, changed = write_comparison(paths[0], paths[1], out)
    counts = changed.counts
    answer(
        report_file=page,
        **counts,
        moves=[{"before": a, "after": b, "rows": n} for (a, b), n in changed.moves.items()],
    )
    for name, n in counts.items():
        console.print(f"{name.replace('_', ' ')}: {n}")
    console.print(f"report: {page}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main()
