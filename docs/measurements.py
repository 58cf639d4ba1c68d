"""The page of measurements: what the scripts of benchmarks/ have written, as tables."""
import json
import re

LONGEST_TABLE = 40 # rows; longer tables are in their file


def cell_text(value):
    "A figure in a table."
    if value is None: return "-"
    if isinstance(value, float): return f"{value:.4g}"
    if isinstance(value, (list, tuple, dict)) and len(value) > 10: return f"{len(value)} values"
    if isinstance(value, dict): value = [f"{key} {cell_text(item)}" for key, item in value.items()]
    if isinstance(value, (list, tuple)): return ", ".join(map(cell_text, value))
    return re.sub(r"([|*$<])", r"\\\1", str(value).replace("_", " "))


def table(columns, rows):
    "A Markdown table."
    head = [f"| {' | '.join(cell_text(column) for column in columns)} |", "|" + "---|"*len(columns)]
    return [*head, *(f"| {' | '.join(cell_text(value) for value in row)} |" for row in rows), ""]


def result_lines(name, result):
    "What one benchmark has written: where it ran, its single figures, its tables."
    figures, where = result["figures"], result.get("where", {})
    is_table = lambda value: isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    tables = {key: value for key, value in figures.items() if is_table(value)}
    file = f"[{name}.json](benchmarks/results/{name}.json)"
    lines = [f"## {cell_text(name)}", "", f"The file as the benchmark wrote it: {file}.", ""]
    if where: lines += [", ".join(f"{cell_text(key)} {cell_text(value)}" for key, value in where.items()) + ".", ""]
    single = [(key, value) for key, value in figures.items() if key not in tables]
    if single: lines += table(("figure", "value"), single)
    for key, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines += [f"### {cell_text(name)}: {cell_text(key)}", ""]
        if len(rows) > LONGEST_TABLE: lines += [f"{len(rows)} rows, in the file.", ""]
        else: lines += table(columns, [[row.get(column) for column in columns] for row in rows])
    return lines


def write_measurements(site, root):
    "A page with all that the committed benchmarks have written."
    lines = ["# Measurements", "", "What the scripts of `benchmarks/` wrote, file by file; what follows from it is in "
             "[benchmarks](benchmarks/README.md) and [studies](docs/studies.md). Scores on the embedded world are not "
             "benchmark results.", ""]
    for path in sorted((root/"benchmarks"/"results").glob("*.json")):
        site.write(path.relative_to(root), path.read_bytes())
        lines += result_lines(path.stem, json.loads(path.read_text(encoding="utf-8")))
    site.write("measurements.md", "\n".join(lines))
