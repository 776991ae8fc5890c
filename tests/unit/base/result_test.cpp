// The words of refusals are part of the wire and of the API: each has one, and no two are the same.
#include <set>
#include <string>

#include <doctest/doctest.h>

#include <orchestrator/base/result.hpp>

using namespace orchestrator;

TEST_CASE("every refusal code has a word of its own") {
  std::set<std::string> words;
  for (int i = 0; i <= static_cast<int>(errc::unsupported); ++i)
    words.insert(to_string(static_cast<errc>(i)));
  CHECK(words.size() == static_cast<std::size_t>(errc::unsupported) + 1);
  CHECK(words.count("invalid") == 0);
  CHECK(std::string{to_string(errc::bad_field)} == "bad_field");
}

TEST_CASE("a result holds a value or the whole refusal") {
  const result<int> good = 7;
  CHECK(good.has_value());
  CHECK(*good == 7);
  const refusal why{errc::conflict, "the job has live runs", "/name", "give --cancel"};
  const result<int> bad = why;
  CHECK_FALSE(bad.has_value());
  CHECK(bad.error() == why);
}
