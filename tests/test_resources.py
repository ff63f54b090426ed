"""The policies, cases and schemas that are shipped can be read by name, and nothing else can."""

from __future__ import annotations

from types import ModuleType

import pytest

import policies
import schemas

pytestmark = pytest.mark.wheel


@pytest.mark.parametrize("package", [policies, schemas], ids=lambda package: package.__name__)
def test_every_shipped_name_can_be_read(package: ModuleType) -> None:
    """Names come sorted, and each has a text."""
    names = package.shipped()
    assert list(names) == sorted(names)
    assert all(package.read(name) for name in names)


@pytest.mark.parametrize("package", [policies, schemas], ids=lambda package: package.__name__)
@pytest.mark.parametrize("name", ["", "no-such-name", "../pyproject", "cases/default", "__init__"])
def test_any_other_name_is_refused(package: ModuleType, name: str) -> None:
    """An unknown name, or one that leads out of the folder, is a KeyError."""
    with pytest.raises(KeyError):
        package.read(name)
