"""`--json` on every command: one line on standard output that a program reads, one schema.

    {"schema": "coreset/1", "command": "coreset-select", "ok": true, "result": {...}, "error": null}

`result` is an object (a list of them in a sweep); every value that names a file ends in `_file` or
`_folder`. With `ok` false, `error` holds `type` and `message`, and the exit status is 1. All else a
command has to say goes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, cast

from rich.console import Console

from coreset.cli.common import check_arguments, conf_dir, fail
from coreset.core.store import to_json

SCHEMA = "coreset/1"
_results: list[dict[str, Any]] | None = None  # None: this process answers in words


def answer(**result: Any) -> None:
    """Say what a command came to; without `--json` this does nothing."""
    if _results is not None:
        _results.append({k: str(v) if hasattr(v, "__fspath__") else v for k, v in result.items()})


def answers_json() -> bool:
    """Return whether this process answers in JSON."""
    return _results is not None


def run(command: str, main: Callable[[], Any], config: str | None = None) -> Any:
    """Run a command; with `--json` among its arguments, print one document at its end.

    config: the application's YAML in the configuration folder; names on the command line that it
    does not know are refused before anything is composed. A command fails by an exception or by an
    exit status that is not 0.
    """
    global _results
    if "--json" not in sys.argv[1:]:
        try:
            _check(config)
        except (KeyError, ValueError) as unknown:
            fail(unknown, Console(stderr=True), go_on=False)
        return main()
    sys.argv.remove("--json")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed
    _results, error = [], None
    with contextlib.redirect_stdout(sys.stderr):
        try:
            _check(config)
            status = main()
        except SystemExit as end:
            status = end.code
        except Exception as failure:
            error, status = _error(failure), 1
    if status and error is None and not isinstance(status, float):
        error = {
            "type": "SystemExit",
            "message": str(status) if isinstance(status, str) else "see standard error",
        }
    result: Any = _results[0] if len(_results) == 1 else _results or {}
    document = {
        "schema": SCHEMA, "command": command, "ok": error is None,
        "result": None if error else result, "error": error,
    }  # fmt: skip
    _results = None
    print(to_json(document, str))
    sys.exit(1 if error else 0)


def _check(config: str | None) -> None:
    if config is not None:
        check_arguments(sys.argv[1:], conf_dir() / config)


def _error(failure: Exception) -> dict[str, str]:
    while type(failure).__name__ == "InstantiationException" and failure.__cause__ is not None:
        failure = cast(Exception, failure.__cause__)
    text = str(failure.args[0]) if isinstance(failure, KeyError) and failure.args else str(failure)
    return {"type": type(failure).__name__, "message": text}
