"""The command line `coreset-explore RUN`: every row of a run on a map and in a table.

What makes a table is imported when one is made: a table that is there opens without torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pyarrow as pa
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from coreset.cli.answer import answer, run
from coreset.cli.common import check_settings, conf_dir, fail, read_column
from coreset.core.store import fingerprint
from coreset.report.explore.rows import score_names
from coreset.report.explore.table import explore_table, read_explore, write_explore

SOURCES = ("manifest.json", "decisions.parquet", "rows.parquet", "ledger.jsonl", "state.json")
SETTINGS = ("run", "features", "images", "ids", "columns", "state", "projection", "neighbors")


def make_table(cfg: Mapping[str, Any]) -> tuple[pa.Table, str]:
    """Return the table of rows of the runs that the settings name, and how its map was drawn.

    Raises FileNotFoundError, ValueError or KeyError in words for what is no run, or columns that
    do not fit it.
    """
    from coreset.report.explore.curated import curated_columns
    from coreset.report.explore.trained import encoded, selection_columns, trained_columns
    from coreset.report.load import read_runs

    given = cfg["run"]
    paths = [Path(p) for p in (given if isinstance(given, list) else [given])]
    given_x = read_column(cfg["features"], "features") if cfg["features"] else None
    ids = read_column(cfg["ids"], "ids") if cfg["ids"] else None
    images = np.load(cfg["images"], mmap_mode="r", allow_pickle=False) if cfg["images"] else None
    x: Any = None
    if len(paths) == 1 and (paths[0] / "decisions.parquet").exists():
        columns, x = curated_columns(paths[0], Path(cfg["state"]) if cfg["state"] else None)
    elif len(paths) == 1 and (paths[0] / "flywheel.json").exists():
        from coreset.flywheel.explore import flywheel_columns

        columns, x = flywheel_columns(paths[0])
    elif len(paths) == 1 and paths[0].suffix == ".parquet":
        rows = next((v for v in (given_x, images, ids) if v is not None), None)
        if rows is None:
            raise ValueError("a selection needs features, images or ids: how many rows are there?")
        columns = selection_columns(paths[0], len(rows), ids)
    else:
        columns, x = trained_columns(read_runs(paths))
    size = len(columns["row"])
    for name, values in (("features", given_x), ("images", images)):
        if values is not None and len(values) != size:
            raise ValueError(f"{name}: {len(values)} rows, but the run has {size}")
    if images is not None:
        columns["thumbnail"] = encoded(images)
    for name, file in (cfg["columns"] or {}).items():
        columns[name] = read_column(file, name)
    x = given_x if given_x is not None else x
    return _placed(columns, x, cfg)


def fingerprint_of(cfg: Mapping[str, Any]) -> str:
    """Return 16 hex digits of what a table is made from: the settings, and size and time of change
    of every file.
    """
    given = cfg["run"]
    runs = [Path(p) for p in (given if isinstance(given, list) else [given])]
    files = [*runs, *(run / name for run in runs for name in SOURCES)]
    files += [Path(cfg[name]) for name in ("features", "images", "ids") if cfg[name]]
    files += [Path(file) for file in (cfg["columns"] or {}).values()]
    seen = [(str(f), (s := f.stat()).st_size, s.st_mtime_ns) for f in files if f.is_file()]
    settings = {k: v for k, v in cfg.items() if k in SETTINGS}
    return fingerprint(str(sorted(settings.items())), str(seen))


def _placed(columns: dict[str, Any], x: Any, cfg: Mapping[str, Any]) -> tuple[pa.Table, str]:
    """Return the table with places and neighbors: of vectors, else of what rows hold."""
    from coreset.report.explore.coordinates import image_vectors, neighbors, places, text_vectors

    source = "vectors"
    texts = columns.get("text")
    if x is None and texts is not None and (isinstance(texts, pa.ChunkedArray) or any(texts)):
        x, source = text_vectors(texts), "words"
    if x is None and "thumbnail" in columns:
        held = columns["thumbnail"]
        plain = held.to_pylist() if isinstance(held, pa.Array) else held
        x, source = image_vectors([t and t["bytes"] for t in plain]), "pixels"
    if x is None:
        return explore_table(columns), "no map"
    x = np.asarray(x).reshape(len(x), -1)
    xy, how = places(x, cfg["projection"])
    columns |= {"x": xy[:, 0], "y": xy[:, 1]}
    near = neighbors(x, cfg["neighbors"]) if cfg["neighbors"] else None
    columns |= {} if near is None else {"neighbors": near}
    return explore_table(columns), f"{how} of {source}"


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="explore")  # type: ignore[untyped-decorator]
def configured_main(cfg: DictConfig) -> None:
    """Open every row of a run."""
    console = Console(stderr=True)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check_settings(plain, conf_dir() / "explore.yaml", HydraConfig.get().overrides.task)
        from coreset.report.explore.server import export_site, make_app

        first = Path(plain["run"][0] if isinstance(plain["run"], list) else plain["run"])
        folder = first.parent if first.suffix == ".parquet" else first
        if first.name == "explore.parquet":
            table, how = read_explore(first)[0], "as in the file"
        else:
            file = Path(plain["table"] or folder / "explore.parquet")
            key = fingerprint_of(plain)
            before = read_explore(file) if file.is_file() else None
            if before is not None and before[1].get("made_from") == key:
                table, how = before[0], str(before[1]["map"])
                console.print("nothing has changed since the table was made")
            else:
                table, how = make_table(plain)
                about = {"map": how, "run": str(plain["run"]), "scores": score_names(table)}
                write_explore(table, file, {**about, "made_from": key})
            answer(rows=table.num_rows, map=how, table_file=file, columns=table.column_names)
            console.print(
                f"{table.num_rows} rows, map: {how} -> {escape(str(file))}", soft_wrap=True
            )
        title = folder.resolve().name
        if plain["export"]:
            page = export_site(table, title, Path(plain["export"]))
            console.print(f"site: {escape(str(page))}", soft_wrap=True)
        elif plain["open"]:
            overrules = Path(plain["overrules"] or folder / "overrules.jsonl")
            _serve(make_app(table, title, overrules, _hosts(plain)), plain, overrules, console)
    except Exception as error:
        fail(error, console, go_on=False)
        raise


def _hosts(plain: Mapping[str, Any]) -> tuple[str, ...]:
    return ("localhost", "127.0.0.1", str(plain["host"]))


def _serve(app: Any, plain: Mapping[str, Any], overrules: Path, console: Console) -> None:
    import uvicorn

    where = f"http://{plain['host']}:{plain['port']}/"
    console.print(
        f"open {where}   overrules: {escape(str(overrules))}   stop: ctrl-c", soft_wrap=True
    )
    uvicorn.run(app, host=plain["host"], port=plain["port"], log_level="error", access_log=False)


def main() -> None:
    """Run `coreset-explore RUN [RUN ...] [setting=value ...]`."""
    runs = [a for a in sys.argv[1:] if "=" not in a and not a.startswith("-")]
    rest = [a for a in sys.argv[1:] if a not in runs]
    if runs:
        rest = [f"run={json.dumps(runs)}", *rest]
    sys.argv[1:] = rest
    run("coreset-explore", configured_main, "explore.yaml")


if __name__ == "__main__":
    main()
