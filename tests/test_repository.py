"""The repository keeps its own word: commands, versions, reasons, schemas, the wheel's content."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import policies
import schemas
from adapters.distribution import PACKAGES
from engine.language.load import load_policy

ROOT = Path(__file__).resolve().parents[1]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where no module of a distribution can be asked (durable-rules does not exist on Python 3.13).
OWNER = {"durable_rules_engine": "durable-rules"}


def _ours() -> list[Path]:
    """Return the files that are, or are about to be, under version control."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [path for name in sorted(listed.split("\0")) if name and (path := ROOT / name).is_file()]


def _lines(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Yield (file:line, text) of our text files, or of those with the suffixes."""
    for path in _ours():
        if not suffixes or path.suffix in suffixes:
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def _documented(pattern: str) -> list[str]:
    """Return what a pattern's group finds in the code (in blocks and in line) of the documents."""
    code = re.compile(r"`([^`\n]+)`|^((?:    |\$ ).+)$", re.MULTILINE)
    fenced = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for path in (path for path in _ours() if path.suffix == ".md"):
        text = path.read_text(encoding="utf-8")
        pieces = [next(filter(None, match.groups())) for match in code.finditer(fenced.sub("", text))]
        pieces += [line for block in fenced.findall(text) for line in block.split("\n")]
        found.update(match[1] for piece in pieces if (match := re.match(pattern, piece.strip())))
    return sorted(found)


@pytest.mark.parametrize("verb", _documented(r"(?:\$ )?(?:\.venv/bin/)?tradectl ([a-z][a-z-]*)"))
def test_a_documented_command_exists(verb: str) -> None:
    """Each `tradectl` command that a document shows has a help page."""
    program = "import sys; from adapters.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, verb, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_documented_make_targets_exist() -> None:
    """Each `make` target that a document shows is in the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documented = _documented(r"(?:\$ )?(?:[A-Z_]+=\S+ )*make ([a-z-]+)")
    assert {"run", "test"} <= set(documented) <= set(targets)


def test_documented_files_exist() -> None:
    """Each file or folder of ours that a document names is there."""
    documented = _documented(rf"((?:{'|'.join(PACKAGES)}|tests|docs)/[\w./-]*)")
    assert [name for name in documented if not (ROOT / name).exists()] == []


def test_the_policies_in_the_documents_load() -> None:
    """Each whole policy that a document shows loads without a problem, the README's first of all."""
    shown = [
        (path.name, text)
        for path in _ours()
        if path.suffix == ".md"
        for text in re.findall(r"^```yaml\n(apiVersion: .*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert "README.md" in dict(shown)
    assert [
        (name, loaded.problems) for name, text in shown if (loaded := load_policy(text, name)).problems
    ] == []


def test_every_ignore_has_its_reason() -> None:
    """A lint or type ignore names its code and says why, on its line."""
    ignore = re.compile(r"#\s*(noqa|type:\s*ignore|pragma)")
    reasoned = re.compile(
        r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[a-z, -]+\]|pragma: no cover)\s+(-|#)\s*\w+"
    )
    rows = [(place, line) for place, line in _lines(".py") if ignore.search(line)]
    here = Path(__file__).name
    assert [row for row in rows if here not in row[0] and not reasoned.search(row[1])] == []


def test_nothing_is_left_undone_and_no_file_knows_a_machine() -> None:
    """No reminder to oneself, and no absolute path of somebody's machine, is committed."""
    unwanted = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|(?<![\w.}])/(home|root|work|opt|Users)/")
    assert [row for row in _lines() if unwanted.search(row[1])] == []


def test_the_version_is_the_newest_in_the_changelog() -> None:
    """`pyproject.toml` and the changelog's first release agree."""
    newest = re.search(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] == PROJECT["version"]


def test_the_schemas_are_valid() -> None:
    """Each schema is JSON Schema 2020-12 and says so."""
    assert "policy-v1" in schemas.shipped()
    for name in schemas.shipped():
        schema = json.loads(schemas.read(name))
        assert schema["$schema"] == DIALECT, name
        Draft202012Validator.check_schema(schema)


def test_the_policies_name_their_schema() -> None:
    """An editor finds the schema of each shipped policy by the policy's first line."""
    assert "default" in policies.shipped()
    for name in policies.shipped():
        reference = re.match(r"# yaml-language-server: \$schema=(\S+)\n", policies.read(name))
        assert reference is not None, name
        assert (ROOT / "policies" / reference[1]).is_file(), name


def _imports(package: str) -> Iterator[tuple[str, str]]:
    """Yield (top-level module, file) of every absolute import in a package, late ones too."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], path.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0], path.name


def test_every_import_is_a_declared_dependency() -> None:
    """What the packages import from others is declared, not had by luck through a dependency's."""
    extras = [
        line for name, lines in PROJECT["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    declared = {canonicalize_name(Requirement(line).name) for line in (*PROJECT["dependencies"], *extras)}
    owners = metadata.packages_distributions()
    undeclared = {
        f"{file}: {module}"
        for package in PACKAGES
        for module, file in _imports(package)
        if module not in sys.stdlib_module_names and module not in PACKAGES
        if not declared & {canonicalize_name(o) for o in owners.get(module, [OWNER.get(module, module)])}
    }
    assert undeclared == set()


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    """Every file of the four packages is in the wheel (policies, cases, schemas too), and no other."""
    from hatchling.builders.wheel import WheelBuilder

    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(built) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = wheel.read(f"tradectl-{PROJECT['version']}.dist-info/entry_points.txt").decode()
    ours = {str(path.relative_to(ROOT)) for path in _ours()}
    assert packed == {name for name in ours if name.partition("/")[0] in PACKAGES}
    assert "tradectl = adapters.cli:main" in entry_points
