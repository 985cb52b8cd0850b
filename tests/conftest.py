"""Fixtures of every test: the oracle first of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import oracle
from support.children import Children, Report, parse_report
from support.engines import engines_claiming
from support.isolated import Isolate

TESTS = Path(__file__).parent
WHOLE_SUITE = pytest.StashKey[bool]()
DESELECTED = pytest.StashKey[bool]()


def pytest_configure() -> None:
    oracle.prepare()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        needs = [name for mark in metafunc.definition.iter_markers("needs") for name in mark.args]
        metafunc.parametrize("engine", engines_claiming(*needs))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the check of the helpers last, and find out whether the whole suite is going to run."""
    items.sort(key=lambda item: item.name == "test_every_helper_is_used")
    files = {item.path for item in items}
    config.stash[WHOLE_SUITE] = (
        files == set(TESTS.glob("test_*.py"))
        and not any("::" in argument for argument in config.args)
        and not config.stash.get(DESELECTED, False)
    )


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        item.config.stash[DESELECTED] = True


@pytest.fixture
def whole_suite(request: pytest.FixtureRequest) -> bool:
    """Whether every test there is was asked for."""
    return request.config.stash[WHOLE_SUITE]


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail every test that leaves a descriptor, a child, a thread, or a changed state of ours."""
    before = oracle.snapshot()
    yield
    leaks = oracle.leaks_since(before)
    if leaks:
        oracle.reap_leftovers()
        pytest.fail("this test leaked:\n  " + "\n  ".join(leaks), pytrace=False)


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Children:
    """The helper programs of tests/children/: `children("echo")` is the path of one."""
    return Children(tmp_path_factory.mktemp("children"))


@pytest.fixture(scope="session")
def isolate(children: Children, tmp_path_factory: pytest.TempPathFactory) -> Isolate:
    """Run a function in an interpreter of its own."""
    return Isolate(children, tmp_path_factory.mktemp("isolated"))


@pytest.fixture
def report(children: Children, tmp_path: Path) -> Callable[..., Report]:
    """Run `report` by the given function and read what the child saw.

    `report(lambda argv: spawnkit.run(argv, engine=engine))`
    """

    def run(spawn: Callable[[list[str]], object], *arguments: str) -> Report:
        path = tmp_path / "report"
        path.unlink(missing_ok=True)
        spawn([children("report"), str(path), *arguments])
        return parse_report(path)

    return run
