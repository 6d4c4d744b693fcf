"""Who must keep the house rules of SQL, and the reasoned exceptions from them.

A project asks for them by `+meta: {house_rules: true}` on its models or a folder of them. One model is let off one
rule, or let use one function or piece of syntax, by `config: {meta: {allow: {<name>: "<reason>"}}}`.

A model that unites others says so by `config: {meta: {reads_every: {models: "<pattern>", listed_in: "<place>"}}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
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


def unread(nodes: Mapping[str, Node]) -> list[CompileError]:
    """Return an error for each model that another one with `meta.reads_every` should read and does not.

    Also for a pattern that no model has: it would watch nothing.
    """
    mistakes = []
    for node in nodes.values():
        meta = node.config.get("meta")
        wanted = meta.get("reads_every") if isinstance(meta, Mapping) and node.kind == "model" else None
        if wanted is None:
            continue
        pattern = wanted.get("models") if isinstance(wanted, Mapping) else None
        if not isinstance(pattern, str) or set(wanted) - {"models", "listed_in"}:
            told = "meta.reads_every has 'models', a pattern of names such as ind_*, and may have 'listed_in'."
            mistakes.append(_at(node, wanted, "models", told))
            continue
        found = [one for one in nodes.values() if one.kind == "model" and fnmatchcase(one.name, pattern)]
        if not found:
            mistakes.append(
                _at(node, wanted, "models", f"no model is named {pattern}, which meta.reads_every asks for.")
            )
        place = wanted.get("listed_in")
        for one in found:
            if one is not node and one.id not in node.depends_on:
                told = f"'{node.name}' reads every model named {pattern} (its meta.reads_every), but not '{one.name}'."
                mistakes.append(CompileError(one.file, one.line, f"{told}{f' Add it to {place}.' if place else ''}"))
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
