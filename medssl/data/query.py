"""Choosing rows by a condition on columns, such as `modality == 'OPT' and rows >= 256`.

The condition is pandas' query language cut down to comparisons, `and`, `or`, `not`, `in`, arithmetic and a few
harmless methods. A condition may come from somebody else's recipe, and the whole language can write files.
"""

import ast
import re
from typing import Any

import pandas as pd

from medssl.errors import SettingsError, nearest

_NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Invert, ast.Compare, ast.Name,
    ast.Load, ast.Constant, ast.List, ast.Tuple, ast.BinOp, ast.operator, ast.cmpop, ast.Attribute, ast.Call,
    ast.keyword,
)  # fmt: skip
_METHODS = {"isna", "notna", "isnull", "notnull", "isin", "between", "str"}
_TEXT_METHODS = {"contains", "startswith", "endswith", "lower", "upper", "len", "strip", "fullmatch"}


def choose(table: pd.DataFrame, query: str) -> pd.DataFrame:
    """Return the rows that meet the condition; a comparison with an empty cell is not met.

    Args:
        table: Rows to choose from.
        query: The condition; a column whose name is not a plain word stands in backticks.

    Raises:
        SettingsError: It cannot be parsed, names no column, or does more than compare.
    """
    plain = {f"column_{k}_": str(name) for k, name in enumerate(table.columns)}
    stand_in = {name: key for key, name in plain.items()}
    text = re.sub(r"`([^`]+)`", lambda match: stand_in.get(match.group(1), match.group(1)), query.strip())
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise _refusal(query, f"it cannot be parsed ({error.msg})") from error
    _check(tree, query, [str(name) for name in table.columns], plain)
    try:
        mask: Any = table.eval(query.strip(), engine="python")
        return table[mask.fillna(False).astype(bool)].reset_index(drop=True)
    except Exception as error:
        raise _refusal(query, f"{type(error).__name__}: {error}") from error


def _check(tree: ast.AST, query: str, columns: list[str], plain: dict[str, str]) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise _refusal(query, f"it may only compare columns, but uses {type(node).__name__}")
        if isinstance(node, ast.Attribute) and node.attr not in _METHODS | _TEXT_METHODS:
            raise _refusal(query, f"'.{node.attr}' is not allowed")
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            raise _refusal(query, "it may not call functions")
        if isinstance(node, ast.Name) and node.id not in columns and node.id not in plain:
            guess = nearest(node.id, columns)
            hint = f"; did you mean '{guess}'?" if guess else ""
            raise _refusal(query, f"there is no column '{node.id}'{hint}")


def _refusal(query: str, why: str) -> SettingsError:
    return SettingsError(
        f"The condition '{query}' cannot be used: {why}", fix="Example: modality == 'OPT' and rows >= 256"
    )
