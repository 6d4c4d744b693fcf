"""Who must keep the house rules of SQL, and the reasoned exceptions from them.

A project asks for them by `+meta: {house_rules: true}` on its models or a folder of them. One model is let off one
rule, or let use one function or piece of syntax, by `config: {meta: {allow: {<name>: "<reason>"}}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kpi.base.errors import CompileError, nearest
from kpi.models.lint import RULES, Finding
from kpi.models.model import Node
from kpi.models.portable import FUNCTIONS, IN_MACROS


def judged(node: Node, findings: Iterable[Finding], *, is_whole: bool = True) -> list[CompileError]:
    """Return what is refused in a model: rules it breaks without a reasoned exception, and exceptions without use.

    Nothing when its project does not ask for house rules. When `findings` are not all there may be (`is_whole` is
    false), no exception counts as without use.
    """
    meta = node.config.get("meta") or {}
    if not isinstance(meta, Mapping) or meta.get("house_rules") is not True:
        return []
    allow = meta.get("allow") or {}
    mistakes = list(_wrong_exceptions(node, allow))
    used = set()
    for finding in findings:
        if isinstance(allow, Mapping) and finding.rule in allow:
            used.add(finding.rule)
            continue
        line, column = finding.place if finding.place[0] else node.lines.place(finding.offset)
        mistakes.append(CompileError(node.file, line, f"{finding.message} [{finding.rule}]", column))
    for name in allow if is_whole and isinstance(allow, Mapping) else ():
        if name not in used:
            told = f"the exception '{name}' is not needed: nothing here breaks it.{_meant(name)}"
            mistakes.append(_at(node, allow, name, told))
    return mistakes


def _meant(name: str) -> str:
    return "" if name in RULES or name in FUNCTIONS else nearest(str(name), {*RULES, *IN_MACROS})


def _wrong_exceptions(node: Node, allow: Any) -> Iterator[CompileError]:
    if not isinstance(allow, Mapping):
        yield CompileError(node.file, node.line, "meta.allow is a mapping of rules or functions to reasons.")
        return
    for name, reason in allow.items():
        if not isinstance(reason, str) or len(reason.split()) < 2:
            yield _at(node, allow, name, f"the exception '{name}' needs a reason, in words.")


def _at(node: Node, allow: Any, name: str, told: str) -> CompileError:
    """At the line of the YAML file where the exception is written, or of the model when it is in its config()."""
    lines = getattr(allow, "lines", None)
    if lines and name in lines:
        return CompileError(allow.file, lines[name], told)
    return CompileError(node.file, node.line, told)
