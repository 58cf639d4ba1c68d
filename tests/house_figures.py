"""The house in figures: lengths, widths, complexity, private imports, patched methods, missing docstrings.

    python tests/house_figures.py                 # the package of this checkout
    python tests/house_figures.py OTHER/affect_nb # another one, for instance that of an older checkout, beside it

Everything is read with `ast`; nothing of the package is imported.
"""
import ast
import sys
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).resolve().parent.parent/"affect_nb"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.match_case)
WIDTH = 120 # columns


def modules(package: Path) -> dict:
    """Path -> syntax tree of every module but nbdev's index."""
    paths = [path for path in sorted(package.rglob("*.py")) if path.name != "_modidx.py"]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions(tree: ast.AST) -> list:
    """Every function and method, nested ones too."""
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def body_lines(node) -> int:
    """Lines of a function's body, without signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None and len(node.body) > 1 else node.body
    return body[-1].end_lineno - body[0].lineno + 1


def complexity(node) -> int:
    """Cyclomatic complexity: 1, and 1 for every branch, boolean operand after the first, comprehension and condition in it."""
    count = 1
    for part in ast.walk(node):
        if isinstance(part, BRANCHES): count += 1
        elif isinstance(part, ast.BoolOp): count += len(part.values) - 1
        elif isinstance(part, ast.comprehension): count += 1 + len(part.ifs)
    return count


def private_imports(tree: ast.AST) -> list:
    """Private names that a module takes from another one of the package."""
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("affect_nb"))]
    return [name.name for node in taken for name in node.names if name.name.startswith("_") and not name.name.startswith("__")]


def patched_methods(tree: ast.AST) -> list:
    """Methods that stand outside of their class: by `@patch`, or assigned to it."""
    decorated = [node.name for node in functions(tree) for mark in node.decorator_list
                 if isinstance(mark, ast.Name) and mark.id.startswith("patch")]
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    assigned = [ast.unparse(target) for target in targets
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id[:1].isupper()]
    return decorated + assigned


def undocumented(tree: ast.AST) -> list:
    """Public functions and classes of a module without a docstring."""
    public = [node for node in tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")]
    return [node.name for node in public if ast.get_docstring(node) is None]


def spread(values) -> tuple:
    """Median, value that nine of ten do not exceed, largest."""
    ordered = sorted(values)
    return median(ordered), ordered[int(.9*(len(ordered) - 1))], ordered[-1]


def figures(package: Path = PACKAGE) -> dict:
    """Name of a figure -> its value; of a spread, (median, 9 in 10, largest)."""
    trees = modules(package)
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in trees}
    every = [node for tree in trees.values() for node in functions(tree)]
    widths = [len(line) for rows in lines.values() for line in rows if line.strip()]
    return {
        "modules": len(trees),
        "lines of a module (median, 9 in 10, largest)": spread(len(rows) for rows in lines.values()),
        "lines of a function (median, 9 in 10, largest)": spread(map(body_lines, every)),
        "complexity of a function (median, 9 in 10, largest)": spread(map(complexity, every)),
        "columns of a line (median, 9 in 10, largest)": spread(widths),
        f"lines over {WIDTH} columns, %": round(100*sum(width > WIDTH for width in widths)/len(widths), 2),
        "private names imported between modules": sum(len(private_imports(tree)) for tree in trees.values()),
        "methods outside of their class": sum(len(patched_methods(tree)) for tree in trees.values()),
        "public names without docstring": sum(len(undocumented(tree)) for tree in trees.values()),
    }


def main(others: list):
    """Print the figures, side by side where several packages are given."""
    packages = [*map(Path, others), PACKAGE]
    columns = [figures(package) for package in packages]
    for name in columns[-1]:
        print(f"{name:52}", *(f"{str(column[name]):>22}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
