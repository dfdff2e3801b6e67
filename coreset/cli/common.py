"""What the command lines share: settings checked, errors in words, columns in and picks out."""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from coreset.core.selection import Selection
from coreset.core.store import write_atomic
from coreset.registry import unknown
from coreset.targets import conf_dir as conf_dir


def choices(*more: str) -> str:
    """Return the help's lines of the groups in the defaults of the running application, and of
    `more` groups, each with its options (`${choices:}` in the template of a help text).
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    loader = GlobalHydra.instance().config_loader()
    file = conf_dir() / f"{HydraConfig.get().job.config_name}.yaml"
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["defaults"]
    names = {str(k).partition("@")[0] for d in entries if isinstance(d, dict) for k in d}
    groups = sorted({*more, *(n for n in names if " " not in n)})
    return "\n".join(f"{g}: {', '.join(sorted(loader.get_group_options(g)))}" for g in groups)


OmegaConf.register_new_resolver("choices", choices, replace=True)


def check_settings(plain: Mapping[str, Any], file: Path, overrides: Sequence[str] = ()) -> None:
    """Raise ValueError, with the nearest names, for a setting that an application does not have.

    file: the application's own YAML. overrides: of the command line; one that adds to a recipe is
    refused too, nothing would read it.
    """
    own, groups = settings_of(file)
    known = sorted({*own, *groups} - {"hydra"})
    added = [o.lstrip("+").split("=")[0] for o in overrides if o.startswith("+")]
    wrong = [f"'{k}'" for k in plain if k not in known]
    wrong += [f"'{o}'" for o in added if o.startswith("recipe.")]
    for name in (k for k, v in own.items() if isinstance(v, dict)):  # of an application's own
        wrong += [f"'{name}.{k}'" for k in plain.get(name) or () if k not in own[name]]
    if wrong:
        raise unknown_setting(wrong, known)


def settings_of(file: Path) -> tuple[dict[str, Any], set[str]]:
    """Return the settings of an application with their defaults, and its groups, from its YAML."""
    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    defaults = own.pop("defaults", [])
    groups = {
        str(k).partition("@")[2] or str(k) for d in defaults if isinstance(d, dict) for k in d
    }
    for shared in (d for d in defaults if isinstance(d, str) and d != "_self_"):
        own |= yaml.safe_load((file.parent / f"{shared}.yaml").read_text(encoding="utf-8"))
    return own, {g for g in groups if " " not in g}


def unknown_setting(wrong: Sequence[str], known: Sequence[str], of: str = "") -> ValueError:
    """Return the error of settings, in quotes, that an application, or its group `of`, does not
    have. known: those it has.
    """
    near = difflib.get_close_matches(wrong[0].strip("'").removeprefix(of), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(of + n for n in near)}?" if near else "."
    names = ", ".join(of + name for name in known) or "none"
    return ValueError(f"unknown setting {', '.join(wrong)}{hint} Settings: {names}")


def check_arguments(arguments: Sequence[str], file: Path) -> None:
    """Raise an error with the nearest names for a setting or an option of a group that is not
    there, before Hydra composes: KeyError for the option, ValueError for the setting, and for a
    path in the place of an option: Hydra would believe the file there as it does our own.

    arguments: of the command line. file: the application's own YAML. Additions (`+x=1`), `hydra.`
    settings, and a command line that names configuration folders of its own are Hydra's to judge,
    but for paths.

    >>> check_arguments(["engine=rai"], conf_dir() / "curate.yaml")
    Traceback (most recent call last):
    KeyError: "unknown engine 'rai'; did you mean ray? Known: local, ray"
    """
    own, groups = settings_of(file)
    named = (groups | {p.name for p in file.parent.iterdir() if p.is_dir()}) - own.keys() | {
        "hydra"
    }
    for argument in arguments:
        match = re.match(r"\+{0,2}([a-z]\w*)[^.=]*=(.*)", argument, re.DOTALL)
        if match is not None and match[1] in named:
            _check_no_path(match[1], match[2])
    if any(a.startswith(("--config", "-cd", "-cp", "-cn", "hydra.searchpath")) for a in arguments):
        return
    for argument in arguments:
        match = re.match(r"([a-z]\w*)(?:@\w+)?(\.[^=]*)?=(.*)", argument, re.DOTALL)
        if match is None:
            continue
        key, inner, option = match.groups()
        if key not in own and key not in groups and key != "hydra":
            raise unknown_setting([f"'{key}'"], sorted({*own, *groups} - {"hydra"}))
        folder = file.parent / key
        known = inner is None and key in groups and folder.is_dir()
        for name in option.split(",") if known and re.fullmatch(r"[\w,-]+", option) else ():
            if name != "null" and not (folder / f"{name}.yaml").exists():
                raise unknown(key, name, (p.stem for p in folder.glob("*.yaml")))
        first = inner[1:].split(".")[0] if inner else "_"
        there = None if first.startswith("_") else _inside(key, file, arguments)
        if there is not None and first not in there:
            raise unknown_setting([f"'{key}.{first}'"], sorted(there), f"{key}.")


def _inside(key: str, file: Path, arguments: Sequence[str]) -> set[str] | None:
    """Return the settings of the options chosen of a group, all of a sweep; None where only Hydra
    knows: no group, options that are composed or settings of the application itself, files of the
    user, options that an experiment, a task or a suite may have chosen.
    """
    defaults = yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", [])
    ours = {str(k): v for d in defaults if isinstance(d, dict) for k, v in d.items()}
    group = next((n for n in ours if n.partition("@")[2] == key), key)
    if group not in ours:
        return None
    told = [a.partition("=")[2] for a in arguments if a.startswith(f"{group}=")]
    if not told and any(a.startswith(("experiment=", "task=", "bench=")) for a in arguments):
        return None
    there: set[str] = set()
    for name in (told or [str(ours[group])])[-1].split(","):
        option = file.parent / group.partition("@")[0] / f"{name}.yaml"
        text = option.read_text(encoding="utf-8") if option.exists() else "# @package"
        inside = yaml.safe_load(text)
        if not isinstance(inside, dict) or "defaults" in inside or text.startswith("# @package"):
            return None
        there |= {n for n in inside if not n.startswith("_")}
    return there


def _check_no_path(group: str, option: str) -> None:
    """Raise ValueError for options of a group that are paths: absolute, with `.` or `..`, or with
    the ending of a file.
    """
    for name in option.strip("[]'\" ").split(","):
        plain = name.strip("'\" ").replace("\\", "/")
        ending = plain.endswith((".yaml", ".yml", ".json"))
        if ending or plain.startswith("/") or {".", ".."} & set(plain.split("/")):
            hint = " that is there, ending in .yaml, .yml or .json" if group == "recipe" else ""
            also = f", or one file alone{hint}, read as data" if hint else ""
            raise ValueError(
                f"{group}: expected an option by its name{also}, got the path {plain!r}"
            )


def fail(error: Exception, console: Console, go_on: bool) -> None:
    """Print an error in words and leave with status 1; with `go_on` (a sweep) the next job starts.
    HYDRA_FULL_ERROR=1 shows where it happened.
    """
    while type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    expected = isinstance(error, ValueError | TypeError | OSError | ImportError) or (
        isinstance(error, KeyError) and " " in text
    )
    if isinstance(error, OmegaConfBaseException):  # its other lines are OmegaConf's own
        text, expected = text.split("\n")[0], True
    text = escape(text if expected else f"{type(error).__name__}: {text}")
    console.print(f"[bold red]error:[/] {text}", soft_wrap=True, highlight=False)
    if expected and not go_on and not os.environ.get("HYDRA_FULL_ERROR"):
        sys.exit(1)


def read_table(
    path: str | Path, names: Iterable[str], id_field: str | None
) -> tuple[dict[str, Any], Any]:
    """Return the columns `names` that a table has, and its ids or None.

    id_field: the field of the ids; None: `id` where the table has one. Raises ValueError for
    another ending, a file that cannot be read and a field of ids that is not there.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    path = Path(path)
    kinds = {".parquet": "parquet", ".arrow": "ipc", ".csv": "csv", ".jsonl": "json"}
    if path.suffix not in kinds:
        raise ValueError(f"input: expected a {', '.join(kinds)} file, got {path}")
    try:
        table = ds.dataset(path, format=kinds[path.suffix])
        there = table.schema.names
        if id_field is not None and id_field not in there:
            raise ValueError(f"no field '{id_field}' for ids; it has {', '.join(there)}")
        named = id_field or ("id" if "id" in there else None)
        wanted = [n for n in there if n in set(names) | {named}]
        read = table.to_table(columns=wanted)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"input: cannot be read from {path}: {error}") from error
    columns = {n: np.asarray(read[n].to_pylist()) for n in wanted if n != named}
    return columns, None if named is None else np.asarray(read[named].to_pylist())


