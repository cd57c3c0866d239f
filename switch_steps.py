"""What the operator's switch does to a decision: taken in, loosened, and carried out as a kill.

Pure. Writes into the draft of a decision; what the stores mean is `switch_rules`'s to say, what a
kill closes `openings`'s.
"""

from __future__ import annotations

from dataclasses import replace

import incidents
import switch_rules
from coin_sales import LIMITS_BY_SCOPE
from draft import Draft
from memory import IncidentReport
from model import Stage
from openings import KillFacts
from policy import BookPolicy
from switch_model import SwitchSeen, SwitchState


def take_switch(draft: Draft, seen: SwitchSeen) -> None:
    """Take in what a look at both stores found."""
    found = switch_rules.look(draft.switch, seen, policy=draft.policy, now=draft.now)
    draft.switch = found.memory
    draft.switch_record = found.record
    draft.transitions.extend(found.transitions)
    draft.recorded_transitions.extend(found.recorded)
    draft.redis_writes.extend(found.writes)
    draft.audit(found.audits)


def take_loosening(draft: Draft, loosening: switch_rules.Loosening) -> None:
    """Have written what a request loosens; it counts once it is seen in its store."""
    draft.switch = loosening.memory
    draft.switch_record = loosening.record
    draft.recorded_transitions.extend(loosening.transitions)
    draft.redis_writes.extend(loosening.writes)


def carry_out_kill(draft: Draft, *, limits: LIMITS_BY_SCOPE) -> None:
    """Lock every book down that is not yet, while the switch says kill.

    A request that leaves kill in this very decision begins none.
    """
    wished = draft.switch_record or draft.switch
    for write in draft.redis_writes:
        if write.replaces is not None and wished.redis is not None:
            wished = replace(wished, redis=replace(wished.redis, state=write.state))
    if switch_rules.explicit(wished) is not SwitchState.KILL:
        return
    for policy in draft.policy.books:
        book = draft.book(policy.name)
        if book.stage is not Stage.LOCKDOWN:
            draft.take(incidents.kill(book, _kill_facts(draft, policy, limits=limits)))


def watch_lockdowns(draft: Draft, *, limits: LIMITS_BY_SCOPE) -> None:
    """Have closed what reappears in books in LOCKDOWN of which no reading is trusted."""
    for policy in draft.policy.books:
        facts = _kill_facts(draft, policy, limits=limits)
        draft.take(incidents.watch_in_the_dark(draft.book(policy.name), facts))


def take_found(draft: Draft, report: IncidentReport, *, limits: LIMITS_BY_SCOPE) -> None:
    """Close what the executor found that no target of a running kill covers."""
    policy = draft.policy.book(report.incident.book)
    if policy is not None and report.found:
        facts = _kill_facts(draft, policy, limits=limits)
        draft.take(incidents.close_found(draft.book(policy.name), report, facts))


def _kill_facts(draft: Draft, policy: BookPolicy, *, limits: LIMITS_BY_SCOPE) -> KillFacts:
    """What is known of a book without reading it now."""
    return KillFacts(
        now=draft.now,
        policy=draft.policy,
        book=policy,
        memories=tuple(draft.scope(scope) for scope in policy.scopes),
        limits=limits,
    )
