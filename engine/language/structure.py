"""Whether a document has the shape of a policy: known keys, needed keys, types, words.

The JSON Schema in ``schemas`` is the one truth about the shape, for us and for editors; the
jsonschema library compares, and this file turns each violation into one problem in our words at
its own place.  Hints come out of the schema: ``title`` names what a pattern is about, ``examples``
show a right value, ``$comment`` beside ``patternProperties`` says what a name looks like.

Where the schema wants text, any scalar is the text that was written (``symbols: [ON, TRUE]`` are
two tickers, ``version: 1.10`` is four characters); where it wants a number or a truth value, the
scalar must be one by YAML's rules.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.errors import Problem, Span
from engine.language.source import (
    MAX_PROBLEMS,
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    ScalarStyle,
    resolve,
    shown,
)

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

POLICY_SCHEMA: Final = "policy-v1"
NEWEST_VERSION: Final = "tradectl/v1"
OLDER_VERSIONS: Final = ("tradectl/v0",)
"""What ``apiVersion`` may have said before: ``engine.language.migrate`` reads these, nothing else does."""
_LONGEST_GUESS: Final = 64


@dataclass(frozen=True, slots=True)
class Structure:
    """What is wrong with a document's shape.

    ``broken`` are the paths, those of the document included, at which something is wrong or
    missing and was reported: later stages pass over what stands there and below.
    """

    problems: tuple[Problem, ...]
    broken: frozenset[Path]

    def usable(self, path: Path) -> bool:
        """Say whether nothing is broken at ``path`` or above it."""
        return not _is_below(path, self.broken)


def check_structure(document: Document, schema: str = POLICY_SCHEMA) -> Structure:
    """Compare a document with the schema of that name in ``schemas``.

    Of a policy in an older version of the language nothing else is told: it is to be migrated.
    """
    older = _older(document) if schema == POLICY_SCHEMA else None
    if older is not None:
        return Structure((older,), frozenset({()}))
    validator = _validator(schema)
    definitions = validator.schema.get("$defs", {}) if isinstance(validator.schema, Mapping) else {}
    # One error each is the rule; a factor leaves room for those that are dropped as echoes.
    errors = list(islice(validator.iter_errors(_plain(document.root)), 4 * MAX_PROBLEMS))
    return _Report(document, errors, definitions).structure()


def _older(document: Document) -> Problem | None:
    version = document.root.get("apiVersion") if isinstance(document.root, MappingNode) else None
    if not isinstance(version, ScalarNode) or version.text not in OLDER_VERSIONS:
        return None
    name = document.source.name
    message = f"this policy is written in {version.text}, and {NEWEST_VERSION} is read"
    file = "-" if name.startswith("<") else name
    return Problem("old-version", message, version.span, f"run  tradectl migrate-policy {file}")


def _is_below(path: Path, broken: frozenset[Path] | set[Path]) -> bool:
    return any(path[:length] in broken for length in range(len(path) + 1))


# --- the library ------------------------------------------------------------------------------


class _Scalar(str):
    """A scalar for the library: its text, and what it stands for."""

    __slots__ = ("value",)
    value: bool | int | Decimal | str | None


def _plain(node: Node) -> Any:  # noqa: ANN401 - the library takes any JSON value
    if isinstance(node, ScalarNode):
        scalar = _Scalar(node.text)
        scalar.value = resolve(node)
        return scalar
    if isinstance(node, MappingNode):
        return {key.text: _plain(value) for key, value in node.entries}
    return [_plain(item) for item in node.items]


def _is_number(instance: object) -> bool:
    value = getattr(instance, "value", None)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_integer(instance: object) -> bool:
    return _is_number(instance) and isinstance(getattr(instance, "value", None), int)


@functools.cache
def _validator(name: str) -> Validator:
    """Compile a schema once; the library takes a tenth of a second to import, hence late."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    import schemas

    def bound(holds: Callable[[Any, Any], bool]) -> Callable[..., Iterator[ValidationError]]:
        def check(_: Validator, limit: float, instance: object, __: object) -> Iterator[ValidationError]:
            if _is_number(instance) and not holds(getattr(instance, "value", None), limit):
                yield ValidationError("out of bounds")

        return check

    def whole_pattern(_: Validator, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
        # In Python, unlike in ECMA-262, ``$`` also matches before a line break at the end.
        if isinstance(instance, str) and not re.fullmatch(pattern, instance):
            yield ValidationError("does not match")

    def unique(_: Validator, __: bool, instance: object, ___: object) -> Iterator[ValidationError]:
        # The library's own compares each item with each; and it does not say which are equal.
        seen: set[str] = set()
        for index, item in enumerate(instance if isinstance(instance, list) else ()):
            if isinstance(item, str):
                if item in seen:
                    yield ValidationError("stands twice", path=(index,))
                seen.add(item)

    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "string": lambda _, x: isinstance(x, _Scalar) and x.value is not None,
            "number": lambda _, x: _is_number(x),
            "integer": lambda _, x: _is_integer(x),
            "boolean": lambda _, x: isinstance(getattr(x, "value", None), bool),
            "null": lambda _, x: isinstance(x, _Scalar) and x.value is None,
        }
    )
    keywords = {
        "minimum": bound(lambda value, limit: value >= limit),
        "maximum": bound(lambda value, limit: value <= limit),
        "exclusiveMinimum": bound(lambda value, limit: value > limit),
        "exclusiveMaximum": bound(lambda value, limit: value < limit),
        "pattern": whole_pattern,
        "uniqueItems": unique,
    }
    # The stubs leave extend() without types.
    extend: Callable[..., Callable[[object], Validator]] = validators.extend
    return extend(Draft202012Validator, validators=keywords, type_checker=types)(schemas.load(name))


