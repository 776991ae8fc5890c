#!/usr/bin/python3
"""Holds the rules of the architecture that a compiler does not: who includes whom, what pure layers must not
touch, and how a file opens. Called by scripts/test and scripts/check; it reads sources and builds nothing.

The rules are functions from a path and a text to complaints, so the tests at the end can show that each of them
finds what it is for.
"""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAX_LINE = 120
MAX_README_LINES = 30

# What each layer may name directly. Whatever those may include is allowed with them.
MAY_INCLUDE = {
    "base": [],
    "model": ["base"],
    "protocol": ["model"],
    "engine": ["protocol"],
    "agent": ["protocol"],
    "store": ["model"],
    "telemetry": ["base"],
    "net": ["protocol", "telemetry"],
    "process": ["base"],
    "server": ["engine", "store", "net", "telemetry"],
    "worker": ["agent", "store", "net", "process", "telemetry"],
    "cli": ["net", "protocol"],
}
PURE = {"base", "model", "protocol", "engine", "agent"}

# In code of the pure layers, without comments and strings: whoever uses one of these cannot be replayed.
IMPURE = {
    r"\bco_(await|return|yield)\b": "coroutines belong to the shells",
    r"\bstd::(jthread|thread|async|mutex|shared_mutex|condition_variable|atomic\w*)\b": "pure code has one thread",
    r"\bthread_local\b": "pure code keeps its state in objects",
    r"\bread_(mono|boot|wall)_clock\b": "times are handed in",
    r"\b(system|steady|high_resolution)_clock\b": "times are handed in",
    r"\b(clock_gettime|gettimeofday|localtime\w*|gmtime\w*)\b": "times are handed in",
    r"(?<![\w.>:])(std::|::)?time\s*\((nullptr|NULL|0)\)": "times are handed in",
    r"\b(system_random|random_device|mt19937\w*|getrandom|s?rand)\s*\(": "random numbers come from a random_source",
    r"\b[io]?fstream\b|\bstd::filesystem\b|\bfopen\b": "files belong to the shells",
    r"\bstd::(cout|cerr|clog|cin)\b|\bf?printf\s*\(": "output belongs to the shells",
    r"\btelemetry::": "logging belongs to the shells",
    r"\bgetenv\b": "configuration is handed in",
}
IMPURE_HEADERS = re.compile(
    r"^(thread|mutex|shared_mutex|future|atomic|condition_variable|random|fstream|filesystem|iostream|coroutine|"
    r"unistd\.h|fcntl\.h|sys/.*|netinet/.*|pthread\.h|boost/(asio|beast|log|thread|filesystem)(/.*|\.hpp))$")
# The two files that read a clock or the kernel's generator for others, and those that end the process.
EXEMPT = {
    "include/orchestrator/base/time.hpp", "src/base/time.cpp", "include/orchestrator/base/random.hpp",
    "src/base/random.cpp", "src/base/check.cpp", "src/base/result.cpp",
}

BANNED_EVERYWHERE = {
    r"\bawaitable_operators\b": "`||` waits for a success and loses errors; use deadlines",
    r"\bexperimental::(basic_)?channel\b": "loses data at cancel and close; use a mailbox",
    r"#\s*include\s*<(format|expected)>": "this standard library lacks it; use fmt or result<T>",
}


def layer_of(path):
    """The layer a source or header belongs to, from its path below the root; None outside all layers."""
    parts = pathlib.PurePath(path).parts
    if parts[:2] == ("include", "orchestrator") and len(parts) == 4:
        return parts[2]
    if parts[0] == "src" and len(parts) >= 3:
        return parts[1]
    if parts[:2] == ("tests", "unit") and len(parts) >= 4:
        return parts[2]
    return None


def closure(layer):
    """All layers that `layer` may include, itself among them."""
    allowed = {layer}
    for direct in MAY_INCLUDE[layer]:
        allowed |= closure(direct)
    return allowed


def without_comments_and_strings(text):
    """The code alone, with as many lines as before."""
    pattern = re.compile(
        r'R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/',
        re.DOTALL)

    def blank(match):
        before = text[max(0, match.start() - 1):match.start()]
        if match.group().startswith("'") and before.isalnum():
            return match.group()  # a digit separator as in 1'000, no character
        return "\n" * match.group().count("\n") or " "
    return pattern.sub(blank, text)


