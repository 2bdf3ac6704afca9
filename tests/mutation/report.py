# SPDX-License-Identifier: BSL-1.0
"""The table, the survivors, and the arguments for those that no test can notice."""

import json
from collections import Counter


def progress(mutant, verdict):
    if verdict is None:
        print('survived', mutant.id, mutant.describe(), flush=True)


def arguments(path):
    """What equivalent.txt lists: key -> argument.

    Paragraphs of lines `word: text`: the words are header, function, original, mutated, source, nth (1 if left out)
    and because.  A line that begins with # is a comment.
    """
    listed = {}
    if not path.exists():
        return listed
    for paragraph in path.read_text().split('\n\n'):
        lines = [line for line in paragraph.split('\n') if line and not line.startswith('#')]
        if not lines:
            continue
        words = dict(line.split(': ', 1) if ': ' in line else (line.rstrip(':'), '') for line in lines)
        try:
            key = (words['header'], words['function'], words['original'], words['mutated'], words['source'],
                   int(words.get('nth', 1)))
            listed[key] = words['because']
        except KeyError as missing:
            raise SystemExit(f'{path}: a paragraph without {missing}:\n{paragraph}') from None
    return listed


def paragraph(m):
    nth = f'nth: {m.nth}\n' if m.nth > 1 else ''
    return (f'header: {m.header}\nfunction: {m.function}\noriginal: {m.original}\nmutated: {m.mutated}\n'
            f'source: {m.source}\n{nth}because: \n')


def conclude(options, mutants, verdicts, runner, list_file, partial, last):
    listed = arguments(list_file)
    totals, killed, equal = Counter(), Counter(), Counter()
    survivors, wrong = [], []
    for m in mutants:
        totals[m.header] += 1
        verdict = verdicts[m.id]
        # A search that outgrows its time refutes no argument: the same behaviour may cost more steps.
        if m.key in listed and (verdict is None or verdict[1] == 'spins'):
            equal[m.header] += 1
        elif verdict is None:
            survivors.append(m)
        else:
            killed[m.header] += 1
            if m.key in listed:
                wrong.append(f'listed as equivalent, yet killed by {verdict[0]}: {m.describe()}')
    if not partial:
        here = {m.key for m in mutants}
        wrong += [f'listed as equivalent, yet there is no such mutant: {key}' for key in listed
                  if key not in here and (not options.header or key[0] in options.header)]

    print(f'\n{"header":36}{"killed":>8}{"of":>6}{"equivalent":>12}{"survived":>10}')
    for header in sorted(totals):
        left = totals[header] - killed[header] - equal[header]
        print(f'{header:36}{killed[header]:8}{totals[header]:6}{equal[header]:12}{left:10}')
    print(f'{"all":36}{killed.total():8}{totals.total():6}{equal.total():12}{len(survivors):10}\n')

    for m in survivors:
        unreached = '' if any(m.id in k.reached for k in runner.killers) else '  (no test reaches it)'
        print(f'survived: {m.describe()}{unreached}')
    for line in wrong:
        print(line)
    how = Counter(v[1] for v in verdicts.values() if v)
    print('killed: ', ', '.join(f'{kind} {n}' for kind, n in how.most_common()) or 'nothing')

    if options.json:
        rows = [{'header': m.header, 'line': m.line, 'function': m.function, 'original': m.original,
                 'mutated': m.mutated, 'source': m.source, 'nth': m.nth,
                 'verdict': 'killed' if verdicts[m.id] else 'equivalent' if m.key in listed else 'survived',
                 'killer': verdicts[m.id][0] if verdicts[m.id] else None,
                 'how': verdicts[m.id][1] if verdicts[m.id] else None} for m in mutants]
        options.json.write_text(json.dumps(rows, indent=1) + '\n')
    # Ready to be argued about: the form is that of equivalent.txt.
    last.with_suffix('.txt').write_text('\n'.join(paragraph(m) for m in survivors))
    last.write_text(json.dumps([m.key for m in mutants if verdicts[m.id] is None]))
    return 1 if survivors or wrong else 0