# --- words ------------------------------------------------------------------------------------

_TYPE_WORDS: Final = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a mapping (key: value)",
    "array": "a list",
    "null": "nothing",
}
_BOUND_WORDS: Final = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _written(example: object) -> str:
    """Write an example of the schema as one would in a policy."""
    if isinstance(example, dict):
        return "{" + ", ".join(f"{key}: {_written(value)}" for key, value in example.items()) + "}"
    if isinstance(example, list):
        return "[" + ", ".join(_written(item) for item in example) + "]"
    return str(example).lower() if isinstance(example, bool) else str(example)


def _for_example(schema: dict[str, Any]) -> str:
    examples = [_written(example) for example in schema.get("examples", ())]
    return f"for example {_either(examples)}" if examples else ""


def _guess(word: str, words: Sequence[str]) -> str | None:
    close = get_close_matches(word[:_LONGEST_GUESS].lower(), words, n=1)
    return close[0] if close else None


def _right_name(word: str, patterns: Sequence[str]) -> str | None:
    """Return the spelling of a name that one of the patterns takes."""
    word = word.strip().replace(" ", "-")
    for spelling in (word.lower(), word.lower().replace("-", "_"), word.upper()):
        if any(re.search(pattern, spelling) for pattern in patterns):
            return spelling
    return None


class _Found(NamedTuple):
    """A key and value of the document."""

    key: ScalarNode | None
    node: Node


def _find(root: Node, path: Path) -> _Found:
    found = _Found(None, root)
    for step in path:
        if isinstance(found.node, MappingNode):
            found = next(_Found(key, value) for key, value in found.node.entries if key.text == step)
        elif not isinstance(found.node, ScalarNode):
            found = _Found(None, found.node.items[int(step)])
    return found


# --- one error, one problem -------------------------------------------------------------------


