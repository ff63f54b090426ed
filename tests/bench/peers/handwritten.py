"""The benchmark's peer: ``policies.twelve_rules`` as a good engineer would write it by hand.

Facts are floats, NaN where Unknown: no comparison with NaN holds, so a condition is Unknown where
neither it nor its contrary does.  Every rule is answered, vetoes and withheld entries have their
causes, and the result is the same ``Verdict`` that the evaluators give.
"""

from __future__ import annotations

import math
from typing import Final

from engine.codes import Action, Disposition, Side, Truth
from engine.evaluate.verdict import Verdict
from engine.units import quantise

FALSE, TRUE, UNKNOWN = int(Truth.FALSE), int(Truth.TRUE), int(Truth.UNKNOWN)
ACTED, CONCURRED, OUTRANKED = int(Disposition.ACTED), int(Disposition.CONCURRED), int(Disposition.OUTRANKED)
VETOED, WITHHELD = int(Disposition.VETOED), int(Disposition.UNKNOWN)
NONE, BUY, SELL = float(Side.NONE), float(Side.BUY), float(Side.SELL)
HOLD = float(Side.HOLD)

RULES: Final = 12
TRIM, NO_NEW_RISK, ADOPTED_BUY, BREAKOUT, DIP = 7, 8, 9, 10, 11
EXITS: Final = range(8)
PROTECTIVE: Final = range(3)
ENTRIES: Final = (ADOPTED_BUY, BREAKOUT, DIP)
ACTIONS: Final = (*(Action.SELL,) * 8, Action.HOLD, *(Action.BUY,) * 3)

(
    NO_TRADABLE_QUOTE,
    FROZEN_SYMBOL,
    AGENT_HALTED,
    AGENT_REDUCING,
    WOULD_EXIT,
    MARKET_HOURS,
    QUOTE_FRESHNESS,
    COOLDOWN,
    REENTRY,
    LATE_ENTRY,
    DRAWDOWN_HALT,
    LADDER_FULL,
) = range(12)

_NOTHING: Final = bytes(RULES)
_NO_CAUSES: Final = (-1,) * RULES
_MILLION: Final = 1_000_000
_CLOSED, _REDUCING, _HALTED, _REGULAR = 3.0, 1.0, 2.0, 0.0


def on_cents(value: float) -> float:
    """Put a computed price or amount on the grid of 0.01; what is not finite is Unknown."""
    return quantise(value, 100) if math.isfinite(value) else math.nan


def count_votes(
    rsi: float,
    macd_line: float,
    macd_signal: float,
    fast: float,
    slow: float,
    close: float,
    lower: float,
    upper: float,
    hour: float,
    trend: float,
) -> tuple[float, float, float, float, float]:
    """Return side, confidence and the weights cast by the signal ``enhanced``."""
    buy = sell = hold = 0
    if rsi < 30:
        buy += 2
    elif rsi > 70:
        sell += 2
    else:
        hold += 1
    if macd_line > macd_signal:
        buy += 2
    elif macd_line < macd_signal:
        sell += 2
    if fast > slow:
        buy += 1
    elif fast < slow:
        sell += 1
    if close < lower:
        if close > upper:  # crossed bands: both sides, nothing cast
            pass
        else:
            buy += 1
    elif close > upper:
        sell += 1
    if hour > trend:
        buy += 2
    elif hour < trend:
        sell += 2
    # One Unknown input makes the signal Unknown.
    checksum = rsi + macd_line + macd_signal + fast + slow + close + lower + upper + hour + trend
    if checksum != checksum:
        return (math.nan,) * 5
    total = buy + sell + hold
    if buy > sell and buy > hold:
        return BUY, quantise(buy / total, 100), float(buy), float(sell), float(hold)
    if sell > buy and sell > hold:
        return SELL, quantise(sell / total, 100), float(buy), float(sell), float(hold)
    if hold > buy and hold > sell:
        return HOLD, quantise(hold / total, 100), float(buy), float(sell), float(hold)
    return NONE, 0.0, float(buy), float(sell), float(hold)


