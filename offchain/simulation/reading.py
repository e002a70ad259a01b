"""Reading a YAML file a key at a time, so that every mistake is refused with file and line.

Files are composed, not constructed: a node keeps its place, and no text becomes a Python object but through a getter
that says what it must be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import yaml

from offchain.config import BallastError

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_MISSING = object()


class ScenarioError(BallastError):
    """A file that is no scenario; the message starts with ``file:line``."""


class Item:
    """A node of a file, with its path in it.

    Parameters
    ----------
    node : of PyYAML. path : dotted, for people.
    """

    def __init__(self, node: yaml.Node, path: str = "") -> None:
        self.node = node
        self.path = path

    @property
    def line(self) -> int:
        """Line in the file, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether it has members."""
        return isinstance(self.node, yaml.SequenceNode)

    def fail(self, text: str) -> NoReturn:
        """Refuse this node."""
        where = f"{self.path}: " if self.path else ""
        raise ScenarioError(f"{self.node.start_mark.name}:{self.line}: {where}{text}")

    # scalars
    def text(self) -> str:
        """Any scalar, as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail("a single value belongs here, not a list or a mapping")
        return str(self.node.value)

    def choice(self, known: Mapping[str, Any] | tuple[str, ...] | frozenset[str]) -> str:
        """One of some names."""
        value = self.text()
        if value not in known:
            self.fail(f"unknown {value!r}; known: {', '.join(sorted(known))}")
        return value

    def number(self, least: float | None = None, most: float | None = None) -> float:
        """A finite number; a trailing ``%`` divides by 100."""
        value = self.text().replace("_", "")
        try:
            found = float(value[:-1]) / 100.0 if value.endswith("%") else float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number")
        if found != found or abs(found) == float("inf"):
            self.fail(f"{value!r} is not a finite number")
        if (least is not None and found < least) or (most is not None and found > most):
            self.fail(f"{value} is not within {_span(least, most)}")
        return found

    def whole(self, least: int | None = None, most: int | None = None) -> int:
        """A whole number."""
        found = self.number(least, most)
        if found != int(found):
            self.fail(f"{self.text()!r} is not a whole number")
        return int(found)

    def flag(self) -> bool:
        """true or false."""
        value = self.text().lower()
        if value not in ("true", "false"):
            self.fail(f"{value!r} is neither true nor false")
        return value == "true"

    def seconds(self, least: int = 0, most: int | None = None) -> int:
        """A duration: seconds, or a number with s, m, h or d."""
        value = self.text()
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration like 90s, 5m, 2h or 1d")
        found = round(float(match[1]) * _UNITS[match[2] or "s"])
        if found < least or (most is not None and found > most):
            self.fail(f"{value} is not within {_span(least, most)} seconds")
        return found

    def moment(self) -> int:
        """A time in UTC, seconds since 1970."""
        value = self.text()
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no UTC time like 2020-03-12T06:00:00Z")
        if when.utcoffset():
            self.fail(f"{value!r} is not UTC")
        return int(when.replace(tzinfo=UTC).timestamp())

    # collections
    def items(self, least: int = 0) -> list[Item]:
        """Members of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("a list belongs here")
        if len(self.node.value) < least:
            self.fail(f"at least {least} belong here")
        return [Item(node, f"{self.path}[{place}]") for place, node in enumerate(self.node.value)]

    def entries(self, least: int = 0) -> dict[str, Item]:
        """Entries of a mapping, in order."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("a mapping belongs here")
        out: dict[str, Item] = {}
        for key, node in self.node.value:
            name = Item(key, self.path).text()
            if name in out:
                Item(key, self.path).fail(f"key {name!r} stands twice")
            out[name] = Item(node, f"{self.path}.{name}" if self.path else name)
        if len(out) < least:
            self.fail(f"at least {least} belong here")
        return out

    def section(self, *known: str) -> Section:
        """A mapping with these keys and no others."""
        entries = self.entries()
        for key, _ in self.node.value:
            if key.value not in known:
                Item(key, self.path).fail(f"unknown key {key.value!r}; known: {', '.join(known)}")
        return Section(self, entries)


