"""The house as it is written in the files: who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import attrs
import pytest

import videos_async

PACKAGE: Final = Path(videos_async.__file__).parent

# Bottom to top: a room imports from the rows before its own, never from its own row or a later one.
LAYERS: Final = (
    ("errors", "_download"),
    (
        "models",
        "_version",
        "_settings",
        "_json",
        "_values",
        "_ages",
        "_rate",
        "_addresses",
        "_filenames",
        "_mp4",
    ),
    (
        "specs",
        "_scalars",
        "_contents",
        "_download_policy",
        "_expiry",
        "_pace",
        "_pages",
        "_change",
        "_polling",
        "_priors",
        "_ranges",
        "_states",
    ),
    ("_account", "_answers", "_destination", "_inspection", "_lifetimes", "_rows"),
    ("_cohort", "_converter"),
    ("_limiter", "_learning", "_retry", "_followed"),
    ("_queue_order", "_sooner"),
    ("_learning_pace", "_poll_pace"),
    ("_schedule", "_wire"),
    (
        "_watchdog",
        "_stream",
        "_guard",
        "_lock",
        "_part_note",
        "_driver_lock",
        "_journal_thread",
        "_commit_group",
        "_client",
        "_body",
        "_threads",
        "_video_check",
    ),
    ("_files", "_part", "_connections", "_journal_file", "_links"),
    ("_transport", "_reading", "_file_destination", "_object_store", "_sink", "_database"),
    ("_calls", "_fetch", "_follow", "_input", "_targets", "_journal_writer"),
    ("_downloads", "_open_journals", "_recorder", "_replay", "journal"),
    ("_posting", "_saving", "_homecoming", "_journal_input"),
    ("_plan",),
    ("_watch", "_batch", "_journal_recorder"),
    ("session",),
    ("__init__",),
    ("cli", "pytest_plugin"),
)
LEVELS: Final = {room: level for level, row in enumerate(LAYERS) for room in row}
FIRST_ROOM_WITH_IO: Final = "_stream"
PURE: Final = sorted(room for room, level in LEVELS.items() if level < LEVELS[FIRST_ROOM_WITH_IO])
IMPURE_MODULES: Final = frozenset(
    {"aiohttp", "anyio", "asyncio", "random", "socket", "sqlite3", "threading", "time"}
)
ROOMS_WITH_AIOHTTP: Final = frozenset({"_client", "_connections", "_files", "_transport"})
# It imports nothing of the library, and nothing but the command and the plugin imports it: it has
# no level.
APART: Final = "emulator"


@attrs.frozen
class Import:
    """One module that a file imports, and whether a type checker alone gets to see it."""

    module: str
    is_for_types: bool


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES: Final = sorted(PACKAGE.rglob("*.py"))
FILE_IDS: Final = [str(path.relative_to(PACKAGE)) for path in FILES]


@functools.cache
def _imports(path: Path) -> tuple[Import, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(_walk(tree, package=_package(path), is_for_types=False))


def _package(path: Path) -> tuple[str, ...]:
    """Tell what a relative import of the file is relative to."""
    inside = path.parent.relative_to(PACKAGE).parts if path.is_relative_to(PACKAGE) else ()
    return "videos_async", *inside


def _walk(node: ast.AST, *, package: tuple[str, ...], is_for_types: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, is_for_types)
    elif isinstance(node, ast.ImportFrom):
        for name in _from(node, package):
            yield Import(name, is_for_types)
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for child in node.body:
            yield from _walk(child, package=package, is_for_types=True)
        for child in node.orelse:
            yield from _walk(child, package=package, is_for_types=is_for_types)
    else:
        for inner in ast.iter_child_nodes(node):
            yield from _walk(inner, package=package, is_for_types=is_for_types)


def _from(node: ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    """`from videos_async import x` names a room where `x` is one, and the face where it is not."""
    above = package[: len(package) + 1 - node.level] if node.level else ()
    module = ".".join((*above, *([node.module] if node.module else [])))
    for alias in node.names:
        is_room = module == "videos_async" and alias.name in {*LEVELS, APART}
        yield f"{module}.{alias.name}" if is_room else module


def _imported_rooms(path: Path) -> set[str]:
    modules = [found.module.split(".") for found in _imports(path) if not found.is_for_types]
    return {
        parts[1] if len(parts) > 1 else "__init__"
        for parts in modules
        if parts[0] == "videos_async"
    }


def _top_levels(path: Path, *, with_types: bool = False) -> set[str]:
    found = _imports(path)
    return {each.module.split(".")[0] for each in found if with_types or not each.is_for_types}


@pytest.mark.parametrize("path", FILES, ids=FILE_IDS)
def test_every_file_has_its_place_in_the_house(path: Path) -> None:
    assert _room(path) in {*LEVELS, APART}


def test_every_room_of_the_table_exists() -> None:
    assert {*LEVELS, APART} <= {_room(path) for path in FILES}


# What stands on the public face and the emulator alone.
ON_TOP: Final = ("cli", "pytest_plugin")
# These and the emulator have rules of their own, below.
ROOMS: Final = [path for path in FILES if _room(path) not in (APART, *ON_TOP)]


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.stem)
def test_imports_go_downwards_only(path: Path) -> None:
    room = _room(path)
    upwards = {
        other for other in _imported_rooms(path) if other == APART or LEVELS[other] >= LEVELS[room]
    }
    assert not upwards


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_reaches_for_no_clock_no_dice_and_no_socket(room: str) -> None:
    assert not _top_levels(PACKAGE / f"{room}.py", with_types=True) & IMPURE_MODULES


def test_the_transport_and_what_stands_below_it_alone_import_aiohttp() -> None:
    rooms = {_room(path) for path in FILES if "aiohttp" in _top_levels(path)}
    assert rooms - {APART} == ROOMS_WITH_AIOHTTP


def test_the_session_alone_names_aiohttp_in_its_types() -> None:
    rooms = {_room(path) for path in FILES if "aiohttp" in _top_levels(path, with_types=True)}
    assert rooms - {APART} <= {*ROOMS_WITH_AIOHTTP, "session"}


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / APART).rglob("*.py")), ids=lambda path: path.name
)
def test_the_emulator_imports_nothing_of_the_library(path: Path) -> None:
    assert _imported_rooms(path) <= {APART}


TOP: Final = [path for path in FILES if _room(path) in ON_TOP]


@pytest.mark.parametrize("path", TOP, ids=lambda path: path.name)
def test_the_command_and_the_plugin_stand_on_the_public_face_and_the_emulator(path: Path) -> None:
    assert _imported_rooms(path) <= {"__init__", _room(path), APART}


def test_they_take_nothing_from_the_face_that_is_not_public() -> None:
    taken = {
        alias.name
        for path in TOP
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "videos_async"
        for alias in node.names
    }
    assert taken <= {*videos_async.__all__, APART}


def test_the_table_would_catch_an_import_hidden_in_a_function(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.py"
    hidden.write_text("def late():\n    from videos_async import session\n", encoding="utf-8")
    assert _imported_rooms(hidden) == {"session"}


def test_the_table_would_catch_a_relative_import(tmp_path: Path) -> None:
    relative = tmp_path / "relative.py"
    relative.write_text("from . import session\nfrom .models import Status\n", encoding="utf-8")
    assert _imported_rooms(relative) == {"session", "models"}


def test_an_import_for_types_is_no_import(tmp_path: Path) -> None:
    typed = tmp_path / "typed.py"
    source = "if TYPE_CHECKING:\n    from videos_async.session import VideosSession\n"
    typed.write_text(source, encoding="utf-8")
    assert not _imported_rooms(typed)


# --- public names --------------------------------------------------------------------------

MODULES: Final = [
    ".".join(("videos_async", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in FILES
    if path.name not in {"__main__.py", "_version.py"}
]


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """RUF022: constants, then classes, then the rest."""
    if name.isupper() and len(name) > 1:
        return 0, name
    return (1 if name[:1].isupper() else 2), name


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_offers_exists(module: str) -> None:
    loaded = import_module(module)
    missing = [name for name in loaded.__all__ if not hasattr(loaded, name)]
    assert not missing


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_offers_is_listed_in_order_and_once(module: str) -> None:
    offered: list[str] = list(import_module(module).__all__)
    assert offered == sorted(set(offered), key=_as_ruff_sorts)


def test_the_face_says_by_dir_what_it_offers() -> None:
    assert set(videos_async.__all__) <= set(dir(videos_async))


def test_the_face_has_nothing_under_a_name_it_does_not_know() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = videos_async.no_such_name


# --- what an import costs ------------------------------------------------------------------

EXTRAS: Final = (
    "aiohttp.web",
    "av",
    "cyclopts",
    "dask",
    "obstore",
    "opentelemetry",
    "rich",
)


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30
    )
    return set(done.stdout.split())


def test_importing_the_library_loads_no_extra() -> None:
    assert not _loaded_after("import videos_async") & {*EXTRAS, "sqlite3"}


def test_using_every_public_name_loads_no_extra() -> None:
    code = "import videos_async\nfor name in videos_async.__all__: getattr(videos_async, name)"
    loaded = _loaded_after(code)
    assert "videos_async.session" in loaded
    assert not loaded & set(EXTRAS)


def test_reading_a_task_needs_no_network_library() -> None:
    loaded = _loaded_after("from videos_async import task_from_json")
    assert not loaded & {"aiohttp", "anyio", "asyncio"}
