# SPDX-License-Identifier: BSL-1.0
"""The syntax of the headers as clang sees it: nodes with exact offsets."""

import json
import re
import subprocess
import sys

sys.setrecursionlimit(20000)

COMPILER = 'clang++-19'

# Conversions and the like that have no text of their own.
WRAPPERS = {'ImplicitCastExpr', 'ExprWithCleanups', 'MaterializeTemporaryExpr', 'CXXBindTemporaryExpr', 'ConstantExpr',
            'FullExpr', 'SubstNonTypeTemplateParmExpr'}


class Node:
    """A node of the syntax tree; `begin` and `end` are offsets in `file`, None where a macro has its hand in."""
    __slots__ = ('kind', 'file', 'begin', 'end', 'children', 'raw')

    def __init__(self, raw, file, begin, end, children):
        self.kind = raw.get('kind', '')
        self.raw = raw
        self.file, self.begin, self.end, self.children = file, begin, end, children

    @property
    def type(self):
        return self.raw.get('type', {}).get('qualType', '')

    def bare(self):
        """The node below the conversions that the compiler added."""
        node = self
        while node.kind in WRAPPERS and len(node.children) == 1:
            node = node.children[0]
        return node

    def descendants(self):
        for child in self.children:
            yield child
            yield from child.descendants()


class _Reader:
    """Clang names a file or line only where it differs from the one before, in the order of the document."""

    def __init__(self):
        self.file = ''

    def location(self, loc):
        if 'spellingLoc' in loc or 'expansionLoc' in loc:
            for part in ('spellingLoc', 'expansionLoc'):
                self.file = loc.get(part, {}).get('file', self.file)
            return None
        self.file = loc.get('file', self.file)
        return loc.get('offset')

    def node(self, raw):
        begin = end = None
        file = self.file
        children = []
        for key, value in raw.items():
            if key == 'loc':
                self.location(value)
                file = self.file
            elif key == 'range':
                begin = self.location(value['begin'])
                file = self.file
                end = self.location(value['end'])
                if end is not None:
                    end += value['end'].get('tokLen', 0)
                if begin is None or end is None or self.file != file:
                    begin = end = None
            elif key == 'inner':
                children = [self.node(child) for child in value]
        raw.pop('inner', None)
        return Node(raw, file, begin, end, children)


def read(include, headers):
    """The namespaces of `headers` (paths below include/weir)."""
    unit = ''.join(f'#include <weir/{header}>\n' for header in headers)
    dump = subprocess.run(
        [COMPILER, '-std=c++20', f'-I{include}', '-fsyntax-only', '-xc++', '-Xclang', '-ast-dump=json', '-Xclang',
         '-ast-dump-filter=weir', '-'], input=unit, stdout=subprocess.PIPE, check=True, text=True).stdout
    reader, decoder, at = _Reader(), json.JSONDecoder(), dump.find('{')
    found = []
    while at >= 0:
        raw, after = decoder.raw_decode(dump, at)
        found.append(reader.node(raw))
        at = dump.find('{', after)
    return found


def squeeze(text):
    """Text on one line, without comments."""
    return re.sub(r'\s+', ' ', re.sub(r'//[^\n]*', ' ', text)).strip()
