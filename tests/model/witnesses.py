"""Every memory order of the library, with the scenario that fails when it is weakened.

An order without a witness must be argued in orders_argued.txt; an argument that is no longer needed fails too.
"""
import concurrent.futures
import json
import pathlib
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ARGUED = HERE / "orders_argued.txt"


def written_orders():
    """The orders in the headers that could be weaker: {(file, line of the order): order}."""
    found = {}
    for header in sorted((ROOT / "include" / "weir").rglob("*.hpp")):
        for number, line in enumerate(header.read_text().splitlines(), 1):
            code = line.split("//")[0]
            for order in re.findall(r"memory_order(?:_|::)(acquire|release|acq_rel|seq_cst)", code):
                found.setdefault((str(header.relative_to(ROOT)), number), []).append(order)
    return found


def weaken(program):
    with tempfile.TemporaryDirectory() as directory:
        rows = pathlib.Path(directory) / "orders.json"
        done = subprocess.run([program, "--orders", rows], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            raise SystemExit(f"{program.name} --orders failed:\n{done.stdout}")
        return json.loads(rows.read_text()) if rows.exists() else []


def function_name(row):
    """Without template arguments and parameters, which compilers write differently."""
    text = row["function"]
    while re.search(r"<[^<>]*>|\([^()]*\)", text):
        text = re.sub(r"<[^<>]*>|\([^()]*\)", "", text)
    return text.replace(" const", "").split("::")[-1].strip()


def key(row):
    suffix = "/failure" if row["argument"] == "failure" else ""
    return (row["file"].removeprefix("include/weir/"), function_name(row), row["operation"],
            f"{row['order']}{suffix} -> {row['weakened']}")


def argued():
    entries = {}
    if ARGUED.exists():
        for line in ARGUED.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                file, function, operation, change, argument = [part.strip() for part in line.split("|", 4)]
                entries[(file, function, operation, change)] = argument
    return entries


def reached_near(rows, file, line):
    """Whether an executed operation stands at that order: its call may begin some lines before."""
    return any(r["file"] == file and line - 4 <= r["line"] <= line for r in rows)


def find(programs, jobs):
    """Prints the table; returns whether every order has its witness or its argument, a line for README.md, and rows."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        rows = [row for part in pool.map(weaken, programs) for row in part]
    merged = {}
    for row in rows:
        if row["weakened"]:
            at = (row["file"], row["line"], *key(row))
            if not merged.get(at, {}).get("scenario"):
                merged[at] = row
    arguments, used, good, killed, stand, table = argued(), set(), True, 0, 0, []
    print(f"\n{'order':<62} {'weakened':<22} witness")
    for at, row in sorted(merged.items(), key=lambda item: item[0][:2]):
        name = f"{row['file'].removeprefix('include/weir/')}:{row['line']} {function_name(row)} {row['operation']}"
        witness = row["scenario"]
        if witness:
            killed += 1
        elif key(row) in arguments:
            used.add(key(row))
            stand += 1
            witness = f"argued: {arguments[key(row)]}"
        else:
            good = False
            witness = "NONE"
        print(f"{name:<62} {key(row)[3]:<22} {witness}")
        table.append({"file": row["file"], "line": row["line"], "function": function_name(row),
                      "operation": row["operation"], "change": key(row)[3], "scenario": row["scenario"] or None,
                      "argument": None if row["scenario"] else arguments.get(key(row)), "failure": row["failure"]})
    for entry in sorted(set(arguments) - used):
        good = False
        print(f"{ARGUED.name}: not needed: {' | '.join(entry)}")
    unreached = [(place, orders) for place, orders in sorted(written_orders().items())
                 if not reached_near(rows, *place)]
    for (file, line), orders in unreached:
        good = False
        print(f"{file}:{line}: {', '.join(orders)} is executed by no scenario")
    summary = (f"Memory orders weakened by one step: {len(merged)}; found by a scenario: {killed}; "
               f"none can, as argued: {stand}.")
    print(f"\n{summary}")
    return good, summary, table
