"""Run files: TOML recipes read strictly into frozen dataclasses.

Precedence: dataclass default < recipe < command line override. An unknown key is an error that names the nearest one.
"""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_recipe(path: str | Path, recipe_class: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a recipe file, then apply ``section.key=value`` overrides (values in TOML syntax).

    A number names an item of a list, counted from 0: ``stages.0.num_steps=100``.

    Raises:
        ValueError: the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"recipe {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {path}: not valid TOML: {error}") from None
    for override in overrides:
        _apply_override(values, override)
    return build_dataclass(recipe_class, values, where=str(path))


def _apply_override(values: Any, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise ValueError(f"override {override!r}: expected key=value, for example optimizer.learning_rate=1e-4")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, name = key.strip().split(".")
    for section in sections:
        inner = _item(values, section, override) if isinstance(values, list) else values.setdefault(section, {})
        if not isinstance(inner, dict | list):
            raise ValueError(f"override {override!r}: {section!r} is not a section")
        values = inner
    if isinstance(values, list):
        _item(values, name, override)
        values[int(name)] = value
    else:
        values[name] = value


def _item(values: list[Any], index: str, override: str) -> Any:
    if not index.isdecimal() or int(index) >= len(values):
        raise ValueError(f"override {override!r}: expected 0 to {len(values) - 1} where it says {index!r}")
    return values[int(index)]


def build_dataclass(dataclass_type: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build a (nested) dataclass from plain values. Raises ValueError as `read_recipe` does."""
    hints = typing.get_type_hints(dataclass_type)
    fields = {field.name: field for field in dataclasses.fields(dataclass_type)}  # pyright: ignore[reportArgumentType]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1)
            hint = f", did you mean {nearest[0]!r}?" if nearest else f"; known: {', '.join(fields)}"
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
        arguments[key] = convert_value(hints[key], value, f"{where}: {key}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    try:
        return dataclass_type(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def convert_value(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON or TOML value as the type that ``hint`` names. Raises ValueError starting with ``where``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a section, got {value!r}")
        return build_dataclass(typing.cast(Any, hint), value, where=where)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in arguments if option is not type(None)]
        return None if value is None else convert_value(options[0], value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, got {value!r}")
        return tuple(convert_value(arguments[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def resolved_json(settings: Any) -> str:
    """Return a (nested) dataclass as JSON text, to be written beside what it made."""
    return json.dumps(dataclasses.asdict(settings), indent=2, default=str) + "\n"


def changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys under which two JSON values differ, run lengths (``num_steps``) left out."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        pairs = [(key, old.get(key), new.get(key)) for key in keys if key != "num_steps"]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [prefix]
    return [key for name, before, after in pairs for key in changed_keys(before, after, f"{prefix}.{name}".lstrip("."))]