def includes(text):
    """Pairs of line number and (bracket, name) of each #include."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if found:
            yield number, found.group(1), found.group(2)


def included_layer(name):
    found = re.match(r"orchestrator/(\w+)/\w+\.hpp$", name)
    return found.group(1) if found else None


def check_includes(path, text, exists):
    """Layering, and that every header of ours is named by its full path or lies in the same folder."""
    layer = layer_of(path)
    if layer is not None and layer not in MAY_INCLUDE:
        yield f"{path}: unknown layer `{layer}`: add it to MAY_INCLUDE and to CMakeLists.txt"
        return
    for number, bracket, name in includes(text):
        where = f"{path}:{number}"
        if bracket == "<" and name.startswith("orchestrator/"):
            other = included_layer(name)
            if not exists(f"include/{name}"):
                yield f"{where}: <{name}> does not exist"
            elif layer and other not in closure(layer):
                yield f"{where}: {layer} may not include {other}"
        elif bracket == '"' and path.startswith(("include/", "src/")):
            private = pathlib.PurePath(path).parent / name
            if path.startswith("include/"):
                yield f'{where}: a public header includes "{name}": public headers name only public ones'
            elif "/" in name or not exists(str(private)):
                yield f'{where}: "{name}" is not a header beside this file'


def check_purity(path, text):
    if path.startswith("tests/") or layer_of(path) not in PURE or path in EXEMPT:
        return
    for number, _, name in includes(text):
        if IMPURE_HEADERS.match(name):
            yield f"{path}:{number}: <{name}> in a pure layer"
    for number, line in enumerate(without_comments_and_strings(text).splitlines(), 1):
        for pattern, why in IMPURE.items():
            found = re.search(pattern, line)
            if found:
                yield f"{path}:{number}: `{found.group().strip()}` in a pure layer: {why}"


def check_banned(path, text):
    code = without_comments_and_strings(text) if path.endswith((".cpp", ".hpp")) else ""
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, why in BANNED_EVERYWHERE.items():
            if re.search(pattern, line):
                yield f"{path}:{number}: `{line.strip()}` is banned: {why}"
        if re.search(r"#\s*include\s*<boost/log/", line) and path != "src/telemetry/log.cpp":
            yield f"{path}:{number}: Boost.Log is included in src/telemetry/log.cpp only"


def check_opening(path, text):
    """A file opens by saying what it is for."""
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    first = next((line for line in lines if line.strip()), "")
    if not first.startswith(("// ", "/* ", "/** ", "# ", '"""')):
        yield f"{path}:1: opens without a comment that says what the file is for"


