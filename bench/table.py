# SPDX-License-Identifier: BSL-1.0
"""Prints one table of Google Benchmark results: table.py RESULTS_DIR [JSON_FILE]

A benchmark is named `component/what`; what it is measured against has that name and a suffix, `/peer:name` or
`/floor:name`, and is compared at the same number of threads.  Of repeated runs the median is taken.
"""
import json
import pathlib
import sys

UNIT_NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def medians(path):
    """The results of one program: {(name, threads): (ns, cv in percent or None)}."""
    runs = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    spread = {run["run_name"]: run["real_time"] for run in runs if run.get("aggregate_name") == "cv"}
    found = {}
    for run in runs:
        if run.get("error_occurred"):
            sys.exit(f"{run['name']}: {run.get('error_message')}")
        if run["run_type"] == "aggregate" and run["aggregate_name"] != "median":
            continue
        name = run["run_name"]
        cv = round(100 * spread[name], 1) if name in spread else None
        plain = "/".join(part for part in name.split("/") if part != "real_time" and not part.startswith("threads:"))
        found[plain, run.get("threads", 1)] = (round(run["real_time"] * UNIT_NS[run["time_unit"]], 2), cv)
    return found


def beside(found, name, threads, kind):
    """What `name` is measured against: [(name, ns)]."""
    prefix = f"{name}/{kind}:"
    return sorted((n[len(prefix):], ns) for (n, k), (ns, _) in found.items() if k == threads and n.startswith(prefix))


def compared(found):
    """A row for each of our benchmarks and peer; one without a peer where there is none."""
    for (name, threads), (ns, cv) in sorted(found.items()):
        if "/peer:" in name or "/floor:" in name:
            if (name.rpartition("/")[0], threads) not in found:
                sys.exit(f"{name} at {threads} threads is compared with nothing")
            continue
        floor = beside(found, name, threads, "floor")
        if len(floor) > 1:
            sys.exit(f"{name} has {len(floor)} floors")
        for peer, peer_ns in beside(found, name, threads, "peer") or [(None, None)]:
            yield {"name": name, "threads": threads, "ns": ns, "cv_percent": cv, "peer": peer, "peer_ns": peer_ns,
                   "floor": floor[0][0] if floor else None, "floor_ns": floor[0][1] if floor else None}


def show(rows):
    def text(value, form):
        return "-" if value is None else format(value, form)
    width = max(len(row["name"]) for row in rows)
    against = max(len(row["peer"] or "-") for row in rows)
    print(f"{'benchmark':<{width}} threads        ns     cv  {'peer':<{against}}        ns  ours/peer  "
          f"{'floor':>9}  ours/floor")
    for row in rows:
        ratio = [row["ns"] / row[of] if row[of] else None for of in ("peer_ns", "floor_ns")]
        print(f"{row['name']:<{width}} {row['threads']:>7} {row['ns']:>9.2f} {text(row['cv_percent'], '5.1f'):>5}%  "
              f"{row['peer'] or '-':<{against}} {text(row['peer_ns'], '.2f'):>9} {text(ratio[0], '.2f'):>10}  "
              f"{text(row['floor_ns'], '.2f'):>9} {text(ratio[1], '.2f'):>11}")


def main():
    directory, target = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    files = sorted(directory.glob("*.json"))
    if not files:
        sys.exit(f"no results in {directory}")
    rows = [row for file in files for row in compared(medians(file))]
    context = json.loads(files[0].read_text(encoding="utf-8"))["context"]
    print(f"{context['num_cpus']} CPUs, {context['mhz_per_cpu']} MHz, load {context.get('load_avg')}; "
          "real time of one operation, all threads together")
    show(rows)
    if target:
        pathlib.Path(target).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


main()
