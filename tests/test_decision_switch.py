"""What the operator's switch makes the guard do: locks, kills, suspended stages, requests."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from decision import Decision, Observation
from lock_document import LockMode
from memory import (
    BookMemory,
    IncidentReport,
    IncidentStatus,
    Memory,
    Severity,
    TargetStatus,
)
from model import (
    Asset,
    BookName,
    Coin,
    IncidentId,
    OperatorRequest,
    Position,
    ScopeId,
    Side,
    Stage,
    Symbol,
)
from policy import Policy, SwitchPolicy
from switch_model import (
    RedisMissing,
    RedisSeen,
    RedisSilent,
    RedisValue,
    RedisWrite,
    SwitchMemory,
    SwitchSeen,
    SwitchSetting,
    SwitchState,
    SwitchStore,
)
from tests.decision_values import (
    BOOK,
    BOOK_POLICY,
    BTC,
    DRY,
    ETH,
    LIVE,
    NOON,
    ONE,
    ONLY_ONE,
    SOL,
    THREE,
    Guard,
    asked,
    at_stage_1,
    btc,
    calm,
    dark,
    held,
    key,
    live,
    position,
    remains,
    seen,
    sol,
)

RUNNING, PAUSE, HALT, KILL = SwitchState
LOCKDOWN = Stage.LOCKDOWN
SILENT = RedisSilent(why="refused")
ETH_SHORT = key("ETH", Side.SHORT)


def row(state: SwitchState, revision: int = 1) -> SwitchSetting:
    """What Ann wrote into the local store."""
    return SwitchSetting(state=state, since=NOON + 9, actor="ann", reason="news", revision=revision)


def shown(
    guard: Guard,
    at: float,
    *,
    local: SwitchSetting | None = None,
    redis: RedisSeen | str | None = None,
) -> Decision:
    """Decide on a look at the switch."""
    value = RedisValue(text=redis) if isinstance(redis, str) else redis
    look = SwitchSeen(local=local, redis=value)
    return guard.settle(Observation(now=NOON + at, switch=look))


def switched(
    state: SwitchState, *, reason: str = "", actor: str = "", confirmation: str = ""
) -> OperatorRequest:
    """Somebody asks for a milder state; there is no book in it."""
    request = asked("switch", confirmation=confirmation)
    arguments = (("actor", actor), ("reason", reason), ("state", state.value))
    return replace(request, arguments=arguments)


def events(decision: Decision) -> list[str]:
    """What one decision tells."""
    return [one.event for one in decision.records.audits]


# --- looking ------------------------------------------------------------------------------------


def test_a_look_that_shows_nothing_new_changes_nothing() -> None:
    """Four times a second."""
    guard = calm()
    before = guard.memory
    decision = shown(guard, 1, local=SwitchSetting())
    assert decision.memory == before
    assert (decision.records.switch, decision.records.transitions) == (None, ())
    assert (events(decision), decision.redis_writes) == ([], ())


@pytest.mark.parametrize("policy", [LIVE, DRY])
@pytest.mark.parametrize(("state", "mode"), [(PAUSE, LockMode.PAUSE), (HALT, LockMode.HALT)])
def test_pause_and_halt_lock_and_leave_positions(
    policy: Policy, state: SwitchState, mode: LockMode
) -> None:
    """For real in a dry run, too; no book changes."""
    guard = calm(policy)
    decision = shown(guard, 10, local=row(state))
    assert [(one.scope, one.mode) for one in decision.lock.locks] == [("*", mode)]
    assert decision.records.books == ()
    assert guard.book.stage is Stage.NORMAL
    released = shown(guard, 11, local=row(RUNNING, 2))
    assert released.lock.locks == ()


def test_a_change_in_redis_is_recorded_with_the_decision() -> None:
    """The state that Redis held last, and the change of it."""
    guard = calm()
    decision = shown(guard, 10, redis="halt")
    assert decision.records.switch == guard.memory.switch
    assert [(one.old, one.new) for one in decision.records.transitions] == [(RUNNING, HALT)]
    assert decision.transitions == decision.records.transitions
    assert decision.records.needs_full_sync


def test_what_redis_must_be_told_is_part_of_the_decision() -> None:
    """The shell sends it once the record is safe."""
    decision = shown(calm(), 10, redis=RedisMissing())
    assert decision.redis_writes == (RedisWrite(state=RUNNING, actor="killswitch"),)


@pytest.mark.parametrize("jump_s", [-3_600.0, 3_600.0])
def test_the_grace_of_a_silence_moves_with_the_clock(jump_s: float) -> None:
    """A clock that was set neither ends the grace nor makes it an hour longer."""
    guard = calm()
    shown(guard, 10, redis=SILENT)
    guard.settle(Observation(now=NOON + 12 + jump_s, clock_jump_s=jump_s))
    assert guard.memory.switch.silent_since == NOON + 10 + jump_s


# --- halt_suspends_stages -----------------------------------------------------------------------

SUSPENDING = replace(LIVE, switch=SwitchPolicy(halt_suspends_stages=True))


@pytest.mark.parametrize("halted", ["explicit", "silent"])
def test_a_halt_suspends_new_incidents_of_the_lower_stages(halted: str) -> None:
    """Where the settings say so; told once, and the stage acts when the halt is over."""
    guard = calm(SUSPENDING)
    shown(guard, 1, redis="running")
    shown(guard, 2, redis="halt" if halted == "explicit" else SILENT)
    decisions = [guard.lose(at, 0.045) for at in (10, 13, 16, 19)]
    assert guard.book.incident is None
    assert [events(one) for one in decisions] == [[], [], ["trigger_refused"], []]
    assert dict(decisions[2].records.audits[0].details)["reason"] == "SWITCH_HALTS"
    shown(guard, 20, redis="running")
    guard.lose(22, 0.045)
    assert guard.incident.stage is ONE


def test_a_halt_suspends_nothing_by_itself() -> None:
    """Stages are armed unless the settings say otherwise."""
    guard = calm()
    shown(guard, 2, redis="halt")
    for at in (10, 13, 16):
        guard.lose(at, 0.045)
    assert guard.incident.stage is ONE


@pytest.mark.parametrize("state", [RUNNING, PAUSE])
def test_only_a_halt_suspends(state: SwitchState) -> None:
    """A pause keeps stages armed in any case."""
    guard = calm(SUSPENDING)
    shown(guard, 2, local=row(state))
    for at in (10, 13, 16):
        guard.lose(at, 0.045)
    assert guard.incident.stage is ONE


def test_stage_3_acts_through_a_halt_and_an_open_incident_goes_on() -> None:
    """The halt is no blindfold."""
    guard = at_stage_1(SUSPENDING)
    running = guard.incident
    shown(guard, 17, redis="halt")
    assert guard.incident == running
    guard.report(18, replace(running, rounds=1))
    assert guard.incident.rounds == 1
    guard.lose(20, 0.10)
    guard.lose(21, 0.10, is_second=True)
    assert guard.incident.stage is THREE


# --- kill ---------------------------------------------------------------------------------------


def killed(policy: Policy = LIVE) -> Guard:
    """Redis says kill 30 s after the last reading."""
    guard = calm(policy)
    shown(guard, 30, redis="kill")
    return guard


def test_a_kill_locks_every_book_down_without_waiting_for_a_reading() -> None:
    """Everything of the last trusted reading is a target, whatever its age."""
    guard = killed()
    decision = guard.decisions[-1]
    assert (guard.book.stage, guard.incident.stage) == (LOCKDOWN, LOCKDOWN)
    assert remains(guard.incident.targets) == {SOL: Decimal(0), BTC: Decimal(0)}
    assert events(decision) == ["switch_changed", "kill"]
    assert [one.incident for one in decision.opened] == [guard.incident]
    assert decision.records.incidents == (guard.incident,)
    assert [(one.scope, one.mode) for one in decision.lock.locks] == [
        ("*", LockMode.KILL),
        (BOOK, LockMode.KILL),
    ]
    told = decision.records.audits[1]
    assert told.severity is Severity.CRITICAL
    assert dict(told.details)["reading_age_s"] == 30
    assert "by the last trusted reading: SOLUSDT SHORT 100 -> 0" in told.message


def test_a_kill_that_stands_opens_one_incident() -> None:
    """Every later decision finds the book in LOCKDOWN."""
    guard = killed()
    first = guard.incident
    guard.settle(Observation(now=NOON + 31))
    shown(guard, 32, redis="kill")
    assert guard.incident == first


def test_a_kill_takes_a_running_incident_over_with_its_targets() -> None:
    """Stage 1 wanted half of the short: the kill takes all of it, under the same number."""
    guard = at_stage_1()
    lower = guard.incident
    decision = shown(guard, 20, local=row(KILL))
    assert remains(guard.incident.targets) == {SOL: Decimal(0), BTC: Decimal(0)}
    assert guard.incident.targets[0].number == lower.targets[0].number
    assert decision.opened[0].takes_over == lower.incident_id
    assert [(one.incident_id, one.status) for one in decision.records.incidents] == [
        (lower.incident_id, IncidentStatus.TAKEN_OVER),
        (guard.incident.incident_id, IncidentStatus.OPEN),
    ]


def test_a_kill_before_any_reading_opens_an_empty_incident() -> None:
    """Orders are cancelled, and the executor finds what is held."""
    guard = Guard()
    decision = shown(guard, 0, local=row(KILL))
    assert (guard.incident.targets, guard.book.stage) == ((), LOCKDOWN)
    assert "no reading was ever trusted: nothing to close" in decision.records.audits[-1].message


def test_a_stored_kill_is_carried_out_at_the_start() -> None:
    """A book that came into the configuration since, or a guard that died before it could."""
    guard = Guard(memory=Memory(switch=SwitchMemory(local=row(KILL))))
    guard.settle(Observation(now=NOON, is_start=True))
    assert guard.incident.stage is LOCKDOWN


def test_a_book_that_is_not_configured_is_left_as_it_stands() -> None:
    """Nobody could close there."""
    other = BookMemory(name=BookName("gone"), stage=ONE)
    guard = Guard(memory=Memory(books=(other,)))
    shown(guard, 0, local=row(KILL))
    assert guard.memory.book(other.name).stage is ONE


def test_a_dry_run_simulates_the_kill_and_says_so_aloud() -> None:
    """LOCKDOWN of the dry run, an incident that ends at once, and the operator's lock for real."""
    guard = at_stage_1(DRY)
    decision = shown(guard, 20, local=row(KILL))
    assert (guard.book.stage, guard.book.incident) == (LOCKDOWN, None)
    (ended,) = decision.records.incidents
    assert (ended.stage, ended.status) == (LOCKDOWN, IncidentStatus.SIMULATED)
    loud = [one.message for one in decision.records.audits if "NOTHING IS CLOSED" in one.message]
    assert len(loud) == 2
    assert decision.lock.locks[0].mode is LockMode.KILL
    assert all(one.dry_run for one in decision.records.audits)


