"""A file that cannot be read is one line, and no line ever shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from configuration.schema import every_key
from errors import ConfigurationError
from settings import load_settings
from tests.configurations import KEYS, Load, loader, problems


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the given text as config.yaml in an empty folder."""
    return loader(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "config.yaml  is empty -> copy config_stage_based_example.yaml there"),
        ("# nothing\n", "config.yaml  is empty -> copy config_stage_based_example.yaml there"),
        ("- a\n", "config.yaml:1  holds no keys -> write one `key: value`"),
        ("true\n", "config.yaml:1  holds no keys -> write one `key: value`"),
        ("dry_run: true\n\tpoll: 1\n", "config.yaml:2  is not valid YAML -> indent with spaces"),
        ("a: [1, 2\nb: 3\n", "config.yaml:2  is not valid YAML -> check indentation"),
        ("a: *b\n", "config.yaml:1  is not valid YAML -> put a value that begins with *"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2  is not valid YAML -> keep one document"),
        ("a: 1\nb: \x07\n", "config.yaml:2  holds a character that YAML forbids -> remove it"),
        ("a: " + "[" * 5000, "config.yaml  is nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(load: Load, text: str, line: str) -> None:
    """What leaves nothing to check names the file, the line where there is one, and the cure."""
    (problem,) = problems(load, text)
    assert problem.startswith(line)


def test_aliases_cannot_fill_the_memory(load: Load) -> None:
    """Ten aliases of ten aliases of ten: refused long before they are written out."""
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (line,) = problems(load, "\n".join(layers) + "\n")
    assert "holds too many values" in line


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that are no text: one line each."""
    with pytest.raises(ConfigurationError, match="does not exist -> copy config_stage_based"):
        load_settings(tmp_path / "config.yaml", {})
    with pytest.raises(ConfigurationError, match="is a folder -> name the file in it"):
        load_settings(tmp_path, {})
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: \xe4\n")
    with pytest.raises(ConfigurationError, match=r"latin\.yaml:2  is not UTF-8 text"):
        load_settings(path, {})
    with pytest.raises(ConfigurationError, match=r"cannot be read \(File name too long\)"):
        load_settings(tmp_path / ("x" * 300), {})


# Secrets in the wrong place.

LOOKS_REAL = "x1" * 20
"""Long, letters and digits mixed: what a key looks like, and plainly none."""


@pytest.mark.parametrize(
    "text",
    [
        f"exchanges: {{binance: {{api_key_env: {LOOKS_REAL}}}}}",
        f"exchanges: {{binance: {{api_secret_env: {LOOKS_REAL.upper()}}}}}",
        f"exchanges: {{binance: {{api_key: {LOOKS_REAL}}}}}",
        "exchanges: {binance: {api_secret: short}}",
        f"exchanges: {{binance: {{enabled: {LOOKS_REAL}}}}}",
        f"exchanges: {{binance: {LOOKS_REAL}}}",
        f"exchanges: {{{LOOKS_REAL}: {{enabled: true}}}}",
        f"api_token: [{LOOKS_REAL}]",
        f"colour: {LOOKS_REAL}",
        f"{LOOKS_REAL}: true",
        "redis: redis://user:short@host/0",
        "exchanges: {binance: {simulator_url: 'http://user:short@127.0.0.1:80'}}",
        "api_key: !short x",
        "password: *short",
        f"dry_run: true\ndry_run: {LOOKS_REAL}",
    ],
)
def test_a_secret_in_the_file_is_never_printed(load: Load, text: str) -> None:
    """Wherever somebody writes a secret, the line that complains does not repeat it."""
    said = "\n".join(problems(load, text + "\n"))
    assert said
    for secret in (LOOKS_REAL, LOOKS_REAL.upper(), "short"):
        assert secret not in said


def test_control_characters_never_reach_the_terminal(load: Load) -> None:
    """A value with an escape sequence is shown without it."""
    (line,) = problems(load, 'dry_run: "\\e[31m\\nred"\n')
    assert line.isprintable()


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*every_key(), "colour", "<<", "15m"]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.sampled_from(["auto", "15m", "BTCUSDT", "*a", "!x", "&a 1", "'", "{", "0.1"]),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from([*every_key(), "binance"]), inner, max_size=3)
                ),
                max_leaves=6,
            ),
        ),
        max_size=6,
    )
)
@example([("exchanges", {"binance": {"accounts": {"futures": None}}})])
def test_any_file_gives_settings_or_printable_lines(
    tmp_path: Path, keys: list[tuple[str, object]]
) -> None:
    """Whatever stands in the file, only ConfigurationError comes out of it, one line a mistake."""
    path = tmp_path / "config.yaml"
    body = "".join(f"{key}: {value}\n" for key, value in keys)
    path.write_text(body.replace("None", "").replace("nan", ".nan"), encoding="utf-8")
    try:
        load_settings(path, KEYS)
    except ConfigurationError as error:
        assert error.problems
        for line in error.problems:
            assert line.isprintable()
            assert " -> " in line
