"""Write constraints.txt: the exact versions, in this environment, of all that the project needs.

Walks the requirements of ``.[gui,test]`` through the installed packages' metadata, so that what
merely happens to be installed stays out. Run it in an environment whose tests have passed.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_ROOT = Path(__file__).resolve().parents[1]
_EXTRAS = ("gui", "test")
_HEADER = """\
# Versions that passed the tests together. Ranges are in pyproject.toml.
# Written by scripts/write_constraints.py.
"""


def find_closure(names: list[str]) -> dict[str, str]:
    """Return name -> version of `names` (requirement lines) and of all they need here."""
    pinned: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in names]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            sys.exit(f"{requirement.name} is not installed: install .[gui,test] first.")
        name = canonicalize_name(distribution.metadata["Name"])
        # A local part (+cpu) names one build of a version; the pin must fit all of them.
        pinned[name] = Version(distribution.version).public
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(line), wanted) for line in distribution.requires or ()]
    return pinned


def main() -> None:
    """Read pyproject.toml, write constraints.txt."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]]
    for extra in _EXTRAS:
        lines += project["optional-dependencies"][extra]
    pinned = find_closure(lines)
    text = _HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pinned.items()))
    (_ROOT / "constraints.txt").write_text(text, encoding="utf-8")
    print(f"constraints.txt: {len(pinned)} packages")


if __name__ == "__main__":
    main()
