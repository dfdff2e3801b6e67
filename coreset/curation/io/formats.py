"""Rows as people write them, recognized and checked: Alpaca, ShareGPT and messages, images with
captions, plain text. One row in, the columns operators read out.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("alpaca", "chat", "images", "text")
COLUMNS = {
    "text": frozenset({"text"}),
    "images": frozenset({"image", "text"}),
    "chat": frozenset({"text", "instruction", "input", "prompt", "response", "system", "messages"}),
}
COLUMNS["alpaca"] = COLUMNS["chat"]
IMAGE_FIELDS = ("image", "image_path", "file_name", "images")
CAPTION_FIELDS = ("text", "caption", "txt")
_WANTED = {
    "alpaca": ("instruction", "output"),
    "chat": ("messages",),
    "images": ("image",),
    "text": ("text",),
}
RESERVED = frozenset(
    {
        "id",
        "file",
        "line",
        "preview",
        "row",
        "state",
        "operator",
        "keep",
        "reason",
        "duplicate_of",
        "failed",
    }
)
# roles as data sets write them
ROLES = {
    "system": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "bot": "assistant", "chatgpt": "assistant", "function_call": "assistant", "tool": "tool",
    "function": "tool", "observation": "tool",
}  # fmt: skip


class BadRow(ValueError):
    """A row that cannot be used: `reason` is one of few words that are counted, the message says
    what is wrong in it.
    """

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


@dataclass(frozen=True)
class Schema:
    """What the rows of one data set look like, the same for all its shards.

    kind: alpaca, chat, images or text. fields: {our name: name in the rows} where they differ. id:
    the field that names rows, None = a hash of the content. extra: further columns that operators
    need, {field: number | text | truth | vector[d] | numbers | texts | other}. max_characters:
    longer rows are refused. image: how rows hold an image, `path` or `bytes`, None where they have
    none.
    """

    kind: str
    fields: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    max_characters: int = 1_000_000
    image: str | None = None

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns that every row has, beside its id."""
        return COLUMNS[self.kind] | ({"image"} if self.image else frozenset())

    def name(self, ours: str) -> str:
        """Return what a field of ours is called in the rows."""
        return self.fields.get(ours, ours)


