"""What notebooks say of their public names: signature, docstring, parameters, read without importing anything.

A parameter is explained by the comment behind it, as fastcore's docments reads it.
"""
import ast
import copy
import io
import json
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

NOT_LIBRARY = ("80_experiments", "90_tutorials")


@dataclass
class Name:
    "A public name as its page shows it."
    name: str
    kind: str                                   # py:function, py:class, py:data, py:method or py:property
    signature: str = ""
    doc: str = ""
    parameters: dict = field(default_factory=dict) # name -> what its comment says, "" where there is none
    returns: str = ""
    flags: tuple = ()                           # options of the directive, as "classmethod"
    members: list = field(default_factory=list) # methods and properties of a class, each a `Name`

    @property
    def sentence(self):
        "The first sentence of the docstring, or of what stands in its place."
        first = " ".join(self.doc.split("\n\n")[0].split())
        return re.split(r"(?<=[.;:])\s(?=[A-Z`(])", first)[0]


@dataclass
class Module:
    "A notebook and the module that it exports."
    name: str       # as core.metrics
    notebook: Path
    public: tuple   # its `__all__`
    cells: list     # of the notebook
    classes: dict = field(default_factory=dict, repr=False) # what `classes_of` finds in all notebooks

    @property
    def full_name(self): return f"affect_nb.{self.name}"
    @property
    def opening(self): return text_of(self.cells[0])
    @property
    def title(self): return self.opening.splitlines()[0].lstrip("# ")
    @property
    def about(self): return next(line for line in self.opening.splitlines() if line.startswith("> "))[2:]

    @cached_property
    def names(self):
        "Every public name that an exported cell defines, in the notebook's order."
        return [name for cell in self.cells if is_exported(cell) for name in public_names(self, text_of(cell))]


def text_of(cell):
    "The source of a cell."
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def is_exported(cell): return cell["cell_type"] == "code" and bool(re.search(r"^#\|\s*export", text_of(cell), re.M))
def is_hidden(cell):
    return cell["cell_type"] == "code" and bool(re.search(r"^#\|\s*(hide|default_exp)", text_of(cell), re.M))


def all_of(path):
    "The `__all__` of a Python file, as a tuple."
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return tuple(ast.literal_eval(node.value))
    return ()


def door_of(path):
    "The names that the door of a room hands on, those that it imports when they are used too."
    words = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.keyword)]
    lazy = [ast.literal_eval(word.value) for word in words if word.arg == "submod_attrs"]
    return tuple(name for modules in lazy for names in modules.values() for name in names) or all_of(path)


def find_modules(root):
    "Room (the folder of its notebooks) -> its modules, in the order of reading."
    rooms = {}
    for folder in sorted((root/"nbs").iterdir()):
        if not folder.is_dir() or not folder.name[:2].isdigit() or folder.name in NOT_LIBRARY: continue
        for notebook in sorted(folder.glob("*.ipynb")):
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            exports = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(text_of(cell) for cell in cells), re.M)
            if not exports: continue
            file = root/"affect_nb"/f"{exports[1].replace('.', '/')}.py"
            rooms.setdefault(folder.name, []).append(Module(exports[1], notebook, all_of(file), cells))
    modules = [module for found in rooms.values() for module in found]
    classes = classes_of(modules)
    for module in modules: module.classes = classes
    return rooms


def comments_of(source):
    "Line -> the comment that stands in it."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT}


def arguments_of(node, is_method):
    "The arguments of a function with their stars, without `self`."
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    for argument in plain[1:] if is_method else plain: yield argument.arg, argument
    if arguments.vararg: yield f"*{arguments.vararg.arg}", arguments.vararg
    for argument in arguments.kwonlyargs: yield argument.arg, argument
    if arguments.kwarg: yield f"**{arguments.kwarg.arg}", arguments.kwarg


def explained(node, comments, is_method=False):
    "What the comments say: name -> text for each parameter, and the text of what is returned."
    body, last = node.body[0].lineno, node.lineno
    returned = node.returns.end_lineno if node.returns else None
    parameters = {}
    for name, argument in arguments_of(node, is_method):
        line, last = argument.lineno, max(last, argument.end_lineno)
        parameters[name] = comments.get(line, "") if line < body and line != returned else ""
    closing = [line for line in range(last, body) if line == returned or (line > last and returned is None)]
    return parameters, next((comments[line] for line in closing if line in comments), "")


def signature_of(node, is_method):
    "The arguments and the annotation of what is returned, in one line."
    arguments = copy.deepcopy(node.args)
    if is_method:
        first = arguments.posonlyargs or arguments.args
        if first:
            del first[0]
            defaults = len(arguments.posonlyargs) + len(arguments.args)
            arguments.defaults = arguments.defaults[-defaults:] if defaults else []
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}"


def decorators_of(node):
    "The names of the decorators, without their arguments."
    return [ast.unparse(item.func if isinstance(item, ast.Call) else item) for item in node.decorator_list]


