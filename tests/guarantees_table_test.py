#!/usr/bin/python3
"""Holds the table of tests/unit/README.md to the tests: each row and rule is there, and each test it names exists.
Called by scripts/test beside the include rules; it reads sources and builds nothing.
"""
import pathlib
import re
import unittest

TESTS = pathlib.Path(__file__).resolve().parent
CITATION = re.compile(r'`([^`]+)` ((?:"[^"]+"(?:, )?)+)')
LITERALS = re.compile(r'TEST_CASE(?:_TEMPLATE)?\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')


def names_in_cpp(text):
    """The names of doctest's cases; one that is too long for its line is written as several literals."""
    return ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', found)) for found in LITERALS.findall(text)]


def names_in(place):
    """What a place of the table may name: the tests of a file, or what a harness calls its own."""
    def read(path):
        return (TESTS / path).read_text()
    if place == "chaos":
        return re.findall(r"^@scenario\(.*\)\ndef (\w+)", read("chaos/scenarios.py"), re.M)
    if place == "sweep":
        return re.findall(r's\.name = "(\w+)"', read("sweep/scripts.cpp")) + \
            re.findall(r'\{defect::\w+, "(\w+)"\}', read("sweep/main.cpp"))
    if place == "sim":
        return re.findall(r'\{defect::\w+, "(\w+)"\}', read("sim/plants.hpp")) + \
            re.findall(r'^    "([^"]+)",$', read("sim/situations.hpp"), re.M)
    if place.endswith(".py"):
        return re.findall(r"^    def (test_\w+)", read(place), re.M)
    return names_in_cpp(read(f"unit/{place}"))


def complaints_about(table):
    for place, quoted in CITATION.findall(table):
        known = names_in(place)
        for name in re.findall(r'"([^"]+)"', quoted):
            hits = [k for k in known if k.startswith(name)]
            if not hits:
                yield f"{place} has nothing that begins with: {name}"
            elif len(hits) > 1 and name not in hits:
                yield f"{place} has several that begin with: {name}"


class GuaranteesTable(unittest.TestCase):
    def setUp(self):
        self.text = (TESTS / "unit/README.md").read_text()

    def test_each_row_and_each_rule_names_its_tests(self):
        rows, rules = self.text.split("| rule |")
        for part, last in ((rows, 36), (rules, 14)):
            lines = [line for line in part.splitlines() if re.match(r"\| \d", line)]
            self.assertEqual([int(line.split()[1]) for line in lines], list(range(1, last + 1)))
            self.assertEqual([line for line in lines if not CITATION.search(line)], [])
            stray = [line for line in lines if '"' in CITATION.sub("", line)]
            self.assertEqual(stray, [], "a name without its place")

    def test_each_test_it_names_exists(self):
        self.assertEqual(list(complaints_about(self.text)), [])

    def test_a_name_that_is_gone_or_means_two_is_found(self):
        self.assertTrue(list(complaints_about('`engine/on_cancel_test.cpp` "no such sentence"')))
        self.assertTrue(list(complaints_about('`engine/on_cancel_test.cpp` "row 17:"')))
        self.assertTrue(list(complaints_about('`chaos` "nothing"; `sim` "nothing"; `sweep` "nothing"')))
        self.assertEqual(list(complaints_about('`engine/on_cancel_test.cpp` "row 19:"')), [])


if __name__ == "__main__":
    unittest.main()
