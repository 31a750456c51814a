"""The structure of the code: which rooms there are, and which of them may use which."""

import ast
from collections import Counter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
#: From the ground up. A room may use the rooms below its own floor, and those beside it in no case.
FLOORS = (
    ("runtime",),
    ("data", "networks", "losses", "retrieval"),
    ("methods",),
    ("config",),
    ("checkpoints",),
    ("embed", "figures"),
    ("evaluation",),
    ("training", "gallery", "runs", "video"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(SRC.rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}


def imports(file: Path) -> set[str]:
    """The modules of `src` that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "src":
            names = [f"{node.module}.{name.name}" for name in node.names]
            found |= {name if name in MODULES else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") and room(name) in FLOOR])
def test_a_room_uses_only_rooms_below_it(name):
    others = {other for other in imports(MODULES[name]) if room(other) != room(name)}
    above = sorted(other for other in others if FLOOR.get(room(other), len(FLOORS)) >= FLOOR[room(name)])
    assert not above, f"{name} imports {', '.join(above)}"


def test_there_is_no_circle_of_imports():
    graph = {name: imports(file) & MODULES.keys() for name, file in MODULES.items() if file.name != "__init__.py"}
    done: set[str] = set()
    while free := {name for name, used in graph.items() if name not in done and not (used & graph.keys()) - done}:
        done |= free
    assert not sorted(graph.keys() - done)


def test_commands_alone_are_at_the_top():
    top = [file.stem for file in FILES if file.parent == SRC and file.name != "__init__.py"]
    assert len(top) <= 15
    commands = [name for name in top if "@command(" in (SRC / f"{name}.py").read_text(encoding="utf-8")]
    assert commands == top


def test_file_names_are_there_once_and_files_are_short():
    names = Counter(file.name for file in FILES if file.name != "__init__.py")
    assert not [name for name, times in names.items() if times > 1]
    assert not [str(file) for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 300]
