#!/usr/bin/env python3
"""Finds circles of source files: files of a crate that use each other, directly or through
others; and in a crate with rooms, files that use one of a room above theirs. Fails if there
is one.

    scripts/circles.py [CRATE_FOLDER...]

Without folders, all crates of the workspace are looked at. What counts as a use is a path
that begins with `crate`, `super`, `self` or a child module, followed through re-exports to
the file that has the item; tests do not count.
"""

import os
import re
import sys

# The rooms of a crate, each of which uses only those after it.
ROOMS = {"wasm-cli": ["command", "session", "build", "input", "output", "connect"]}

USE = re.compile(r"\buse\s+([^;]+);")
TESTS = re.compile(
    r"#\[cfg\((?:test|all\(test[^\]]*)\)\]\s*(?:pub(?:\([^)]*\))? )?mod tests \{"
)


def code(text):
    """Without comments and tests."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    tests = TESTS.search(text)
    return text[: tests.start()] if tests else text


def modules(crate):
    """Every module that has a file, by its path from the crate's root, and its code."""
    source = os.path.join(crate, "src")
    found = {}
    for folder, _, files in os.walk(source):
        for file in files:
            if not file.endswith(".rs"):
                continue
            path = os.path.relpath(os.path.join(folder, file), source)
            parts = tuple(path[: -len(".rs")].split(os.sep))
            if parts in (("lib",), ("main",)):
                parts = ()
            elif parts[-1] == "mod":
                parts = parts[:-1]
            elif parts[-1] == "tests":
                continue
            with open(os.path.join(source, path), encoding="utf-8") as text:
                found[parts] = found.get(parts, "") + code(text.read())
    return found


def paths(tree):
    """The paths of a `use`: `a::{b, c::d}` has two."""
    tree = re.sub(r" as \w+", "", re.sub(r"\s+", " ", tree).strip())
    brace = tree.find("{")
    if brace < 0:
        return [tree.replace(" ", "")]
    before, inside = tree[:brace].replace(" ", ""), tree[brace + 1 : tree.rindex("}")]
    parts, depth, part = [], 0, ""
    for character in inside:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    parts.append(part)
    return [before + path for part in parts if part.strip() for path in paths(part)]


def used_paths(module, known):
    text = known[module]
    for tree in USE.findall(text):
        yield from paths(tree)
    rest = USE.sub("", text)
    yield from re.findall(r"\b(?:crate|super)(?:::\w+)+", rest)
    for child in known:
        if child and child[:-1] == module:
            for path in re.findall(rf"(?<![:\w]){child[-1]}(?:::\w+)+", rest):
                yield "self::" + path


def target(module, path, known, depth=0):
    """The module whose file has what a path names; `None` for another crate."""
    names = path.split("::")
    if names[0] == "crate":
        at, names = (), names[1:]
    elif names[0] == "self":
        at, names = module, names[1:]
    elif names[0] == "super":
        at = module
        while names and names[0] == "super":
            at, names = at[:-1], names[1:]
    elif module + (names[0],) in known:
        at = module
    else:
        return None
    while names and at + (names[0],) in known:
        at, names = at + (names[0],), names[1:]
    if names and depth < 5:
        for tree in USE.findall(known[at]):
            for inner in paths(tree):
                if inner.split("::")[-1] == names[0]:
                    behind = target(at, inner, known, depth + 1)
                    if behind not in (None, at):
                        return behind
    return at


def circles(edges):
    """Strongly connected groups of more than one, by Tarjan."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def upward(rooms, edges):
    """Uses that go back up: of a file of one room, one of a room before it."""
    level = {room: number for number, room in enumerate(rooms)}
    for module in edges:
        if module and module[0] not in level:
            sys.exit(f"error: {module[0]} is in none of the rooms {', '.join(rooms)}")
    return [
        (module, other)
        for module, others in edges.items()
        for other in others
        if module and other and level[other[0]] < level[module[0]]
    ]


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = sys.argv[1:]
    if not folders:
        crates = os.path.join(root, "crates")
        folders = [os.path.join(crates, name) for name in sorted(os.listdir(crates))]
        folders.append(os.path.join(root, "xtask"))
    failed = False
    for folder in folders:
        known = modules(folder)
        edges = {
            module: {target(module, path, known) for path in used_paths(module, known)}
            - {None, module}
            for module in known
        }
        groups = circles(edges)
        crate = os.path.basename(os.path.normpath(folder))
        print(f"{crate}: {len(known)} files, {len(groups)} circles")
        for module, other in upward(ROOMS[crate], edges) if crate in ROOMS else []:
            failed = True
            print(f"  {'/'.join(module)} goes back up to {'/'.join(other)}")
        for group in groups:
            failed = True
            for module in group:
                others = sorted(edges[module] & set(group))
                names = ", ".join("/".join(other) or "(root)" for other in others)
                print(f"  {'/'.join(module) or '(root)'} uses {names}")
    sys.exit(failed)


main()
