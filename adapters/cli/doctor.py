"""``tradectl doctor``: is everything an agent needs here, and sound?"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from adapters.bootstrap.agents import AgentFolder, current_agent, open_reader
from adapters.bootstrap.policies import load_named_policy
from adapters.cli.configured import config_option
from adapters.cli.doctor_checks import Check, market_checks
from adapters.cli.figures import instant, laid_out
from adapters.cli.output import ExitCode, Output, common_options, report
from adapters.settings.reading import read_settings, settings_path
from engine.errors import NotFoundError, PolicyError, TradectlError
from engine.language.policy import Policy

SCHEMA: Final = "doctor-v1"
_OLDEST_PYTHON: Final = (3, 11)
_NEWEST_PYTHON: Final = (3, 13)
_LEAST_BYTES: Final = 64 * 1024 * 1024
"""A journal sets 16 MB aside for exits before it begins to grow."""
_FEW_BYTES: Final = 1024 * 1024 * 1024
_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(?:;(.*))?")
_EXTRA: Final = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_FOR_DEVELOPERS: Final = "dev"


@click.command
@config_option
@click.option("--policy", "policy_name", metavar="FILE|NAME", help="A policy [the one in the settings].")
@click.option("--agent", metavar="NAME", help="Whose journal [of the agent that ran last].")
@common_options
def command(output: Output, config: str | None, policy_name: str | None, agent: str | None) -> ExitCode:
    """Check this installation, the settings with their keys and broker, and an agent's state folder.

    Each line is ok, warn or fail, and says what to do.  The exit code is 1 if anything failed, 4 if the
    settings or the policy cannot be used, 5 if the broker cannot be reached.
    """
    checks = list(_installation_checks(output.state_dir, agent))
    code = _market(output.state_dir, config, policy_name, checks)
    failed = any(check.outcome == "fail" for check in checks)
    if output.as_json:
        output.document(
            {"schema": SCHEMA, "healthy": not failed, "checks": [asdict(check) for check in checks]}
        )
    else:
        rows = [
            (check.outcome, check.name, f"{check.detail}{f': {check.cure}' if check.cure else ''}")
            for check in checks
        ]
        output.show("\n".join(laid_out(rows)))
    return ExitCode.FINDING if failed and code is ExitCode.OK else code


def _installation_checks(state_dir: Path, agent: str | None) -> Iterator[Check]:
    yield _python()
    yield from _packages()
    yield from _names()
    yield _rules_engine()
    yield _calendars()
    yield _clock()
    yield _time_zones()
    yield _folder(state_dir)
    yield _space(state_dir)
    yield _journal(state_dir, agent)


# --- settings, keys, broker -------------------------------------------------------------------


def _market(state_dir: Path, config: str | None, policy_name: str | None, checks: list[Check]) -> ExitCode:
    """Add what there is to say of the settings and of all they name; return the exit code they ask for."""
    try:
        settings, path = read_settings(config)
    except TradectlError as error:
        checks.append(Check("settings", "fail", str(error), "see standard error for each mistake"))
        return report(error)
    if path is None:
        detail = f"no file {settings_path()}: a simulated market and the paper venue, which need none"
        checks.append(Check("settings", "ok", f"{detail}; tradectl init writes one"))
        return ExitCode.OK
    checks.append(Check("settings", "ok", str(path)))
    try:
        policy = load_named_policy(policy_name or settings.policy).required()
        from adapters.cli.doctor_facts import gather

        facts, notes = gather(settings, policy, state_dir)
    except TradectlError as error:
        named = "policy" if isinstance(error, PolicyError | NotFoundError) else "broker"
        checks.append(Check(named, "fail", str(error), "see standard error"))
        return report(error)
    checks.append(Check("policy", "ok", f"{policy.name} {policy.version}"))
    checks.append(_calendars_of(policy))
    checks.extend(Check("symbol registry", "warn", note) for note in notes)
    checks.extend(market_checks(facts))
    unreachable = facts.venue is not None and not facts.venue.reached
    return ExitCode.UNAVAILABLE if unreachable else ExitCode.OK


def _calendars_of(policy: Policy) -> Check:
    """Say whether the calendars of a policy cover today."""
    from adapters.calendar import ExchangeCalendars

    now_ms = time.time_ns() // 1_000_000
    calendars, names = ExchangeCalendars(), sorted({listing.calendar for listing in policy.universe})
    try:
        told = ", ".join(f"{name} is {calendars.facts(name, now_ms).session}" for name in names)
    except (TradectlError, ImportError) as error:
        return Check("policy calendars", "fail", str(error), "pip install --upgrade exchange-calendars")
    return Check("policy calendars", "ok", told)


# --- the installation -------------------------------------------------------------------------


def _python() -> Check:
    version = sys.version_info
    text = ".".join(map(str, version[:3]))
    if version[:2] < _OLDEST_PYTHON:
        return Check("python", "fail", text, "install Python 3.11, 3.12 or 3.13")
    if version[:2] > _NEWEST_PYTHON:
        return Check("python", "warn", text, "newer than what was tested; 3.11 to 3.13 are")
    return Check("python", "ok", text)


def _packages() -> Iterator[Check]:
    """Look for what the distribution's metadata asks for."""
    try:
        version, wanted = metadata.version("tradectl"), metadata.requires("tradectl") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "warn", "run from its sources", "pip install . makes it whole")
        return
    absent: list[str] = []
    extras: dict[str, list[str]] = {}
    for requirement in wanted:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            continue
        name, marker = match[1], match[2] or ""
        extra = _EXTRA.search(marker)
        if extra is not None:
            extras.setdefault(extra[1], []).append(name)
        elif "python_version" not in marker and not _installed(name):
            absent.append(name)
    if absent:
        missing = ", ".join(absent)
        yield Check("packages", "fail", f"missing: {missing}", "pip install --force-reinstall tradectl")
    else:
        yield Check("packages", "ok", f"tradectl {version} and all it needs")
    for extra_name, names in extras.items():
        if extra_name == _FOR_DEVELOPERS:
            continue
        lacking = [name for name in names if not _installed(name)]
        there = f"not installed; when it is needed: pip install 'tradectl[{extra_name}]'"
        yield Check(f"extra {extra_name}", "ok", there if lacking else ", ".join(names))


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _names() -> Iterator[Check]:
    from adapters.distribution import PACKAGES, name_clashes

    clashes = name_clashes()
    for clash in clashes:
        yield Check("names", "fail", str(clash))
    if not clashes:
        yield Check("names", "ok", f"{', '.join(PACKAGES)} are ours alone")