def describe_function(node, comments, kind="py:function", prefix=""):
    "A function, a method or a property as a `Name`."
    decorators = decorators_of(node)
    is_method = kind != "py:function" and "staticmethod" not in decorators
    parameters, returns = explained(node, comments, is_method)
    flags = tuple(word for word in ("classmethod", "staticmethod") if word in decorators)
    if any(word.endswith("property") for word in decorators):
        return Name(prefix + node.name, "py:property", doc=ast.get_docstring(node) or "", returns=returns)
    doc, signature = ast.get_docstring(node) or "", signature_of(node, is_method)
    return Name(prefix + node.name, kind, signature, doc, parameters, returns, flags)


def bases_of(node, classes):
    "(definition, comments) of the bases that a notebook of ours defines."
    return [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]


def fields_of(node, comments, classes):
    "Name -> (definition, comment) of the fields of a dataclass or a model, those of its bases first."
    found = {}
    for base, of_base in reversed(bases_of(node, classes)): found.update(fields_of(base, of_base, classes))
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or item.target.id.startswith("_"): continue
        if "ClassVar" in ast.unparse(item.annotation): continue
        found[item.target.id] = item, comments.get(item.lineno, comments.get(item.end_lineno, ""))
    return found


def field_text(item):
    "A field as an argument."
    text = f"{item.target.id}: {ast.unparse(item.annotation)}"
    if item.value is None: return text
    return f"{text} = {'...' if isinstance(item.value, ast.Call) else ast.unparse(item.value)}"


def constructor_of(node, comments, classes):
    "The signature of a class and its explained arguments: its own, its fields, or those of its first base of ours."
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init: return signature_of(init, True), explained(init, comments, True)[0]
    is_data = any("dataclass" in word for word in decorators_of(node))
    if is_data or any(isinstance(item, ast.AnnAssign) for item in node.body):
        fields = fields_of(node, comments, classes)
        given = [item.value is not None for item, _ in fields.values()]
        by_name = any("kw_only=True" in ast.unparse(item) for item in node.decorator_list) or given != sorted(given)
        listed = ["*"]*(by_name and bool(fields)) + [field_text(item) for item, _ in fields.values()]
        return f"({', '.join(listed)})", {name: comment for name, (_, comment) in fields.items()}
    inherited = (constructor_of(base, of_base, classes) for base, of_base in bases_of(node, classes))
    return next((found for found in inherited if found[0]), ("", {}))


def members_of(node, comments, classes):
    "The methods and properties with a docstring, those of private bases among them."
    found, private = {}, [place for place in bases_of(node, classes) if place[0].name.startswith("_")]
    for owner, of_owner in [(node, comments), *private]:
        for item in owner.body:
            if not isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) or item.name in found: continue
            if (item.name.startswith("_") and item.name != "__call__") or not ast.get_docstring(item): continue
            if any(word.endswith((".setter", "overload")) for word in decorators_of(item)): continue
            found[item.name] = describe_function(item, of_owner, "py:method")
    return list(found.values())


def describe_class(node, comments, classes):
    "A class with its constructor and its documented members."
    signature, parameters = constructor_of(node, comments, classes)
    inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    doc = next(filter(None, map(ast.get_docstring, [node, *inits])), "")
    return Name(node.name, "py:class", signature, doc, parameters, members=members_of(node, comments, classes))


def describe_values(node, comments):
    "Constants as `Name`s: their values, and the comment behind them."
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    value = ast.unparse(node.value) if node.value is not None else ""
    for target in targets:
        for item in target.elts if isinstance(target, ast.Tuple) else [target]:
            if not isinstance(item, ast.Name): continue
            shown = "" if isinstance(target, ast.Tuple) else value
            yield Name(item.id, "py:data", shown, comments.get(node.end_lineno, comments.get(node.lineno, "")))


def classes_of(modules):
    "Name -> (definition, comments of its cell) of every class that the notebooks define."
    found = {}
    for module in modules:
        for cell in filter(is_exported, module.cells):
            source = text_of(cell)
            comments = comments_of(source) if "class " in source else {}
            definitions = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
            found.update((node.name, (node, comments)) for node in definitions)
    return found


def public_names(module, source):
    "The public names that the source of an exported cell defines."
    comments, found = comments_of(source), []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if "patch" in decorators_of(node) and not node.name.startswith("_"):
                owner = ast.unparse(node.args.args[0].annotation).strip("'\"")
                found.append(describe_function(node, comments, "py:method", f"{owner}."))
            elif node.name in module.public: found.append(describe_function(node, comments))
        elif isinstance(node, ast.ClassDef) and node.name in module.public:
            found.append(describe_class(node, comments, module.classes))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found += [name for name in describe_values(node, comments) if name.name in module.public]
    return found


def unexplained(module):
    "What a reader is not told: public names without a sentence, and parameters without a comment."
    told = [name for name in module.names if name.kind != "py:data"]
    silent = [f"{module.name}.{name.name}" for name in told if not name.doc]
    return silent, [f"{module.name}.{name.name}: {parameter}" for name in told
                    for parameter, text in name.parameters.items() if not text]


def undescribed(module):
    "Names of `__all__` that no exported cell defines in a form that has a page."
    known = {name.name for name in module.names}
    return [name for name in module.public if name not in known]
