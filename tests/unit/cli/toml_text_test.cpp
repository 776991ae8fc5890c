// TOML from strangers: what the parser cannot survive never reaches it.
#include <string>

#include <doctest/doctest.h>

#include "toml_text.hpp"

using namespace orchestrator;
using namespace orchestrator::cli;

TEST_CASE("a key of very many parts is refused by its line instead of ending the stack") {
  std::string text = "[server]\n";
  for (int i = 0; i < 100'000; ++i) text += "a.";
  text += "a = 1\n";
  const auto parsed = parse_toml(text);
  REQUIRE(parsed.has_error());
  CHECK(parsed.error().line == 2);
  CHECK(parsed.error().why.code == errc::limit);
}

TEST_CASE("a fault of the text is told with its line and column") {
  const auto parsed = parse_toml("a = 1\nb = = 2\n");
  REQUIRE(parsed.has_error());
  CHECK(parsed.error().line == 2);
  CHECK(parsed.error().column > 1);
  CHECK(parsed.error().why.code == errc::bad_field);
}

TEST_CASE("a date that surprises the parser is refused by its line instead of ending the process") {
  const auto parsed = parse_toml("name = \"a\"\nwhen = 1979-05-27TJ3\nb = 1\n");
  REQUIRE(parsed.has_error());
  CHECK(parsed.error().line == 2);
  CHECK(parsed.error().why.code == errc::bad_field);
}

TEST_CASE("letters that stand outside of quotes are refused, from every part of the alphabet") {
  for (const std::string letter :
       {"\xC3\xA9", "\xD0\x96", "\xE3\x81\x82", "\xEF\xB3\xBF", "\xEF\xBB\xBF\xEF\xBB\xBF"}) {
    CAPTURE(letter);
    CHECK(parse_toml("a = 1\n" + letter + " = 1\n").has_error());
    CHECK(parse_toml("a = \"" + letter + "\" # " + letter + "\n").has_value());
  }
}

TEST_CASE("many dots on many lines are fine") {
  std::string text;
  for (int i = 0; i < 2'000; ++i) text += "k" + std::to_string(i) + " = \"a.b.c\"\n";
  CHECK(parse_toml(text).has_value());
}
