"""Disables one check at a time and runs the tests that are marked with its rule: one of them must fail.

Every `raise PeerError("VAL-...")` of `mls` is put behind a switch while the modules are imported, so all mutants are
in the same program and differ in one number. pytest imports and collects once; then each mutant is a forked child
that sets the number, runs its few tests and says by its exit status whether one failed. That costs some hundredths of
a second, and no mutant sees what another did.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

import pytest

from tests.validation.sources import ROOT, Site, rule_of, sites, tests

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SWITCH = "__refuses__"
SECONDS = 120  # for one mutant; a check that kept something from running forever may be the one that is off
KILLED, SURVIVED, HUNG = "killed", "survived", "hung"


class Switch:
    """Says whether a check is on; at most one is off."""

    def __init__(self) -> None:
        self.off: tuple[str, int] | None = None

    def of(self, module: str) -> Callable[[int], bool]:
        return lambda nth: self.off != (module, nth)


class _Switched(ast.NodeTransformer):
    """Puts the refusals of a module behind the switch."""

    def __init__(self, tree: ast.Module) -> None:
        refusals = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and rule_of(node) is not None]
        refusals.sort(key=lambda node: node.lineno)
        self._numbers = {id(node): nth for nth, node in enumerate(refusals, 1)}

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        nth = self._numbers.get(id(node))
        if nth is None:
            return node
        test = ast.Call(func=ast.Name(id=SWITCH, ctx=ast.Load()), args=[ast.Constant(value=nth)], keywords=[])
        return ast.copy_location(ast.If(test=test, body=[node], orelse=[]), node)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, switch: Switch) -> None:
        super().__init__(name, path)
        self._switch = switch

    def get_code(self, fullname: str) -> CodeType:
        # not the inherited one: that would take the compiled file of the unchanged module
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data: ReadableBuffer | str | ast.AST, path: ReadableBuffer | str, **_: object) -> CodeType:  # type: ignore[override]
        tree = ast.parse(bytes(data))  # type: ignore[arg-type]  # get_data gives bytes
        tree = ast.fix_missing_locations(_Switched(tree).visit(tree))
        return compile(tree, str(path), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, SWITCH, self._switch.of(module.__name__))
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "mls":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._switch)
        return spec


@dataclass(slots=True)
class Mutation:
    """A pytest plugin that runs mutants instead of tests."""

    switch: Switch
    mutants: Sequence[Site]
    jobs: int
    problems: list[str] = field(default_factory=list)
    killed: int = 0
    failure: str = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            self.problems.append("the tests could not be collected")
            return True
        by_rule: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            for rule in getattr(getattr(item, "function", None), "__breaks__", ()):
                by_rule.setdefault(rule, []).append(item)
        wanted = {site.rule for site in self.mutants}
        unchanged = [item for item in session.items if wanted & set(getattr(item.function, "__breaks__", ()))]  # type: ignore[attr-defined]
        if self._verdict(self._start(None, unchanged)) != SURVIVED:
            self.problems.append("the tests fail with all checks on")
            return True
        self._run([(site, by_rule.get(site.rule, [])) for site in self.mutants])
        return True

    def _run(self, work: list[tuple[Site, list[pytest.Item]]]) -> None:
        running: dict[int, Site] = {}
        for site, items in work:
            if len(running) >= self.jobs:
                self._reap(running)
            running[self._start(site, items)] = site
        while running:
            self._reap(running)

    def _start(self, site: Site | None, items: Sequence[pytest.Item]) -> int:
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = 3
        try:
            signal.alarm(SECONDS)
            shown, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if site is not None:
                self.switch.off = (site.module, site.nth)
            failure = self._first_failure(items)
            if failure and site is None:
                os.write(shown, failure.encode())
            status = int(bool(failure))
        finally:
            os._exit(status)

    def _first_failure(self, items: Sequence[pytest.Item]) -> str:
        for item in items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if self.failure:
                return f"{item.nodeid}\n{self.failure}\n"
        return ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failure = report.longreprtext or "failed"

    def _verdict(self, child: int) -> str:
        _, status = os.waitpid(child, 0)
        return self._judge(status)

    @staticmethod
    def _judge(status: int) -> str:
        if os.WIFSIGNALED(status):
            return HUNG if os.WTERMSIG(status) == signal.SIGALRM else f"died by signal {os.WTERMSIG(status)}"
        return {0: SURVIVED, 1: KILLED}.get(os.WEXITSTATUS(status), "the run itself failed")

    def _reap(self, running: dict[int, Site]) -> None:
        child, status = os.wait()
        site = running.pop(child, None)
        if site is None:
            return
        verdict = self._judge(status)
        if verdict in {KILLED, HUNG}:
            self.killed += 1
        else:
            self.problems.append(f"{verdict}: {site.label}")


def chosen(rules: Sequence[str], *, part: int = 0, parts: int = 1) -> list[Site]:
    """The sites of some rules (of all, if none is named), or every `parts`-th of them."""
    wanted = set(rules)
    unknown = wanted - {site.rule for site in sites()}
    if unknown:
        raise SystemExit(f"no code raises {', '.join(sorted(unknown))}")
    found = [site for site in sites() if not wanted or site.rule in wanted]
    return found[part::parts]


def run(mutants: Sequence[Site], *, jobs: int) -> int:
    """Try them; the exit status is 0 if every one was noticed."""
    if any(name.partition(".")[0] == "mls" for name in sys.modules):
        raise SystemExit("mls is imported already: mutants need a program of their own")
    rules = {site.rule for site in mutants}
    files = sorted({str(test.path) for test in tests() if rules & set(test.rules)})
    switch = Switch()
    sys.meta_path.insert(0, _Finder(switch))
    mutation = Mutation(switch, mutants, jobs)
    os.environ["VCD_LONG"] = ""
    quiet = ["-qq", "--no-header", "--no-summary", "--capture=no", f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    patient = ["-o", "timeout=0", "-o", "faulthandler_timeout=0"]
    status = pytest.main([*quiet, *patient, *files], plugins=[mutation]) if files else 0
    if status not in {0, 5} and not mutation.problems:
        mutation.problems.append(f"pytest stopped with status {int(status)}")
    for problem in mutation.problems:
        print(problem)
    print(f"{len(mutants)} checks disabled one by one, {mutation.killed} noticed")
    return int(bool(mutation.problems) or mutation.killed != len(mutants))