def kind_of(row: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    """Return which kind of row this is by its fields, or None.

    >>> (
    ...     kind_of({"instruction": "Add.", "output": "3"}, {}),
    ...     kind_of({"body": "x"}, {"text": "body"}),
    ... )
    ('alpaca', 'text')
    """
    return next((kind for kind in KINDS if _is(row, kind, fields)), None)


def _is(row: Mapping[str, Any], kind: str, fields: Mapping[str, str]) -> bool:
    if kind == "chat":
        return any(isinstance(row.get(n), list) for n in _chat_fields(fields))
    if kind == "images":
        return image_field(row, fields) is not None
    return all(fields.get(n, n) in row for n in _WANTED[kind])


def _chat_fields(fields: Mapping[str, str]) -> Sequence[str]:
    return (
        (fields["messages"],)
        if "messages" in fields
        else ("messages", "conversations", "conversation")
    )


def image_field(row: Mapping[str, Any], fields: Mapping[str, str]) -> str | None:
    """Return which field of a row holds its image, or None."""
    names = (fields["image"],) if "image" in fields else IMAGE_FIELDS
    return next((n for n in names if row.get(n) is not None), None)


def learn_schema(
    rows: Sequence[Mapping[str, Any]],
    needs: Iterable[str],
    *,
    kind: str = "auto",
    fields: Mapping[str, str] | None = None,
    id_field: str | None = None,
    max_characters: int = 1_000_000,
) -> Schema:
    """Return the schema of a data set from its first rows: the kind most of them are, `id` as their
    name where most have it.

    Raises ValueError when no kind fits, and KeyError for a needed column that is neither ours nor a
    field of these rows.
    """
    fields = dict(fields or {})
    ours = ("text", "messages", "instruction", "input", "output", "system", "history", "image")
    unknown = set(fields) - set(ours)
    if unknown:
        raise ValueError(
            f"fields: expected names of ours ({', '.join(ours)}), got {sorted(unknown)}"
        )
    if kind not in ("auto", *KINDS):
        raise ValueError(f"kind: expected auto, {', '.join(KINDS)}, got {kind!r}")
    have = sorted({str(name) for row in rows for name in row})
    if kind == "auto":
        kinds = Counter(k for k in (kind_of(row, fields) for row in rows) if k)
        if not kinds:
            raise ValueError(
                "the rows are neither Alpaca (instruction, output), chat (messages or"
                " conversations), images (image) nor plain text (text): their fields are"
                f" {', '.join(have) or 'none'}; say what is what with fields={{text: ...}} or"
                " fields={instruction: ..., output: ...}"
            )
        kind = max(KINDS, key=lambda k: kinds[k])
    for name in ("id", "__key__"):
        if id_field is None and 2 * sum(row.get(name) is not None for row in rows) > len(rows):
            id_field = name
    if id_field is not None and id_field not in have:
        raise KeyError(
            f"id: the rows have no field '{id_field}'; their fields are {', '.join(have)}"
        )
    image = None
    if kind in ("chat", "images"):
        fields_of_images = [(row, n) for row in rows if (n := image_field(row, fields)) is not None]
        forms = Counter(
            "bytes" if isinstance(_one_image(row[n]), bytes) else "path"
            for row, n in fields_of_images
        )
        image = forms.most_common(1)[0][0] if forms else None
    extra = {}
    for name in sorted(set(needs) - COLUMNS[kind] - RESERVED - ({"image"} if image else set())):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            types = Counter(map(type_of, values))
            extra[name] = (
                "numbers"
                if sum(t.startswith("vector") for t in types) > 1
                else types.most_common(1)[0][0]
            )
    return Schema(kind, fields, id_field, extra, max_characters, image)


def _one_image(value: Any) -> Any:
    """Return the path or the bytes of an image as rows hold it: itself, {"bytes": ..., "path": ...}
    as Hugging Face does, or a list of one (named once or more).
    """
    if isinstance(value, list) and value and all(v == value[0] for v in value):
        value = value[0]
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):
        value = value.get("bytes") or value.get("path")
    return value


def type_of(value: Any) -> str:
    """Return how a field's value is kept: truth, number, text, vector[d], texts or other (as its
    JSON text).

    >>> [type_of(v) for v in (True, 1, "a", [1, 2.5], ["x"], {})]
    ['truth', 'number', 'text', 'vector[2]', 'texts', 'other']
    """
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    ):
        return f"vector[{len(value)}]"
    return (
        "texts" if isinstance(value, list) and all(isinstance(v, str) for v in value) else "other"
    )


