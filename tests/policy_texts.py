"""Random policies as texts: valid by construction, with every feature of the language.

One builder, driven by a ``Random``: hypothesis hands one out that it can shrink, loops seed their own.  What
is written varies, too: units (60m, 1h), blanks, quotes, block scalars, lists under ``all:`` and ``any:``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import strategies as st

INDENT = "  "
CLASSES = {
    "stock": ("NYSE", ("SPY", "QQQ", "ON")),
    "commodity": ("NYSE", ("GLD", "TRUE")),
    "crypto": ("24/7", ("BTC-USD", "ETH-USD", "1INCH")),
}
WORDS = {
    "session": ("pre", "regular", "post", "closed"),
    "weekday": ("mon", "tue", "fri", "sun"),
    "open_order": ("none", "buy", "sell"),
    "agent_state": ("active", "reducing", "halted"),
    "asset_class": ("stock", "commodity", "crypto"),
}
FACTS = {
    "number": ("rsi", "z"),
    "price": ("price", "bid", "ask", "close", "fast", "entry_price", "peak_price", "bands.upper"),
    "ratio": ("gain", "peak_gain", "weight", "drawdown", "momentum"),
    "money": ("position_value", "equity", "cash"),
    "duration": ("held_for", "since_order", "since_buy", "since_sell", "until_close", "quote_age"),
    "quantity": ("position_qty", "volume"),
    "count": ("entries",),
}
SERIES = {
    "number": ("rsi", "z"),
    "price": ("close", "high", "low", "typical", "fast", "bands.lower"),
    "ratio": ("momentum",),
    "quantity": ("volume",),
}
INDICATORS = {
    "rsi": "rsi(14)",
    "z": "zscore(log(close / open), 20)",
    "fast": "ema(12)",
    "bands": "bollinger(typical, 20, 2)",
    "momentum": "roc(10)",
    "engulfing": "engulfing()",
    "trend": "sma(50) on 1h",
    "spy": "close on SPY 1d",
}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass
class _Writer:
    rng: random.Random
    params: dict[str, list[str]] = field(default_factory=dict)  # names by unit
    numbers: dict[str, list[str]] = field(default_factory=dict)  # names of definitions by unit
    conditions: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    feed: bool = False
    symbols: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    weighted: bool = False
    clock: bool = False
    voting: bool = False  # votes may not read voted signals
    gate_names: list[str] = field(default_factory=lambda: ["integrity", "would-exit", "once", "clock"])

    def chance(self, percent: int) -> bool:
        drawn: int = self.rng.randrange(100)
        return drawn < percent

    # --- literals and terms

    def literal(self, unit: str) -> str:
        """Return a literal on the step of every fact of its unit."""
        n = self.rng.randrange(1, 120)
        match unit:
            case "ratio":
                return self.rng.choice((f"{n}%", f"{n}.0%", f"{n} %"))
            case "number" | "scalar":
                return self.rng.choice((f"{n}", f"{n}.0", f"{n}.50"))
            case "price" | "money":
                return self.rng.choice((f"{n} USD", f"{n}.50 USD"))
            case "duration":
                return self.rng.choice((f"{n}m", f"{n * 60}s", f"{n % 5}h", f"{n % 9}d", "1w"))
            case "clock":
                return f"{n % 24:02d}:{n % 60:02d}"
        return str(n % 6)  # count

    def term(self, unit: str, depth: int = 2) -> str:
        """Return a number of a unit that reads at least one fact."""
        kind = self.rng.randrange(14)
        fact = self.rng.choice(FACTS[unit])
        if self.numbers.get(unit) and kind == 0:
            return self.rng.choice(self.numbers[unit])
        if unit == "ratio" and self.signals and not self.voting and kind == 1:
            return f"{self.rng.choice(self.signals)}.confidence"
        if unit == "money" and self.weighted and kind < 3:
            return "target"
        if depth == 0 or kind < 6 or unit == "count":
            return fact
        below = self.term(unit, depth - 1)
        if kind == 6:
            return f"{self.rng.choice(('min', 'max'))}({below}, {self.operand(unit, depth - 1)})"
        if kind == 7:
            return f"abs({below})"
        if kind == 8:
            return f"{self.literal('ratio')} of ({below})"
        if kind == 9:
            return f"({below}) {self.rng.choice('+-')} {self.operand(unit, depth - 1)}"
        if kind == 10 and unit in SERIES:
            back = self.rng.choice(("", ", 2", ", 3 bars"))
            return f"prev({self.rng.choice(SERIES[unit])}{back})"
        if kind == 11 and unit in SERIES:
            return (
                f"{self.rng.choice(('highest', 'lowest'))}({self.rng.choice(SERIES[unit])}, {self.length()})"
            )
        return self.computed(unit, depth) or below

    def computed(self, unit: str, depth: int) -> str:
        match unit:
            case "ratio":
                other = self.rng.choice(("price", "money", "quantity"))
                return f"{self.term(other, 0)} / {self.term(other, 0)}"
            case "money":
                return f"{self.term('price', 0)} * {self.term('quantity', 0)}"
            case "quantity":
                return f"{self.term('money', 0)} / {self.term('price', 0)}"
            case "number" | "price" | "duration":
                factor = self.rng.choice((*self.params.get("scalar", ()), "2", "0.5"))
                return f"{factor} * ({self.term(unit, depth - 1)})"
        return ""

    def length(self) -> str:
        return self.rng.choice([*self.params.get("length", []), "5", "20"])

    def operand(self, unit: str, depth: int = 1) -> str:
        """Return a term, parameter or literal of a unit."""
        named = self.params.get({"number": "scalar", "price": "money"}.get(unit, unit), [])
        if named and self.chance(30):
            return self.rng.choice(named)
        if unit == "quantity":
            return self.term(unit, 0)
        if self.chance(10):
            return "0"
        return self.literal(unit) if self.chance(70) else self.term(unit, depth)

    # --- conditions

    def condition(self, depth: int = 2) -> str:
        kind = self.rng.randrange(20)
        if depth and kind < 3:
            word = self.rng.choice(("and", "or"))
            count = self.rng.choice((2, 2, 3))
            parts = [self.condition(depth - 1) for _ in range(count)]
            return f" {word} ".join(
                f"({part})" if " or " in part or " and " in part else part for part in parts
            )
        if depth and kind == 3:
            return f"not ({self.condition(depth - 1)})"
        if kind < 6:
            return self.rng.choice(("held", "not held", "dust", "held"))
        if kind == 6:
            name = self.rng.choice(tuple(WORDS))
            word = self.rng.choice(WORDS[name])
            if name == "asset_class":
                word = self.rng.choice(self.classes)
            return f"{name} {self.rng.choice(('==', '!='))} {word}"
        if kind == 7:
            calendar = '"24/7"' if "crypto" in self.classes and self.chance(50) else "NYSE"
            symbol = self.rng.choice(self.symbols)
            return self.rng.choice(
                (f"symbol == {symbol}", f"calendar != {calendar}", "engulfing == sell", "hold != engulfing")
            )
        if kind == 8 and self.clock:
            return f"{self.rng.randrange(10):02d}:00 <= time < {self.rng.randrange(12, 24)}:30"
        if kind == 9:
            name = self.rng.choice(("since_order", "since_sell", "held_for"))
            return f"{name} {self.rng.choice(('<', '>='))} {self.rng.randrange(1, 40)} bars"
        if kind == 10 and self.conditions and not self.voting:
            return self.rng.choice(self.conditions)
        if kind < 13 and self.signals and not self.voting:
            side = self.rng.choice(("buy", "sell", "hold", "none"))
            return f"{self.rng.choice(self.signals)}.side {self.rng.choice(('==', '!='))} {side}"
        if kind == 13 and self.feed:
            return "model.side == buy and model.confidence >= 60%"
        unit = self.rng.choice(tuple(FACTS))
        if kind == 14 and unit in SERIES:
            low, high = sorted(self.rng.sample(range(1, 90), 2))
            sign = {"ratio": "%", "price": " USD"}.get(unit, "")
            return (
                f"{low}{sign} < {self.rng.choice(FACTS[unit])} <= {high}{sign}"
                if unit != "quantity"
                else "held"
            )
        return f"{self.term(unit)} {self.rng.choice(COMPARISONS)} {self.operand(unit)}"

    def cross(self) -> str:
        direction = self.rng.choice(("above", "below"))
        fact, level = self.rng.choice(
            (("rsi", "30"), ("fast", "bands.middle"), ("close", "prev(fast)"), ("z", "0"))
        )
        return f"{fact} crosses {direction} {level}"

    # --- YAML

    def scalar(self, text: str, indent: str) -> str:
        """Write a text as a value in one of the ways YAML has."""
        kind = self.rng.randrange(8)
        if kind == 0 and "'" not in text:
            return f"'{text}'"
        if kind == 1 and '"' not in text and "\\" not in text:
            return f'"{text}"'
        if kind == 2:
            return f"{self.rng.choice('|>')}\n{indent}{INDENT}{text}"
        if kind == 3:
            words = text.split(" ")
            at = self.rng.randrange(len(words))
            return (
                f">\n{indent}{INDENT}{' '.join(words[:at])}\n{indent}{INDENT}{' '.join(words[at:])}".replace(
                    f">\n{indent}{INDENT}\n", ">\n"
                )
            )
        return f"'{text}'" if text.startswith(('"', "'")) or " #" in text or text[:1] in "-%" else text

    def when(self, conditions: list[str], indent: str) -> str:
        """Write a conjunction on one line or as a list."""
        joined = " and ".join(f"({c})" if " or " in c else c for c in conditions)
        if self.chance(60) or len(conditions) < 2:
            return f"{indent}when: {self.scalar(joined, indent)}\n"
        rows = "".join(f"{indent}{INDENT * 2}- {self.scalar(c, indent + INDENT * 2)}\n" for c in conditions)
        if self.chance(30):
            inner = "".join(f"{indent}{INDENT * 4}- {self.condition(0)}\n" for _ in range(2))
            rows += f"{indent}{INDENT * 2}- any:\n{inner}"
        return f"{indent}when:\n{indent}{INDENT}all:\n{rows}"

    def scope(self, indent: str) -> str:
        if self.chance(75):
            return ""
        names = [*self.classes, *self.symbols]
        if self.chance(50):
            return f"{indent}for: {self.rng.choice(names)}\n"
        return f"{indent}for: [{', '.join(self.rng.sample(names, min(len(names), 2)))}]\n"

    # --- sections

    def universe(self) -> str:
        rng = self.rng
        self.weighted = self.chance(60)
        text = "universe:\n"
        for name in rng.sample(tuple(CLASSES), rng.randrange(1, 4)):
            calendar, known = CLASSES[name]
            own = rng.sample(known, rng.randrange(1, len(known) + 1))
            if name == "stock" and "SPY" not in own:
                own.append("SPY")
            self.classes.append(name)
            self.symbols += own
            text += f"  {name}:\n    calendar: {calendar}\n"
            if self.weighted:
                text += "    weights: {" + ", ".join(f"{s}: {rng.randrange(1, 12)}%" for s in own) + "}\n"
            else:
                text += f"    symbols: [{', '.join(own)}]\n"
        if "stock" not in self.classes:
            self.classes.append("stock")
            text += "  stock: {calendar: NYSE, watch: [SPY]}\n"
            self.symbols.append("SPY")
        return text

    def parameters(self) -> str:
        text = ""
        for unit in ("ratio", "scalar", "length", "money", "duration"):
            for index in range(self.rng.randrange(3)):
                name = f"{unit}_{index}"
                self.params.setdefault(unit, []).append(name)
                value, *others = (
                    str(self.rng.randrange(2, 30)) if unit == "length" else self.literal(unit)
                    for _ in range(3)
                )
                extra = ""
                if self.chance(40):
                    scopes = self.rng.sample([*self.classes, *self.symbols], 2)
                    extra = (
                        ", for: {" + ", ".join(f"{s}: {o}" for s, o in zip(scopes, others, strict=True)) + "}"
                    )
                text += f"  {name}: {{value: {value}{extra}}}\n"
        return f"params:\n{text}" if text else ""

    def define(self) -> str:
        text = ""
        for unit in self.rng.sample(tuple(FACTS), 3):
            name = f"own_{unit}"
            text += f"  {name}: {self.scalar(self.term(unit), INDENT)}\n"
            self.numbers.setdefault(unit, []).append(name)
        if self.chance(50):
            text += "  steps: {by: held_for, from: {0m: 4%, 30m: 2.0%, 1h: 1%}}\n"
            self.numbers.setdefault("ratio", []).append("steps")
        if self.chance(60):
            text += f"  sometimes: {self.scalar(self.condition(1), INDENT)}\n"
            self.conditions.append("sometimes")
        if self.chance(30) and self.conditions:
            text += "  alias: sometimes\n"
            self.conditions.append("alias")
        return f"define:\n{text}"

    def votes(self) -> str:
        if self.chance(30):
            return ""
        text = "signals:\n"
        self.voting = True
        if self.chance(30):
            self.feed = True
            text += f"  model: {{from: feed, max_age: {self.rng.choice(('15m', '900s', '1h'))}}}\n"
        for name in self.rng.sample(("enhanced", "second"), self.rng.randrange(1, 3)):
            text += f"  {name}:\n    votes:\n"
            for index in range(self.rng.randrange(1, 4)):
                text += f"      vote-{index}:\n        weight: {self.rng.choice((1, 2, 0.5, 1.25))}\n"
                for side in self.rng.sample(("buy", "sell"), self.rng.randrange(1, 3)):
                    text += f"        {side}: {self.scalar(self.condition(1), INDENT * 4)}\n"
                if self.chance(40):
                    text += "        hold: 1\n"
                if self.chance(30):
                    text += "        if_unknown: abstain\n"
            self.signals.append(name)
        self.voting = False
        return text

    def size(self) -> str:
        kind = self.rng.randrange(6)
        if kind == 0 and self.weighted:
            return "target"
        if kind == 1:
            return f"{self.literal('ratio')} of equity"
        if kind == 2:
            return f"({self.rng.randrange(1, 5)}% of equity) / price"
        if kind == 3:
            return f"max({self.rng.randrange(10, 99)} USD, 1% of cash)"
        if kind == 4 and self.params.get("money"):
            return self.rng.choice(self.params["money"])
        return f"{self.rng.randrange(10, 900)} USD"

    def rule(self, index: int, priority: int) -> str:
        rng, indent = self.rng, INDENT * 2
        conditions = [self.condition() for _ in range(rng.choice((1, 1, 2, 3)))]
        kind, extra = rng.randrange(10), ""
        if kind < 4:
            then = rng.choice(("sell all", f"sell to {self.size()}", "sell to 0"))
            if self.chance(50):
                conditions.insert(0, "held")
                extra = f"{indent}protective: true\n" if self.chance(50) else ""
        elif kind < 8:
            crossing = self.chance(30)
            conditions += [self.cross()] if crossing else []
            additive = self.chance(30)
            then = f"buy {self.size()}" if additive else f"buy to {self.size()}"
            if additive or crossing or self.chance(20):
                extra = f"{indent}once: {rng.choice(('bar', 'day', 'week', 'month', 'position'))}\n"
            if not additive and self.chance(20):
                extra += f"{indent}min_step: {rng.choice(('0%', '10%'))}\n"
        elif kind == 8:
            then, extra = "sell to 50% of position_value", f"{indent}once: position\n"
        else:
            then = "hold"
        if self.chance(40):
            because = f"{{{self.term('ratio')}}} and {{held}}, at {{price}} in {{asset_class}}"
            extra += f'{indent}because: "{because}"\n'
        return (
            f"  rule-{index}:\n{indent}priority: {priority}\n{self.when(conditions, indent)}"
            f"{indent}then: {self.scalar(then, indent)}\n{self.scope(indent)}{extra}"
        )

    def gates(self) -> str:
        text = ""
        for index in range(self.rng.randrange(4)):
            vetoes = self.rng.sample(("buy", "sell", "protective"), self.rng.randrange(1, 4))
            passes = "buy" not in vetoes and self.chance(50)
            self.gate_names.append(f"gate-{index}")
            text += f"  gate-{index}:\n    vetoes: [{', '.join(vetoes)}]\n"
            text += self.when([self.condition(1)], INDENT * 2) + self.scope(INDENT * 2)
            text += f"{INDENT * 2}if_unknown: pass\n" if passes else ""
        return f"gates:\n{text}" if text else ""

    def limits(self) -> str:
        known = (
            "order-cap: {at_most: 15% of equity, per: order}",
            "symbol-cap: {at_most: 30% of equity, per: symbol}",
            f"class-cap: {{at_most: 4000 USD, per: class, for: {self.rng.choice(self.classes)}}}",
            "portfolio-cap: {at_most: 90% of equity}",
            "least: {at_least: 10 USD, per: order}",
            "reserve: {at_least: 5% of equity, kept: cash}",
            "rate: {at_most: 3 buys per 3m}",
            "open: {at_most: 4 positions}",
        )
        chosen = self.rng.sample(known, self.rng.randrange(5))
        return "limits:\n" + "".join(f"  {line}\n" for line in chosen) if chosen else ""

    def orders(self) -> str:
        known = (
            "buy: {limit: 100.2% of ask, good_for: 2m}",
            "buy: {type: market}",
            "sell: {limit: 99% of bid, time_in_force: ioc}",
            "sell: {type: market, session: extended}",
        )
        return f"orders:\n  {self.rng.choice(known)}\n" if self.chance(40) else ""

    # --- promises

    def outcome(self) -> str:
        """Return a condition on what a decision came to."""
        rng = self.rng
        match rng.randrange(6):
            case 0 | 1:
                stage = rng.choice(("action", "decision.action", "candidate.action"))
                return f"{stage} {rng.choice(('==', '!='))} {rng.choice(('buy', 'sell', 'hold'))}"
            case 2:
                return rng.choice(("full_exit", "not full_exit"))
            case 3:
                return rng.choice(("intent.qty > 0", "intent.qty <= position_qty", "intent.qty == 0"))
            case 4:
                scope = rng.choice(("symbol", "class", "portfolio"))
                return (
                    f"exposure.{scope} {rng.choice(COMPARISONS)} {rng.choice(('900 USD', '20% of equity'))}"
                )
        named = ", ".join(f'"{gate}"' for gate in rng.sample(self.gate_names, rng.randrange(1, 3)))
        return f"{rng.choice(('', 'exit_', 'entry_'))}vetoed_by({named})"

    def promise(self, index: int) -> str:
        rng, per = self.rng, ""
        parts = [self.outcome() for _ in range(rng.choice((1, 1, 2)))]
        parts += [self.condition(0)] if self.chance(30) else []
        what = rng.choice((" and ", " or ")).join(parts)
        key = rng.choice(("always", "never"))
        time = rng.choice(("90s", "5m", "2h", "1d", "60s"))
        match rng.randrange(8):
            case 0:
                key, what = "always", f"{what} within {rng.randrange(1, 9)} {rng.choice(('cycle', 'cycles'))}"
            case 1:
                counted = rng.choice(("buy", "buys", "sells", "orders"))
                key, what = "never", f"more than {rng.randrange(9)} {counted} in {time}"
                per = rng.choice(("", "per: symbol", "per: class"))
            case 2:
                first, second = rng.choice(("buy", "sell")), rng.choice(("buy", "sell"))
                key, what = "never", f"{first} within {time} of {second}"
        text = f"  promise-{index}:\n"
        text += f"    given: {self.scalar(self.condition(1), INDENT * 2)}\n" if self.chance(60) else ""
        text += f"    {key}: {self.scalar(what, INDENT * 2)}\n"
        return text + (f"    {per}\n" if per else "")

    def promises(self) -> str:
        if self.chance(40):
            return ""
        return "promises:\n" + "".join(self.promise(index) for index in range(self.rng.randrange(1, 4)))

    def write(self) -> str:
        rng = self.rng
        self.clock = self.chance(70)
        self.params, self.numbers = {}, {}
        head = (
            "apiVersion: tradectl/v1\npolicy: random\nversion: 1.0.0\n"
            f"selection: {rng.choice(('exits_first', 'exits_first', 'by_priority'))}\n"
            f"bars: {rng.choice(('1m', '5m', '900s', '15m', '1h', '1d'))}\n"
        )
        head += "timezone: America/New_York\n" if self.clock else ""
        head += "every: 30s\n" if self.chance(50) else ""
        universe, params = self.universe(), self.parameters()
        indicators = "indicators:\n" + "".join(f"  {name}: {text}\n" for name, text in INDICATORS.items())
        signals, define = self.votes(), self.define()
        priorities = rng.sample(range(1, 1000), rng.randrange(1, 7))
        rules = "rules:\n" + "".join(self.rule(index, p) for index, p in enumerate(priorities))
        return "".join(
            (head, universe, params, indicators, signals, define, rules, self.gates(), self.limits(),
             self.orders(), self.promises())
        )  # fmt: skip


def policy_text(rng: random.Random) -> str:
    """Return a random policy's text; the same state of ``rng`` gives the same text."""
    return _Writer(rng).write()


@st.composite
def policy_texts(draw: st.DrawFn) -> str:
    """Draw texts that hypothesis can shrink."""
    return policy_text(draw(st.randoms(use_true_random=False)))
