"""One worker per state directory."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errors import LockError, StateLockHeld
from state_lock import LOCK_NAME, Holder, StateLock, claim_lock_file, find_holder
from tests.test_stopgap import no_room

_HOLD = """
import sys
from pathlib import Path
from state_lock import StateLock
held = StateLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_file_names_its_holder(tmp_path: Path) -> None:
    """A person who finds the directory taken can see by whom; a missing folder is made."""
    with StateLock.acquire(tmp_path / "state"):
        assert (tmp_path / "state" / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_second_worker_is_refused_with_the_pid(tmp_path: Path) -> None:
    """Two guards on one state would close everything twice."""
    with StateLock.acquire(tmp_path), pytest.raises(StateLockHeld) as refusal:
        StateLock.acquire(tmp_path)
    assert refusal.value.pid == os.getpid()
    assert str(os.getpid()) in str(refusal.value)


def test_a_lock_file_has_one_guard_that_writes_it(tmp_path: Path) -> None:
    """Two with folders of their own and one lock file would free each other's bots."""
    path = tmp_path / "lock" / "trading_lock.json"
    with claim_lock_file(path):
        with pytest.raises(LockError, match="give each guard a trading_lock_file of its own"):
            claim_lock_file(path)
        with claim_lock_file(path.with_name("other.json")):
            pass
    with claim_lock_file(path):
        (claim,) = path.parent.glob(".trading_lock.json.writer")
        assert claim.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_folder_that_takes_no_claim_keeps_no_guard_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk, or a file system without such locks: what matters there is told elsewhere."""

    def refuse(*_given: object) -> int:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(f"state_lock.{'os' if call == 'open' else 'fcntl'}.{call}", refuse)
    with claim_lock_file(tmp_path / "trading_lock.json"):
        pass


def test_an_unwritten_file_names_nobody(tmp_path: Path) -> None:
    """Between taking the lock and writing the pid the holder is unknown, not process 0."""
    with StateLock.acquire(tmp_path):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(StateLockHeld, match="another process") as refusal:
            StateLock.acquire(tmp_path)
    assert refusal.value.pid is None


def test_closing_lets_the_next_one_in(tmp_path: Path) -> None:
    """Closing twice is harmless, and a longer old pid leaves nothing behind."""
    first = StateLock.acquire(tmp_path)
    first.close()
    first.close()
    (tmp_path / LOCK_NAME).write_text("1234567890123\n")
    with StateLock.acquire(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_full_disk_does_not_keep_the_directory_from_being_held(tmp_path: Path) -> None:
    """Without room for its process id the holder is unknown, and it holds all the same."""
    (tmp_path / LOCK_NAME).write_text("77\n")
    with no_room():
        held = StateLock.acquire(tmp_path)
    with held, pytest.raises(StateLockHeld, match="another process") as refusal:
        StateLock.acquire(tmp_path)
    assert refusal.value.pid is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_first_start_on_a_full_disk_holds_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Not even the file can be made that names the holder: the account is guarded all the same."""
    opened = os.open

    def full(path: str | Path, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *mode)

    monkeypatch.setattr("state_lock.os.open", full)
    with StateLock.acquire(tmp_path), pytest.raises(StateLockHeld):
        StateLock.acquire(tmp_path)


def test_the_kernel_releases_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    """A killed daemon leaves no stale lock: its successor must be able to start."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateLockHeld) as refusal:
            StateLock.acquire(tmp_path)
        assert refusal.value.pid == holder.pid
        holder.kill()
        holder.wait()
        StateLock.acquire(tmp_path).close()


def test_clearing_the_directory_lets_no_second_worker_in(tmp_path: Path) -> None:
    """Two guards would close everything twice; who holds it is unknown then."""
    with StateLock.acquire(tmp_path):
        (tmp_path / LOCK_NAME).unlink()
        assert find_holder(tmp_path) == Holder(None)
        with pytest.raises(StateLockHeld, match="another process"):
            StateLock.acquire(tmp_path)
    assert find_holder(tmp_path) is None


@pytest.mark.parametrize("text", ["not a number", "9" * 5000, "7 8"])
def test_a_file_that_names_no_process_names_nobody(tmp_path: Path, text: str) -> None:
    """Whatever was put there, it does not stop who looks."""
    with StateLock.acquire(tmp_path):
        (tmp_path / LOCK_NAME).write_text(text)
        assert find_holder(tmp_path) == Holder(None)


def test_an_unwritable_directory_is_an_os_error(tmp_path: Path) -> None:
    """A file where the folder should be is the operator's to fix, not another holder."""
    (tmp_path / "state").write_text("")
    with pytest.raises(OSError, match="exists"):
        StateLock.acquire(tmp_path / "state")


def test_looking_tells_who_holds_the_directory(tmp_path: Path) -> None:
    """And nobody, before it exists, while the file is free, and after the holder has gone."""
    assert find_holder(tmp_path / "state") is None
    with StateLock.acquire(tmp_path):
        assert find_holder(tmp_path) == Holder(os.getpid())
        (tmp_path / LOCK_NAME).write_text("")
        assert find_holder(tmp_path) == Holder(None)
    assert find_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == [tmp_path / LOCK_NAME]


def test_looking_takes_nothing_from_the_next_worker(tmp_path: Path) -> None:
    """A look that is over holds nothing."""
    StateLock.acquire(tmp_path).close()
    assert find_holder(tmp_path) is None
    StateLock.acquire(tmp_path).close()


def test_a_look_in_progress_stops_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard must not refuse to start because somebody looked at that very moment."""
    look = os.open(tmp_path, os.O_RDONLY)
    waited: list[float] = []

    def end_the_look(seconds: float) -> None:
        waited.append(seconds)
        os.close(look)

    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr("state_lock.time.sleep", end_the_look)
    StateLock.acquire(tmp_path).close()
    assert len(waited) == 1


def test_a_directory_that_cannot_be_looked_into_is_an_os_error(tmp_path: Path) -> None:
    """Not knowing who holds it is not the same as nobody."""
    (tmp_path / "state").symlink_to(tmp_path / "state")
    with pytest.raises(OSError, match="symbolic links"):
        find_holder(tmp_path / "state")
