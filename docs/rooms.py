"""The reference pages: each public name of each room with its signature, its parameters and the examples under it."""
import re
from inspect import cleandoc

from names import is_exported, is_hidden, public_names, text_of

CODE_SPAN = re.compile(r"(`+)(.+?)\1", re.S)


def outside_code(text, change):
    "`text` with `change` applied to all that is not in backticks."
    parts, end = [], 0
    for span in CODE_SPAN.finditer(text):
        parts += [change(text[end:span.start()]), span[0]]
        end = span.end()
    return "".join([*parts, change(text[end:])])


def escaped(text):
    "A comment or a docstring as Markdown that shows the same characters; what is in backticks stays code."
    shown = outside_code(text, lambda part: re.sub(r"([\\*_<>\[\]{}$|~#])", r"\\\1", part))
    return re.sub(r"(?m)^(\s*)([-+]|\d+[.)])(?=\s)", lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", shown)


def cut(text, length): return text if len(text) <= length else text[:length] + " ..."


def summary_of(name):
    "The sentence of a name; of a constant without one its value, or the start of it."
    if name.sentence or name.kind != "py:data" or not name.signature: return escaped(name.sentence)
    value = cut(name.signature, 60)
    return f"`{value}`" if not set(value) & set("`|") else ""


class Linker:
    "Makes a link of each public name in backticks."
    def __init__(self, modules):
        self.places, self.modules = {}, {module.name: module for module in modules}
        for module in modules:
            for name in module.names: self.places.setdefault(name.name, []).append(module)

    def certain(self, name):
        "The link of a name that is known to be one of ours."
        places = self.places.get(name, ())
        return f"{{py:obj}}`{name} <{places[0].full_name}.{name}>`" if places else f"`{name}`"

    def link(self, text, module, but=()):
        "`text` with its names linked as seen from `module`; `but`: names that mean something else here."
        def one(found):
            name = found[2].removesuffix("()")
            if name in self.modules: return f"{{py:mod}}`{name} <{self.modules[name].full_name}>`"
            place = self._place(name, module)
            if name in but or place is None: return found[0]
            return f"{{py:obj}}`{found[2]} <{place.full_name}.{name}>`"
        return re.sub(r"(?<![`}])(`)([A-Za-z]\w*(?:\.\w+)?(?:\(\))?)`(?!`)", one, text)

    def _place(self, name, module):
        places = self.places.get(name, ())
        if module in places: return module
        telling = "_" in name or name != name.lower() # a plain word in backticks is often a parameter or a column
        return places[0] if len(places) == 1 and telling else None


def quoted(text):
    "The value of an option, which is read as YAML."
    return "'" + text.replace("'", "''") + "'"


def fenced(kind, argument, lines, depth):
    "A directive; `depth`: how many others it may hold."
    fence = "`"*(4 + 2*depth)
    return "\n".join([f"{fence}{{{kind}}} {argument}", *lines, fence])


def body_of(name, module, linker):
    "Docstring, parameters and what is returned, as Markdown."
    say = lambda text: linker.link(escaped(text), module, but=(*name.parameters, name.name))
    lines = ["", say(cleandoc(name.doc))] if name.doc else []
    told = {f":param {escaped(parameter)}:": text for parameter, text in name.parameters.items() if text}
    if name.returns: told[":returns:"] = name.returns
    return [*lines, "", *(f"{label} {say(text)}" for label, text in told.items())]


def shown(name, module, linker, depth=1):
    "A public name as a directive."
    options = [f":{flag}:" for flag in name.flags]
    signature = name.signature
    if name.kind == "py:data": options, signature = [f":value: {quoted(cut(signature, 300))}"] if signature else [], ""
    members = [line for member in name.members for line in ("", shown(member, module, linker, depth - 1))]
    return fenced(name.kind, name.name + signature, [*options, *body_of(name, module, linker), *members], depth)


def markdown_cell(source): return dict(cell_type="markdown", metadata={}, source=source)


def level_of(cell):
    "How deep a heading is."
    return len(text_of(cell)) - len(text_of(cell).lstrip("#"))


def linked_prose(source, module, linker):
    "A markdown cell with its names linked; headings, code blocks and links stay as they are."
    lines, code = [], False
    for line in source.splitlines():
        if line.lstrip().startswith("```"): code = not code
        plain = code or line.startswith(("#", "    ")) or "](" in line
        lines.append(line if plain else linker.link(line, module))
    return "\n".join(lines)


def grouped(cells):
    "For each exported cell: headings and prose before it, itself, what stands right under it; without hidden ones."
    groups, waiting = [], []
    for cell in cells:
        if is_exported(cell):
            groups.append((waiting, cell, []))
            waiting = []
        elif is_hidden(cell) or cell["cell_type"] == "raw": continue
        elif cell["cell_type"] == "code" and groups:
            groups[-1][2].extend([*waiting, cell]) # prose between code and its example belongs to the example
            waiting = []
        else: waiting.append(cell)
    return groups


def module_page(module, linker, source_url, example):
    "The cells of a module's page; `example(cell, prose)` makes of a code cell what the page shows."
    opening = "\n".join(linked_prose(module.opening, module, linker).splitlines()[1:])
    start = [f"# {module.name}", opening, "", f"```{{py:module}} {module.full_name}", "```", "",
             f"[The notebook with its code]({source_url})"]
    cells, headings, prose = [markdown_cell("\n".join(start))], [], module.about
    for before, exported, under in grouped(module.cells[1:]):
        names = public_names(module, text_of(exported))
        heads = [cell for cell in before if text_of(cell).startswith("#")]
        for head in heads: headings = [*(other for other in headings if level_of(other) < level_of(head)), head]
        if not names: continue
        lead = [cell for cell in before if cell not in heads]
        cells += [markdown_cell(linked_prose(text_of(cell), module, linker)) for cell in [*headings, *lead]]
        headings = []
        cells += [markdown_cell(shown(name, module, linker)) for name in names]
        prose = names[-1].sentence or (text_of(lead[-1]) if lead else prose) # what a picture right under the code shows
        for cell in under:
            if cell["cell_type"] == "markdown":
                prose = text_of(cell)
                cells.append(markdown_cell(linked_prose(prose, module, linker)))
            else: cells.append(example(cell, prose))
    return cells


def room_page(about, modules, door, linker):
    "A room: what its door hands on, and every public name of its modules with its sentence."
    name = modules[0].name.split(".")[0]
    lines = [f"# {name}", "", about, ""]
    if door:
        listed = ", ".join(map(linker.certain, door))
        lines += [f"`from affect_nb.{name} import ...` hands on: {listed}.", ""]
    for module in modules:
        lines += [f"## [{module.name}]({module.name.replace('.', '/')}.ipynb)", "", escaped(module.about), ""]
        link = lambda entry: f"{{py:obj}}`{entry.name} <{module.full_name}.{entry.name}>`"
        rows = [f"| {link(entry)} | {summary_of(entry)} |" for entry in module.names]
        if rows: lines += ["| name | what it is |", "|---|---|", *rows, ""]
    pages = [module.name.replace(".", "/") for module in modules]
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *pages, "```", ""])
