"""From the file of settings to ``Settings``: every mistake in one run, each in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from adapters.settings.leaks import keys_in, masked
from adapters.settings.model import (
    BROKERS,
    SOURCES,
    TRUSTING,
    USUAL_SOURCES,
    VENDORS,
    BackoffSettings,
    BreakerSettings,
    BrokerSettings,
    ClassQuotes,
    Quorum,
    QuoteSettings,
    Rate,
    Settings,
    SourceSettings,
    is_broker,
    is_exchange,
    is_source,
)
from engine.errors import NOWHERE, NotFoundError, PolicyError, Problem, Source, Span, UnavailableError
from engine.language.expression import SECONDS_PER
from engine.language.source import (
    MAX_BYTES,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    load_document,
    shown,
)
from engine.language.structure import check_structure

SCHEMA: Final = "config-v1"
API_VERSION: Final = "tradectl-config/v1"
VARIABLE: Final = "TRADECTL_CONFIG"


def settings_path(given: str | None = None) -> Path:
    """Return where the settings are: as given, or TRADECTL_CONFIG, or config.yaml in the XDG folder."""
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_config_path("tradectl") / "config.yaml"


def read_settings(given: str | None = None) -> tuple[Settings, Path | None]:
    """Return the settings in force and their file, None where there is none and the defaults hold.

    NotFoundError where a file was asked for that is not there; PolicyError with every mistake in it;
    UnavailableError where it cannot be read.
    """
    path = settings_path(given)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if given or os.environ.get(VARIABLE):
            where = "" if given else f" (of {VARIABLE})"
            hint = f"'tradectl init --path {path}' writes one"
            raise NotFoundError(f"there is no file of settings '{path}'{where}; {hint}") from None
        return Settings(), None
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror})") from error
    return load_settings(text, str(path)), path


def load_settings(text: str | bytes, name: str) -> Settings:
    """Read settings from their text; PolicyError with every mistake, in which no key is shown."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    plain = plain[:MAX_BYTES].removeprefix("\ufeff")
    leaked = keys_in(plain)
    if leaked:
        # Nothing else is told: another message might quote what must not be seen.
        raise PolicyError(masked(Source(name, plain)), leaked)
    document = load_document(text, name)
    problems = (*document.problems, *check_structure(document, SCHEMA).problems)
    if problems:
        raise PolicyError(document.source, problems)
    reading = _Reading()
    settings = reading.settings(_Part(document.root, document.root.span))
    if reading.problems:
        raise PolicyError(document.source, tuple(reading.problems))
    return settings


class _Part:
    """A node whose shape is right, and its entries."""

    def __init__(self, node: Node | None, span: Span) -> None:
        self.node = node
        self.span = span  # of the key, where there is one

    def __getitem__(self, key: str) -> _Part:
        for name, node in self.node.entries if isinstance(self.node, MappingNode) else ():
            if name.text == key:
                return _Part(node, name.span)
        return _Part(None, self.span)

    @property
    def present(self) -> bool:
        return self.node is not None

    def entries(self) -> Iterator[tuple[str, _Part]]:
        for name, node in self.node.entries if isinstance(self.node, MappingNode) else ():
            yield name.text, _Part(node, name.span)

    def scalars(self) -> list[ScalarNode]:
        items = self.node.items if isinstance(self.node, SequenceNode) else ()
        return [item for item in items if isinstance(item, ScalarNode)]

    def text(self, default: str) -> str:
        return self.node.text if isinstance(self.node, ScalarNode) else default

    def optional(self, default: str | None) -> str | None:
        return self.node.text if isinstance(self.node, ScalarNode) else default

    def count(self, default: int) -> int:
        return int(self.node.text) if isinstance(self.node, ScalarNode) else default

    def flag(self, default: bool) -> bool:
        return self.node.text.lower() == "true" if isinstance(self.node, ScalarNode) else default

    def seconds(self, default: int) -> int:
        return _seconds(self.node.text) if isinstance(self.node, ScalarNode) else default

    def share(self, default: Decimal) -> Decimal:
        return Decimal(self.node.text[:-1]) / 100 if isinstance(self.node, ScalarNode) else default


def _seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS_PER[text[-1]]


