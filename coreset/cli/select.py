"""The command line of the library: `coreset-select`, selection alone on arrays the user already
has.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from coreset.api import select
from coreset.build import build
from coreset.cli.answer import answer, run
from coreset.cli.common import check_settings, fail, read_column, read_table, write_picks
from coreset.core.overrules import read_overrules
from coreset.core.pool import Pool
from coreset.core.signals import Signals
from coreset.core.store import fingerprint
from coreset.targets import conf_dir as conf_dir


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="select")  # type: ignore[untyped-decorator]
def columns_main(cfg: DictConfig) -> None:
    """Choose examples from columns on disk and write the picks in order."""
    from coreset.certificates import CHEAP, certificates, in_words  # brings torch

    console = Console(stderr=True)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check_settings(plain, conf_dir() / "select.yaml", HydraConfig.get().overrides.task)
        out = Path(plain["out"])
        if out.suffix not in (".parquet", ".csv", ".txt"):
            raise ValueError(f"out: expected a name that ends in .parquet, .csv or .txt, got {out}")
        strategy = build(plain["strategy"], "strategy", trusted=True)
        known = ("features", "logits", "probs", "member_probs", "labels")
        files = {name: plain[name] for name in known if plain[name]} | (plain["columns"] or {})
        columns = {name: read_column(path, name) for name, path in files.items()}
        rows = {
            name: read_column(plain[name], name)
            for name in ("selected", "candidates", "ids")
            if plain[name]
        }
        if plain["input"] is not None:
            wanted = strategy.needs | strategy.needs_selected
            table, ids = read_table(plain["input"], wanted - set(columns), plain["id"])
            columns = {**table, **columns}
            if ids is not None and "ids" not in rows:
                rows["ids"] = ids
        people = read_overrules(plain["overrules"]) if plain["overrules"] else None
        chosen = select(
            strategy, plain["budget"], seed=plain["seed"], overrules=people, **rows, **columns
        )
        fingerprints = {name: fingerprint(column) for name, column in {**columns, **rows}.items()}
        size = len(next(iter(columns.values()), rows.get("ids", ())))
        pool = Pool(
            size, **{name: rows[name] for name in ("selected", "candidates") if name in rows}
        )
        measures = certificates(pool, Signals(size, **columns), chosen, CHEAP)
        write_picks(
            replace(
                chosen, info={**chosen.info, "signals": fingerprints, "certificates": measures}
            ),
            out,
        )
        names = chosen.indices if chosen.ids is None else chosen.ids
        answer(
            chosen=len(chosen), rows=size, picks_file=out, certificates=measures,
            first_indices=chosen.indices[:20].tolist(),
            first_ids=names[:20].tolist(), strategy=chosen.info.get("strategy"),
            why=chosen.info.get("why"),
        )  # fmt: skip
        console.print(
            f"{len(chosen)} of {size} chosen -> {escape(str(out))}", soft_wrap=True, highlight=False
        )
        for line in filter(None, (chosen.info.get("why"), in_words(measures))):
            console.print(f"[dim]{line}[/]", soft_wrap=True, highlight=False)
    except Exception as error:
        fail(error, console, go_on=HydraConfig.get().mode == RunMode.MULTIRUN)
        raise


def select_main() -> None:
    """Run `coreset-select`: on columns, or with coco=... on the files of a detection project, which
    have settings of their own. Without a strategy `auto` answers with the columns that are there.
    """
    if any(argument.startswith("coco=") for argument in sys.argv[1:]):
        from coreset.cli.select_coco import coco_main

        run("coreset-select", coco_main, "coco/select_coco.yaml")
    else:
        named = ("strategy=", "strategy.partial=", "strategy/", "--config", "-cn", "-cp")
        if not any(a.startswith(named) for a in sys.argv):
            sys.argv.append("strategy.partial=true")
        run("coreset-select", columns_main, "select.yaml")


if __name__ == "__main__":
    select_main()