def _rules_engine() -> Check:
    from engine.evaluate.durable import durable_available

    if durable_available():
        return Check("durable-rules", "ok", "fires the rules; the compiled evaluator must agree")
    broken = importlib.util.find_spec("durable_rules_engine") is not None
    what = "is installed and cannot be imported" if broken else "is not installed"
    text = f"{what}; the compiled evaluator decides and the reference evaluator checks it"
    return Check("durable-rules", "warn", text, "Python 3.11 or 3.12 has it")


def _calendars() -> Check:
    from adapters.calendar import ExchangeCalendars

    now_ms = time.time_ns() // 1_000_000
    try:
        session = ExchangeCalendars().facts("NYSE", now_ms).session
    except (TradectlError, ImportError) as error:
        return Check("calendars", "fail", str(error), "pip install --upgrade exchange-calendars")
    return Check("calendars", "ok", f"NYSE is {session} now")


def _clock() -> Check:
    now_ms = time.time_ns() // 1_000_000
    installed_ms = int(Path(__file__).stat().st_mtime * 1000)
    if now_ms < installed_ms:
        detail = f"says {instant(now_ms)}, and this installation is of {instant(installed_ms // 1000 * 1000)}"
        return Check("clock", "fail", detail, "set the machine's clock")
    return Check("clock", "ok", instant(now_ms // 1000 * 1000))


def _time_zones() -> Check:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return Check("time zones", "fail", "there is no time zone database", "pip install tzdata")
    return Check("time zones", "ok", "America/New_York is known")


# --- the state folder -------------------------------------------------------------------------


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))


def _folder(state_dir: Path) -> Check:
    nearest = _nearest(state_dir)
    if not nearest.is_dir():
        return Check("state folder", "fail", f"{nearest} is a file", "name another --state-dir")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        detail = f"{nearest} cannot be written ({error.strerror})"
        return Check("state folder", "fail", detail, "mend its permissions, or name another --state-dir")
    return Check("state folder", "ok", f"{state_dir}{'' if state_dir.exists() else ' (not made yet)'}")


def _space(state_dir: Path) -> Check:
    free = shutil.disk_usage(_nearest(state_dir)).free
    text = f"{free / 1e9:.1f} GB free"
    if free < _LEAST_BYTES:
        return Check("disk", "fail", text, f"an agent needs {_LEAST_BYTES // 2**20} MiB at least: free some")
    if free < _FEW_BYTES:
        return Check("disk", "warn", text, "free some before the journal grows, or prune it")
    return Check("disk", "ok", text)


def _journal(state_dir: Path, agent: str | None) -> Check:
    try:
        folder = current_agent(state_dir, agent)
    except NotFoundError as error:
        return Check("journal", "fail" if agent else "ok", str(error))
    try:
        reader = open_reader(folder)
        try:
            wrong = reader.verify()
            last = reader.last_cycle()
        finally:
            reader.close()
    except TradectlError as error:
        return Check("journal", "fail", str(error))
    if wrong:
        more = f" (and {len(wrong) - 1} more: tradectl journal verify)" if len(wrong) > 1 else ""
        cure = "restore a backup, or run with --restart, which sets it aside"
        return Check("journal", "fail", f"{wrong[0]}{more}", cure)
    return Check("journal", "ok", _sound(folder, 0 if last is None else last.cycle))


def _sound(folder: AgentFolder, cycles: int) -> str:
    from adapters.journal.lease import holder

    held = holder(folder.journal)
    runs = "" if held is None else f", in use by process {held.process}"
    return f"agent {folder.path.name}: sound, up to cycle {cycles}{runs}"
