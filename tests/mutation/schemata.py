# SPDX-License-Identifier: BSL-1.0
"""Writes the copy of the headers in which every mutant is present and at most one is on."""

from collections import defaultdict
from pathlib import Path

from operators import BLOCK

HERE = Path(__file__).resolve().parent
INCLUDED = 1  # lines that stand before the first mutant and not in the source


class Copy:
    """One mutated header as it is written, and where in it each mutant stands."""

    def __init__(self, text, mutants):
        self.source, self.out, self.length = text, [], 0
        self.regions = []  # (begin, end, mutant): a position in the nearest of these is that mutant's
        edits = [(e, m) for m in mutants for e in m.edits]
        # From the outside in; a statement is around the expression that it consists of.
        rank = {'body': 0, 'statement': 1, 'lock': 1, 'expression': 2, 'condition': 2}
        edits.sort(key=lambda em: (em[0].begin, -em[0].end, rank[em[0].kind]))
        groups = []
        for edit, mutant in edits:
            if groups and (groups[-1][0].begin, groups[-1][0].end, rank[groups[-1][0].kind]) == (
                    edit.begin, edit.end, rank[edit.kind]):
                groups[-1][1].append((edit, mutant))
            else:
                groups.append((edit, [(edit, mutant)]))
        self.groups, self.next = [g[1] for g in groups], 0
        self.stretch(0, len(text))

    @property
    def text(self):
        return ''.join(self.out)

    def write(self, text):
        self.out.append(text)
        self.length += len(text)

    def stretch(self, begin, end):
        """The source from `begin` to `end` with the groups that lie inside."""
        at = begin
        while self.next < len(self.groups):
            group = self.groups[self.next]
            first = group[0][0]
            if first.begin >= end:
                break
            if first.end > end:
                raise SystemExit(f'edits overlap: {group[0][1].describe()}')
            self.write(self.source[at:first.begin])
            self.next += 1
            self.group(group)
            at = first.end
        self.write(self.source[at:end])

    def group(self, group):
        first = group[0][0]
        kind = first.kind
        if kind == 'statement':
            self.write('{ ')
            for edit, mutant in group:
                begin = self.length
                self.write(f'if (::weir_mutation::on({mutant.id})) {{ {edit.text} }}')
                self.regions.append((begin, self.length, mutant))
                self.write(' else ')
            self.write('{ ')
            self.stretch(first.begin, first.end)
            self.write(' } }')
        elif kind == 'body':
            mutant = group[0][1]
            self.write('{ ')
            self.stretch(first.begin, first.end)
            begin = self.length
            self.write(f' if (::weir_mutation::on({mutant.id})) break; }}')
            self.regions.append((begin, self.length, mutant))
        elif kind == 'lock':
            mutant = group[0][1]
            name, mutex = first.text.split('|', 1)
            begin = self.length
            self.write(f'const ::weir_mutation::optional_lock {name}{{{mutex}, ::weir_mutation::on({mutant.id})}};')
            self.regions.append((begin, self.length, mutant))
        else:
            as_truth = any(edit.kind == 'condition' for edit, _ in group)
            cast = 'static_cast<bool>' if as_truth else ''
            self.write('(')
            for edit, mutant in group:
                begin = self.length
                self.write(f'::weir_mutation::on({mutant.id}) ? {cast}({edit.text}\n)')
                self.regions.append((begin, self.length, mutant))
                self.write(' : ')
            self.write(f'{cast}(')
            self.stretch(first.begin, first.end)
            self.write('))')

    def mutant_at(self, line, column):
        """The mutant whose text has the position."""
        lines = self.text.split('\n')
        at = sum(len(text) + 1 for text in lines[:line - 1 - INCLUDED]) + column - 1
        inside = [r for r in self.regions if r[0] <= at < r[1]]
        return min(inside, key=lambda r: r[1] - r[0])[2] if inside else None


def write(include, out, mutants):
    """Writes the copy to `out`; returns it by path.  A file that would not change is left alone."""
    by_header = defaultdict(list)
    for mutant in mutants:
        by_header[mutant.header].append(mutant)
    copies = {}
    for path in sorted(include.glob('weir/**/*.hpp')):
        header = str(path.relative_to(include / 'weir'))
        text = path.read_text()
        if by_header[header]:
            copy = Copy(text, by_header[header])
            copies[str(out / 'weir' / header)] = copy
            text = copy.text.replace('#pragma once\n', '#pragma once\n#include <weir_mutation/runtime.hpp>\n', 1)
        put(out / 'weir' / header, text)
    put(out / 'weir_mutation' / 'runtime.hpp', (HERE / 'runtime.hpp').read_text())
    put(out / 'weir_mutation' / 'count.hpp',
        f'#pragma once\nnamespace weir_mutation {{\ninline constexpr int count = {BLOCK * 100};\n}}\n')
    return copies


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