def content_id(row: Mapping[str, Any]) -> str:
    """Return 32 hex digits of the row's content: the same from JSON, Parquet or Arrow, in any order
    of fields, with or without fields that are null.

    >>> content_id({"a": 1, "b": None}) == content_id({"a": 1})
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(row):
        value = row[name]
        if value is None:
            continue
        if isinstance(value, bytes):
            value = "\0" + _digest(value)
        elif not isinstance(value, str):
            text = _dump(value)
            value = "\0" + (_dump(_without_null(value)) if "null" in text else text)
        raw = value.encode("utf-8", "surrogatepass")
        digest.update(f"{len(name)} {len(raw)} {name}".encode("utf-8", "surrogatepass"))
        digest.update(raw)
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return (
        hashlib.blake2b(value, digest_size=16).hexdigest()
        if isinstance(value, bytes)
        else str(value)
    )


_dump: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_digest
).encode


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    return [_without_null(v) for v in value] if isinstance(value, list) else value


def normal(row: Any, schema: Schema) -> dict[str, Any]:
    """Return the columns of one row: `id` and, by kind, those of `COLUMNS`, and the extra fields.

    Raises BadRow with what is wrong: not_an_object, mixed_schema, missing_field, wrong_type,
    empty_text, empty_prompt, empty_answer, too_long.
    """
    if not isinstance(row, Mapping):
        raise BadRow("not_an_object", f"expected an object with fields, got {type(row).__name__}")
    if not _is(row, schema.kind, schema.fields):
        _refuse(row, schema)
    columns = _READ[schema.kind](row, schema)
    if schema.image:
        columns["image"] = _image(row, schema)
    size = (
        sum(len(m["content"]) for m in columns["messages"])
        if "messages" in columns
        else len(columns["text"])
    )
    if size > schema.max_characters:
        raise BadRow("too_long", f"{size} characters, more than {schema.max_characters}")
    for name, kind in schema.extra.items():
        columns[name] = None if row.get(name) is None else _extra(name, row[name], kind)
    if schema.id is None:
        columns["id"] = content_id(row)
    else:
        value = row.get(schema.id)
        if value is None or isinstance(value, float | bool | list | dict) or value == "":
            raise BadRow(
                "missing_field",
                f"'{schema.id}', the row's name, is {'missing' if value is None else f'{value!r}'}",
            )
        columns["id"] = str(value)
    return columns


def _extra(name: str, value: Any, kind: str) -> Any:
    if kind == "other":
        return _dump(value)
    actual = type_of(value)
    ragged = kind in ("numbers", "texts") and (
        value == [] or (kind == "numbers" and actual.startswith("vector"))
    )
    if actual != kind and not ragged:
        raise BadRow("mixed_schema", f"'{name}' is {actual} here, {kind} in the first rows")
    try:
        if kind == "number":
            return float(value)
        return (
            [float(v) for v in value] if kind == "numbers" or kind.startswith("vector") else value
        )
    except OverflowError as error:
        raise BadRow("wrong_type", f"'{name}' is too large for a number") from error


def _refuse(row: Mapping[str, Any], schema: Schema) -> None:
    """Raise BadRow for a row that is not of the kind of the data set."""
    actual = kind_of(row, schema.fields)
    if schema.kind in ("chat", "images"):
        wanted = _chat_fields(schema.fields) if schema.kind == "chat" else (schema.name("image"),)
        here = [n for n in wanted if row.get(n) is not None and schema.kind == "chat"]
        if here:
            raise BadRow(
                "wrong_type", f"'{here[0]}' is no list of turns but {type(row[here[0]]).__name__}"
            )
        missing = list(wanted[:1])
    else:
        missing = [schema.name(n) for n in _WANTED[schema.kind] if schema.name(n) not in row]
    if actual is None or schema.kind == "images" or len(missing) < len(_WANTED[schema.kind]):
        raise BadRow("missing_field", f"no field {' and '.join(map(repr, missing))}")
    raise BadRow("mixed_schema", f"a row of kind {actual} among rows of kind {schema.kind}")


def _text(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        missing = value is None
        raise BadRow(
            "missing_field" if missing else "wrong_type",
            f"'{name}' is {'missing' if missing else f'no text but {type(value).__name__}'}",
        )
    return value


def _read_text(row: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    name = schema.name("text")
    text = _text(row, name)
    if not text.strip():
        raise BadRow("empty_text", f"'{name}' is empty")
    return {"text": text}


def _read_images(row: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return the caption, "" where there is none."""
    names = (schema.fields["text"],) if "text" in schema.fields else CAPTION_FIELDS
    name = next((n for n in names if row.get(n) is not None), names[0])
    return {"text": _text(row, name, "")}


def _image(row: Mapping[str, Any], schema: Schema) -> str | bytes | None:
    """Return the path or the bytes of a row's image, None where a chat has none."""
    name = image_field(row, schema.fields)
    if name is None:
        return None
    value = _one_image(row[name])
    if isinstance(value, list):
        if not value and schema.kind == "chat":
            return None
        raise BadRow("several_images", f"'{name}' has {len(value)} images, expected one")
    form = "path" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else ""
    if form != schema.image:
        what = (
            f"{type(value).__name__} here, a {schema.image} in the first rows"
            if form
            else f"no image but {type(value).__name__}"
        )
        raise BadRow("mixed_schema" if form else "wrong_type", f"'{name}' is {what}")
    if not value:
        raise BadRow("missing_field", f"'{name}' is empty")
    return value  # type: ignore[no-any-return]