def read_column(path: str | Path, name: str) -> Any:
    """Return a column from .npy (memory-mapped), .parquet or .csv (the column `name`, or the only
    one) or .txt (one example a line).

    Text files keep `ids` as they are written. Raises ValueError for another ending, a file that
    cannot be read or a table without that column.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"{name}: expected a .npy, .parquet, .csv or .txt file, got {path}")
    try:
        return READERS[path.suffix](path, name)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: cannot be read from {path}: {error}") from error


def _read_text(path: Path, name: str) -> Any:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if name == "ids":
        return np.array(lines)
    dtype = np.int64 if name in ("selected", "candidates", "labels") else np.float64
    return np.loadtxt(lines, dtype, ndmin=1) if lines else np.empty(0, dtype)


def _read_table(path: Path, name: str) -> Any:
    import pandas as pd

    is_parquet, as_written = path.suffix == ".parquet", str if name == "ids" else None
    table = pd.read_parquet(path) if is_parquet else pd.read_csv(path, dtype=as_written)
    wanted = (
        name
        if name in table
        else "index"
        if name in ("selected", "candidates") and "index" in table
        else None
    )
    if wanted is None and len(table.columns) == 1:
        wanted = table.columns[0]
    if wanted is None:
        raise ValueError(f"no column '{name}'; it has {', '.join(map(str, table.columns))}")
    return np.asarray(table[wanted].tolist())


READERS: dict[str, Callable[[Path, str], Any]] = {
    ".npy": lambda path, name: np.load(path, mmap_mode="r", allow_pickle=False),
    ".parquet": _read_table,
    ".csv": _read_table,
    ".txt": _read_text,
}


def write_picks(chosen: Selection, out: Path) -> None:
    """Write a selection in order: .parquet with everything, .csv (index, id) or .txt (one position
    a line).
    """
    if out.suffix == ".parquet":
        chosen.save(out)
        return
    text = io.StringIO()
    if out.suffix == ".txt":
        text.writelines(f"{i}\n" for i in chosen.indices)
    else:
        ids = chosen.indices if chosen.ids is None else chosen.ids
        csv.writer(text, lineterminator="\n").writerows(
            [("index", "id"), *zip(chosen.indices, ids, strict=True)]
        )
    write_atomic(out, text.getvalue())
