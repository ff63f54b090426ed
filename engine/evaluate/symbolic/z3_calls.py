"""What z3's library is asked to do, without the wrapping of its Python package.

That package checks each call for an error, and gives each part a class that counts references to it and asks
for its sort: making a formula took longer than solving it.  Every call takes the context first, as a pointer.
A part that could not be made is None; ``error_code`` and ``error_message`` say why.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from z3 import z3core

_ONE: Final = ctypes.c_void_p
_COUNT: Final = ctypes.c_uint


def _call(name: str, *arguments: Any, gives: Any = _ONE, alone: bool = True) -> Any:  # noqa: ANN401 - of ctypes
    """Declare a function of the library that the package has loaded; not ``alone`` where it may take long."""
    wrapped = getattr(z3core, f"Z3_{name}").__defaults__[0].f
    kind = ctypes.PYFUNCTYPE if alone else ctypes.CFUNCTYPE
    return kind(gives, _ONE, *arguments)(ctypes.cast(wrapped, _ONE).value or 0)


def pointers(many: Sequence[int]) -> Any:  # noqa: ANN401 - an array of ctypes
    """Return pointers as the library takes many."""
    return (_ONE * len(many))(*many)


error_code: Final = _call("get_error_code", gives=_COUNT)
error_message: Final = _call("get_error_msg", _COUNT, gives=ctypes.c_char_p)

bool_sort, int_sort, real_sort = (_call(f"mk_{kind}_sort") for kind in ("bool", "int", "real"))
true, false = _call("mk_true"), _call("mk_false")
symbol: Final = _call("mk_string_symbol", ctypes.c_char_p)
constant: Final = _call("mk_const", _ONE, _ONE)
numeral: Final = _call("mk_numeral", ctypes.c_char_p, _ONE)
negation, minus, to_real, is_int = (
    _call(f"mk_{kind}", _ONE) for kind in ("not", "unary_minus", "int2real", "is_int")
)
conjunction, disjunction, add, subtract, multiply = (
    _call(f"mk_{kind}", _COUNT, _ONE) for kind in ("and", "or", "add", "sub", "mul")
)
equal, less, less_or_equal, greater, greater_or_equal = (
    _call(f"mk_{kind}", _ONE, _ONE) for kind in ("eq", "lt", "le", "gt", "ge")
)
choice: Final = _call("mk_ite", _ONE, _ONE, _ONE)
substitute: Final = _call("substitute", _ONE, _COUNT, _ONE, _ONE)
simplify: Final = _call("simplify", _ONE)
keep: Final = _call("inc_ref", _ONE, gives=None)

sort_of: Final = _call("get_sort", _ONE)
sort_kind: Final = _call("get_sort_kind", _ONE, gives=_COUNT)
ast_kind: Final = _call("get_ast_kind", _ONE, gives=_COUNT)
part_count: Final = _call("get_app_num_args", _ONE, gives=_COUNT)
part: Final = _call("get_app_arg", _ONE, _COUNT)
declaration: Final = _call("get_app_decl", _ONE)
declared_kind: Final = _call("get_decl_kind", _ONE, gives=_COUNT)
numeral_text: Final = _call("get_numeral_string", _ONE, gives=ctypes.c_char_p)
text: Final = _call("ast_to_string", _ONE, gives=ctypes.c_char_p)
is_algebraic: Final = _call("is_algebraic_number", _ONE, gives=ctypes.c_bool)
algebraic_lower: Final = _call("get_algebraic_number_lower", _ONE, _COUNT)

solver_assert: Final = _call("solver_assert", _ONE, _ONE, gives=None)
solver_check: Final = _call("solver_check_assumptions", _ONE, _COUNT, _ONE, gives=ctypes.c_int, alone=False)
model_eval: Final = _call("model_eval", _ONE, _ONE, ctypes.c_bool, ctypes.POINTER(_ONE), gives=ctypes.c_bool)
optimize_assert: Final = _call("optimize_assert", _ONE, _ONE, gives=None)
optimize_minimize: Final = _call("optimize_minimize", _ONE, _ONE, gives=_COUNT)