def test_a_dry_run_kill_takes_a_book_of_an_earlier_version_with_an_open_incident() -> None:
    """It ends as taken over, and nothing of it is left open."""
    running = replace(at_stage_1().incident, dry_run=True)
    guard = Guard(policy=DRY, memory=Memory(books=(BookMemory(name=BOOK, incident=running),)))
    decision = shown(guard, 20, local=row(KILL))
    assert {one.status for one in decision.records.incidents} == {
        IncidentStatus.TAKEN_OVER,
        IncidentStatus.SIMULATED,
    }


def test_a_kill_without_settings_of_stage_3_closes_positions_and_sells_no_coin() -> None:
    """Which coins to sell only stage 3 says."""
    policy = replace(ONLY_ONE, books=(replace(ONLY_ONE.books[0], sell_collateral=True),))
    guard = Guard(policy=policy)
    guard.look(seen(0, sol(100.0), coins=(coin("ETH", "2"),)))
    shown(guard, 1, local=row(KILL))
    assert remains(guard.incident.targets) == {SOL: Decimal(0)}
    guard.finish(10)
    guard.look(seen(20, btc(), coins=(coin("ETH", "2"),)))
    assert remains(guard.incident.targets) == {BTC: Decimal(0)}


def coin(asset: str, quantity: str) -> Coin:
    """A coin at 100."""
    return Coin(
        asset=Asset(asset), quantity=Decimal(quantity), price=100.0, sellable=Decimal(quantity)
    )


