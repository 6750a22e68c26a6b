"""What a check found: every finding in two plain sentences, or the list of what was checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class CheckError(ValueError):
    """A part breaks its contract.

    Attributes
    ----------
    subject : str
        The name of the part.
    findings : tuple of str
        All that is wrong, two sentences each.
    """

    def __init__(self, subject: str, findings: tuple[str, ...]) -> None:
        self.subject = subject
        self.findings = findings
        count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        super().__init__("\n".join([f"{subject}: {count}.", *(f"- {finding}" for finding in findings)]))


@dataclass(frozen=True)
class Report:
    """What was checked of a part that keeps its contract; prints as a list.

    Attributes
    ----------
    subject : str
        The name of the part.
    passed : tuple of str
        The checks that it passed.
    skipped : tuple of str
        Those that do not apply to it, with the reason.
    """

    subject: str
    passed: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.subject}: {len(self.passed)} checks passed."]
        lines += [f"  ok    {check}" for check in self.passed]
        return "\n".join(lines + [f"  skip  {check}" for check in self.skipped])


@dataclass
class Findings:
    """Collects what the checks of one part find, so that its author sees everything at once.

    Attributes
    ----------
    subject : str
        The name of the part.
    """

    subject: str
    found: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        """Record what is wrong, in two sentences."""
        self.found.append(finding)

    def skip(self, check: str, reason: str) -> None:
        """Record a check that does not apply."""
        self.skipped.append(f"{check}: {reason}")

    @contextmanager
    def check(self, name: str, advice: str) -> Iterator[None]:
        """Run one check: an error in it is a finding that ends with the advice; without a finding it has passed."""
        before = len(self.found)
        try:
            yield
        except Exception as error:  # whatever a plug-in raises is what its author must read
            lines = str(error).strip().splitlines()
            what = f" ({lines[0].rstrip('.')})" if lines else ""
            self.add(f"{name[0].upper()}{name[1:]}: it raised {type(error).__name__}{what}. {advice}")
        if len(self.found) == before:
            self.passed.append(name)

    def report(self) -> Report:
        """The report; `CheckError` if there is any finding."""
        if self.found:
            raise CheckError(self.subject, tuple(self.found))
        return Report(self.subject, tuple(self.passed), tuple(self.skipped))
