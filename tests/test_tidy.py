"""The layout and habits of the project hold in every file, and each rule can fail."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from configuration.schema import every_key
from tests import tidy
from tests.tidy import Rule, Source

ROOT = Path(__file__).resolve().parent.parent
PURE = tidy.pure_modules((ROOT / "Makefile").read_text(encoding="utf-8"))


def tracked_files(root: Path = ROOT) -> list[str]:
    """The Python files of the project; in an unpacked archive without git, all that lie there."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-co", "--exclude-standard", "--", "*.py"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return sorted(name for name in done.stdout.splitlines() if (root / name).is_file())
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not any(part.startswith(".") or part == "build" for part in path.relative_to(root).parts)
    )


def sources(root: Path = ROOT) -> list[Source]:
    """Every file of the project, parsed."""
    return [Source(name, (root / name).read_text(encoding="utf-8")) for name in tracked_files(root)]


@pytest.fixture(scope="module")
def project() -> list[Source]:
    """The project as it lies here."""
    return sources()


@pytest.mark.parametrize("rule", tidy.RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule: Rule, project: list[Source]) -> None:
    """No file breaks the rule; the finding names file, line and what was found."""
    assert [line for source in project for line in rule(source)] == []


def test_pure_files_import_only_pure_files(project: list[Source]) -> None:
    """The core that decides knows no disk, no network and no clock."""
    assert {"model", "memory", "errors"} <= PURE
    found = [line for source in project for line in tidy.pure_files_stay_pure(source, pure=PURE)]
    assert found == []


def test_the_project_is_looked_at(project: list[Source]) -> None:
    """The list of files is not empty and holds files of the root and of folders."""
    paths = {source.path for source in project}
    assert {"model.py", "settings.py", "venues/protocol.py", "tests/test_tidy.py"} <= paths


def documentation() -> str:
    """All that a user reads: the pages, the configuration files and README."""
    pages = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def configuration_files() -> str:
    """Where the keys of the configuration are explained."""
    files = [*sorted(ROOT.glob("config*.yaml")), ROOT / "README.md"]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())


def test_every_configuration_key_is_documented() -> None:
    """A key that stands in no file would be found only by reading source."""
    keys = every_key()
    assert {"dry_run", "thresholds", "never_touch"} <= set(keys)
    assert tidy.undocumented(keys, configuration_files()) == []


def test_every_refusal_reason_is_documented(project: list[Source]) -> None:
    """A reason in a log or an answer can be looked up; the simulator's are not the guard's."""
    reasons = tuple(
        reason
        for source in project
        if not source.is_in(("tests/", "simulator/"))
        for reason in tidy.refusal_reasons(source)
    )
    assert "NOTHING_TO_REDUCE" in reasons
    assert tidy.undocumented(reasons, documentation()) == []