def test_a_kill_leaves_what_may_never_be_touched() -> None:
    """`never_touch_even_in_stage_3` holds for the kill as well."""
    policy = live(never_touch=(Symbol("BTCUSDT"),), never_touch_even_in_stage_3=True)
    guard = killed(policy)
    assert remains(guard.incident.targets) == {SOL: Decimal(0)}
    assert "Kept: BTCUSDT LONG 50 (NEVER_TOUCH)" in guard.decisions[-1].records.audits[1].message


def test_what_reappears_is_closed_until_the_reset() -> None:
    """As the kill closes: also without a running incident."""
    guard = killed()
    guard.finish(40)
    assert guard.book.incident is None
    guard.look(seen(50, position("ETH", Side.LONG, "3", 100.0)))
    assert (guard.incident.stage, guard.incident.is_followup) == (LOCKDOWN, True)
    assert remains(guard.incident.targets) == {ETH: Decimal(0)}


# --- what the executor finds --------------------------------------------------------------------


def found(guard: Guard, at: float, *positions: Position, is_done: bool = False) -> Decision:
    """The executor tells of positions that no target covers."""
    report = IncidentReport(incident=held(guard.incident), is_done=is_done, found=positions)
    return guard.settle(Observation(now=NOON + at, reports=(report,)))


