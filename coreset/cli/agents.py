"""`coreset-mcp`: the commands, the catalog and the decisions as tools of the Model Context
Protocol.

A coding agent that has only this server can find a strategy and its parameters, run a command, look
at what was decided and why, and overrule it. It speaks over standard input and output to the
program that started it, runs with that program's rights, and starts nothing but this package's own
commands.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from coreset import describe
from coreset.cli import decided
from coreset.core.catalog import COLUMNS
from coreset.core.overrules import Overrule, add_overrule, now
from coreset.targets import conf_dir

INSTALL = "coreset-mcp needs the MCP SDK: pip install 'coreset-lightning[mcp]'"
COMMANDS = {
    "coreset-train": "coreset.trainers.app:main",
    "coreset-compare": "coreset.trainers.app:compare_main",
    "coreset-select": "coreset.cli.select:select_main",
    "coreset-curate": "coreset.cli.curate:curate_main",
    "coreset-score": "coreset.cli.curate:score_main",
    "coreset-explore": "coreset.cli.explore:main",
    "coreset-flywheel": "coreset.trainers.flywheel:main",
    "coreset-bench": "coreset.trainers.bench.app:main",
}
GUIDE = """Choose training data. Typical ways:
1. rows of text or images to clean and select: list_recipes, then
   run_command("coreset-curate", ["recipe=sft", "input=rows.jsonl", "out=curated"]), then
   summarize_decisions, preview_decisions, explain_row, overrule, and the same command with
   "overrules=curated/overrules.jsonl".
2. columns on disk (.npy): list_parts("strategies"), describe_part, then
   run_command("coreset-select", ["strategy=kcenter", "features=x.npy", "budget=500"]).
3. training on chosen subsets: command_help("coreset-train"), run_command("coreset-train", [...]).
4. several strategies compared on your features: coreset-bench; turn after turn of finding where a
   model is weak and buying what helps: coreset-flywheel init, turn, show.
Settings are key=value. Every command answers with {schema, command, ok, result, error}."""
Kind = Literal["strategies", "scorers", "image_scorers", "operators", "distillers"]
Command = Literal[
    "coreset-train", "coreset-compare", "coreset-select", "coreset-curate", "coreset-score",
    "coreset-explore",
    "coreset-flywheel", "coreset-bench",
]  # fmt: skip


def list_parts(kind: Kind) -> list[dict[str, str]]:
    """List every part of a kind by name with one line about it."""
    return describe.list_parts(kind)


def describe_part(kind: Kind, name: str) -> dict[str, Any]:
    """Describe one part: method and paper, columns it needs and gives,
    parameters as JSON schema.
    """
    return describe.describe_part(kind, name)


def list_columns() -> dict[str, dict[str, str]]:
    """List the columns strategies read: shape, what a row holds, where to get it."""
    return {n: {"shape": c.shape, "holds": c.holds, "source": c.source} for n, c in COLUMNS.items()}


def list_recipes() -> list[dict[str, str]]:
    """List the recipes of coreset-curate with their text: the first lines say what they are for."""
    files = sorted((conf_dir() / "recipe").glob("*.yaml"))
    return [{"name": f.stem, "yaml": f.read_text(encoding="utf-8")} for f in files]


def run_command(
    command: Command, arguments: list[str], folder: str = ".", timeout_seconds: float = 3600
) -> dict[str, Any]:
    """Run a command of this package with key=value settings in a folder; return its JSON answer."""
    done = _start(command, [*arguments, "--json"], folder, timeout_seconds)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        message = done.stderr[-2000:] or "no answer"
        return {"schema": "coreset/1", "command": command, "ok": False, "result": None,
                "error": {"type": "NoAnswer", "message": message}}  # fmt: skip
    reply: dict[str, Any] = json.loads(lines[-1])
    return reply


def command_help(command: Command) -> str:
    """Return the help of a command: its settings with their defaults, and examples."""
    return _start(command, ["--help"], ".", 120).stdout


def summarize_decisions(run: str) -> dict[str, Any]:
    """Summarize a curation folder: counts, what every operator dropped and why, its columns."""
    return decided.summarize(Path(run))


def preview_decisions(
    run: str,
    decision: str | None = None,
    operator: str | None = None,
    reason: str | None = None,
    near: str | None = None,
    limit: int = 10,
    offset: int = 0,
) -> dict[str, Any]:
    """Show rows of a curation with text, scores and reason, by decision (kept, dropped, rejected),
    operator or reason; near=COLUMN shows those closest to a cut of it first, and the cuts.
    """
    return decided.preview(Path(run), decision, operator, reason, near, limit, offset)


def explain_row(run: str, row: str) -> dict[str, Any]:
    """Say why one row (id or position) of a curation was kept or dropped, with its twin's text."""
    return decided.explain(Path(run), row)


def try_recipe(operators: list[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Run operators (names or {name: options}) over a few rows given here; return decisions."""
    from coreset.curation.in_memory import curate_rows

    if len(rows) > 1000:
        raise ValueError(
            f"rows: expected at most 1,000, got {len(rows)}; files go to coreset-curate"
        )
    done = curate_rows(operators, rows)
    return {"kept": len(done.rows), "decisions": done.decisions.to_pylist()}


def overrule(
    run: str,
    row_ids: list[str],
    action: Literal["keep", "drop", "relabel", "pin"],
    who: str,
    why: str,
    label: str | None = None,
) -> dict[str, Any]:
    """Overrule rows of a run, in overrules.jsonl of its folder: give that file as overrules=FILE to
    the next coreset-curate, coreset-select or coreset-flywheel turn.
    """
    many = [Overrule(k, action, who, now(), why, label) for k in row_ids]
    strange = decided.unknown(Path(run), row_ids)
    if strange:
        raise ValueError(f"row_ids: {len(strange)} are no row of {run}, first {strange[0]!r}")
    file = Path(run) / "overrules.jsonl"
    for one in many:
        add_overrule(file, one)
    return {"written": len(many), "overrules_file": str(file)}


TOOLS = (
    list_parts, describe_part, list_columns, list_recipes, run_command, command_help,
    summarize_decisions, preview_decisions, explain_row, try_recipe, overrule,
)  # fmt: skip


def _start(
    command: str, arguments: list[str], folder: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    module, _, function = COMMANDS[command].partition(":")
    code = (
        f"import sys; sys.argv[0] = {command!r}; from {module} import {function};"
        f" sys.exit({function}())"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True,
        timeout=seconds, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def make_server() -> Any:
    """Return the server with all tools. Raises ImportError without the MCP SDK."""
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise ImportError(INSTALL) from error

    def in_words(tool: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(tool)
        def called(*given: Any, **named: Any) -> Any:
            try:
                return tool(*given, **named)
            except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
                raise ToolError(str(error.args[0] if error.args else error)) from error

        return called

    server = MCPServer("coreset", instructions=GUIDE)
    for tool in TOOLS:
        server.tool()(in_words(tool))
    return server


def main() -> None:
    """Run `coreset-mcp` over standard input and output."""
    make_server().run()


if __name__ == "__main__":
    main()
