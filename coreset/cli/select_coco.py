"""The command line `coreset-select coco=...`: images for detection, from the files a project
already has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from coreset.cli.answer import answer
from coreset.cli.common import check_settings, conf_dir, fail, write_picks
from coreset.vision.command import choose, summary


@hydra.main(version_base="1.3", config_path=str(conf_dir() / "coco"), config_name="select_coco")  # type: ignore[untyped-decorator]
def coco_main(cfg: DictConfig) -> None:
    """Choose images and write the picks in order."""
    console = Console(stderr=True)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check_settings(plain, conf_dir() / "coco" / "select_coco.yaml")
        out = Path(plain["out"])
        if out.suffix not in (".parquet", ".csv", ".txt"):
            raise ValueError(f"out: expected a name that ends in .parquet, .csv or .txt, got {out}")
        chosen = choose(plain)
        write_picks(chosen, out)
        keys = ("budget", "cost", "slack", "short", "strategy")
        about = {k: chosen.info[k] for k in keys if k in chosen.info}
        written = {f"{k}_file": v for k, v in plain["to"].items() if v is not None}
        assert chosen.ids is not None
        answer(
            chosen=len(chosen),
            picks_file=out,
            first_ids=chosen.ids[:20].tolist(),
            **about,
            **written,
        )
        console.print(escape(summary(chosen, out)), soft_wrap=True, highlight=False)
    except Exception as error:
        fail(error, console, go_on=HydraConfig.get().mode == RunMode.MULTIRUN)
        raise