def test_a_kill_closes_what_no_reading_has_shown() -> None:
    """Also while the account was never read: the executor's own look is enough."""
    guard = Guard()
    shown(guard, 0, local=row(KILL))
    decision = found(guard, 2, sol(100.0), btc(), is_done=True)
    assert remains(guard.incident.targets) == {SOL: Decimal(0), BTC: Decimal(0)}
    assert events(decision) == ["follow_up"]
    assert (
        "found on the account: BTCUSDT LONG 50 -> 0, SOLUSDT SHORT"
        in decision.records.audits[0].message
    )
    assert guard.incident.status is IncidentStatus.OPEN
    guard.finish(9)
    assert guard.book.incident is None


def test_what_a_target_covers_is_not_added_twice() -> None:
    """The report was made before the last decision."""
    guard = killed()
    before = guard.incident.targets
    decision = found(guard, 32, sol(100.0))
    assert events(decision) == []
    assert remains(guard.incident.targets) == remains(before)


def test_what_is_found_keeps_what_offsets_a_coin_that_stays() -> None:
    """2 ETH are held as a coin: of 5 short, 2 stay."""
    guard = Guard()
    guard.look(seen(0, sol(100.0), coins=(coin("ETH", "2"),)))
    shown(guard, 1, local=row(KILL))
    found(guard, 3, position("ETH", Side.SHORT, "5", 100.0))
    assert remains(guard.incident.targets) == {SOL: Decimal(0), ETH_SHORT: Decimal(2)}
    quiet = found(guard, 5, position("ETH", Side.SHORT, "2", 100.0))
    assert events(quiet) == []