class _Report:
    """Turns the library's errors on one document into problems."""

    def __init__(self, document: Document, errors: list[ValidationError], definitions: Any) -> None:  # noqa: ANN401 - JSON
        self._document = document
        self._errors = errors
        self._definitions: dict[str, dict[str, Any]] = definitions
        self._problems: list[Problem] = []
        self._broken = set(document.broken)
        self._unknown: dict[Path, set[str]] = {}  # the keys meant by unknown ones, by mapping

    def structure(self) -> Structure:
        """Report unknown keys first: they explain missing ones."""
        pending = []
        for error in self._errors:
            if error.validator == "additionalProperties":
                self._unknown_keys(error)
            else:
                pending.append(error)
        for error in pending:
            self._explain(error)
        problems = sorted(self._problems, key=lambda problem: problem.span.start)
        if len(problems) > MAX_PROBLEMS:
            message = f"there are more than {MAX_PROBLEMS} mistakes; the rest is not shown"
            problems[MAX_PROBLEMS:] = [Problem("too-many-problems", message, problems[MAX_PROBLEMS].span)]
        return Structure(tuple(problems), frozenset(self._broken))

    def _add(self, path: Path, code: str, message: str, hint: str, span: Span) -> None:
        """Keep a problem unless one at or above its path was kept before."""
        if not _is_below(path, self._broken):
            self._broken.add(path)
            self._problems.append(Problem(code, message, span, hint))

    def _span(self, found: _Found) -> Span:
        """Return where to point: a value on one line, else its key or its beginning."""
        span = found.node.span
        text = self._document.source.text
        if isinstance(found.node, ScalarNode) or "\n" not in text[span.start : span.end]:
            return span
        return found.key.span if found.key else self._first_key(found.node)

    def _first_key(self, node: Node) -> Span:
        if isinstance(node, MappingNode) and node.entries:
            return node.entries[0][0].span
        return Span(node.span.start, node.span.start + 1)

    def _subject(self, path: Path) -> str:
        """Return the words for what stands at a path."""
        if not path:
            return "the file"
        return shown(path[-1]) if isinstance(path[-1], str) else f"item {path[-1] + 1}"

    def _unknown_keys(self, error: ValidationError) -> None:
        path, schema = tuple(error.absolute_path), _schema(error)
        node = _find(self._document.root, path).node
        if not isinstance(node, MappingNode) or _is_below(path, self._broken):
            return
        known, patterns = list(schema.get("properties", ())), list(schema.get("patternProperties", ()))
        present = {key.text for key, _ in node.entries}
        for key in islice(_unmatched(node, known, patterns), MAX_PROBLEMS + 1):
            guess = _right_name(key.text, patterns) if patterns else _guess(key.text, known)
            if patterns:
                message = f"{shown(key.text)} cannot be a name under {self._subject(path)}"
                hint = (f"write {shown(guess)}: " if guess else "") + str(schema.get("$comment", ""))
                self._add((*path, key.text), "bad-name", message, hint, key.span)
            else:
                message = f"unknown key {shown(key.text)}" + (f" in {self._subject(path)}" if path else "")
                hint = (f"did you mean {shown(guess)}? " if guess else "") + f"known here: {', '.join(known)}"
                self._add((*path, key.text), "unknown-key", message, hint, key.span)
            self._unknown.setdefault(path, set()).add(guess or "")
            if guess and guess not in present:
                self._broken.add((*path, guess))  # it is there, under another name

    def _explain(self, error: ValidationError) -> None:
        path, schema = tuple(error.absolute_path), _schema(error)
        found = _find(self._document.root, path)
        keyword = str(error.validator)
        wanted: Any = error.validator_value
        subject, span = self._subject(path), self._span(found)
        if keyword in ("required", "anyOf", "dependentRequired"):
            self._missing(path, found, schema, keyword)
        elif keyword == "type":
            self._wrong_type(path, found, schema)
        elif keyword == "enum":
            self._wrong_word(path, found, [str(word) for word in wanted])
        elif keyword == "pattern":
            text = shown(found.node.text) if isinstance(found.node, ScalarNode) else subject
            message = f"{text} is not {schema.get('title', 'what is expected here')}"
            self._add(path, "bad-text", message, _for_example(schema), span)
        elif keyword in _BOUND_WORDS:
            message = f"{subject} must be {_BOUND_WORDS[keyword]} {wanted}"
            self._add(path, "out-of-range", message, _for_example(schema), span)
        elif keyword == "maxLength":
            message = f"{subject} has more than {wanted} characters"
            self._add(path, "too-long", message, "make it shorter", span)
        elif keyword == "uniqueItems":
            text = shown(found.node.text) if isinstance(found.node, ScalarNode) else subject
            self._add(path, "twice", f"{text} stands twice in this list", "delete one of them", span)
        elif keyword == "not":
            self._exclusive(path, found, list(wanted["required"]))
        elif keyword == "maxProperties" and path not in self._unknown:
            self._exclusive(path, found, list(schema.get("properties", ())))
        elif keyword in ("minItems", "maxItems", "minProperties"):
            self._wrong_count(path, found, schema, keyword)

    def _wrong_type(self, path: Path, found: _Found, schema: dict[str, Any]) -> None:
        wanted = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
        hint = _for_example(schema)
        if isinstance(found.node, ScalarNode):
            value = resolve(found.node)
            has = "nothing" if value is None else shown(found.node.text)
            bare = resolve(replace(found.node, style=ScalarStyle.PLAIN))
            if found.node.style is not ScalarStyle.PLAIN and not isinstance(bare, str | None):
                hint = "write it without quotes"
        else:
            has = _TYPE_WORDS["object" if isinstance(found.node, MappingNode) else "array"]
        words = _either([_TYPE_WORDS[name] for name in wanted])
        message = f"{self._subject(path)} must be {words}, not {has}"
        self._add(path, "wrong-type", message, hint, self._span(found))

    def _wrong_word(self, path: Path, found: _Found, words: list[str]) -> None:
        if isinstance(found.node, ScalarNode):
            has, guess = shown(found.node.text), _guess(found.node.text, words)
        else:
            has, guess = _TYPE_WORDS["object" if isinstance(found.node, MappingNode) else "array"], None
        message = f"{self._subject(path)} must be {_either(words)}, not {has}"
        hint = f"did you mean {shown(guess)}?" if guess else ""
        self._add(path, "not-one-of", message, hint, self._span(found))

    def _missing(self, path: Path, found: _Found, schema: dict[str, Any], keyword: str) -> None:
        """Report each needed key that is absent, unless an unknown key is a misspelling of it."""
        node = found.node
        if not isinstance(node, MappingNode) or _is_below(path, self._broken):
            return
        present = {key.text for key, _ in node.entries}
        meant = self._unknown.get(path, set())
        span = found.key.span if found.key else self._first_key(node)
        if keyword == "anyOf":
            names = [name for branch in schema["anyOf"] for name in branch["required"]]
            if not meant.intersection(names):
                message = f"{self._subject(path)} needs {_either([shown(name) for name in names])}"
                self._add((*path, names[0]), "missing-key", message, _for_example(schema), span)
            return
        needed = list(schema["required"]) if keyword == "required" else []
        if keyword == "dependentRequired":
            needed = [name for key, names in schema[keyword].items() if key in present for name in names]
        for name in needed:
            if name not in present and name not in meant:
                message = f"{self._subject(path)} has no {shown(name)}"
                self._add((*path, name), "missing-key", message, self._how_to_add(schema, name), span)

    def _how_to_add(self, schema: dict[str, Any], name: str) -> str:
        wanted = schema["properties"][name]
        wanted = {**self._definitions.get(wanted.get("$ref", "").rpartition("/")[2], {}), **wanted}
        if "enum" in wanted:
            return f"add {name}: {' or '.join(wanted['enum'])}"
        if "examples" in wanted:
            return f"add {name}, for example {name}: {_written(wanted['examples'][0])}"
        return f"add {name}"

    def _exclusive(self, path: Path, found: _Found, names: list[str]) -> None:
        message = f"{self._subject(path)} may have only one of {' and '.join(map(shown, names))}"
        span = found.key.span if found.key else self._span(found)
        self._add(path, "exclusive", message, "keep one of them", span)

    def _wrong_count(self, path: Path, found: _Found, schema: dict[str, Any], keyword: str) -> None:
        count = schema[keyword]
        if count == 1 and keyword != "maxItems":
            message = f"{self._subject(path)} is empty"
        else:
            bound = "exactly" if schema.get("minItems") == schema.get("maxItems") else "at least"
            message = f"{self._subject(path)} must have {bound} {count} items"
        self._add(path, "wrong-count", message, _for_example(schema), self._span(found))


def _schema(error: ValidationError) -> dict[str, Any]:
    return error.schema if isinstance(error.schema, dict) else {}


def _unmatched(node: MappingNode, known: list[str], patterns: list[str]) -> Iterator[ScalarNode]:
    """Yield the keys that a schema knows neither by name nor by pattern."""
    for key, _ in node.entries:
        if key.text not in known and not any(re.search(pattern, key.text) for pattern in patterns):
            yield key
