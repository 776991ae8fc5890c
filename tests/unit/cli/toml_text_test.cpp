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

TEST_CASE("many dots on many lines are fine") {
  std::string text;
  for (int i = 0; i < 2'000; ++i) text += "k" + std::to_string(i) + " = \"a.b.c\"\n";
  CHECK(parse_toml(text).has_value());
}