def test_what_offsets_a_coin_whole_is_kept_every_time_it_is_found() -> None:
    """It is in no target, and asks for nothing."""
    guard = Guard()
    guard.look(seen(0, coins=(coin("ETH", "2"),)))
    shown(guard, 1, local=row(KILL))
    decision = found(guard, 3, position("ETH", Side.SHORT, "2", 100.0))
    assert (guard.incident.targets, events(decision)) == ((), [])


def test_a_lower_stage_takes_nothing_that_is_found() -> None:
    """Only a kill closes what nobody planned."""
    guard = at_stage_1()
    before = guard.incident.targets
    found(guard, 20, position("ETH", Side.LONG, "1", 100.0))
    assert remains(guard.incident.targets) == remains(before)


def test_what_is_found_for_an_incident_that_is_over_changes_nothing() -> None:
    """The report came late; so did one of a book that is not configured any more."""
    guard = killed()
    late = guard.incident
    guard.finish(40)
    strange = replace(late, book=BookName("gone"))
    for incident in (late, strange):
        report = IncidentReport(incident=incident, found=(btc(),))
        decision = guard.settle(Observation(now=NOON + 41, reports=(report,)))
        assert (events(decision), guard.book.incident) == ([], None)


# --- requests -----------------------------------------------------------------------------------


def answered(decision: Decision) -> tuple[bool, str]:
    """How the one request was answered."""
    (answer,) = decision.records.answers
    return answer.accepted, answer.message


def test_a_loosening_is_written_with_its_answer_and_counts_once_it_is_seen() -> None:
    """The bots stay locked until the stores hold it."""
    guard = calm()
    shown(guard, 10, local=row(HALT), redis="pause")
    decision = guard.ask(20, switched(RUNNING, reason="calm", actor="cem"))
    assert answered(decision) == (True, "the switch is set to running: bots may trade")
    assert decision.records.switch is not None
    assert decision.records.switch.local == SwitchSetting(
        state=RUNNING, since=NOON + 20, actor="cem", reason="calm", revision=2
    )
    assert [(one.old, one.new, one.store) for one in decision.records.transitions] == [
        (HALT, RUNNING, SwitchStore.LOCAL)
    ]
    assert [(one.state, one.replaces) for one in decision.redis_writes] == [(RUNNING, PAUSE)]
    assert events(decision) == ["switch_loosened"]
    assert decision.lock.locks[0].mode is LockMode.HALT
    after = shown(guard, 21, local=decision.records.switch.local, redis="running")
    assert after.lock.locks == ()


def test_leaving_kill_asks_for_the_word_and_does_not_end_lockdown() -> None:
    """What was closed stays closed until each book's reset."""
    guard = killed()
    assert answered(guard.ask(40, switched(RUNNING))) == (
        False,
        "leaving kill: the word kill must be typed as confirmation",
    )
    decision = guard.ask(41, switched(HALT, confirmation=" Kill "))
    assert answered(decision) == (
        True,
        "the switch is set to halt: bots place no orders; entry orders are cancelled, positions "
        f"are kept; LOCKDOWN stays until reset (reset {BOOK})",
    )
    shown(guard, 42, redis="running")
    assert guard.book.stage is LOCKDOWN
    assert [one.scope for one in guard.decisions[-1].lock.locks] == [BOOK]


def test_a_kill_that_is_taken_back_before_anybody_saw_it_kills_nothing() -> None:
    """No guard was running when it was set; the command that loosens it begins none."""
    guard = Guard(memory=Memory(switch=SwitchMemory(local=row(KILL))))
    decision = guard.ask(0, switched(RUNNING, confirmation="kill"))
    assert decision.opened == ()
    accepted, message = answered(decision)
    assert accepted and message.endswith("LOCKDOWN stays until reset (no book is in it)")