class Section:
    """A mapping whose keys were checked. `get` gives the node of a key; the getters read it, or give a default."""

    def __init__(self, item: Item, entries: dict[str, Item]) -> None:
        self.item = item
        self.entries = entries

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> Item:
        """The node of a key that must be there."""
        if key not in self.entries:
            self.item.fail(f"key {key!r} is missing")
        return self.entries[key]

    def _or(self, key: str, default: Any) -> Item | None:
        return self.get(key) if default is _MISSING or key in self.entries else None

    def text(self, key: str, default: Any = _MISSING) -> Any:
        item = self._or(key, default)
        return default if item is None else " ".join(item.text().split())

    def choice(self, key: str, known: Any, default: Any = _MISSING) -> Any:
        item = self._or(key, default)
        return default if item is None else item.choice(known)

    def number(self, key: str, default: Any = _MISSING, least: float | None = None, most: float | None = None) -> Any:
        item = self._or(key, default)
        return default if item is None else item.number(least, most)

    def whole(self, key: str, default: Any = _MISSING, least: int | None = None, most: int | None = None) -> Any:
        item = self._or(key, default)
        return default if item is None else item.whole(least, most)

    def flag(self, key: str, default: Any = _MISSING) -> Any:
        item = self._or(key, default)
        return default if item is None else item.flag()

    def seconds(self, key: str, default: Any = _MISSING, least: int = 0, most: int | None = None) -> Any:
        item = self._or(key, default)
        return default if item is None else item.seconds(least, most)

    def pair(self, key: str, default: Any = _MISSING, least: float | None = None, most: float | None = None) -> Any:
        """Two ascending numbers, or one that stands for both."""
        item = self._or(key, default)
        if item is None:
            return default
        if isinstance(item.node, yaml.ScalarNode):
            found = item.number(least, most)
            return (found, found)
        both = item.items()
        if len(both) != 2:
            item.fail("two numbers belong here")
        low, high = (each.number(least, most) for each in both)
        if low > high:
            item.fail(f"{low} and {high} do not ascend")
        return (low, high)

    def texts(self, key: str, default: Any = _MISSING) -> Any:
        """Names, in a list."""
        item = self._or(key, default)
        return default if item is None else tuple(each.text() for each in item.items())


def _span(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least} and up"
    return f"{least} and {most}" if least is not None else f"up to {most}"


def compose(text: str, name: str) -> Item:
    """The root of a document.

    Raises
    ------
    ScenarioError
        It is no YAML, or empty.
    """
    try:
        loader = yaml.SafeLoader(text)
        loader.name = name
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{name}:{line}: no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{name}:1: no YAML: {error}") from None
    if node is None:
        raise ScenarioError(f"{name}:1: the file is empty")
    return Item(node)


def put(root: Item, path: str, value: Item) -> None:
    """Set the value at a dotted path: keys of mappings, and places or names (`name`, `kind` or `role`) of list members.

    Raises
    ------
    ScenarioError
        The path leads nowhere.
    """
    here: yaml.Node = root.node
    parts = path.split(".")
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if isinstance(here, yaml.MappingNode):
            found = next((i for i, (key, _) in enumerate(here.value) if key.value == part), None)
            if last:
                entry = (yaml.ScalarNode("tag:yaml.org,2002:str", part, value.node.start_mark), value.node)
                if found is None:
                    here.value.append(entry)
                else:
                    here.value[found] = entry
                return
            if found is None:
                value.fail(f"{'.'.join(parts[: place + 1])} is not in the scenario")
            here = here.value[found][1]
        elif isinstance(here, yaml.SequenceNode):
            found = _member(here, part)
            if found is None:
                value.fail(f"{'.'.join(parts[: place + 1])} is not in the scenario")
            if last:
                here.value[found] = value.node
                return
            here = here.value[found]
        else:
            value.fail(f"{'.'.join(parts[:place])} is a single value")


def _member(node: yaml.SequenceNode, part: str) -> int | None:
    if part.isdigit():
        return int(part) if int(part) < len(node.value) else None
    for place, each in enumerate(node.value):
        if isinstance(each, yaml.MappingNode) and any(
            key.value in ("name", "kind", "role") and value.value == part for key, value in each.value
        ):
            return place
    return None