def check_lines(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            yield f"{path}:{number}: {len(line)} characters, more than {MAX_LINE}"
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end of the line"
    if text and not text.endswith("\n"):
        yield f"{path}: no newline at the end"


def check_readme(path, text):
    lines = text.count("\n")
    if lines > MAX_README_LINES:
        yield f"{path}: {lines} lines, more than {MAX_README_LINES}"


def sources(*suffixes):
    """Paths below the root, as text, of all files that people write here."""
    for top in ("include", "src", "tests", "jobs", "scripts", ".ci"):
        for path in sorted((ROOT / top).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            generated = ("node_modules" in path.parts or "__pycache__" in path.parts
                         or re.search(r"/(fixtures|legacy)/", name))
            if path.is_file() and not generated and (path.suffix in suffixes or "any script" in suffixes
                                                     and path.suffix == "" and top in ("scripts", ".ci")):
                yield name, path.read_text(encoding="utf-8")


class Tree(unittest.TestCase):
    """The rules, over every file of the tree."""

    def expect_no_complaints(self, complaints):
        complaints = list(complaints)
        if complaints:
            self.fail("\n" + "\n".join(complaints))

    def test_layers_include_only_what_the_architecture_allows(self):
        exists = lambda name: (ROOT / name).is_file()  # noqa: E731
        self.expect_no_complaints(c for p, t in sources(".cpp", ".hpp") for c in check_includes(p, t, exists))

    def test_pure_layers_touch_nothing_outside(self):
        self.expect_no_complaints(c for p, t in sources(".cpp", ".hpp") for c in check_purity(p, t))

    def test_nobody_uses_what_is_known_to_break(self):
        self.expect_no_complaints(c for p, t in sources(".cpp", ".hpp") for c in check_banned(p, t))

    def test_every_file_opens_with_what_it_is_for(self):
        kinds = (".cpp", ".hpp", ".py", ".sh", ".toml", ".ts", ".tsx", ".mjs", "any script")
        self.expect_no_complaints(c for p, t in sources(*kinds) for c in check_opening(p, t))

    def test_lines_are_short_and_clean(self):
        kinds = (".cpp", ".hpp", ".py", ".sh", ".toml", ".ts", ".tsx", ".mjs", "any script")
        self.expect_no_complaints(c for p, t in sources(*kinds) for c in check_lines(p, t))

    def test_every_layer_has_a_short_page_about_itself(self):
        complaints = []
        for layer in MAY_INCLUDE:
            name = f"src/{layer}/README.md"
            if (ROOT / name).is_file():
                complaints += check_readme(name, (ROOT / name).read_text(encoding="utf-8"))
            elif any((ROOT / "src" / layer).glob("*.cpp")):
                complaints.append(f"{name} is missing")
        self.expect_no_complaints(complaints)

    def test_cmake_links_the_same_layers(self):
        """The link lists in CMakeLists.txt are the same rule in another form; they must not drift apart."""
        text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        complaints = []
        for layer in MAY_INCLUDE:
            found = re.search(rf"^orchestrator_layer\({layer}\b([^)]*)\)", text, re.MULTILINE)
            linked = set(re.findall(r"orchestrator_(\w+)", found.group(1))) if found else set()
            if not found:
                complaints.append(f"CMakeLists.txt has no layer {layer}")
            complaints += [f"CMakeLists.txt: {layer} may not link {other}" for other in linked - closure(layer)]
        self.expect_no_complaints(complaints)


class Rules(unittest.TestCase):
    """Each rule finds what it is for, and leaves the rest alone."""

    def complaints_of(self, path, text, exists=lambda name: True):
        return [c for rule in (lambda p, t: check_includes(p, t, exists), check_purity, check_banned, check_opening,
                               check_lines) for c in rule(path, text)]

    def test_an_include_up_the_layers_is_found(self):
        text = "// x\n#include <orchestrator/engine/engine.hpp>\n"
        self.assertIn("model may not include engine", self.complaints_of("src/model/a.cpp", text)[0])
        self.assertIn("worker may not include engine", self.complaints_of("include/orchestrator/worker/a.hpp", text)[0])
        self.assertFalse(self.complaints_of("src/server/a.cpp", text))
        self.assertFalse(self.complaints_of("src/main.cpp", text))

    def test_the_sides_never_meet(self):
        for one, other in (("engine", "agent"), ("server", "worker"), ("store", "net"), ("net", "process"),
                           ("process", "store"), ("cli", "server"), ("net", "store"), ("telemetry", "model")):
            self.assertNotIn(other, closure(one))
            self.assertNotIn(one, closure(other))

    def test_headers_that_do_not_exist_or_lie_elsewhere_are_found(self):
        nothing = lambda name: False  # noqa: E731
        self.assertTrue(self.complaints_of("src/base/a.cpp", "// x\n#include <orchestrator/base/b.hpp>\n", nothing))
        self.assertTrue(self.complaints_of("src/base/a.cpp", '// x\n#include "b.hpp"\n', nothing))
        self.assertTrue(self.complaints_of("src/base/a.cpp", '// x\n#include "../model/b.hpp"\n'))
        self.assertTrue(self.complaints_of("include/orchestrator/base/a.hpp", '// x\n#include "b.hpp"\n'))
        self.assertTrue(self.complaints_of("src/surprise/a.cpp", "// x\n"))

    def test_clocks_threads_coroutines_and_files_are_found_in_pure_layers(self):
        for code in ("co_await f();", "std::thread t;", "auto n = read_wall_clock();", "std::mutex m;", "srand(1);",
                     "auto t = ::time(nullptr);", "std::ifstream f;", "std::chrono::steady_clock::now();",
                     "std::cerr << 1;", "#include <fstream>", "#include <boost/asio.hpp>", "telemetry::info(x);",
                     "#include <sys/stat.h>", "auto s = system_random();"):
            self.assertTrue(self.complaints_of("src/engine/a.cpp", f"// x\n{code}\n"), code)
            self.assertFalse(self.complaints_of("tests/unit/engine/a_test.cpp", f"// x\n{code}\n"), code)

    def test_words_in_comments_and_strings_are_no_code(self):
        text = '// co_await\nconst char* a = "std::thread \\" co_await";\n/* std::mutex */ int b = 1\'000\'000;\n'
        self.assertFalse(self.complaints_of("src/engine/a.cpp", text))
        self.assertTrue(self.complaints_of("src/engine/a.cpp", "// x\nint a = 1'000; co_await f();\n"))
        self.assertTrue(self.complaints_of("src/engine/a.cpp", "// x\nchar a = '\"'; co_await f(); char b = '\"';\n"))

    def test_banned_parts_of_libraries_are_found_everywhere(self):
        for code in ("using namespace boost::asio::experimental::awaitable_operators;", "#include <format>",
                     "asio::experimental::channel<void()> c;", "#include <boost/log/core.hpp>"):
            self.assertTrue(self.complaints_of("src/server/a.cpp", f"// x\n{code}\n"), code)

    def test_bare_openings_long_lines_and_loose_ends_are_found(self):
        self.assertTrue(self.complaints_of("src/base/a.cpp", "#pragma once\n"))
        self.assertTrue(self.complaints_of("scripts/a", "#!/bin/bash\nset -e\n"))
        self.assertTrue(self.complaints_of("src/base/a.cpp", "// " + "x" * 120 + "\n"))
        self.assertTrue(self.complaints_of("src/base/a.cpp", "// x \n"))
        self.assertTrue(self.complaints_of("src/base/a.cpp", "// x"))
        self.assertFalse(self.complaints_of("scripts/a", "#!/bin/bash\n# x\n"))
        self.assertTrue(list(check_readme("src/base/README.md", "x\n" * 31)))


if __name__ == "__main__":
    unittest.main()