def test_the_page_of_refusals_names_nothing_that_is_gone() -> None:
    """Each reason of the venue table in docs/refusals.md exists in `model.RefusalReason`."""
    page = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")
    table = page.partition("## Of a venue")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    model = Source("model.py", (ROOT / "model.py").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(tidy.refusal_reasons(model))


# Each rule finds what it is there for, and leaves alone what it allows.

PLANTED: list[tuple[Rule, str, str]] = [
    (tidy.ccxt_stays_in_venues, "guardian.py", "import ccxt.async_support as ccxt"),
    (tidy.ccxt_stays_in_venues, "commands/run.py", "def f():\n    from ccxt import binance"),
    (tidy.apprise_stays_in_the_notifier, "alert_desk.py", "def f():\n    import apprise"),
    (tidy.sqlite_stays_in_the_store, "commands/status/show.py", "import sqlite3"),
    (tidy.sqlite_stays_in_the_store, "tools/store_dump.py", "from sqlite3 import connect"),
    (tidy.redis_stays_in_the_operator_switch, "guardian.py", "import redis.asyncio"),
    (tidy.redis_stays_in_the_operator_switch, "commands/switch.py", "from redis import Redis"),
    (tidy.the_lock_reader_stands_alone, "trading_lock.py", "from model import Stage"),
    (tidy.the_lock_reader_stands_alone, "trading_lock.py", "import pydantic"),
    (tidy.the_simulator_stays_out_of_production, "guardian.py", "import simulator"),
    (tidy.the_simulator_stays_out_of_production, "commands/run.py", "from simulator.wire import x"),
    (tidy.the_simulator_stays_out_of_production, "venues/binance.py", "import simulator.state"),
    (tidy.adapters_do_not_meet, "position_store.py", "import trading_lock"),
    (tidy.adapters_do_not_meet, "store/schema.py", "import trading_lock"),
    (tidy.adapters_do_not_meet, "notifier.py", "from store.codec import compact"),
    (tidy.adapters_do_not_meet, "service_manager.py", "import state_lock"),
    (tidy.adapters_do_not_meet, "venues/bybit.py", "from venues.binance import x"),
    (tidy.adapters_do_not_meet, "venues/bybit.py", "from venues import binance_errors"),
    (tidy.adapters_do_not_meet, "venues/bybit.py", "from .binance import x"),
    (tidy.imports_point_one_way, "guardian.py", "from commands.run import run_guard"),
    (tidy.imports_point_one_way, "executor.py", "import guardian"),
    (tidy.imports_point_one_way, "decision.py", "import executor"),
    (tidy.imports_point_one_way, "venues/binance.py", "import guardian"),
    (tidy.the_clock_is_read_at_home, "trust.py", "import time\nx = time.time()"),
    (tidy.the_clock_is_read_at_home, "trust.py", "import time as t\nx = t.time"),
    (tidy.the_clock_is_read_at_home, "trust.py", "from time import time\nx = time()"),
    (tidy.the_clock_is_read_at_home, "a.py", "import datetime\nx = datetime.datetime.now()"),
    (tidy.the_clock_is_read_at_home, "a.py", "from datetime import datetime as d\nx = d.now(1)"),
    (tidy.the_clock_is_read_at_home, "a.py", "from datetime import date\nx = date.today()"),
    (tidy.printing_is_for_commands, "guardian.py", "print('x')"),
    (tidy.printing_is_for_commands, "guardian.py", "show = print"),
    (tidy.randomness_is_injected, "executor.py", "import random\nx = random.random()"),
    (tidy.randomness_is_injected, "executor.py", "from random import choice\nx = choice([1])"),
    (tidy.randomness_is_injected, "tests/test_x.py", "import random as r\nr.seed(1)"),
    (tidy.nothing_is_left_undone, "a.py", f"x = 1  # {tidy.UNFINISHED[0]}: later"),
    (tidy.nothing_is_left_undone, "a.py", f"'{tidy.UNFINISHED[1]}'"),
    (tidy.errors_are_caught_by_name, "a.py", "try:\n    x\nexcept Exception:\n    y"),
    (tidy.errors_are_caught_by_name, "a.py", "try:\n    x\nexcept:\n    y"),
    (tidy.errors_are_caught_by_name, "a.py", "try:\n    x\nexcept (OSError, Exception):\n    y"),
    (tidy.errors_are_caught_by_name, "a.py", "try:\n    x\nexcept builtins.BaseException:\n    y"),
    (tidy.errors_are_caught_by_name, "a.py", "with contextlib.suppress(Exception):\n    x"),
    (
        tidy.errors_are_caught_by_name,
        "supervision.py",
        "def tick():\n    try:\n        x\n    except Exception:\n        y",
    ),
    (
        tidy.errors_are_caught_by_name,
        "executor.py",
        "def supervise():\n    try:\n        x\n    except Exception:\n        y",
    ),
    (tidy.no_test_is_skipped, "tests/test_x.py", "import pytest\n@pytest.mark.skip\ndef t(): 1"),
    (tidy.no_test_is_skipped, "tests/test_x.py", "from pytest import mark\nx = mark.xfail"),
    (tidy.no_test_is_skipped, "tests/test_x.py", "import pytest\npytest.importorskip('x')"),
    (tidy.closes_are_made_by_order_safety, "executor.py", "x = CloseInstruction(scope=1)"),
    (tidy.closes_are_made_by_order_safety, "venues/x.py", "x = model.CloseInstruction(scope=1)"),
    (
        tidy.closes_are_made_by_order_safety,
        "executor.py",
        "from model import CloseInstruction as C\nx = C()",
    ),
    (tidy.names_do_not_hide_the_standard_library, "operator.py", ""),
    (tidy.names_do_not_hide_the_standard_library, "signal/__init__.py", ""),
]

ALLOWED: list[tuple[Rule, str, str]] = [
    (tidy.ccxt_stays_in_venues, "venues/binance.py", "import ccxt"),
    (tidy.ccxt_stays_in_venues, "examples/ccxt_loop.py", "import ccxt"),
    (tidy.sqlite_stays_in_the_store, "store/schema.py", "import sqlite3"),
    (
        tidy.the_lock_reader_stands_alone,
        "trading_lock.py",
        "import json, os\nfrom time import time",
    ),
    (tidy.the_simulator_stays_out_of_production, "commands/test_mock/play.py", "import simulator"),
    (tidy.adapters_do_not_meet, "position_store.py", "import store.schema"),
    (tidy.adapters_do_not_meet, "venues/bybit.py", "from venues.protocol import Venue"),
    (tidy.adapters_do_not_meet, "venues/binance.py", "from venues import binance_errors"),
    (tidy.apprise_stays_in_the_notifier, "notifier.py", "import apprise"),
    (tidy.imports_point_one_way, "guardian.py", "import executor, decision"),
    (tidy.imports_point_one_way, "commands/run.py", "import guardian, commands.assembly"),
    (tidy.the_clock_is_read_at_home, "clock.py", "import time\nx = time.time()"),
    (tidy.the_clock_is_read_at_home, "a.py", "import time\nx = time.monotonic()"),
    (tidy.printing_is_for_commands, "commands/status/show.py", "print('x')"),
    (tidy.randomness_is_injected, "executor.py", "import random\nx = random.Random(7).random()"),
    (tidy.randomness_is_injected, "executor.py", "from random import Random\nx = Random(7)"),
    (tidy.errors_are_caught_by_name, "a.py", "try:\n    x\nexcept OSError:\n    y"),
    (
        tidy.errors_are_caught_by_name,
        "supervision.py",
        "async def supervise():\n    try:\n        x\n    except Exception:\n        y",
    ),
    (tidy.no_test_is_skipped, "tests/test_x.py", "import pytest\nx = pytest.mark.parametrize"),
    (tidy.no_test_is_skipped, "tests/test_service_unit.py", "import pytest\npytest.mark.skipif"),
    (tidy.closes_are_made_by_order_safety, "order_safety.py", "x = CloseInstruction(scope=1)"),
    (tidy.closes_are_made_by_order_safety, "venues/x.py", "from model import CloseInstruction"),
    (tidy.names_do_not_hide_the_standard_library, "operator_switch.py", ""),
]


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, path: str, text: str) -> None:
    """A rule that finds nothing in broken source would hold for ever."""
    found = list(rule(Source(path, text)))
    assert found
    assert all(line.startswith(f"{path}:") for line in found)


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_what_is_allowed_is_not_found(rule: Rule, path: str, text: str) -> None:
    """A rule that finds everything would be switched off."""
    assert list(rule(Source(path, text))) == []


