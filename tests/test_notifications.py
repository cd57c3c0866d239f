"""The section `notifications`: names of variables, no address in the file, none in any text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from configuration.notifications import hidden_parts
from memory import Severity
from redaction import Redactor
from tests.configurations import KEYS, Load, loader, problems

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "AAbbCCddEE-token"
HOOK = f"json://127.0.0.1:9/{TOKEN}"
SECTION = "notifications:\n  targets:\n    - url_env: HOOK_URL\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the given text as config.yaml in an empty folder."""
    return loader(tmp_path)


def test_without_the_section_nobody_is_told(load: Load) -> None:
    """The defaults of what is asked for, and no target."""
    asked = load("dry_run: true\n").notifications
    assert asked.targets == ()
    assert asked.heartbeat_url is None
    assert (asked.heartbeat_s, asked.repeat_s) == (60, 600)
    assert load("notifications: {targets: []}\n").notifications == asked


def test_every_key_is_read(load: Load) -> None:
    """Names become addresses; each target has its own least severity."""
    text = """
        notifications:
          targets:
            - url_env: HOOK_URL
            - {url_env: MAIL_URL, min_severity: critical}
          heartbeat_url_env: HEART_URL
          heartbeat_s: 30
          repeat_s: 120
        """
    ping = "https://example.com/a-path-of-its-own"
    environ = {**KEYS, "HOOK_URL": HOOK, "MAIL_URL": "jsons://example.com/x", "HEART_URL": ping}
    asked = load(text, environ).notifications
    assert [(target.name, target.min_severity) for target in asked.targets] == [
        ("HOOK_URL", Severity.INFO),
        ("MAIL_URL", Severity.CRITICAL),
    ]
    assert asked.targets[0].url.get_secret_value() == HOOK
    assert asked.heartbeat_url is not None
    assert asked.heartbeat_url.get_secret_value() == ping
    assert (asked.heartbeat_s, asked.repeat_s) == (30, 120)


def test_addresses_are_among_the_secrets_and_in_no_representation(load: Load) -> None:
    """Log, database and lock are masked with what `secrets` gives."""
    text = SECTION + "  heartbeat_url_env: HEART_URL\n"
    ping = "https://example.com/a-path-of-its-own"
    loaded = load(text, {**KEYS, "HOOK_URL": HOOK, "HEART_URL": ping})
    assert {HOOK, ping} <= set(loaded.secrets())
    assert TOKEN not in repr(loaded)
    assert "a-path-of-its-own" not in repr(loaded)
    masked = Redactor(loaded.secrets()).text(f"POST /{TOKEN} and /a-path-of-its-own failed")
    assert masked == "POST /[redacted] and /[redacted] failed"


