"""The solver's questions: what was made before a proof began anew stays apart from what is made after it."""

from __future__ import annotations

import gc

import pytest

from engine.evaluate.symbolic.formulas import begin_anew, integer
from engine.evaluate.symbolic.solver import Answer, Budget, Solver


def test_an_older_solver_goes_on() -> None:
    """Also where only its second arithmetic, which is made when it is needed, has an answer."""
    x = integer("x")
    solver = Solver(Budget(question_limit=20_000))
    solver.add(x > 3)
    begin_anew()
    assert solver.ask(x < 3) is Answer.IMPOSSIBLE
    assert solver.ask(x < 5) is Answer.POSSIBLE
    y, z = integer("y"), integer("z")
    assert Solver(Budget()).ask(y * y * y + z * z * z == 42 * y * z, y > 1000) is not None
    with solver.supposing(x > 10):
        assert solver.ask(x * x * x == 2 * x * x + 63 * x, x > 3) is not Answer.POSSIBLE
        assert solver.ask(x < 12) is Answer.POSSIBLE


def test_two_proofs_are_not_mixed() -> None:
    """A formula of another proof is refused: the library would write over its own memory."""
    solver = Solver(Budget())
    begin_anew()
    with pytest.raises(AssertionError, match="another proof"):
        solver.add(integer("x") > 3)


def test_many_proofs_in_one_process() -> None:
    """What is over is let go of, also where nobody collects garbage: z3's memory has a limit."""
    gc.disable()
    try:
        for _ in range(60):  # each takes some 17 MB of the 700
            begin_anew()
            solver = Solver(Budget())
            itself: list[object] = [solver]
            itself.append(itself)
            assert solver.ask(integer("x") > 3) is Answer.POSSIBLE
    finally:
        gc.enable()