def test_every_rule_has_a_planted_violation() -> None:
    """A new rule comes with source that breaks it."""
    assert {rule for rule, _, _ in PLANTED} == set(tidy.RULES)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("import os", True),
        ("import json", True),
        ("from collections.abc import Mapping", False),
        ("from pathlib import Path", True),
        ("from settings import Settings", True),
        ("def f():\n    import asyncio", True),
        ("from memory import Memory", False),
        ("import decimal, math, typing", False),
    ],
)
def test_a_planted_impure_import_is_found(text: str, is_found: bool) -> None:
    """A pure file may not reach the outside by any form of import."""
    source = Source("trust.py", text)
    found = list(tidy.pure_files_stay_pure(source, pure=frozenset({"trust", "memory"})))
    assert bool(found) == is_found
    assert list(tidy.pure_files_stay_pure(source, pure=frozenset({"memory"}))) == []


def test_the_list_of_pure_files_is_read_over_several_lines() -> None:
    """The Makefile may fold the list."""
    assert tidy.pure_modules("A := 1\nPURE := a b \\\n\tc\nB := 2\n") == {"a", "b", "c"}
    assert tidy.pure_modules("") == frozenset()


def test_a_planted_undocumented_name_is_found() -> None:
    """A name counts only as a word of its own."""
    assert tidy.undocumented(("poll", "top_n"), "poll_seconds: 10\ntop_n: 3") == ["poll"]


def test_planted_refusal_reasons_are_collected() -> None:
    """Enums that say why something was refused are recognised by their name."""
    text = "class StageRefusal(StrEnum):\n    A = 'A1'\nclass Other(StrEnum):\n    B = 'B'"
    assert tidy.refusal_reasons(Source("a.py", text)) == ("A1",)


def test_an_unpacked_archive_is_looked_at_too(tmp_path: Path) -> None:
    """Without git the files are found by walking, hidden folders aside."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "x.py").write_text("")
    (tmp_path / "venues").mkdir()
    (tmp_path / "venues" / "a.py").write_text("")
    (tmp_path / "b.py").write_text("")
    assert tracked_files(tmp_path) == ["b.py", "venues/a.py"]
