"""What scripts/mutants and scripts/slips share: copies of the sources with changes in them that the environment switches on, so that one
build holds them all and each process has the one that it is told of, `SWITCH=7`."""

import pathlib, re

SOURCES = ["Sources", "Tests", "Benchmarks", "Package.swift"]
SWITCH_FILE = "Sources/Core/Kernel/Switch.swift"
SWITCH = """import Foundation
package let switched = Int(ProcessInfo.processInfo.environment["SWITCH"] ?? "") ?? 0
@inline(__always) package func isOn(switch number: Int) -> Bool { switched == number }
"""
TYPES = ["struct", "class", "enum", "extension", "protocol", "actor"]
ACCESSOR = r"\s*(?:mutating |nonmutating )?(get|set|willSet|didSet|_modify|_read)\b[^{]*"
WORD = re.compile(r"(?<![\w.`#])(func|init|deinit|subscript|var|let|case|" + "|".join(TYPES) + r")\b")


def refresh(root, copy, changed={}):
    """Lays out the sources, with other texts for some. Only what differs is written, so that little is built anew."""
    wanted = {path.relative_to(root) for name in SOURCES for path in [root / name, *(root / name).rglob("*")] if path.is_file()}
    texts = {pathlib.Path(path): text.encode() for path, text in changed.items()}
    for path in [path for name in SOURCES for path in (copy / name).rglob("*") if path.is_file()]:
        if path.relative_to(copy) not in wanted | texts.keys(): path.unlink()
    for path in sorted(wanted | texts.keys()):
        target, data = copy / path, texts[path] if path in texts else (root / path).read_bytes()
        if target.exists() and target.read_bytes() == data: continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def knowing(text):
    """A file that knows of the switch; its lines stay where they are."""
    if re.search(r"^(package |public )?import Kernel$", text, re.M): return text
    return re.sub(r"^(?=(package |public )?import )", "import Kernel; ", text, count=1, flags=re.M)


def blank(text):
    """A text of Swift whose comments and quotes are spaces, so that its brackets can be counted."""
    signs, end = list(text), len(text)

    def wipe(start, stop):
        signs[start:stop] = [sign if sign == "\n" else " " for sign in signs[start:stop]]

    def quote(at):
        """What follows the quote that begins here, which is wiped with what is spliced into it."""
        opening = re.compile(r'(#*)("""|")').match(text, at)
        close, escape, start, at = opening[2] + opening[1], "\\" + opening[1], at, opening.end()
        while at < end and not text.startswith(close, at):
            if text.startswith(escape + "(", at):
                depth = 0
                while True:
                    if text[at] == '"': at = quote(at); continue
                    depth += (text[at] == "(") - (text[at] == ")")
                    at += 1
                    if depth == 0 and text[at - 1] == ")": break
            else: at += len(escape) + 1 if text.startswith(escape, at) else 1
        wipe(start, at + len(close))
        return at + len(close)

    at = 0
    while at < end:
        if text.startswith("//", at) or text.startswith("/*", at):
            stop = text.find("\n", at) if text[at + 1] == "/" else text.find("*/", at) + 2
            wipe(at, end if stop < 0 else stop)
            at = end if stop < 0 else stop
        elif re.compile(r'#*"').match(text, at): at = quote(at)
        else: at += 1
    return "".join(signs)


def closing(code, at):
    """Where the bracket that opens here is closed."""
    depth = 0
    for place in range(at, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if depth == 0: return place
    raise ValueError("brackets are not closed")


def bodies(text):
    """What functions of a file do: where each body starts and ends, between its braces, and whether it has a result. In their order; those
    inside of others are part of them."""
    code, found = blank(text), []

    def reach(signs, at, end):
        """The first of some signs outside of brackets."""
        while at < end and code[at] not in signs: at = closing(code, at) + 1 if code[at] in "([{" else at + 1
        return at

    def take(start, end, has_result):
        accessor = re.compile(ACCESSOR).match(code, start, end)
        if not accessor: found.append((start, end, has_result))
        while accessor:
            stop = closing(code, accessor.end())
            found.append((accessor.end() + 1, stop, accessor[1] == "get"))
            accessor = re.compile(ACCESSOR).match(code, stop + 1, end)

    def scan(at, end):
        while at < end:
            word = WORD.match(code, at)
            if code[at] in "([{": at = closing(code, at) + 1; continue
            if not word: at += 1; continue
            at = word.end()
            if word[1] in TYPES:
                if re.match(r"\s+(func|var|subscript)\b", code[at:at + 20]): continue
                brace = reach("{", at, end)
                if brace < end: scan(brace + 1, closing(code, brace))
            elif word[1] in ("func", "init", "deinit", "subscript"):
                brace = reach("{", at, end)
                head = code[at:brace]
                result = "->" in head[closing(head, head.index("(")):] if "(" in head else False
                if brace < end: take(brace + 1, closing(code, brace), result)
            else:
                brace = reach("{=\n" if word[1] == "var" else "{\n", at, end)
                if brace < end and code[brace] == "=": brace = reach("{\n", brace, end)
                elif word[1] == "var" and brace < end and code[brace] == "{": take(brace + 1, closing(code, brace), True)
            at = brace
    scan(0, len(text))
    return found


def rest(text, found):
    """A file without what its functions do."""
    starts, ends = [0] + [end for _, end, _ in found], [start for start, _, _ in found] + [len(text)]
    return [text[start:end] for start, end in zip(starts, ends)]


def is_expression(body):
    """Whether what a function does is the value of a single expression, without a `return`."""
    code = blank(body).strip()
    if re.match(r"(fatalError|unreachable|throw|while|do|let|var|guard|for|return|defer|repeat)\b", code): return False
    if re.match(r"(if|switch)\b", code): return not re.search(r"\breturn\b", code)
    if not re.search(r"\breturn\b", code): return True
    at, lines = 0, []
    while at < len(code):
        stop = at
        while stop < len(code) and code[stop] != "\n": stop = closing(code, stop) + 1 if code[stop] in "([{" else stop + 1
        lines.append(code[at:stop].strip())
        at = stop + 1
    return all(line.startswith((".", "?", ":", "&&", "||", "+", "-")) for line in lines[1:] if line)


def merged(text, changes):
    """A file in which each of `changes`, by the numbers of their switches other texts of it, can be switched on. With it the lines that each
    takes up: first, last, number. Changes outside of what functions do are not taken: the numbers of those, too."""
    found, others, refused = bodies(text), {}, []
    for number, other in changes.items():
        places = bodies(other)
        if len(places) != len(found) or rest(text, found) != rest(other, places): refused.append(number)
        else: others[number] = [other[start:end] for start, end, _ in places]
    parts, lines = [], []
    for place, (before, (start, end, has_result)) in enumerate(zip(rest(text, found), found)):
        was, now = text[start:end], [before]
        different = [(number, bodies_of[place]) for number, bodies_of in others.items() if bodies_of[place] != text[start:end]]
        value = lambda body: "return " + body.strip() if has_result and is_expression(body) else body
        for number, body in different:
            first = sum(part.count("\n") for part in parts + now) + 1
            now.append(f"\nif isOn(switch: {number}) {{\n{value(body)}\n{'' if has_result else 'return'}\n}}\n")
            lines.append((first, first + now[-1].count("\n"), number))
        parts += now + [value(was) if different else was]
    return knowing("".join(parts + rest(text, found)[-1:])), lines, refused
