"""The pages of `coreset-explore`: a map that needs WebGL only, with the row beside it, and
Embedding Atlas below; as a server on this machine, or as a folder of files.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coreset.core.overrules import Overrule, add_overrule, now, read_overrules
from coreset.core.store import to_json
from coreset.report.explore import rows
from coreset.report.explore.atlas import INSTALL, data_source, static_folder

STATIC = files("coreset.report") / "static"
ASSETS = {
    "explore.js": "text/javascript", "explore.css": "text/css",
    "regl-scatterplot.js": "text/javascript",
    "regl-scatterplot.LICENSE.txt": "text/plain",
}  # fmt: skip
# regl compiles its draw calls with new Function
CSP = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; worker-src 'self' blob:; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data:"
    " blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)


def make_app(table: pa.Table, title: str, overrules: Path, hosts: tuple[str, ...]) -> Any:
    """Return the application: `/` the page, `/api` what it asks, `/atlas` Embedding Atlas.

    overrules: the file that decisions are added to. hosts: names that a browser may call it by, any
    other is refused (a page elsewhere cannot reach it under a name of its own). Raises ImportError
    without embedding-atlas.
    """
    if find_spec("embedding_atlas") is None:
        raise ImportError(INSTALL)
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Mount, Route
    except ImportError as error:
        raise ImportError(INSTALL) from error
    about = {**rows.about(table, title), "server": True, "who": _who(), "file": str(overrules)}

    def as_json(value: Any, status: int = 200) -> Any:
        return Response(to_json(value), status, media_type="application/json")

    def page(request: Any) -> Any:
        policy = {"Content-Security-Policy": CSP}
        return Response(_read("explore.html"), headers=policy, media_type="text/html")

    def static(request: Any) -> Any:
        name = request.path_params["name"]
        if name not in ASSETS:
            return Response("not there", 404)
        return Response(_read(name), media_type=ASSETS[name])

    def binary(request: Any) -> Any:
        name = request.path_params.get("name")
        try:
            data = rows.points(table) if name is None else rows.column(table, name)
        except KeyError as error:
            return as_json({"detail": str(error)}, 404)
        return Response(data, media_type="application/octet-stream")

    def chunk(request: Any) -> Any:
        return as_json(rows.chunk(table, request.path_params["number"]))

    def search(request: Any) -> Any:
        return as_json(rows.search(table, request.query_params["q"]))

    async def overrule(request: Any) -> Any:
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return as_json({"detail": "expected application/json"}, 415)
        try:
            written = file_overrules(await request.json(), table["id"], overrules)
        except (KeyError, TypeError, ValueError) as error:
            return as_json({"detail": f"no overrule: {error}"}, 422)
        return JSONResponse({"written": written})

    routes = [
        Route("/", page),
        Route("/static/{name}", static),
        Route("/api/about.json", lambda request: as_json(about)),
        Route("/api/points.bin", binary),
        Route("/api/column/{name}", binary),
        Route("/api/rows/{number:int}.json", chunk),
        Route("/api/search.json", search),
        Route("/api/overrules.json", lambda request: as_json(in_words(overrules))),
        Route("/api/overrule", overrule, methods=["POST"]),
        Mount("/atlas", Atlas(table)),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    )


class Atlas:
    """Embedding Atlas over a table, started when it is first asked for: its database takes longer
    than the rest together.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._app: Any = None

    def _build(self) -> Any:
        from embedding_atlas.server import make_server

        source = data_source(self.table, rows.score_names(self.table))
        return make_server(source, static_path=str(static_folder()), duckdb_uri="server")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if self._app is None:
            self._app = self._build()
        await self._app(scope, receive, send)


def file_overrules(asked: Mapping[str, Any], ids: pa.ChunkedArray, path: Path) -> int:
    """Add what a page asks for, {ids, action, who, why, label}, to the file; return how many.

    Raises ValueError, KeyError or TypeError, before anything is written, for what is no decision or
    names no row.
    """
    why, label = asked.get("why") or "", asked.get("label") or None
    many = [
        Overrule(str(k), asked["action"], asked["who"], now(), why, label) for k in asked["ids"]
    ]
    there = pc.is_in(pa.array([one.id for one in many], pa.string()), ids).to_pylist()
    strange = [one.id for one, known in zip(many, there, strict=True) if not known]
    if strange:
        raise ValueError(f"no row has the id {strange[0]!r}")
    for one in many:
        add_overrule(path, one)
    return len(many)


def in_words(path: Path) -> dict[str, str]:
    """Return the decisions of a file in words, by id; none where it is not there."""
    if not path.exists():
        return {}
    overrules = read_overrules(path)
    out = {k: one.said for k, one in overrules.items()}
    for key, label in overrules.labels.items():
        out[key] = "; ".join([*([out[key]] if key in out else []), f"relabel to {label}"])
    return out


def _read(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def export_site(table: pa.Table, title: str, folder: Path) -> Path:
    """Write the same as a folder of files that any web server shows: decisions are kept in the
    browser and downloaded. Raises ImportError without embedding-atlas, ValueError for a folder that
    holds other files.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "api" / "about.json").exists():
        raise ValueError(f"export: {folder} holds other files; give a new or empty folder")
    source = data_source(table, rows.score_names(table))
    source.dataset = source.dataset.to_pandas()
    source.export_to_folder(str(static_folder()), str(folder / "atlas"))
    about = {**rows.about(table, title), "server": False, "who": ""}
    api = folder / "api"
    for part in ("column", "rows"):
        (api / part).mkdir(parents=True, exist_ok=True)
    (folder / "static").mkdir(exist_ok=True)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{CSP}">'.encode()
    (folder / "index.html").write_bytes(
        _read("explore.html").replace(b"<head>", b"<head>" + policy)
    )
    for name in ASSETS:
        (folder / "static" / name).write_bytes(_read(name))
    (api / "about.json").write_text(to_json(about))
    (api / "ids.json").write_text(to_json(table["id"].to_pylist()))
    (api / "overrules.json").write_text("{}")
    if about["map"]:
        (api / "points.bin").write_bytes(rows.points(table))
    for name in (*about["colors"], *about["scores"], *about["orders"]):
        (api / "column" / name).write_bytes(rows.column(table, name))
    for number in range(-(-table.num_rows // rows.CHUNK)):
        (api / "rows" / f"{number}.json").write_text(to_json(rows.chunk(table, number)))
    return folder / "index.html"
