"""The rules of docs/architecture.md, held against the imports of every module."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cosmictagger_tf"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the lowest up. A module may import from its own part, or from a lower layer.
LAYERS = [
    {"text"},
    {"errors", "detector", "backend", "__init__"},
    {"config", "geometry", "files", "launch", "environment", "clean_stop", "figures", "console", "progress"},
    {"data", "networks", "execution", "vertex_fit"},
    {"runs", "simulation", "calibration"},
    {"training"},
    {"inference", "benchmarking"},
    {"cli"},
]
COMMANDS = {p.stem for p in PACKAGE.glob("*.py") if "run_command(" in p.read_text()}
# networks/presets.py is named by the flags; it must stay importable in a blink.
TOP_LEVEL = {"cosmictagger_tf", "flags", "scripts", "tests", "setup.cfg", "setup.py", "README.md", "docs"}
TOP_LEVEL |= {"LICENSE", "CHANGELOG.md"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside its functions, by full name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def part(name: str) -> str:
    """The part that a module of ours belongs to: cosmictagger_tf.data.pipeline is in data."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def layer(name: str) -> int:
    """How high a part is; the commands are on top."""
    for height, parts in enumerate(LAYERS):
        if name in parts:
            return height
    return len(LAYERS)


def ours(path: Path) -> set[str]:
    return {
        part(name)
        for name in imports(path)
        if name.split(".")[0] == "cosmictagger_tf" and name != "cosmictagger_tf" and not name.endswith("__version__")
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way_down(path):
    here = part("cosmictagger_tf." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    for other in ours(path) - {here}:
        assert layer(other) < layer(here), f"{path.relative_to(ROOT)} ({here}) must not import {other}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_imports_run_in_a_circle():
    """Neither those at the top of a module nor those inside its functions."""
    names = {module_name(path) for path in MODULES}
    # Not the package itself, which `from cosmictagger_tf import execution` names and Python imports before all else.
    graph = {module_name(path): imports(path) & names - {"cosmictagger_tf"} for path in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_no_two_modules_have_one_name():
    """But those that are the same thing twice: of dense networks and of sparse ones, options and what they are for."""
    twice = {"uresnet", "normalization", "execution", "__init__"}
    assert {name for name, times in Counter(path.stem for path in MODULES).items() if times > 1} <= twice


def test_every_part_is_in_a_layer():
    parts = {
        p.stem if p.is_file() else p.name
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert parts - set().union(*LAYERS) == COMMANDS


def test_the_page_names_the_same_layers():
    page = (ROOT / "docs/architecture.md").read_text()
    rows = [line.split("|")[1:4] for line in page.split("| may import |")[1].split("\n\n")[0].splitlines()[2:]]
    named = [{Path(name).stem for name in re.findall(r"`([\w/.]+)`", row[0])} for row in rows[1:]]
    assert named == LAYERS[::-1]
    assert [row[2].strip() for row in rows] == ["every layer below"] * len(LAYERS) + ["nothing"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_the_modules_and_scripts_that_a_page_names_are_there(page):
    files = {str(path.relative_to(ROOT)) for path in [*MODULES, *ROOT.glob("tests/**/*.*"), *ROOT.glob("scripts/**/*")]}
    for name in re.findall(r"[\w/]+/\w+\.(?:py|c)\b|\bscripts/[\w/]*\w(?![\w./*])", page.read_text()):
        assert any(f"/{file}".endswith(f"/{name}") for file in {*files, "cosmictagger_tf/data/loops.c"}), name


def test_config_knows_neither_tensorflow_nor_absl():
    for path in [*(PACKAGE / "config").glob("*.py"), PACKAGE / "errors.py", PACKAGE / "detector.py"]:
        assert not {n.split(".")[0] for n in imports(path)} & {"tensorflow", "keras", "absl"}, path


def test_only_flags_knows_absl():
    assert [p.name for p in MODULES if any(n.split(".")[0] == "absl" for n in imports(p))] == ["flags.py"]


def test_networks_are_backend_neutral():
    for path in (PACKAGE / "networks").rglob("*.py"):
        assert not {n.split(".")[0] for n in imports(path)} & {"tensorflow", "jax", "torch", "h5py"}, path


def test_one_module_knows_horovod():
    knowing = [p.name for p in MODULES if any(n.split(".")[0] == "horovod" for n in imports(p))]
    assert set(knowing) <= {"horovod_ranks.py"}


def test_top_level_holds_only_what_the_user_asked_for():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {t for t in tops if not t.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_quick_and_names_an_example(command):
    code = (
        f"import sys; sys.argv = ['x', '--help']; import runpy\n"
        f"try: runpy.run_module('cosmictagger_tf.{command}', run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'h5py', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    assert f"python -m cosmictagger_tf.{command}" in shown.stdout.split("Examples:")[1]