def _read_alpaca(row: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    n = schema.name
    instruction, extra = _text(row, n("instruction")), _text(row, n("input"), "")
    answer, system = _text(row, n("output")), _text(row, n("system"), "")
    prompt = f"{instruction}\n{extra}" if extra else instruction
    if not prompt.strip():
        raise BadRow("empty_prompt", f"'{n('instruction')}' is empty")
    if not answer.strip():
        raise BadRow("empty_answer", f"'{n('output')}' is empty")
    turns = [("system", system)] if system else []
    for pair in row.get(n("history")) or []:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)
        ):
            raise BadRow("wrong_type", f"'{n('history')}' is no list of pairs of texts")
        turns += [("user", pair[0]), ("assistant", pair[1])]
    return _instruction(
        instruction,
        extra,
        prompt,
        answer,
        system,
        [*turns, ("user", prompt), ("assistant", answer)],
    )


def _read_chat(row: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    name = next(n for n in _chat_fields(schema.fields) if isinstance(row.get(n), list))
    turns = []
    for i, turn in enumerate(row[name]):
        if not isinstance(turn, Mapping):
            raise BadRow(
                "wrong_type", f"turn {i + 1} in '{name}' is no object but {type(turn).__name__}"
            )
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        if role not in ROLES:
            raise BadRow(
                "wrong_type",
                f"turn {i + 1} in '{name}' has the role {role!r}, expected user or human, assistant"
                " or gpt, system, tool",
            )
        content = _turn_text(content, turn)
        if not isinstance(content, str):
            what = "is missing" if content is None else f"is no text but {type(content).__name__}"
            raise BadRow(
                "missing_field" if content is None else "wrong_type",
                f"the content of turn {i + 1} in '{name}' {what}",
            )
        turns.append((ROLES[role], content))
    system = _text(row, schema.name("system"), "") or next(
        (c for r, c in turns if r == "system"), ""
    )
    if system and not any(r == "system" for r, _ in turns):
        turns.insert(0, ("system", system))
    last = len(turns) - 1
    while last >= 0 and turns[last][0] != "assistant":
        last -= 1
    if last != len(turns) - 1 or last < 0:
        raise BadRow(
            "empty_answer",
            f"'{name}' does not end with an answer" if turns else f"'{name}' is empty",
        )
    asked = next((c for r, c in reversed(turns[:last]) if r == "user"), "")
    if not asked.strip():
        raise BadRow("empty_prompt", f"'{name}' has no question before its last answer")
    if not turns[last][1].strip():
        raise BadRow("empty_answer", f"the last answer in '{name}' is empty")
    return _instruction(asked, "", asked, turns[last][1], system, turns)


def _turn_text(content: Any, turn: Mapping[str, Any]) -> Any:
    """Return a turn's content as text where it is given in parts that are all text, or where a call
    of a tool stands in its place.
    """
    if content is None and turn.get("tool_calls"):
        return ""
    if (
        isinstance(content, list)
        and content
        and all(isinstance(p, Mapping) and p.get("type", "text") == "text" for p in content)
    ):
        parts = [p.get("text", p.get("value")) for p in content]
        return "".join(parts) if all(isinstance(p, str) for p in parts) else content
    return content


def _instruction(
    instruction: str,
    extra: str,
    prompt: str,
    response: str,
    system: str,
    turns: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    return {
        "text": "\n".join([content for _, content in turns]),
        "instruction": instruction, "input": extra, "prompt": prompt, "response": response,
        "system": system,
        "messages": [{"role": role, "content": content} for role, content in turns],
    }  # fmt: skip


_READ = {"text": _read_text, "alpaca": _read_alpaca, "chat": _read_chat, "images": _read_images}
