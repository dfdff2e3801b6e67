"""The command line of curation: `coreset-curate` runs a recipe over rows of text, `coreset-score`
one scorer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from coreset.build import build
from coreset.cli.answer import answer, run
from coreset.cli.common import check_settings, conf_dir, fail

if TYPE_CHECKING:
    from coreset.curation.run import Curated, Settings


def settings(plain: Mapping[str, Any]) -> Settings:
    """Return how rows are read, from a configuration.

    >>> settings(
    ...     {
    ...         "kind": "text",
    ...         "fields": None,
    ...         "id": None,
    ...         "max_characters": 9,
    ...         "batch": 2,
    ...         "partition_rows": 5,
    ...         "split": 9,
    ...         "images": None,
    ...     }
    ... ).batch
    2
    """
    from coreset.curation.run import Settings

    names = ("kind", "fields", "id", "max_characters", "batch", "partition_rows", "split", "images")
    options: dict[str, Any] = {n: plain[n] for n in names}
    return Settings(**{**options, "fields": options["fields"] or {}})


def make_operators(plain: Mapping[str, Any]) -> list[Any]:
    """Return the operators of a recipe: a configured one, or with `recipe_file` one given as data.

    Raises what `build` and `read_recipe` do, and ValueError for a recipe that has no operators, or
    a budget and nothing that takes it.
    """
    from coreset.curation.operators.base import flatten, kind
    from coreset.curation.recipe import read_recipe

    file = plain.get("recipe_file")
    recipe = read_recipe(file, plain) if file else plain["recipe"]
    if not isinstance(recipe, Mapping) or not isinstance(recipe.get("operators"), list):
        raise ValueError(f"recipe: expected a file with a list 'operators', got {recipe!r}")
    operators = flatten(build(recipe["operators"], "operator", trusted=not file))
    if plain["budget"] is not None and not any(
        kind(o) == "select" or getattr(o, "target", None) is not None for o in operators
    ):
        raise ValueError(
            "budget: this recipe selects nothing, it keeps all that pass; leave the budget out or"
            " add a selection"
        )
    return operators


def summary(done: Curated) -> list[str]:
    """Return what a run came to, a line each."""
    counts = done.manifest["counts"]
    lines = [
        f"{counts['kept']} of {counts['rows']} rows kept, {counts['dropped']} dropped,"
        f" {counts['rejected']} rejected -> {done.out}"
    ]
    if done.manifest["rejects"]:
        reasons = ", ".join(f"{reason} {n}" for reason, n in done.manifest["rejects"].items())
        lines.append(f"rejected: {reasons}; see {done.out / 'rejects.jsonl'}")
    return [*lines, f"report: {done.out / 'report.html'}"]


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="curate")  # type: ignore[untyped-decorator]
def configured_main(cfg: DictConfig) -> None:
    """Run a recipe over rows of text and write what is kept, and why."""
    from coreset.core.places import place
    from coreset.curation.run import curate

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(escape(text), soft_wrap=True, highlight=False)

    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        file = conf_dir() / "curate.yaml"
        check_settings(plain, file, HydraConfig.get().overrides.task)
        operators, engine = make_operators(plain), build(plain["engine"], "engine", trusted=True)
        done = curate(
            operators,
            plain["input"],
            plain["out"],
            engine=engine,
            settings=settings(plain),
            state=plain["state"],
            overrules=plain["overrules"],
            log=say,
        )
        from coreset.report.curation import write_curation_report  # after what costs memory

        state = place(plain["state"]) if plain["state"] else None
        write_curation_report(done.out, done.manifest, done.samples, done.gallery, state)
        keys = ("name", "kind", "counts")
        answer(
            counts=done.manifest["counts"], rejects=done.manifest["rejects"], out_folder=done.out,
            decisions_file=done.out / "decisions.parquet", report_file=done.out / "report.html",
            operators=[{k: o[k] for k in keys if k in o} for o in done.manifest["operators"]],
        )  # fmt: skip
        for line in summary(done):
            say(line)
    except Exception as error:
        fail(error, console, go_on=HydraConfig.get().mode == RunMode.MULTIRUN)
        raise


def curate_main() -> None:
    """Run `coreset-curate`. `recipe=FILE.yaml`, a file that is there, is a recipe given as data."""
    ends = (".yaml", ".yml", ".json")
    for i, argument in enumerate(sys.argv[1:], 1):
        name = argument.removeprefix("recipe=")
        if name != argument and name.endswith(ends) and Path(name).is_file():
            sys.argv[i : i + 1] = ["~recipe", f"recipe_file={json.dumps(name)}"]
            break
    run("coreset-curate", configured_main, "curate.yaml")


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="score")  # type: ignore[untyped-decorator]
def configured_score(cfg: DictConfig) -> None:
    """Score rows of text and write the columns."""
    from coreset.curation.score import score

    console = Console(stderr=True)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        file = conf_dir() / "score.yaml"
        check_settings(plain, file, HydraConfig.get().overrides.task)
        scorer, engine = (build(plain[n], n, trusted=True) for n in ("scorer", "engine"))
        out = Path(plain["out"])
        counts = score(scorer, plain["input"], out, engine=engine, settings=settings(plain))
        answer(**counts, scores_file=out)
        text = f"{counts['scored']} of {counts['rows']} rows scored -> {out}"
        if counts["rejected"]:
            text += f"; {counts['rejected']} rejected, see {out.with_suffix('.rejects.jsonl')}"
        console.print(escape(text), soft_wrap=True, highlight=False)
    except Exception as error:
        fail(error, console, go_on=HydraConfig.get().mode == RunMode.MULTIRUN)
        raise


def score_main() -> None:
    """Run `coreset-score`."""
    run("coreset-score", configured_score, "score.yaml")
