"""Which line and column of a template each character of the SQL it renders to comes from.

A mark is put before each piece that a template yields; once rendered, the marks are taken out and noted.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

# In the rendered text: line and column of the file that what follows comes from, and = when it is not the file's own.
_MARK = re.compile("\x01([0-9]+)[.]([0-9]+)(=?)\x01")


@dataclass(frozen=True, slots=True)
class Lines:
    """Which 1-based line and column of the file each character of the compiled SQL comes from.

    What a macro or an expression yields comes from the place that calls it: the column is then negative, for all of
    the piece. 0 is an unknown column.
    """

    starts: tuple[int, ...] = (0,)
    lines: tuple[int, ...] = (1,)
    columns: tuple[int, ...] = (0,)

    def at(self, offset: int) -> int:
        """Return the line of the character at `offset`."""
        return self.place(offset)[0]

    def is_own(self, offset: int) -> bool:
        """Tell whether the character at `offset` stands in the file as it is, and does not come from a macro."""
        return self.columns[max(0, bisect_right(self.starts, offset) - 1)] > 0

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of the character at `offset`; the column is 0 when it is unknown."""
        piece = max(0, bisect_right(self.starts, offset) - 1)
        column = self.columns[piece]
        return self.lines[piece], column + offset - self.starts[piece] if column > 0 else -column


def mark_places(tree: nodes.Template, text: str, environment: jinja2.Environment) -> None:
    """Put the marks into the tree of a template that `text` is."""
    _mark(tree.body, environment, _columns(text, tree, environment))


def _columns(text: str, tree: nodes.Template, environment: jinja2.Environment) -> dict[int, int]:
    """The 1-based column of every piece that a template yields, by the id of its node.

    Jinja's tree knows lines only; its tokens follow each other in the text, with nothing but blanks left out.
    """
    from jinja2 import nodes

    text = "\n".join(re.split("\r\n|\r|\n", text))
    columns, end = [], 0
    for _, kind, value in environment.lex(text):
        start = text.find(value, end)
        if kind in ("data", "variable_begin"):
            columns.append(start - text.rfind("\n", 0, start))
        end = start + len(value)
    pieces = [piece for output in tree.find_all(nodes.Output) for piece in output.nodes]
    # Should Jinja ever pair them in another way, a column is better unknown than wrong.
    same = len(pieces) == len(columns)
    return {id(piece): column for piece, column in zip(pieces, columns, strict=True)} if same else {}


def _mark(body: list[nodes.Node], environment: jinja2.Environment, columns: Mapping[int, int]) -> None:
    """Put a mark before each piece of text that a template yields itself, and none into texts it keeps in variables."""

    from jinja2 import nodes

    def called_at(line: int, column: int) -> nodes.TemplateData:
        mark = nodes.TemplateData(f"\x01{line}.{column}=\x01", lineno=line)
        mark.set_environment(environment)
        return mark

    for node in list(body):
        match node:
            case nodes.Output():
                marked: list[nodes.Expr] = []
                for piece in node.nodes:
                    column = columns.get(id(piece), 0)
                    if isinstance(piece, nodes.TemplateData):
                        piece.data = f"\x01{piece.lineno}.{column}\x01{piece.data}"
                    else:
                        marked.append(called_at(piece.lineno, column))
                    marked.append(piece)
                node.nodes = marked
            case nodes.CallBlock() | nodes.FilterBlock():
                body.insert(body.index(node), nodes.Output([called_at(node.lineno, 0)], lineno=node.lineno))
            case nodes.If():
                for branch in (node, *node.elif_):
                    _mark(branch.body, environment, columns)
                _mark(node.else_, environment, columns)
            case nodes.For():
                _mark(node.body, environment, columns)
                _mark(node.else_, environment, columns)
            case nodes.With():
                _mark(node.body, environment, columns)
            case _:
                pass


def traced(marked: str) -> tuple[str, Lines]:
    """Take the marks out of a rendered text, and the blanks at its ends."""
    first, *pieces = _MARK.split(marked)
    sql = first + "".join(pieces[3::4])
    lead = len(sql) - len(sql.lstrip())
    starts, lines, columns = [-lead], [1], [0]
    position = len(first) - lead
    for line, column, fixed, text in zip(*(pieces[part::4] for part in range(4)), strict=True):
        starts.append(position)
        lines.append(int(line))
        columns.append(-int(column) if fixed else int(column))
        if not fixed:
            breaks = [found.end() for found in re.finditer("\n", text)]
            starts += [position + end for end in breaks]
            lines += range(int(line) + 1, int(line) + 1 + len(breaks))
            columns += [1] * len(breaks)
        position += len(text)
    return sql.strip(), Lines(tuple(starts), tuple(lines), tuple(columns))