class _Reading:
    """Reads a document of the right shape, and notes what cannot be meant."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def _problem(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.problems.append(Problem(code, message, span, hint))

    def settings(self, root: _Part) -> Settings:
        usual = Settings()
        return Settings(
            agent=root["agent"].optional(usual.agent),
            policy=root["policy"].text(usual.policy),
            broker=self._broker(root["broker"], usual.broker),
            quotes=self._quotes(root["quotes"], usual.quotes),
            sources=self._sources(root["sources"]),
            history=root["history"]["path"].optional(usual.history),
            reconcile_seconds=root["reconcile"]["every"].seconds(usual.reconcile_seconds),
            refresh_symbols_seconds=root["symbols"]["refresh"].seconds(usual.refresh_symbols_seconds),
        )

    def _broker(self, part: _Part, usual: BrokerSettings) -> BrokerSettings:
        read = BrokerSettings(
            part["name"].text(usual.name),
            part["paper"].flag(usual.paper),
            self._address(part["url"], usual.url),
            part["connect_timeout"].seconds(usual.connect_timeout_seconds),
            part["read_timeout"].seconds(usual.read_timeout_seconds),
            part["timeout"].seconds(usual.timeout_seconds),
            part["fee"].share(usual.fee),
        )
        if not is_broker(read.name):
            self._unknown("broker", read.name, part["name"].node, BROKERS)
        longest = max(read.connect_timeout_seconds, read.read_timeout_seconds)
        if read.timeout_seconds < longest:
            message = f"a whole call may take less time than one part of it, {longest}s"
            self._problem("timeout", message, part["timeout"].span, f"write  timeout: {longest}s  or more")
        return read

    def _quotes(self, part: _Part, usual: QuoteSettings) -> QuoteSettings:
        breaker, backoff = part["breaker"], part["backoff"]
        read = QuoteSettings(
            part["deadline"].seconds(usual.deadline_seconds),
            part["source_deadline"].seconds(usual.source_deadline_seconds),
            BreakerSettings(
                breaker["failures"].count(usual.breaker.failures),
                breaker["open"].seconds(usual.breaker.open_seconds),
            ),
            BackoffSettings(
                backoff["first"].seconds(usual.backoff.first_seconds),
                backoff["longest"].seconds(usual.backoff.longest_seconds),
            ),
            self._class(part["stock"], usual.stock),
            self._class(part["commodity"], usual.commodity),
            self._class(part["crypto"], usual.crypto),
        )
        if read.source_deadline_seconds > read.deadline_seconds:
            message = f"one source is waited for longer than a whole pass may take, {read.deadline_seconds}s"
            self._problem("deadline", message, part["source_deadline"].span, "make it shorter")
        if read.backoff.first_seconds > read.backoff.longest_seconds:
            message = "the first wait is longer than the longest"
            self._problem("backoff", message, backoff["first"].span, "make it shorter")
        return read

    def _class(self, part: _Part, usual: ClassQuotes) -> ClassQuotes:
        ages, quorum = part["max_age"], part["quorum"]
        sources = tuple(scalar.text for scalar in part["sources"].scalars()) or usual.sources
        for scalar in part["sources"].scalars():
            if not is_source(scalar.text):
                self._unknown("source", scalar.text, scalar, SOURCES)
        read = ClassQuotes(
            sources,
            ages["order"].seconds(usual.order_age_seconds),
            ages["value"].seconds(usual.value_age_seconds),
            tuple(scalar.text for scalar in part["currencies"].scalars()) or usual.currencies,
            Quorum(quorum["sources"].count(0), quorum["within"].share(Decimal(0)))
            if quorum.present
            else usual.quorum,
        )
        if read.value_age_seconds < read.order_age_seconds:
            message = "a price too old to value a position would price an order"
            self._problem("max-age", message, ages.span, "value must be as long as order, or longer")
        # What is stored prices no order, so it is no voice either.
        voices = [name for name in sources if name != "history"]
        if read.quorum is not None and read.quorum.sources > len(voices):
            message = f"{read.quorum.sources} sources must agree, and {len(voices)} are asked"
            hint = "ask more, or demand fewer; history has no voice, for it prices no order"
            self._problem("quorum", message, quorum["sources"].span, hint)
        return read

    def _sources(self, part: _Part) -> dict[str, SourceSettings]:
        read = dict(USUAL_SOURCES)
        for name, entry in part.entries():
            if name not in VENDORS and not is_exchange(name):
                self._unknown("source", name, None, VENDORS, entry.span)
                continue
            usual = read.get(name, SourceSettings())
            budget, certificate = entry["budget"], entry["certificate"]
            if certificate.present and name not in TRUSTING:
                message = f"{name} cannot be given a certificate"
                self._problem("certificate", message, certificate.span, f"only {', '.join(TRUSTING)} can")
            read[name] = SourceSettings(
                self._address(entry["url"], usual.url),
                tuple(_rate(scalar.text) for scalar in budget.scalars()) if budget.present else usual.budget,
                entry["batch"].count(usual.batch),
                entry["feed"].optional(usual.feed),
                entry["timeout"].seconds(usual.timeout_seconds),
                certificate.optional(usual.certificate),
            )
        return read

    def _address(self, part: _Part, usual: str | None) -> str | None:
        address = part.optional(usual)
        if address is not None and part.present:
            _, _, port = address.rpartition("/")[2].partition(":")
            if port.isdigit() and not 0 < int(port) < 65536:
                self._problem("port", f"there is no port {port}", part.span, "ports are 1 to 65535")
        return address

    def _unknown(
        self, what: str, name: str, node: Node | None, known: tuple[str, ...], span: Span = NOWHERE
    ) -> None:
        guess = get_close_matches(name.lower(), known, 1)
        hint = (f"did you mean {shown(guess[0])}? " if guess else "") + "known here: "
        hint += f"{', '.join(known)}, ccxt:EXCHANGE (such as ccxt:kraken)"
        place = span if node is None else node.span
        self._problem(f"unknown-{what}", f"there is no {what} {shown(name)}", place, hint)


def _rate(text: str) -> Rate:
    requests, span = text.split(" per ")
    return Rate(int(requests), _seconds(span))
