"""A client that has only the MCP server; and the one schema of `--json`."""

import asyncio
import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from coreset.cli.agents import COMMANDS
from coreset.describe import GROUPS, describe_part, list_parts
from tests import processes

PYTHON = Path(sys.executable)


def run(command: str, *arguments: object, cwd: Path) -> tuple[dict, CompletedProcess]:
    done = processes.command(command, *arguments, "--json", cwd=cwd)
    assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) == {"schema", "command", "ok", "result", "error"}
    assert (answer["schema"], answer["command"]) == ("coreset/1", command)
    assert (done.returncode == 0) == answer["ok"] == (answer["error"] is None)
    return answer, done


def rows(folder: Path) -> Path:
    texts = ["one two three four", "one two three four", "five", "six seven eight nine ten"]
    (folder / "in.jsonl").write_text(
        "".join(json.dumps({"id": f"r{i}", "text": t}) + "\n" for i, t in enumerate(texts))
    )
    (folder / "r.yaml").write_text(
        "operators: [length, {threshold: {column: text_words, low: 2}}, exact_duplicates]\n"
    )
    return folder / "in.jsonl"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_command_answers_in_one_schema(tmp_path: Path) -> None:
    rows(tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    good, _ = run("coreset-select", "strategy=kcenter", "features=x.npy", "budget=3", cwd=tmp_path)
    assert good["result"]["chosen"] == 3
    assert (tmp_path / good["result"]["picks_file"]).exists()
    bad, _ = run("coreset-select", "strategy=kcenter", "features=x.npy", "budget=99", cwd=tmp_path)
    assert "99" in bad["error"]["message"]
    assert bad["error"]["type"] == "ValueError"
    bad, _ = run("coreset-select", "strategy=kcentre", "features=x.npy", "budget=3", cwd=tmp_path)
    assert "kcenter" in bad["error"]["message"]
    good, _ = run("coreset-curate", "recipe=r.yaml", "input=in.jsonl", "out=out", cwd=tmp_path)
    assert good["result"]["counts"] == {"rows": 4, "kept": 2, "dropped": 2, "rejected": 0}
    good, _ = run("coreset-score", "scorer=length", "input=in.jsonl", "out=s.parquet", cwd=tmp_path)
    assert good["result"]["scored"] == 4
    good, _ = run("coreset-explore", "out", "open=false", "projection=pca", cwd=tmp_path)
    assert good["result"]["rows"] == 4
    wheel = ["flywheel=wheel", "data=digits", "embedding=pixels", "split={train: 0.1, dev: 0.2, canary: 0.02}"]  # fmt: skip
    bad, _ = run("coreset-flywheel", "turn", *wheel, cwd=tmp_path)
    assert "init" in bad["error"]["message"]
    good, _ = run("coreset-flywheel", "init", *wheel, cwd=tmp_path)
    assert good["result"]["turns"] == 0
    assert Path(tmp_path / good["result"]["report_file"]).exists()
    good, _ = run("coreset-explore", "wheel", "open=false", "projection=pca", cwd=tmp_path)
    assert good["result"]["rows"] == 1797
    bad, _ = run(
        "coreset-bench", "data=digits", "embedding=pixels", "strategies=[kcentre]", cwd=tmp_path
    )
    assert "kcenter" in bad["error"]["message"]
    bad, _ = run("coreset-compare", "nowhere", cwd=tmp_path)
    assert "nowhere" in bad["error"]["message"]
    bad, _ = run("coreset-train", "data=digits", "nonsense=3", cwd=tmp_path)
    assert "nonsense" in bad["error"]["message"]


@pytest.mark.parametrize("kind", GROUPS)
def test_every_part_has_a_schema_that_json_can_say(kind: str) -> None:
    parts = list_parts(kind)
    assert parts
    for part in parts:
        about = describe_part(kind, part["name"])
        json.dumps(about)
        assert about["about"]
        for name, one in about["parameters"]["properties"].items():
            if "default" in one and one.get("type") == "integer":
                assert isinstance(one["default"], int), name


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_agent_with_only_the_server_curates_looks_and_overrules(tmp_path: Path) -> None:
    mcp = pytest.importorskip("mcp")
    rows(tmp_path)
    asyncio.run(_drive(mcp, tmp_path))


async def _drive(mcp, folder: Path) -> None:
    server = mcp.StdioServerParameters(
        command=str(PYTHON.parent / "coreset-mcp"), args=[], cwd=str(folder)
    )
    async with mcp.Client(server) as client:

        async def call(tool: str, /, **arguments: object):
            result = await client.call_tool(tool, arguments)
            text = result.content[0].text if result.content else "null"
            assert not result.is_error, text
            held = result.structured_content
            return (
                held["result"]
                if held is not None and set(held) == {"result"}
                else held or json.loads(text)
            )

        tools = {t.name: t for t in (await client.list_tools()).tools}
        assert {
            "list_parts",
            "describe_part",
            "run_command",
            "preview_decisions",
            "explain_row",
            "overrule",
        } <= set(tools)
        assert set(tools["run_command"].input_schema["properties"]["command"]["enum"]) == set(
            COMMANDS
        )
        names = [p["name"] for p in await call("list_parts", kind="operators")]
        assert "exact_duplicates" in names
        about = await call("describe_part", kind="operators", name="threshold")
        assert about["parameters"]["required"] == ["column"]
        tried = await call(
            "try_recipe",
            operators=["length", {"threshold": {"column": "text_words", "low": 2}}],
            rows=[{"text": "a"}, {"text": "a b"}],
        )
        assert [d["state"] for d in tried["decisions"]] == ["dropped", "kept"]
        done = await call(
            "run_command",
            command="coreset-curate",
            arguments=["recipe=r.yaml", "input=in.jsonl", "out=out"],
        )
        assert done["ok"]
        seen = await call("summarize_decisions", run="out")
        assert seen["counts"]["dropped"] == 2
        shown = await call("preview_decisions", run="out", decision="dropped")
        assert {r["id"]: r["reason"] for r in shown["shown"]} == {
            "r1": "exact duplicate",
            "r2": "text_words below 2",
        }
        why = await call("explain_row", run="out", row="r1")
        assert why["duplicate"]["id"] == "r0"
        assert why["duplicate"]["text"] == why["row"]["text"]
        await call(
            "overrule", run="out", row_ids=["r2"], action="keep", who="agent", why="short but right"
        )
        strange = await client.call_tool(
            "overrule",
            {"run": "out", "row_ids": ["r9"], "action": "keep", "who": "agent", "why": "x"},
        )
        assert strange.is_error
        assert "r9" in strange.content[0].text
        again = await call(
            "run_command",
            command="coreset-curate",
            arguments=[
                "recipe=r.yaml",
                "input=in.jsonl",
                "out=out2",
                "overrules=out/overrules.jsonl",
            ],
        )
        assert again["result"]["counts"]["kept"] == 3
        wrong = await call(
            "run_command",
            command="coreset-curate",
            arguments=["recipe=r.yaml", "input=nowhere.jsonl", "out=o3"],
        )
        assert not wrong["ok"]
        assert "nowhere" in wrong["error"]["message"]