def decide(values: list[float], stated: int = 0, would_exit: int = 0, would_exit_unknown: int = 0) -> Verdict:
    """Choose among the twelve rules; writes the signal's slots unless it is stated."""
    (
        price, _, _, close, position_qty, minimum, position_value, target, _, _,
        peak_price, gain, peak_gain, held_for, entries, since_order, _, since_sell, rsi, rsi_before,
        macd_line, macd_signal, fast, slow, lower, upper, hour, trend, session, quote_age,
        until_close, drawdown, equity, cash, day_change, zscore, volume_ratio, agent, frozen, tradable,
        side, confidence, _, _, _,
    ) = values  # fmt: skip
    if not stated & 1:
        signal = count_votes(rsi, macd_line, macd_signal, fast, slow, close, lower, upper, hour, trend)
        side, confidence = signal[:2]
        values[40:45] = signal

    held = position_qty >= minimum
    flat = position_qty < minimum
    not_selling = side < SELL or side > SELL
    selling = side == SELL

    if flat:
        truths = [FALSE] * RULES
    else:
        trailing = on_cents(0.94 * peak_price)
        overweight = on_cents(1.1 * target)
        truths = [
            (TRUE if held else UNKNOWN) if gain <= -0.08 else FALSE if gain > -0.08 else UNKNOWN,
            TRUE
            if held and peak_gain >= 0.05 and price <= trailing
            else FALSE
            if peak_gain < 0.05 or price > trailing
            else UNKNOWN,
            (TRUE if held else UNKNOWN) if rsi > 80 else FALSE if rsi <= 80 else UNKNOWN,
            (TRUE if held else UNKNOWN)
            if day_change <= -0.1 or zscore < -3
            else FALSE
            if day_change > -0.1 and zscore >= -3
            else UNKNOWN,
            (TRUE if held else UNKNOWN) if gain >= 0.3 else FALSE if gain < 0.3 else UNKNOWN,
            TRUE
            if held and selling and confidence >= 0.6
            else FALSE
            if not_selling or confidence < 0.6
            else UNKNOWN,
            TRUE
            if held and held_for > 7776000 and gain < 0.02
            else FALSE
            if held_for <= 7776000 or gain >= 0.02
            else UNKNOWN,
            (TRUE if held else UNKNOWN)
            if position_value > overweight
            else FALSE
            if position_value <= overweight
            else UNKNOWN,
            FALSE,
            FALSE,
            FALSE,
            FALSE,
        ]
    reserve = on_cents(0.05 * equity)
    if drawdown >= 0.15 or cash < reserve:
        truths[NO_NEW_RISK] = TRUE
    elif not (drawdown < 0.15 and cash >= reserve):
        truths[NO_NEW_RISK] = UNKNOWN
    if not (side < BUY or side > BUY or confidence < 0.6 or rsi >= 70):
        wanted = on_cents(0.9 * target)
        if side == BUY and confidence >= 0.6 and rsi < 70 and position_value < wanted:
            truths[ADOPTED_BUY] = TRUE
        elif not position_value >= wanted:
            truths[ADOPTED_BUY] = UNKNOWN
    if not held:
        if flat and close > upper and volume_ratio > 1.5 and not_selling:
            truths[BREAKOUT] = TRUE
        elif not (close <= upper or volume_ratio <= 1.5 or selling):
            truths[BREAKOUT] = UNKNOWN
        if flat and rsi < 35 and rsi > rsi_before and not_selling:
            truths[DIP] = TRUE
        elif not (rsi >= 35 or rsi <= rsi_before or selling):
            truths[DIP] = UNKNOWN

    matched = bytes(truths)
    if TRUE not in truths:
        return Verdict(-1, matched, _NOTHING, _NO_CAUSES)

    dispositions = [0] * RULES
    causes = [-1] * RULES

    # Exits: the fullest that stands wins.
    standing = []
    if TRUE in truths[:8]:
        protective_veto = exit_veto = -1
        exit_stopped_by_unknown = True
        for gate, closed, opened in (
            (NO_TRADABLE_QUOTE, tradable == 0, tradable > 0),
            (FROZEN_SYMBOL, frozen == 1, frozen < 1),
            (AGENT_HALTED, agent == _HALTED, agent < _HALTED),
            (MARKET_HOURS, session > _REGULAR, session == _REGULAR),
        ):
            if closed:
                exit_stopped_by_unknown = False
                if protective_veto < 0:
                    protective_veto = gate
            if exit_veto < 0 and not opened:
                exit_veto = gate
        if exit_veto < 0 and not quote_age <= 60:
            exit_veto = QUOTE_FRESHNESS
        if quote_age > 60:
            exit_stopped_by_unknown = False
        for rule in EXITS:
            if truths[rule] == TRUE:
                veto = protective_veto if rule in PROTECTIVE else exit_veto
                if veto >= 0:
                    dispositions[rule], causes[rule] = VETOED, veto
                else:
                    standing.append(rule)
        if standing:
            winner = standing[0]
            if winner == TRIM:
                pass  # alone: it is the last of the exits
            standing.extend(rule for rule in range(8, RULES) if truths[rule] == TRUE)
            return settled(winner, matched, standing, dispositions, causes)
    else:
        exit_stopped_by_unknown = False

    # Entries, and the hold that suppresses those below it.
    if truths[NO_NEW_RISK] == TRUE:
        standing.append(NO_NEW_RISK)
    if TRUE in truths[9:]:
        veto = -1
        entry_closed = False
        for gate, closed, opened in (
            (NO_TRADABLE_QUOTE, tradable == 0, tradable > 0),
            (FROZEN_SYMBOL, frozen == 1, frozen < 1),
            (AGENT_HALTED, agent == _HALTED, agent < _HALTED),
            (AGENT_REDUCING, agent == _REDUCING, agent < _REDUCING or agent > _REDUCING),
            (MARKET_HOURS, session > _REGULAR, session == _REGULAR),
            (QUOTE_FRESHNESS, quote_age > 60, quote_age <= 60),
            (COOLDOWN, since_order < 300, since_order >= 300),
            (REENTRY, since_sell < 3600, since_sell >= 3600),
            (LATE_ENTRY, until_close < 900, until_close >= 900),
            (DRAWDOWN_HALT, drawdown > 0.2, drawdown <= 0.2),
        ):
            entry_closed = entry_closed or closed
            if veto < 0 and not opened:
                veto = gate
        # What is Unknown above an entry, and might be an exit, a hold or a better entry, withholds it.
        withheld_by = -1
        for rule in EXITS:
            if truths[rule] == UNKNOWN or (
                truths[rule] == TRUE and rule not in PROTECTIVE and exit_stopped_by_unknown
            ):
                withheld_by = rule
                break
        else:
            if truths[NO_NEW_RISK] == UNKNOWN:
                withheld_by = NO_NEW_RISK
        tried_unknown = would_exit_unknown & ~would_exit
        for rule in ENTRIES:
            stop = veto
            if stop < 0 and rule == ADOPTED_BUY and not entries < 5:
                stop = LADDER_FULL
            if truths[rule] == TRUE:
                if stop < 0 and (would_exit | would_exit_unknown) >> rule & 1:
                    stop = WOULD_EXIT
                if stop >= 0:
                    dispositions[rule], causes[rule] = VETOED, stop
                elif withheld_by >= 0:
                    dispositions[rule], causes[rule] = WITHHELD, withheld_by
                else:
                    standing.append(rule)
            if withheld_by < 0:
                closed = entry_closed or (rule == ADOPTED_BUY and entries >= 5)
                if (
                    truths[rule] == UNKNOWN
                    or (truths[rule] == TRUE and stop >= 0 and stop != WOULD_EXIT and not closed)
                    or tried_unknown >> rule & 1
                ):
                    withheld_by = rule
    if not standing:
        return Verdict(-1, matched, bytes(dispositions), tuple(causes))
    return settled(standing[0], matched, standing, dispositions, causes)


def settled(
    winner: int, matched: bytes, standing: list[int], dispositions: list[int], causes: list[int]
) -> Verdict:
    """Say what became of the candidates that stood, the winner among them."""
    action = ACTIONS[winner]
    for rule in standing:
        dispositions[rule] = CONCURRED if ACTIONS[rule] is action else OUTRANKED
        causes[rule] = winner
    dispositions[winner], causes[winner] = ACTED, -1
    return Verdict(winner, matched, bytes(dispositions), tuple(causes))
