// The tag filter over specification texts.
#include <string>

#include <doctest/doctest.h>

#include "spec_tags.hpp"

using orchestrator::store::spec_has_tag;

TEST_CASE("a tag is found wherever it stands in the specification") {
  CHECK(spec_has_tag(R"({"tags":{"team":"blue"}})", "team", "blue"));
  CHECK(spec_has_tag(
      R"( { "env" : {"tags":{"team":"red"}}, "n": [1,{"a":"}"},-2.5e3], "tags" : { "x":"y", "team" : "blue" } } )",
      "team", "blue"));
  CHECK_FALSE(spec_has_tag(R"({"env":{"team":"blue"}})", "team", "blue"));
  CHECK_FALSE(spec_has_tag(R"({"env":{"tags":{"team":"blue"}}})", "team", "blue"));
  CHECK_FALSE(spec_has_tag(R"({"tags":{"team":"red"}})", "team", "blue"));
  CHECK_FALSE(spec_has_tag(R"({"tags":{"team":7}})", "team", "7"));
  CHECK_FALSE(spec_has_tag(R"({"tags":{}})", "team", "blue"));
}

TEST_CASE("escapes in keys and values are resolved") {
  CHECK(spec_has_tag(R"({"tags":{"a\"b":"\u00e9\ud83d\ude00\n"}})", "a\"b", "\xc3\xa9\xf0\x9f\x98\x80\n"));
  CHECK(spec_has_tag(R"({"t\u0061gs":{"k":"v"}})", "k", "v"));
}

TEST_CASE("what is not JSON has no tags") {
  for (const char* text :
       {"", "{", "[]", "tags", R"({"tags")", R"({"tags":)", R"({"tags":{"a")", R"({"tags":{"a":"v)",
        R"({"tags":{"a":"\u12"}})", R"({"x":]})", R"({"x":[[[[)", R"({"tags":[]})"})
    CHECK_FALSE(spec_has_tag(text, "a", "v"));
  CHECK_FALSE(spec_has_tag("{\"x\":" + std::string(1'000'000, '['), "a", "v"));
}
