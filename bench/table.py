# SPDX-License-Identifier: BSL-1.0
"""Prints one table of Google Benchmark results: table.py RESULTS_DIR [JSON_FILE]

Of repeated runs the median is shown, with the coefficient of variation beside it.
"""
import json
import os
import sys

UNIT_NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def rows(path):
    with open(path, encoding="utf-8") as file:
        runs = json.load(file)["benchmarks"]
    spread = {run["run_name"]: run["real_time"] for run in runs if run.get("aggregate_name") == "cv"}
    for run in runs:
        if run.get("error_occurred"):
            sys.exit(f"{run['name']}: {run.get('error_message')}")
        if run["run_type"] == "aggregate" and run["aggregate_name"] != "median":
            continue
        name = run["run_name"]
        yield {
            "name": name,
            "threads": run.get("threads", 1),
            "ns": round(run["real_time"] * UNIT_NS[run["time_unit"]], 2),
            "cv_percent": round(100 * spread[name], 1) if name in spread else None,
        }


def main():
    directory, target = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    files = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    table = sorted((row for name in files for row in rows(os.path.join(directory, name))), key=lambda row: row["name"])
    if not table:
        sys.exit(f"no results in {directory}")
    with open(os.path.join(directory, files[0]), encoding="utf-8") as file:
        context = json.load(file)["context"]
    print(f"{context['num_cpus']} CPUs, {context['mhz_per_cpu']} MHz, load {context.get('load_avg')}; "
          "real time of one operation, all threads together")
    width = max(len(row["name"]) for row in table)
    print(f"{'benchmark':<{width}}  threads        ns     cv")
    for row in table:
        spread = f"{row['cv_percent']:5.1f}%" if row["cv_percent"] is not None else "     -"
        print(f"{row['name']:<{width}}  {row['threads']:>7}  {row['ns']:>8.2f} {spread}")
    if target:
        with open(target, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=1)
            file.write("\n")


main()
