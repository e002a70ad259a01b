"""A small JSON Schema validator: the part of draft 2020-12 that this project's schemas use, with errors that name the
field and the value.

Known keywords: type, const, enum, required, properties, additionalProperties, patternProperties, items, minItems,
minimum, maximum, exclusiveMinimum, exclusiveMaximum, pattern, $ref to ``#/$defs/NAME``, anyOf. A schema with another
keyword that could refuse something is refused itself. Source: json-schema.org, draft 2020-12.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NOTES = {"$schema", "$id", "$defs", "title", "description", "default", "examples", "unevaluated", "format"}
_KNOWN = {
    "type", "const", "enum", "required", "properties", "additionalProperties", "patternProperties", "items", "minItems",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "$ref", "anyOf",
}  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


class SchemaError(ValueError):
    """A document does not follow its schema. The message starts with the field's path."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fail(path: str, text: str) -> None:
    raise SchemaError(f"{path or 'the document'}: {text}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def check(document: Any, schema: Mapping[str, Any], path: str = "", root: Mapping[str, Any] | None = None) -> None:
    """Check a document.

    Parameters
    ----------
    document : parsed JSON. schema : parsed schema. path : of the document in a larger one.

    Raises
    ------
    SchemaError
        At the first field that is missing, unknown or out of its range; with path, value and rule.
    """
    root = schema if root is None else root
    odd = set(schema) - _KNOWN - _NOTES
    if odd:
        raise ValueError(f"schema keyword {sorted(odd)[0]!r} is not known to this validator")
    if "$ref" in schema:
        check(document, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], path, root)
    if "anyOf" in schema:
        problems = []
        for each in schema["anyOf"]:
            try:
                check(document, each, path, root)
                break
            except SchemaError as problem:
                problems.append(str(problem))
        else:
            raise SchemaError(problems[-1])
    kind = schema.get("type")
    if kind is not None:
        good = isinstance(document, _TYPES[kind]) and (kind == "boolean" or not isinstance(document, bool))
        if not good:
            _fail(path, f"{_shown(document)} is not a{'n' if kind[0] in 'aio' else ''} {kind}")
    if isinstance(document, float) and not math.isfinite(document):
        _fail(path, f"{document!r} is not a finite number")
    if "const" in schema and document != schema["const"]:
        _fail(path, f"{_shown(document)} is not {schema['const']!r}")
    if "enum" in schema and document not in schema["enum"]:
        _fail(path, f"{_shown(document)} is none of {', '.join(map(str, schema['enum']))}")
    if isinstance(document, str) and "pattern" in schema and not re.search(schema["pattern"], document):
        _fail(path, f"{_shown(document)} is not of the form {schema.get('description', schema['pattern'])}")
    if isinstance(document, int | float) and not isinstance(document, bool):
        _range(document, schema, path)
    if isinstance(document, dict):
        _object(document, schema, path, root)
    if isinstance(document, list):
        if len(document) < schema.get("minItems", 0):
            _fail(path, f"has {len(document)} items, at least {schema['minItems']} are needed")
        for place, item in enumerate(document):
            if "items" in schema:
                check(item, schema["items"], f"{path}[{place}]", root)


def _range(value: float, schema: Mapping[str, Any], path: str) -> None:
    for word, bad, text in (
        ("minimum", lambda v, limit: v < limit, "is below"),
        ("maximum", lambda v, limit: v > limit, "is above"),
        ("exclusiveMinimum", lambda v, limit: v <= limit, "is not above"),
        ("exclusiveMaximum", lambda v, limit: v >= limit, "is not below"),
    ):
        if word in schema and bad(value, schema[word]):
            _fail(path, f"{value!r} {text} {schema[word]!r}")


def _object(document: dict[str, Any], schema: Mapping[str, Any], path: str, root: Mapping[str, Any]) -> None:
    for name in schema.get("required", ()):
        if name not in document:
            _fail(path, f"the field {name!r} is missing")
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in document.items():
        where = _join(path, name)
        if name in known:
            check(value, known[name], where, root)
            continue
        rules = [rule for pattern, rule in patterns.items() if re.search(pattern, name)]
        for rule in rules:
            check(value, rule, where, root)
        if not rules and schema.get("additionalProperties", True) is False:
            hint = ", ".join(known) or ", ".join(patterns)
            _fail(where, f"unknown field; known here: {hint}")
