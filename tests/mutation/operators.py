# SPDX-License-Identifier: BSL-1.0
"""What is mutated, and how: from a header's syntax to its list of mutants.

A mutant has one edit, seldom two.  An edit is a stretch of the source and what stands there when the mutant is on:
  expression   another expression
  condition    another expression, where only truth counts
  statement    other statements, or none
  body         the loop is left after its first pass
  lock         a scoped lock is not taken
"""

import re
from dataclasses import dataclass, field

from syntax import squeeze

BOUNDARY = {'<': '<=', '<=': '<', '>': '>=', '>=': '>'}
NEGATION = {'<': '>=', '<=': '>', '>': '<=', '>=': '<', '==': '!=', '!=': '=='}
ARITHMETIC = {'+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '<<': '>>', '>>': '<<', '&': '|', '|': '&', '^': '&'}
ASSIGNMENT = {'+=': '-=', '-=': '+=', '*=': '/=', '/=': '*=', '|=': '&=', '&=': '|=', '<<=': '>>=', '>>=': '<<='}
OPERATORS = sorted({*BOUNDARY, *NEGATION, *ARITHMETIC, *ASSIGNMENT, '&&', '||', '=', ',', '<=>'}, key=len, reverse=True)
COUNTS = re.compile(r'(const )?(std::)?(u?int\d*_t|size_t|(unsigned )?(int|long|short|char)|unsigned)( long| int)*$')
LOCK = re.compile(r'(?:const )?std::(?:lock_guard|scoped_lock)(?:<[^;]*?>)? (\w+)[{(](.*)[})];$', re.S)
RELOCK = re.compile(r'([\w.>-]+?)(?:\.|->)(lock|unlock)\(\);$')

# What no run of a program reaches, or only its compilation.
PASSED_OVER = {'CXXDefaultInitExpr', 'CXXDefaultArgExpr', 'RequiresExpr', 'ConceptSpecializationExpr',
               'UnaryExprOrTypeTraitExpr', 'CXXNoexceptExpr', 'TypeTraitExpr', 'StaticAssertDecl', 'SizeOfPackExpr',
               'AlignedAttr'}
FUNCTIONS = {'FunctionDecl', 'CXXMethodDecl', 'CXXConstructorDecl', 'CXXDestructorDecl', 'CXXConversionDecl'}
STATEMENTS = {'CallExpr', 'CXXMemberCallExpr', 'CXXDeleteExpr', 'CXXThrowExpr', 'CompoundAssignOperator'}
# What makes a value depend on the run of the program.
DEPENDS = {'CXXThisExpr', 'CXXMemberCallExpr', 'CXXOperatorCallExpr', 'LambdaExpr', 'CXXConstructExpr',
           'CXXTemporaryObjectExpr', 'CXXUnresolvedConstructExpr', 'CXXDependentScopeMemberExpr', 'UnresolvedLookupExpr'}
CASTS = {'CXXStaticCastExpr', 'CStyleCastExpr', 'CXXFunctionalCastExpr'}


@dataclass
class Edit:
    kind: str
    begin: int
    end: int
    text: str = ''


@dataclass
class Mutant:
    header: str
    function: str
    line: int
    original: str
    mutated: str
    source: str  # the line of the source it begins on
    edits: list = field(default_factory=list)
    nth: int = 1  # of those that are alike in all of this
    id: int = 0

    @property
    def key(self):
        return (self.header, self.function, self.original, self.mutated, self.source, self.nth)

    def describe(self):
        again = f'  (#{self.nth})' if self.nth > 1 else ''
        return f'{self.header}:{self.line}: {self.function}: `{self.original}` -> `{self.mutated}`{again}'


def short(text, width=110):
    text = squeeze(text)
    return text if len(text) <= width else text[:width // 2] + ' ... ' + text[-(width // 2 - 5):]


class Enumerators:
    """The enumerations of weir: which enumerator follows which."""

    def __init__(self, roots):
        self.next = {}
        for root in roots:
            for node in root.descendants():
                if node.kind == 'EnumDecl':
                    names = [c.raw for c in node.children if c.kind == 'EnumConstantDecl']
                    if len(names) > 1:
                        for raw, after in zip(names, names[1:] + names[:1]):
                            self.next[raw['id']] = after['name']


class Finder:
    """Walks one header."""

    def __init__(self, path, header, enumerators):
        self.path, self.header, self.enumerators = str(path), header, enumerators
        with open(path, encoding='utf-8') as source:
            self.text = source.read()
        self.raw = self.text.encode()
        if len(self.raw) != len(self.text):
            raise SystemExit(f'{path}: offsets are counted in bytes, and there is text that is not ASCII')
        self.lines = self.text.split('\n')
        self.mutants, self.seen = [], set()
        self.function, self.scope = '', []

    # --- making mutants -------------------------------------------------------------------------------------------

    def slice(self, node):
        return self.text[node.begin:node.end]

    def add(self, begin, original, mutated, *edits):
        mark = tuple((e.kind, e.begin, e.end, e.text) for e in edits)
        if mark in self.seen:
            return
        self.seen.add(mark)
        line = self.text.count('\n', 0, begin)
        self.mutants.append(Mutant(self.header, self.function, line + 1, short(original), short(mutated),
                                   squeeze(self.lines[line]), list(edits)))

    def replace(self, node, mutated, kind='expression'):
        self.add(node.begin, self.slice(node), mutated, Edit(kind, node.begin, node.end, mutated))

    def replace_operator(self, node, at, old, new):
        text = self.text[node.begin:at] + new + self.text[at + len(old):node.end]
        self.replace(node, text)

    # --- declarations ---------------------------------------------------------------------------------------------

    def declarations(self, node):
        for child in node.children:
            self.declaration(child)

    def declaration(self, node):
        kind = node.kind
        if kind in ('NamespaceDecl', 'CXXRecordDecl', 'ClassTemplatePartialSpecializationDecl'):
            named = kind != 'NamespaceDecl' and node.raw.get('name')
            if named:
                self.scope.append(node.raw['name'])
            self.declarations(node)
            if named:
                self.scope.pop()
        elif kind == 'ClassTemplateDecl':
            for child in node.children:
                if child.kind == 'CXXRecordDecl':
                    self.declaration(child)
                    break  # what follows are specializations that the compiler made
        elif kind == 'ClassTemplateSpecializationDecl':
            self.declaration_of_class(node)
        elif kind == 'FunctionTemplateDecl':
            for child in node.children:
                if child.kind in FUNCTIONS:
                    self.declaration(child)
                    break
        elif kind == 'FriendDecl':
            self.declarations(node)
        elif node.file != self.path:
            return
        elif kind in FUNCTIONS:
            self.body_of(node)
        elif kind == 'FieldDecl' and node.raw.get('hasInClassInitializer') and not self.scope[-1].endswith('_stats'):
            # The values of an aggregate of figures are always given.
            self.function = '::'.join([*self.scope, node.raw.get('name', '')])
            for child in node.children:
                self.expression(child)

    def declaration_of_class(self, node):
        self.scope.append(node.raw.get('name', ''))
        self.declarations(node)
        self.scope.pop()

    def body_of(self, node):
        if node.raw.get('isImplicit') or node.raw.get('explicitlyDefaulted') or node.raw.get('explicitlyDeleted'):
            return
        self.function = '::'.join([*self.scope, node.raw.get('name', '')])
        first = len(self.mutants)
        for child in node.children:
            if child.kind == 'ParmVarDecl' and 'init' in child.raw:
                for value in child.children:
                    self.expression(value)
            elif child.kind == 'CXXCtorInitializer':
                for value in child.children:
                    self.expression(value)
            elif child.kind in ('CompoundStmt', 'CXXTryStmt'):
                self.statement(child)
        self.keep_locked(first)

    def keep_locked(self, first):
        """A lock that is given up and taken again: one mutant that keeps it, in place of two that break it."""
        given_up, rest, pairs = {}, [], []
        for m in sorted(self.mutants[first:], key=lambda m: m.edits[0].begin):
            verb = RELOCK.match(m.original) if m.mutated == '' else None
            if verb is None:
                rest.append(m)
            elif verb[2] == 'unlock':
                given_up.setdefault(verb[1], []).append(m)
            elif given_up.get(verb[1]):
                unlock = given_up[verb[1]].pop()
                unlock.original += ' ... ' + m.original
                unlock.edits += m.edits
                pairs.append(unlock)
            else:
                rest.append(m)
        self.mutants[first:] = sorted(rest + pairs + [m for ms in given_up.values() for m in ms],
                                      key=lambda m: m.edits[0].begin)

    # --- statements -----------------------------------------------------------------------------------------------

    def end_of_statement(self, node):
        end = self.text.index(';', node.end)
        return end + 1 if not self.text[node.end:end].strip() else None

    def without(self, node, *others):
        """Mutants that leave out the statement, or do one of `others` in its place."""
        end = self.end_of_statement(node)
        if end is None:
            return
        for other in ('', *others):
            self.add(node.begin, self.text[node.begin:end], other, Edit('statement', node.begin, end, other))

    def statement(self, node):
        kind = node.kind
        if kind in ('CompoundStmt', 'CXXTryStmt', 'CXXCatchStmt'):
            for child in node.children:
                if child.kind:
                    self.statement(child)
            return
        if kind in ('CaseStmt', 'DefaultStmt'):
            self.statement(node.children[-1])
            return
        if kind == 'SwitchStmt':
            *before, body = node.children
            for child in before:
                self.statement(child)
            self.statement(body)
            return
        if node.begin is None or node.file != self.path:
            return
        if kind == 'DeclStmt':
            self.declares(node)
        elif kind == 'IfStmt':
            self.if_statement(node)
        elif kind in ('WhileStmt', 'DoStmt', 'ForStmt', 'CXXForRangeStmt'):
            self.loop(node)
        elif kind == 'ReturnStmt':
            self.returns(node)
        elif kind == 'BreakStmt':
            self.without(node, 'continue;') if self.loops else self.without(node)
        elif kind == 'ContinueStmt':
            self.without(node, 'break;')
        else:
            self.expression_statement(node)

    loops = 0

    def declares(self, node):
        lock = LOCK.match(self.text[node.begin:node.end])
        if lock:
            self.add(node.begin, self.slice(node), '', Edit('lock', node.begin, node.end,
                                                            f'{lock[1]}|{lock[2]}'))
            return
        for declared in node.children:
            if declared.kind == 'VarDecl' and not declared.raw.get('constexpr') and not self.is_constant(declared):
                for value in declared.children:
                    self.expression(value)

    @staticmethod
    def is_constant(declared):
        """Whether the compiler computes the value, so that no mutant in it can be switched on."""
        if not declared.type.startswith('const '):
            return False
        for node in declared.descendants():
            if node.kind in DEPENDS or node.raw.get('referencedDecl', {}).get('kind') in ('VarDecl', 'ParmVarDecl'):
                return False
        return True

    def if_statement(self, node):
        parts = list(node.children)
        if node.raw.get('isConsteval'):
            return
        if node.raw.get('hasInit'):
            self.statement(parts.pop(0))
        if node.raw.get('hasVar'):
            self.statement(parts.pop(0))
            parts.pop(0)
        else:
            condition = parts.pop(0)
            if not node.raw.get('isConstexpr'):
                self.condition(condition)
        then = parts[0]
        if then.kind == 'ReturnStmt' and not node.raw.get('hasElse') and not node.raw.get('isConstexpr'):
            self.without(then)
        for part in parts:
            self.statement(part)

    def loop(self, node):
        kind, parts = node.kind, node.children
        bounded = True
        if kind == 'ForStmt':
            start, _, condition, step, body = parts
            bounded = bool(condition.kind)
            if start.kind:
                self.statement(start)
            if bounded:
                self.condition(condition, loop=True)
            if step.kind:
                self.expression(step)
        elif kind == 'WhileStmt':
            *before, condition, body = parts
            if before:
                self.statement(before[0])
            else:
                self.condition(condition, loop=True)
        elif kind == 'DoStmt':
            body, condition = parts
            self.condition(condition, loop=True)
        else:
            body = parts[-1]
            for value in parts[1].children[0].children:
                self.expression(value)
        self.loops += 1
        self.statement(body)
        self.loops -= 1
        if bounded and body.begin is not None:
            end = body.end if body.kind == 'CompoundStmt' else self.end_of_statement(body)
            if end is not None:
                self.add(node.begin, self.text[node.begin:body.begin] + '...', 'once', Edit('body', body.begin, end))

    def returns(self, node):
        if not node.children:
            return
        value = node.children[0].bare()
        if value.begin is None:
            return
        self.expression(value)
        if value.type in ('bool', 'const bool') and self.is_atom(value):
            self.replace(value, f'!({self.slice(value)})', 'condition')
        elif COUNTS.match(value.type) and value.kind in ('MemberExpr', 'DeclRefExpr', 'CallExpr', 'CXXMemberCallExpr'):
            self.replace(value, f'{self.slice(value)} + 1')

    def expression_statement(self, node):
        value = node.bare()
        while value.kind in CASTS and value.type == 'void':
            value = value.children[0].bare()
        operator = self.operator(value)
        removable = (value.kind in STATEMENTS
                     or value.kind == 'UnaryOperator' and value.raw['opcode'] in ('++', '--')
                     or operator and (operator[1] == '=' or operator[1] in ASSIGNMENT)
                     or value.kind == 'CXXOperatorCallExpr')
        if removable:
            self.without(node)
        self.expression(value, statement=True)

    # --- expressions ----------------------------------------------------------------------------------------------

    def is_atom(self, value):
        """Whether its truth is not made of other truths that have mutants of their own."""
        operator = self.operator(value)
        if operator and (operator[1] in NEGATION or operator[1] in ('&&', '||')):
            return False
        if value.kind == 'UnaryOperator' and value.raw['opcode'] == '!':
            return False
        return value.kind not in ('CXXBoolLiteralExpr', 'ParenExpr')

    def condition(self, node, loop=False):
        value = node.bare()
        while value.kind == 'ParenExpr':
            value = value.children[0].bare()
        if value.begin is None:
            return
        operator = self.operator(value)
        if operator and operator[1] in NEGATION and not loop:
            self.replace_operator(value, operator[0], operator[1], NEGATION[operator[1]])
        elif self.is_atom(value):
            self.replace(value, f'!({self.slice(value)})', 'condition')
        self.expression(value)

    def operator(self, node):
        """Of a binary operation, built in or not: where its operator stands, which one, and its operands."""
        if node.kind == 'CXXRewrittenBinaryOperator':
            same = [n for n in node.descendants() if n.kind == 'CXXOperatorCallExpr' and len(n.children) == 3
                    and (n.begin, n.end) == (node.begin, node.end) and n.begin is not None]
            if not same:
                return None
            node = same[-1]
        if node.begin is None:
            return None
        if node.kind in ('BinaryOperator', 'CompoundAssignOperator'):
            left, right = node.children
            if left.end is None or right.begin is None:
                return None
            between = self.text[left.end:right.begin]
            for op in OPERATORS:
                if squeeze(between) == op:
                    return left.end + between.index(op), op, left, right
            return None
        if node.kind == 'CXXOperatorCallExpr' and len(node.children) == 3:
            callee, left, right = node.children
            if callee.begin is None or left.begin is None or right.begin is None:
                return None
            op = self.text[callee.begin:callee.end]
            if left.begin > right.begin:
                left, right = right, left
            return (callee.begin, op, left, right) if op in OPERATORS else None
        return None

    def expression(self, node, statement=False):
        node = node.bare()
        kind = node.kind
        if not kind or kind in PASSED_OVER:
            return
        if kind == 'LambdaExpr':
            *captures, body = [c for c in node.children if c.kind != 'CXXRecordDecl']
            for capture in captures:
                self.expression(capture)
            loops, self.loops = self.loops, 0
            self.statement(body)
            self.loops = loops
            return
        if node.begin is None or node.file != self.path:
            return
        operator = self.operator(node)
        if operator:
            self.binary(node, *operator)
            return
        if kind == 'ConditionalOperator':
            condition, first, second = node.children
            self.condition(condition)
            self.expression(first)
            self.expression(second)
            return
        text = self.slice(node)
        if kind == 'UnaryOperator':
            op = node.raw['opcode']
            if op == '!' and text.startswith('!'):
                self.replace(node, text[1:].strip(), 'condition')
            elif op == '~' and text.startswith('~'):
                self.replace(node, text[1:].strip())
            elif op == '-' and text.startswith('-'):
                self.replace(node, text[1:].strip())
            elif op in ('++', '--') and not statement:
                self.replace(node, text.replace(op, '--' if op == '++' else '++', 1))
        elif kind == 'CXXBoolLiteralExpr' and text in ('true', 'false'):
            self.replace(node, 'false' if text == 'true' else 'true')
        elif kind == 'IntegerLiteral':
            self.integer(node, text)
        elif kind == 'DeclRefExpr':
            self.enumerator(node, text)
        elif kind == 'CallExpr':
            self.call(node, text)
        for child in node.children:
            self.expression(child)

    def integer(self, node, text):
        if not re.fullmatch(r'[\d\']+[uUlL]*', text):
            return
        value = int(re.sub(r'\D', '', text))
        self.replace(node, f'{value + 1}')
        if value > 0:
            self.replace(node, f'{value - 1}')

    def enumerator(self, node, text):
        after = self.enumerators.next.get(node.raw.get('referencedDecl', {}).get('id'))
        if after is not None:
            self.replace(node, re.sub(r'\w+$', after, text))

    def call(self, node, text):
        for one, other in (('std::min', 'std::max'), ('std::max', 'std::min')):
            if re.match(one + r'\b', text):
                self.replace(node, other + text[len(one):])
        if re.match(r'std::exchange\(', text) and len(node.children) == 3 and node.children[1].begin is not None:
            self.replace(node, f'::weir_mutation::copy_of({self.slice(node.children[1])})')

    def binary(self, node, at, op, left, right):
        if op in BOUNDARY:
            self.replace_operator(node, at, op, BOUNDARY[op])
        elif op in ('==', '!='):
            self.replace_operator(node, at, op, NEGATION[op])
        elif op in ('&&', '||'):
            self.replace(node, self.slice(left), 'condition')
            self.replace(node, self.slice(right), 'condition')
        elif op in ARITHMETIC and 'string' not in node.type and '"' not in self.slice(node):
            self.replace_operator(node, at, op, ARITHMETIC[op])
        elif op in ASSIGNMENT and 'string' not in node.type:
            self.replace_operator(node, at, op, ASSIGNMENT[op])
        elif op == ',':
            self.replace(node, self.slice(right))
        self.expression(left)
        self.expression(right)


BLOCK = 1000  # of numbers, one a header, so that a change to one header leaves the copies of the others alone


def find(include, roots, headers):
    """The mutants of `headers`; those of the first are numbered from BLOCK."""
    enumerators = Enumerators(roots)
    mutants = []
    for number, header in enumerate(headers, 1):
        finder = Finder(include / 'weir' / header, header, enumerators)
        for root in roots:
            finder.declaration(root)
        if len(finder.mutants) > BLOCK:
            raise SystemExit(f'{header}: more than {BLOCK} mutants')
        alike = {}
        for id, mutant in enumerate(sorted(finder.mutants, key=lambda m: m.edits[0].begin), number * BLOCK):
            mutant.id = id
            key = mutant.key
            mutant.nth = alike[key] = alike.get(key, 0) + 1
            mutants.append(mutant)
    return mutants
