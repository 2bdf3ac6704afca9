# SPDX-License-Identifier: BSL-1.0
"""Builds the executables that are to notice a mutant, and runs them."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import schemata
from syntax import COMPILER

# To fall off the end of a function is a crash, not whatever follows in memory.
FLAGS = '-w -Wno-narrowing -ferror-limit=0 -fsanitize=return -fsanitize-trap=return'
MEMORY = 4 << 30
TICKS = os.sysconf('SC_CLK_TCK')
ERROR = re.compile(r'^(/[^:\n]+):(\d+):(\d+): (?:fatal )?(error|note): (.*)$', re.M)


@dataclass
class Killer:
    name: str
    command: list
    seconds: float = 0    # how long it takes,
    processor: float = 0  # how much of the processor,
    idle: float = 0       # and the longest while in which none of its threads runs: all without a mutant
    reached: set = field(default_factory=set)
    killed: int = 0


class Build:
    """The tests, compiled against the mutated copy."""

    def __init__(self, source, tree, jobs, only):
        self.source, self.tree, self.jobs, self.only = source, tree, jobs, only
        self.copy = tree / 'include'
        self.still_born = tree / 'still_born.txt'

    def configure(self, scenarios):
        self.tree.mkdir(parents=True, exist_ok=True)
        first = self.tree / 'first.cmake'
        first.write_text(f'include_directories(BEFORE {self.copy})\n')
        trees = {'tests': ['-DCMAKE_BUILD_TYPE=Debug', '-DCMAKE_CXX_FLAGS_DEBUG=-O0'],
                 'model': ['-DWEIR_BUILD_MODEL=ON', '-DWEIR_BUILD_TESTS=OFF']}
        launcher = ['-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'] if shutil.which('ccache') else []
        self.trees = [self.tree / name for name in trees if scenarios or name != 'model']
        for tree in self.trees:
            self.call(['cmake', '-S', self.source, '-B', tree, '-G', 'Ninja', '--log-level=ERROR',
                       f'-DCMAKE_CXX_COMPILER={COMPILER}', f'-DCMAKE_CXX_FLAGS={FLAGS}',
                       f'-DCMAKE_PROJECT_weir_INCLUDE={first}', '-DWEIR_BUILD_BENCH=OFF', '-DWEIR_BUILD_EXAMPLES=OFF',
                       '-DWEIR_INSTALL=OFF', *trees[tree.name], *launcher])

    @staticmethod
    def call(command):
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            raise SystemExit(done.stdout)
        return done.stdout

    def targets(self, tree):
        """The executables of the components' tests, and of the scenarios that stand alone."""
        rules = self.call(['ninja', '-C', tree, '-t', 'targets', 'all'])
        paths = re.findall(r'^(\S+): CXX_EXECUTABLE_LINKER', rules, re.M)
        ours = re.compile(r'tests/(?!house|model|progression|spin)\w+/\w+_test|tests/model/model_(?!litmus|planted|random|linearizability)\w+')
        return [p for p in paths if ours.fullmatch(p) and (not self.only or Path(p).name in self.only)]

    def compile(self, include, mutants):
        """Builds; a mutant that does not compile is left out of the copy.  Returns those that are in it."""
        known = set(self.still_born.read_text().splitlines()) if self.still_born.exists() else set()
        alive = [m for m in mutants if str(m.key) not in known]
        while True:
            copies = schemata.write(include, self.copy, alive)
            unit = ''.join(f'#include <{Path(c).relative_to(self.copy)}>\n' for c in copies)
            done = subprocess.run([COMPILER, '-std=c++20', *FLAGS.split(), f'-I{self.copy}', '-fsyntax-only', '-xc++',
                                   '-'], input=unit, stderr=subprocess.PIPE, text=True, check=False)
            log = done.stderr
            for tree in self.trees:
                if done.returncode != 0 or not self.targets(tree):
                    continue
                done = subprocess.run(['ninja', '-k0', f'-j{self.jobs}', '-C', str(tree), *self.targets(tree)],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
                log = done.stdout
            if done.returncode == 0:
                return alive, [tree / path for tree in self.trees for path in self.targets(tree)]
            dead = self.blamed(log, copies)
            if not dead:
                raise SystemExit(log[-6000:] + '\nmutation: the copy does not compile, and no mutant is to blame')
            keys = {str(m.key) for m in dead}
            known |= keys
            self.still_born.write_text(''.join(k + '\n' for k in sorted(known)))
            alive = [m for m in alive if str(m.key) not in keys]

    @staticmethod
    def blamed(log, copies):
        """The mutants at the places of errors, or of the notes below an error that lies elsewhere."""
        dead, pending = [], False
        for path, line, column, kind, _ in ERROR.findall(log):
            if kind == 'error':
                pending = True
            if pending and path in copies:
                mutant = copies[path].mutant_at(int(line), int(column))
                if mutant is not None:
                    dead.append(mutant)
                    pending = False
        return dead


def threads(process):
    """The processor time that a process has used, in seconds, and whether a thread of it runs."""
    try:
        whole = Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()
        states = [stat.read_text().rsplit(')', 1)[1].split()[0]
                  for stat in Path(f'/proc/{process}/task').glob('*/stat')]
    except OSError:
        return None, True  # a thread has just ended
    return (int(whole[11]) + int(whole[12])) / TICKS, any(state in 'RD' for state in states)


class Runner:
    """Runs mutants against killers."""

    def __init__(self, tree, targets):
        self.killers = []
        self.tree = tree
        for exe in map(str, targets):
            name = Path(exe).name
            if name.endswith('_test'):
                self.killers.append(Killer(name, [exe, '~[stress]', '--abort', '--rng-seed', '1']))
            else:  # each scenario by itself
                scenarios = subprocess.run([exe, '--list'], stdout=subprocess.PIPE, text=True, check=True).stdout
                self.killers += [Killer(s, [exe, '--quiet', '--only', s]) for s in scenarios.splitlines()]
        self.lock = threading.Lock()

    @staticmethod
    def run(command, processor, patience, **environment):
        """The exit status, 'spins' if it used more than `processor` seconds, 'hangs' if no thread of it ran for
        `patience` seconds; and the longest time that none ran.  How busy the machine is plays no part."""
        env = {**os.environ, **{k: str(v) for k, v in environment.items()}}
        process = subprocess.Popen(['prlimit', f'--as={MEMORY}', '--core=0', *command], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env,
                                   start_new_session=True)
        used, since, longest = 0, time.monotonic(), 0
        while True:
            try:
                return process.wait(0.05), used, longest
            except subprocess.TimeoutExpired:
                pass
            now, (seen, running) = time.monotonic(), threads(process.pid)
            if running or seen != used:
                since = now
            used = used if seen is None else seen
            longest = max(longest, now - since)
            if used > processor or now - since > patience:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return 'spins' if used > processor else 'hangs', used, longest

    def baseline(self):
        """Runs each killer on what is not mutated; notes its time and what it reaches.  Returns those that fail:
        they are not used."""
        failing = []
        for killer in list(self.killers):
            report = self.tree / 'reached'
            report.unlink(missing_ok=True)
            start = time.monotonic()
            status, killer.processor, killer.idle = self.run(killer.command, 600, 60, WEIR_MUTANT=0,
                                                             WEIR_MUTANT_COVERAGE=report)
            killer.seconds = time.monotonic() - start
            if status != 0 or not report.exists():
                self.killers.remove(killer)
                failing.append(f'{killer.name} fails without a mutant (status {status})')
                continue
            killer.reached = {i for i, byte in enumerate(report.read_bytes()) if byte == ord('1')}
        return failing

    def kill(self, mutant):
        """The name of what killed the mutant and how; None if it survived."""
        with self.lock:
            order = sorted((k for k in self.killers if mutant.id in k.reached),
                           key=lambda k: (not k.name.endswith('_test'),
                                          k.name.removesuffix('_test') not in mutant.header,
                                          k.seconds / (1 + k.killed)))
        for killer in order:
            status = self.run(killer.command, 5 + 10 * killer.processor, 1 + 3 * killer.idle,
                              WEIR_MUTANT=mutant.id)[0]
            if status != 0:
                with self.lock:
                    killer.killed += 1
                how = status if isinstance(status, str) else 'crashes' if status < 0 else 'fails'
                return killer.name, how
        return None

    def kill_all(self, mutants, jobs, tell):
        with ThreadPoolExecutor(jobs) as pool:
            verdicts = pool.map(self.kill, mutants)
            result = {}
            for mutant, verdict in zip(mutants, verdicts):
                result[mutant.id] = verdict
                tell(mutant, verdict)
            return result
