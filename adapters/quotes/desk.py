"""One source's desk: what it is asked, when, in which batches, and when it is left alone.

Symbols come one by one and wait in a queue; calls go out as workers are free and the budget allows, each
for as many symbols as the source takes at once, those first that have waited longest since they were last
asked.  Everything here but the source's own call runs in the event loop of the pass under way.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.quotes.backoff import Backoff
from adapters.quotes.breaker import Breaker, BreakerState
from adapters.quotes.budget import Budget, BudgetSettings
from adapters.quotes.hop import Hop
from adapters.quotes.judging import judge, other_currency
from adapters.quotes.router_settings import RouterSettings
from adapters.quotes.source import Answer, Outcome, Source, SourceFailedError, SourceQuote
from adapters.quotes.workers import Workers
from adapters.symbols.directory import NotServed, SymbolDirectory
from engine.model import AssetClass
from engine.runtime.ports import Clock

_MS_NS: Final = 1_000_000
_SECOND_NS: Final = 1_000_000_000
_NEVER_ASKED: Final = -1

_Result = Mapping[str, Answer] | SourceFailedError


@dataclass(slots=True, eq=False)
class _Request:
    """A symbol that waits for this source; ``hop`` is its end."""

    symbol: str
    spelling: str
    asset_class: AssetClass
    began_ns: int
    until_ns: int
    hop: asyncio.Future[Hop]
    timer: asyncio.TimerHandle | None = None
    call: _Call | None = None


_Queue = list[tuple[int, int, _Request]]
"""A heap: when the symbol was asked last, when it came, and its request.  No two are equal before that."""


@dataclass(slots=True, eq=False)
class _Call:
    """A call under way; ``over`` when nobody waits for it any more."""

    number: int
    asset_class: AssetClass
    requests: Sequence[_Request]
    began_ns: int
    until_ns: int  # the latest of its symbols' limits
    over: bool = False


@dataclass(slots=True)
class _Pass:
    """What lives as long as one pass."""

    loop: asyncio.AbstractEventLoop
    queues: dict[AssetClass, _Queue] = field(default_factory=dict)
    live: int = 0  # calls that are waited for
    wake: asyncio.Handle | None = None


class SourceDesk:
    """The desk of one source, for all passes of a router."""

    def __init__(
        self,
        source: Source,
        directory: SymbolDirectory,
        clock: Clock,
        rng: random.Random,
        settings: RouterSettings,
        workers: Workers,
        numbers: Iterator[int],
    ) -> None:
        """Begin with every breaker closed and all of the budget; ``numbers`` names the calls."""
        self.name = source.name
        self._source = source
        self._directory = directory
        self._clock = clock
        self._settings = settings
        self._least_ns = settings.least_call_ms * _MS_NS
        self._workers = workers
        self._numbers = numbers
        self._arrivals = itertools.count()
        self._budget = Budget(settings.budgets.get(source.name, BudgetSettings()))
        self._breakers = {asset_class: Breaker(settings.quotes.breaker) for asset_class in AssetClass}
        self._backoff = Backoff(settings.quotes.backoff, rng)
        self._last_asked: dict[str, int] = {}
        self._unsupported: dict[str, tuple[str, str]] = {}
        self._learnt: dict[str, str] = {}
        self._late: dict[str, tuple[str, SourceQuote]] = {}
        self._pass: _Pass | None = None

    # --- from the router ----------------------------------------------------------------------

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a pass."""
        self._pass = _Pass(loop)

    def shut(self) -> None:
        """End the pass: what still comes is late."""
        if self._pass is not None and self._pass.wake is not None:
            self._pass.wake.cancel()
        self._pass = None

    def close(self) -> None:
        """Let go of the workers."""
        self._workers.close()

    def breaker(self, asset_class: AssetClass) -> BreakerState:
        """Return the state of a class's breaker now."""
        return self._breakers[asset_class].state(self._clock.monotonic_ns())

    def take_learnt(self) -> Mapping[str, str]:
        """Return what the source was found not to serve since this was last asked, and why, by symbol."""
        learnt, self._learnt = self._learnt, {}
        return learnt

    def forget_unsupported(self) -> None:
        """Ask again for symbols that the source did not serve."""
        self._unsupported.clear()

    async def ask(
        self, symbol: str, asset_class: AssetClass, until_ns: int, any_currency: bool = False
    ) -> Hop:
        """Return the source's hop for a symbol at ``until_ns`` at the latest.

        ``any_currency`` asks also where the directory says that the price would not be used.
        """
        began_ns = self._clock.monotonic_ns()
        spelled = self._directory.spelled(self.name, symbol)
        if isinstance(spelled, NotServed):
            return Hop(self.name, None, Outcome.UNSUPPORTED, spelled.reason)
        spelling, not_served = self._unsupported.get(symbol, (None, ""))
        if spelling == spelled.text:
            return Hop(self.name, spelling, Outcome.UNSUPPORTED, not_served)
        if not any_currency and spelled.currency not in self._settings.demands(asset_class).currencies:
            return Hop(self.name, spelled.text, Outcome.UNSUPPORTED, other_currency(spelled.currency))
        wait_seconds = self._backoff.seconds_left(symbol, began_ns)
        if wait_seconds:
            failures = self._backoff.failures(symbol)
            reason = f"it waits another {wait_seconds:.1f} s after {_times(failures)} in a row"
            hop = Hop(self.name, spelled.text, Outcome.SKIPPED, reason)
        else:
            hop = await self._answer(symbol, spelled.text, asset_class, began_ns, until_ns)
        return self._or_late(symbol, asset_class, hop)

    # --- the queue ----------------------------------------------------------------------------

    async def _answer(
        self, symbol: str, spelling: str, asset_class: AssetClass, began_ns: int, until_ns: int
    ) -> Hop:
        here = self._here()
        request = _Request(symbol, spelling, asset_class, began_ns, until_ns, here.loop.create_future())
        if until_ns - began_ns < self._least_ns:
            return self._hop(request, Outcome.SKIPPED, "no time was left")
        request.timer = here.loop.call_later((until_ns - began_ns) / _SECOND_NS, self._expire, request)
        turn = self._last_asked.get(symbol, _NEVER_ASKED), next(self._arrivals)
        heapq.heappush(here.queues.setdefault(asset_class, []), (*turn, request))
        self._wake(0)
        return await request.hop

    def _wake(self, delay_ns: int) -> None:
        """Dispatch soon: what comes in the meantime goes out in the same batches."""
        here = self._here()
        if here.wake is not None:
            here.wake.cancel()
        if delay_ns <= 0:
            here.wake = here.loop.call_soon(self._dispatch)
        else:
            here.wake = here.loop.call_later(delay_ns / _SECOND_NS, self._dispatch)

    def _dispatch(self) -> None:
        """Send what may be sent, skip what must not be, and leave waiting what has hope."""
        here = self._here()
        here.wake = None
        now_ns = self._clock.monotonic_ns()
        while queue := self._next_queue(now_ns):
            request = queue[0][-1]
            breaker = self._breakers[request.asset_class]
            if breaker.state(now_ns) is BreakerState.OPEN:
                self._skip(queue, f"its breaker is open for another {breaker.seconds_left(now_ns):.1f} s")
            elif self._workers.free == 0:
                if here.live:
                    return
                self._skip(queue, "busy: earlier requests still hang on all of its workers")
            elif self._limit_to_budget(queue, now_ns):
                # A half-open breaker lets one call through and is open again while that lasts.
                breaker.begin(now_ns)
                self._send(self._take(queue, now_ns), now_ns)
            elif queue:
                return

    def _next_queue(self, now_ns: int) -> _Queue | None:
        """Return the queue whose first symbol has waited longest; None where all are empty."""
        queues = self._here().queues.values()
        for queue in queues:
            while queue and not self._has_time(queue[0][-1], now_ns):
                heapq.heappop(queue)
        return min(filter(None, queues), key=lambda queue: queue[0][:2], default=None)

    def _has_time(self, request: _Request, now_ns: int) -> bool:
        """Say whether a call may still begin; where not, the request's own timer ends it."""
        return not request.hop.done() and request.until_ns - now_ns >= self._least_ns

    def _limit_to_budget(self, queue: _Queue, now_ns: int) -> bool:
        """Skip those whom the budget will not reach in time; say whether the next call may go now."""
        per_symbol, size = self._budget.settings.per_symbol, self._batch_size()
        room = self._budget.room(now_ns, queue[0][-1].until_ns - self._least_ns)
        most = room if per_symbol else room * size
        if most < len(queue):
            # A list in order is a heap, too.
            queue[:] = sorted(entry for entry in queue if self._has_time(entry[-1], now_ns))
            self._skip(queue, self._budget.scarcest(now_ns), most)
        if not queue:
            return False
        wait_ns = self._budget.wait_ns(now_ns, min(size, len(queue)) if per_symbol else 1)
        if wait_ns:
            self._wake(wait_ns)
        return wait_ns == 0

    def _batch_size(self) -> int:
        size = max(1, self._source.batch)
        return min(size, self._budget.most) if self._budget.settings.per_symbol else size

    def _take(self, queue: _Queue, now_ns: int) -> list[_Request]:
        taken: list[_Request] = []
        while queue and len(taken) < self._batch_size():
            request = heapq.heappop(queue)[-1]
            if self._has_time(request, now_ns):
                taken.append(request)
        return taken

    def _skip(self, queue: _Queue, reason: str, but_first: int = 0) -> None:
        for _, _, request in queue[but_first:]:
            self._end(request, Outcome.SKIPPED, reason)
        del queue[but_first:]

    # --- a call -------------------------------------------------------------------------------

    def _send(self, requests: Sequence[_Request], now_ns: int) -> None:
        here = self._here()
        number = next(self._numbers)
        until_ns = max(request.until_ns for request in requests)
        asset_class = requests[0].asset_class
        call = _Call(number, asset_class, requests, now_ns, until_ns)
        self._budget.spend(now_ns, len(requests) if self._budget.settings.per_symbol else 1)
        for request in requests:
            request.call = call
            self._last_asked[request.symbol] = number
        seconds = (until_ns - now_ns) / _SECOND_NS
        here.live += 1
        spellings = tuple(dict.fromkeys(request.spelling for request in requests))
        self._workers.start(
            lambda: _fetched(self._source, spellings, asset_class, seconds),
            lambda result: self._returned(call, result),
        )

    def _returned(self, call: _Call, result: _Result) -> None:
        """Hand a call's result to the pass, from the worker's thread."""
        here = self._pass
        try:
            if here is not None:
                here.loop.call_soon_threadsafe(self._settle, call, result)
                return
        except RuntimeError:  # the loop has just been closed
            pass
        self._take_late(call.requests, result)

    def _settle(self, call: _Call, result: _Result) -> None:
        here = self._pass
        if call.over or here is None:
            self._take_late(call.requests, result)
        else:
            self._end_call(here, call)
            if isinstance(result, SourceFailedError):
                self._failed(call, result)
            else:
                self._answered(call, result)
        if here is not None:
            self._wake(0)

    def _answered(self, call: _Call, answers: Mapping[str, Answer]) -> None:
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.now_utc_ms()
        demands = self._settings.demands(call.asset_class)
        heard = False
        for request in call.requests:
            answer = answers.get(request.spelling)
            outcome, reason = judge(answer, now_ms, demands)
            quote = answer if isinstance(answer, SourceQuote) else None
            heard = heard or outcome is not Outcome.FAILED
            if outcome is Outcome.UNSUPPORTED and quote is None:
                self._unsupported[request.symbol] = request.spelling, reason
                self._learnt[request.symbol] = reason
            if request.hop.done():
                self._take_late([request], answers)
                continue
            if outcome is Outcome.FAILED:
                self._backoff.failed(request.symbol, now_ns)
            else:
                self._backoff.heard(request.symbol)
            self._end(request, outcome, reason, quote)
        breaker = self._breakers[call.asset_class]
        if heard:
            breaker.heard()
        else:
            breaker.failed(now_ns)

    def _failed(self, call: _Call, error: SourceFailedError) -> None:
        """Take in that a call failed as a whole.

        A source that says when it wants to be asked again is alive: its word counts, and nothing else is
        held against it or its symbols.
        """
        now_ns = self._clock.monotonic_ns()
        held = self._budget.hold(now_ns, error.retry_after_seconds or 0.0)
        if not held:
            self._breakers[call.asset_class].failed(now_ns)
        for request in call.requests:
            if request.hop.done():
                continue
            if not held:
                self._backoff.failed(request.symbol, now_ns)
            self._end(request, Outcome.FAILED, error.reason)

    def _expire(self, request: _Request) -> None:
        """A symbol's time at this source is over."""
        if request.hop.done():
            return
        now_ns = self._clock.monotonic_ns()
        call = request.call
        if call is None:
            self._end(request, Outcome.SKIPPED, f"no request could be made in time: {self._obstacle(now_ns)}")
            return
        self._backoff.failed(request.symbol, now_ns)
        waited_ms = (now_ns - call.began_ns) // _MS_NS
        self._end(request, Outcome.FAILED, f"no answer within {waited_ms} ms")
        if all(other.hop.done() for other in call.requests):
            # Nobody waits for it any longer; its worker stays with it.
            self._end_call(self._here(), call)
            self._breakers[call.asset_class].failed(now_ns)
            self._wake(0)

    @staticmethod
    def _end_call(here: _Pass, call: _Call) -> None:
        call.over = True
        here.live -= 1

    def _obstacle(self, now_ns: int) -> str:
        if self._workers.free == 0:
            return "all of its workers were busy"
        return self._budget.scarcest(now_ns)

    # --- ends ---------------------------------------------------------------------------------

    def _end(
        self, request: _Request, outcome: Outcome, reason: str, quote: SourceQuote | None = None
    ) -> None:
        if request.timer is not None:
            request.timer.cancel()
        if not request.hop.done():
            request.hop.set_result(self._hop(request, outcome, reason, quote))

    def _hop(self, request: _Request, outcome: Outcome, reason: str, quote: SourceQuote | None = None) -> Hop:
        elapsed_ms = (self._clock.monotonic_ns() - request.began_ns) // _MS_NS
        number = 0 if request.call is None else request.call.number
        return Hop(self.name, request.spelling, outcome, reason, quote, elapsed_ms, number)

    def _here(self) -> _Pass:
        assert self._pass is not None, "a desk is asked within a pass"
        return self._pass

    # --- answers that came too late -----------------------------------------------------------

    def _take_late(self, requests: Sequence[_Request], result: _Result) -> None:
        """Keep what may still help.  From any thread: each is one assignment."""
        if isinstance(result, SourceFailedError):
            self._budget.hold(self._clock.monotonic_ns(), result.retry_after_seconds or 0.0)
            return
        for request in requests:
            answer = result.get(request.spelling)
            if isinstance(answer, SourceQuote):
                self._late[request.symbol] = request.spelling, answer

    def _or_late(self, symbol: str, asset_class: AssetClass, hop: Hop) -> Hop:
        """Return a hop, or, where the source could not be heard now, its late answer if that is fresh."""
        if hop.outcome not in (Outcome.FAILED, Outcome.SKIPPED):
            self._late.pop(symbol, None)
            return hop
        spelling, quote = self._late.get(symbol, (None, None))
        demands = self._settings.demands(asset_class)
        if (
            spelling != hop.spelling
            or judge(quote, self._clock.now_utc_ms(), demands)[0] is not Outcome.FRESH
        ):
            return hop
        reason = f"from an answer that came too late for its own request; now: {hop.reason}"
        return replace(hop, outcome=Outcome.FRESH, reason=reason, quote=quote)


def _fetched(source: Source, spellings: Sequence[str], asset_class: AssetClass, seconds: float) -> _Result:
    """Call a source; whatever it raises becomes a failure.

    Of an exception that is not the source's own only the name is told: its text may hold a key.
    """
    try:
        return dict(source.fetch(spellings, asset_class, seconds))
    except SourceFailedError as error:
        return error
    except BaseException as error:
        return SourceFailedError(f"its client failed ({type(error).__name__})")


def _times(failures: int) -> str:
    return "a failure" if failures == 1 else f"{failures} failures"


WorkersMaker = Callable[[str, int], Workers]
"""Makes the workers of a source, given its name and how many."""