def test_while_redis_is_silent_the_answer_says_that_halt_stays() -> None:
    """Both where something was loosened and where nothing could be."""
    guard = calm()
    shown(guard, 9, redis="pause")
    shown(guard, 10, local=row(HALT), redis=SILENT)
    stays = "Redis is silent (refused): halt stays until it answers"
    running = "the switch is set to running: bots may trade"
    binds = "what it holds may still bind then: ask again"
    assert answered(guard.ask(20, switched(RUNNING))) == (True, f"{running}; {stays}; {binds}")
    shown(guard, 21, local=row(RUNNING, 2))
    decision = guard.ask(22, switched(PAUSE))
    assert answered(decision) == (False, f"neither store holds more than pause; {stays}")


def test_a_local_loosening_during_a_silence() -> None:
    """Redis held running: nothing of it is to be asked again."""
    guard = calm()
    shown(guard, 9, redis="running")
    shown(guard, 10, local=row(PAUSE), redis=SILENT)
    _, message = answered(guard.ask(20, switched(RUNNING)))
    assert message.endswith("halt stays until it answers")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (KILL, "the switch says halt: tightening needs no request"),
        (HALT, "the switch says halt already"),
    ],
)
def test_tightening_needs_no_request(state: SwitchState, message: str) -> None:
    """The command writes each store itself, without anybody's answer."""
    guard = calm()
    shown(guard, 10, local=row(HALT))
    decision = guard.ask(20, switched(state))
    assert answered(decision) == (False, message)
    assert decision.records.switch is None
    assert decision.records.audits[0].scope == "*"


def test_what_is_no_state_is_refused() -> None:
    """A slip of the keyboard loosens nothing."""
    request = replace(switched(RUNNING), arguments=(("state", "run"),))
    assert answered(calm().ask(20, request)) == (
        False,
        "'run' is no state: running, pause, halt, kill",
    )


@pytest.mark.parametrize("holder", ["local", "silent"])
def test_lockdown_is_reset_only_while_the_switch_runs(holder: str) -> None:
    """So that no kill fires again at once."""
    guard = killed()
    guard.finish(40)
    shown(guard, 41, redis="running")
    if holder == "local":
        shown(guard, 42, local=row(PAUSE))
    else:
        shown(guard, 42, redis=SILENT)
    guard.look(seen(50, wallet=10_000.0))
    refused = guard.ask(51, asked("reset", confirmation=BOOK))
    assert answered(refused) == (False, "the switch must be set to running first")
    shown(guard, 52, local=row(RUNNING, 2), redis="running")
    assert answered(guard.ask(53, asked("reset", confirmation=BOOK)))[0]
    assert guard.book.stage is Stage.NORMAL


def test_a_reset_of_a_lower_stage_during_a_kill_does_not_keep_its_book_out() -> None:
    """The book is killed in the same decision."""
    guard = Guard(
        memory=Memory(
            books=(BookMemory(name=BOOK, stage=ONE),), switch=SwitchMemory(local=row(KILL))
        )
    )
    guard.ask(0, asked("reset", force="true"))
    assert guard.book.stage is LOCKDOWN


def test_two_books_are_killed_at_once() -> None:
    """Each with an incident of its own name."""
    other = replace(BOOK_POLICY, name=BookName("bybit_futures"), scopes=(ScopeId("bybit_futures"),))
    guard = Guard(policy=replace(LIVE, books=(BOOK_POLICY, other)))
    decision = shown(guard, 0, local=row(KILL))
    ids: set[IncidentId] = {one.incident.incident_id for one in decision.opened}
    assert len(ids) == 2
    assert {one.stage for one in guard.memory.books} == {LOCKDOWN}


def test_a_dark_account_in_lockdown_keeps_its_incident() -> None:
    """It never expires."""
    guard = killed()
    guard.look(dark(90_000))
    assert guard.incident.status is IncidentStatus.OPEN
    assert {one.status for one in guard.incident.targets} == {TargetStatus.OPEN}


def in_the_dark(policy: Policy = LIVE) -> Guard:
    """The kill is done, and for two minutes nothing was read."""
    guard = killed(policy)
    if guard.book.incident is not None:
        guard.finish(40)
    for at in (41, 100, 171):
        guard.look(dark(at))
    return guard


