// The strict reader and the writer: every class of text that must not get in or out.
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "json_text.hpp"
#include "support/protocol_samples.hpp"

using namespace orchestrator;
using namespace orchestrator::protocol;

namespace {

std::string nested(std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

std::string refused_because(std::string_view text) {
  const auto v = parse_json(text);
  if (v) return "was taken";
  CHECK(v.error().code == errc::bad_json);
  return v.error().detail;
}

bool mentions(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string as_string(std::string_view text) {
  std::string out;
  append_string(out, text);
  return out;
}

std::string as_number(double d) {
  std::string out;
  append_number(out, d);
  return out;
}

}  // namespace

TEST_CASE("text that is no JSON is refused with the byte offset (P10, H17)") {
  struct row {
    std::string_view text;
    std::string_view offset;
  };
  for (const row& r : {row{"", "byte 0"},
                       row{"   ", "byte"},
                       row{"{\"a\":1,}", "byte 7"},
                       row{"[1,]", "byte 3"},
                       row{"{\"a\":NaN}", "byte 5"},
                       row{"[Infinity]", "byte 1"},
                       row{"// c\n1", "byte"},
                       row{"[1 /* c */]", "byte 3"},
                       row{"{'a':1}", "byte 1"},
                       row{"{\"a\" 1}", "byte 5"},
                       row{"[01]", "byte 2"},
                       row{"[+1]", "byte 1"},
                       row{"[.5]", "byte 1"},
                       row{"[1.]", "byte"},
                       row{"tru", "byte"},
                       row{"\"abc", "byte"},
                       row{"[1", "byte"},
                       row{"{\"a\"", "byte"},
                       row{"[\"\\x\"]", "byte"},
                       row{"[\"\n\"]", "byte"}}) {
    CAPTURE(r.text);
    const std::string why = refused_because(r.text);
    CAPTURE(why);
    CHECK(mentions(why, r.offset));
  }
}

TEST_CASE("text after the end of the value is refused") {
  CHECK(mentions(refused_because("{} {}"), "after the end"));
  CHECK(mentions(refused_because("1 x"), "after the end"));
  CHECK(mentions(refused_because(std::string_view{"{}\0", 3}), "after the end"));
  CHECK(parse_json(" {} \r\n\t").has_value());
}

TEST_CASE("a byte order mark is refused by name (H17)") {
  CHECK(mentions(refused_because("\xEF\xBB\xBF{}"), "byte order mark"));
}

TEST_CASE("a key that occurs twice in one object is refused, at any depth and any size (P12)") {
  CHECK(mentions(refused_because(R"({"type":"heartbeat","type":"job_result"})"), "\"type\" occurs twice"));
  CHECK(mentions(refused_because(R"([{"a":{"b":1,"c":2,"b":3}}])"), "\"b\" occurs twice"));
  CHECK(mentions(refused_because(R"({"a":1,"\u0061":2})"), "occurs twice"));
  CHECK(mentions(refused_because(R"({"":1,"":2})"), "occurs twice"));
  CHECK(mentions(refused_because(R"({"a":{"x":1},"b":{"x":1},"a":0})"), "\"a\" occurs twice"));
  CHECK(parse_json(R"({"a":{"a":{"a":1}},"b":{"a":1},"A":[{"a":1},{"a":2}]})").has_value());
  for (const std::size_t size : {2U, 24U, 25U, 100U, 5000U}) {
    std::string text = "{";
    for (std::size_t i = 0; i < size; ++i) text += "\"key" + std::to_string(i) + "\":0,";
    CHECK(parse_json(text + "\"last\":0}").has_value());
    CHECK(mentions(refused_because(text + "\"key" + std::to_string(size / 2) + "\":0}"), "occurs twice"));
    CHECK(mentions(refused_because(text + "\"key0\":0}"), "occurs twice"));
  }
}

TEST_CASE("keys that differ only in their middle are not taken for the same") {
  const std::string head(8, 'h'), tail(8, 't');
  CHECK(parse_json("{\"" + head + "x" + tail + "\":1,\"" + head + "y" + tail + "\":2}").has_value());
}

TEST_CASE("32 levels are read and 33 are refused, and 100,000 do not use the stack (P11)") {
  CHECK(parse_json(nested(32)).has_value());
  CHECK(mentions(refused_because(nested(33)), "deeper than 32"));
  CHECK(mentions(refused_because(std::string(100'000, '[')), "deeper than 32"));
  std::string objects;
  for (int i = 0; i < 33; ++i) objects += "{\"a\":";
  CHECK(mentions(refused_because(objects), "deeper than 32"));
}

TEST_CASE("NUL is refused in documents, raw and escaped, in strings and in keys") {
  CHECK(mentions(refused_because(R"(["a\u0000b"])"), "NUL"));
  CHECK(mentions(refused_because(R"({"a\u0000":1})"), "NUL"));
  CHECK(refused_because(std::string_view{"[\"\0\"]", 5}) != "was taken");
}

TEST_CASE("in frames NUL is kept in strings and refused in keys") {
  json_arena arena;
  const auto kept = arena.read(R"(["a\u0000b"])", nul_rule::keep);
  REQUIRE(kept.has_value());
  CHECK(kept->get_array()[0].get_string().size() == 3);
  json_arena other;
  CHECK(!other.read(R"({"a\u0000":1})", nul_rule::keep).has_value());
}

TEST_CASE("numbers that no type of ours holds are refused instead of changed (P14)") {
  for (const std::string_view text : {"1e999", "-1e999", "1e-999", "18446744073709551616",
                                      "-9223372036854775809", "123456789012345678901234567890", "1.0e400"}) {
    CAPTURE(text);
    CHECK(mentions(refused_because("[" + std::string{text} + "]"), "out of range"));
    CHECK(refused_because(text) != "was taken");
  }
}

TEST_CASE("the outermost integers keep every digit") {
  CHECK(parse_json("9223372036854775807")->get_int64() == std::numeric_limits<std::int64_t>::max());
  CHECK(parse_json("-9223372036854775808")->get_int64() == std::numeric_limits<std::int64_t>::min());
  CHECK(parse_json("18446744073709551615")->get_uint64() == std::numeric_limits<std::uint64_t>::max());
  CHECK(parse_json("9007199254740993")->get_int64() == 9007199254740993);
}

TEST_CASE("every double comes back bit by bit") {
  random_source random{7};
  for (int i = 0; i < 20'000; ++i) {
    std::uint64_t bits = random.next();
    double d = 0;
    std::memcpy(&d, &bits, sizeof d);
    if (!std::isfinite(d)) continue;
    const std::string text = as_number(d);
    const auto v = parse_json(text);
    CAPTURE(text);
    REQUIRE(v.has_value());
    CHECK(v->to_number<double>() == d);
  }
}

TEST_CASE("invalid UTF-8 is refused: stray, overlong, surrogates, too large, cut off (P9)") {
  for (const std::string_view bytes : {"\x80", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                       "\xFF", "\xC3", "\xE2\x82", "\xF8\x88\x80\x80\x80"}) {
    CHECK(refused_because("[\"" + std::string{bytes} + "\"]") != "was taken");
    CHECK(refused_because("{\"" + std::string{bytes} + "\":1}") != "was taken");
  }
  CHECK(refused_because(R"(["\ud800"])") != "was taken");
  CHECK(refused_because(R"(["\udc00\ud800"])") != "was taken");
  CHECK(parse_json("[\"\xF0\x9F\x98\x80 \xE2\x82\xAC\"]").has_value());
}

TEST_CASE("long keys and objects with too many members are refused by name") {
  CHECK(parse_json("{\"" + std::string(limits::json_key, 'k') + "\":1}").has_value());
  CHECK(mentions(refused_because("{\"" + std::string(limits::json_key + 1, 'k') + "\":1}"), "key is longer"));
  std::string text = "{";
  for (std::size_t i = 0; i <= limits::json_members; ++i) text += "\"" + std::to_string(i) + "\":0,";
  CHECK(mentions(refused_because(text + "\"x\":0}"), "more than 10000 members"));
}

TEST_CASE("the writer emits valid UTF-8 without NUL, whatever it is given") {
  CHECK(as_string("a\"\\/\n\r\t\x01\x7f") == "\"a\\\"\\\\/\\n\\r\\t\\u0001\x7f\"");
  CHECK(as_string(std::string_view{"a\0b", 3}) ==
        "\"a\xEF\xBF\xBD"
        "b\"");
  CHECK(as_string("x\xFFy\xC3") == "\"x\xEF\xBF\xBDy\xEF\xBF\xBD\"");
  CHECK(as_string("\xED\xA0\x80") == "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
  samples::maker make{11};
  for (int i = 0; i < 5000; ++i) {
    const std::string bytes = make.bytes();
    const std::string text = as_string(bytes);
    const auto v = parse_json(text);
    REQUIRE(v.has_value());
    const std::string back{v->get_string().data(), v->get_string().size()};
    if (is_utf8(bytes) && bytes.find('\0') == std::string::npos) CHECK(back == bytes);
  }
}

TEST_CASE("numbers are written as people write them, and never as what JSON lacks") {
  CHECK(as_number(1.5) == "1.5");
  CHECK(as_number(60) == "60");
  CHECK(as_number(-0.0) == "0");
  CHECK(as_number(std::numeric_limits<double>::infinity()) == "null");
  CHECK(as_number(std::nan("")) == "null");
  CHECK(write_json(*parse_json(R"({ "a" : [ 1.5 , -2, true, null, "x" ], "b" : { } })")) ==
        R"({"a":[1.5,-2,true,null,"x"],"b":{}})");
}

TEST_CASE("cutting or changing a valid text never breaks the reader") {
  const std::string text = samples::golden_lines("wire/worker.jsonl").at(0);
  for (std::size_t i = 0; i < text.size(); ++i) CHECK(!parse_json(text.substr(0, i)).has_value());
  random_source random{3};
  for (int i = 0; i < 20'000; ++i) {
    std::string changed = text;
    changed[random.below(changed.size())] = static_cast<char>(random.below(256));
    const auto v = parse_json(changed);
    if (v) CHECK(parse_json(write_json(*v)).has_value());
  }
}