@pytest.mark.parametrize(
    ("url", "said", "shown"),
    [
        ("tgram://123456789:abcdefg_hij/12315544", "bot123456789:abcdefg_hij", "bot[redacted]"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk", "to T1JJ3T3L2", "to [redacted]"),
        ("ntfy://alarms_of_mine", "topic alarms_of_mine", "topic [redacted]"),
        ("mailto://someone:pass-word@gmail.com", "login someone pass-word", None),
        ("json://127.0.0.1:8080/x", "127.0.0.1:8080 refused", "127.0.0.1:8080 refused"),
        ("json://localhost:8080/x", "localhost refused", "localhost refused"),
        ("json://[::1]:8080/x", "[::1]:8080 refused", "[::1]:8080 refused"),
        ("jsons://example.com/x", "example.com refused", "example.com refused"),
        ("no address", "no address", "no address"),
    ],
)
def test_a_token_in_the_place_of_a_machine_is_hidden(
    url: str, said: str, shown: str | None
) -> None:
    """Half of the services put one there; the name of a machine stays readable."""
    parts = [part.get_secret_value() for part in hidden_parts(url)]
    assert Redactor(parts).text(said) == (shown or "login [redacted] [redacted]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notifications: {targets: HOOK_URL}", "targets = HOOK_URL  is not a list -> write `- url"),
        ("notifications: {targets: [HOOK_URL]}", "targets.0 = HOOK_URL  is not a target -> write"),
        ("notifications: {targets: [{}]}", "targets.0 = {...}  names no address -> add `url_env"),
        (
            "notifications: {targets: [{url_env: HOOK_URL, min_severity: loud}]}",
            "targets.0.min_severity = loud  is not known -> write one of INFO, WARNING, CRITICAL",
        ),
        (
            "notifications: {targets: [{url_env: HOOK_URL, severity: INFO}]}",
            "targets.0.severity = INFO  is an unknown key -> did you mean min_severity?",
        ),
        (
            "notifications: {targets: [{url_env: HOOK_URL}, {url_env: HOOK_URL}]}",
            "names HOOK_URL again -> keep one of the two",
        ),
        (
            "notifications: {targets: [{url_env: EMPTY_URL}]}",
            "url_env = ***  EMPTY_URL is empty -> set EMPTY_URL in the environment or .env",
        ),
        (
            "notifications: {targets: [{url_env: ODD_URL}]}",
            "url_env = ***  ODD_URL holds no address of a service that is known -> set ODD_URL",
        ),
        (
            "notifications: {targets: [{url_env: TWO_URL}]}",
            "url_env = ***  TWO_URL names 2 recipients; each needs a variable of its own -> set",
        ),
        (
            "notifications: {heartbeat_url_env: EMPTY_URL}",
            "heartbeat_url_env = ***  EMPTY_URL is empty -> set EMPTY_URL",
        ),
        (
            "notifications: {heartbeat_url_env: ODD_URL}",
            "ODD_URL holds no http:// or https:// address -> set ODD_URL",
        ),
        (
            "notifications: {heartbeat_url_env: 'https://example.com/aaa'}",
            "heartbeat_url_env = ***  is an address, and addresses are secrets -> put it into .env",
        ),
        ("notifications: {heartbeat_s: 1}", "heartbeat_s = 1  lies outside 10 to 3600"),
        ("notifications: {repeat_s: 1}", "repeat_s = 1  lies outside 30 to 86400"),
        ("notifications: {target: []}", "notifications.target = [...]  is an unknown key -> did"),
        ("notifications: 5", "notifications = 5  is not a section"),
        ("targets: []", "targets = [...]  stands in the wrong place -> move it to notifications"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(load: Load, text: str, said: str) -> None:
    """The place, what is wrong, what to write."""
    environ = {
        **KEYS,
        "HOOK_URL": HOOK,
        "ODD_URL": f"nosuchservice://{TOKEN}",
        "TWO_URL": f"ntfy://example.com/{TOKEN}/{TOKEN}-too",
    }
    (line,) = problems(load, text + "\n", environ)
    assert line.startswith("config.yaml:1  ")
    assert said in line
    assert TOKEN not in line


@pytest.mark.parametrize(
    "text",
    [
        "notifications: {targets: [{url_env: 'ntfy://shortone'}]}",
        "notifications: {targets: ['ntfy://shortone']}",
        "notifications: {targets: 'ntfy://shortone'}",
        "notifications: {targets: [{url: 'ntfy://shortone'}]}",
        "notifications: {targets: [{url_env: HOOK_URL, min_severity: 'ntfy://shortone'}]}",
        "notifications: {url: 'ntfy://shortone'}",
        "notifications: {heartbeat_url: 'https://example.com/shortone'}",
        "notifications: {heartbeat_url_env: 'https://shortone/'}",
        "notifications: ['https://example.com/shortone']",
        "notifications: 'https://example.com/shortone'",
    ],
)
def test_an_address_in_the_file_is_refused_and_never_repeated(load: Load, text: str) -> None:
    """Whoever has it can write in the operator's name."""
    said = "\n".join(problems(load, text + "\n", {**KEYS, "HOOK_URL": HOOK}))
    assert said
    assert "shortone" not in said


def test_commands_that_tell_nobody_do_not_mind(load: Load) -> None:
    """`status` must work while a variable is missing; what is there is hidden all the same."""
    text = SECTION + "    - url_env: ODD_URL\n  heartbeat_url_env: EMPTY_URL\n"
    odd = f"nosuchservice://{TOKEN}"
    loaded = load(text, {**KEYS, "ODD_URL": odd}, require_venues=False)
    assert odd in loaded.secrets()
    assert [target.name for target in loaded.notifications.targets] == ["ODD_URL"]


@pytest.mark.parametrize("has_target", [False, True])
def test_the_library_is_loaded_only_for_whoever_has_a_target(
    tmp_path: Path, has_target: bool
) -> None:
    """A guard without alerts starts as fast and stays as small as before."""
    (tmp_path / "config.yaml").write_text(SECTION if has_target else "dry_run: true\n")
    code = (
        "import sys, pathlib, settings\n"
        f"settings.load_settings(pathlib.Path({str(tmp_path / 'config.yaml')!r}), {KEYS!r} | "
        f"{{'HOOK_URL': {HOOK!r}}})\n"
        "import commands.run, commands.assembly\n"
        "names = ('apprise', 'requests', 'notifier', 'alert_desk', 'heartbeat')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = "['apprise', 'requests', 'notifier']" if has_target else "[]"
    assert done.stdout.strip() == expected