def test_a_book_in_lockdown_that_nobody_can_read_is_watched_by_its_positions() -> None:
    """One incident for as long as that lasts: what its executor finds is closed, and it stays."""
    guard = in_the_dark()
    assert LockMode.BLIND in {mode for mode, _, _ in guard.locks}
    opened = guard.look(dark(180))
    assert events(opened) == ["follow_up"]
    assert "no reading can be trusted" in opened.records.audits[0].message
    incident = guard.incident
    assert (incident.stage, incident.is_followup) == (LOCKDOWN, True)
    assert set(remains(incident.targets).values()) == {Decimal(0)}
    guard.finish(190)
    found(guard, 200, position("ETH", Side.LONG, "1", 100.0))
    guard.finish(300)
    assert guard.incident.incident_id == incident.incident_id
    assert guard.events[-3:] == ["blind_lock_set", "follow_up", "follow_up"]
    guard.look(seen(310))
    guard.finish(316)
    guard.look(seen(320))
    assert guard.book.incident is None


def test_a_kill_in_the_dark_ends_after_a_trusted_reading_of_any_loss() -> None:
    """A fifth is gone: another book would stay blind; here the kill's own lock stops the bots."""
    guard = killed()
    for at in (41, 100, 171):
        guard.look(dark(at))
    assert LockMode.BLIND in {mode for mode, _, _ in guard.locks}
    guard.lose(180, 0.2)
    assert LockMode.BLIND not in {mode for mode, _, _ in guard.locks}
    guard.finish(190)
    assert guard.book.incident is None
    assert LockMode.KILL in {mode for mode, _, _ in guard.locks}


def test_what_is_found_in_the_dark_and_not_closed_is_stuck() -> None:
    """ETH is held for two minutes after it was found."""
    guard = in_the_dark()
    guard.look(dark(180))
    found(guard, 200, position("ETH", Side.LONG, "1", 100.0))
    guard.look(dark(320))
    (told,) = (entry for entry in guard.decisions[-1].records.audits)
    assert (told.event, "ETHUSDT" in told.message) == ("incident_stuck", True)


def test_a_dry_run_in_the_dark_opens_nothing() -> None:
    """There is nobody who could find anything."""
    guard = in_the_dark(DRY)
    guard.look(dark(180))
    assert guard.book.stage is LOCKDOWN
    assert guard.book.incident is None


def test_losses_in_lockdown_trigger_nothing_more() -> None:
    """The kill is the highest there is."""
    guard = killed()
    guard.lose(40, 0.2)
    guard.lose(41, 0.2, is_second=True)
    assert guard.incident.stage is LOCKDOWN
    assert remains(guard.incident.targets) == {SOL: Decimal(0), BTC: Decimal(0)}


def test_a_request_that_leaves_a_kill_which_no_guard_saw_begins_none() -> None:
    """Redis says kill for the first time in the decision that leaves it; a look alone begins it."""
    for is_asked in (True, False):
        guard = Guard(policy=LIVE)
        decision = guard.settle(
            Observation(
                now=NOON + 1,
                switch=SwitchSeen(redis=RedisValue(text="kill")),
                requests=(switched(RUNNING, confirmation="kill"),) if is_asked else (),
            )
        )
        assert (guard.memory.book(BOOK).stage is LOCKDOWN) is not is_asked
        assert [write.replaces for write in decision.redis_writes] == [KILL] * is_asked


def test_a_key_that_is_missing_beside_a_local_kill_takes_nothing_from_it() -> None:
    """What Redis is to be told then loosens nothing."""
    guard = Guard(policy=LIVE)
    decision = shown(guard, 1, local=row(KILL), redis=RedisMissing())
    assert guard.memory.book(BOOK).stage is LOCKDOWN
    assert [write.replaces for write in decision.redis_writes] == [None]
