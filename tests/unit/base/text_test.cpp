// Text helpers take any bytes: their answers are checked against second, simpler implementations and known
// vectors.
#include <array>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/text.hpp>

using namespace orchestrator;
using words = std::vector<std::string>;

namespace {

std::string random_bytes(random_source& random, std::size_t length) {
  std::string bytes;
  for (std::size_t i = 0; i < length; ++i) bytes += static_cast<char>(random.below(256));
  return bytes;
}

std::string encode_utf8(char32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xe0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}

}  // namespace

TEST_CASE("words are split as a shell splits them") {
  CHECK(split_shell_words("") == words{});
  CHECK(split_shell_words(" \t\n ") == words{});
  CHECK(split_shell_words("--day yesterday") == words{"--day", "yesterday"});
  CHECK(split_shell_words("  a   b  ") == words{"a", "b"});
  CHECK(split_shell_words("'a b' \"c d\" e\\ f") == words{"a b", "c d", "e f"});
  CHECK(split_shell_words("a'b'\"c\"d") == words{"abcd"});
  CHECK(split_shell_words("'' \"\" x") == words{"", "", "x"});
  CHECK(split_shell_words("'a\\b'") == words{"a\\b"});
  CHECK(split_shell_words(R"("a\b\"\\\$\`")") == words{R"(a\b"\$`)"});
  CHECK(split_shell_words("a\\\nb") == words{"ab"});
  CHECK(split_shell_words("\"a\\\nb\"") == words{"ab"});
  CHECK(split_shell_words("\\\n") == words{});
  CHECK(split_shell_words("\\'") == words{"'"});
}

TEST_CASE("nothing is expanded: variables, globs, comments and operators are plain text") {
  CHECK(split_shell_words("$HOME ~ *.txt #x $(id) `id` a|b ; &") ==
        words{"$HOME", "~", "*.txt", "#x", "$(id)", "`id`", "a|b", ";", "&"});
}

TEST_CASE("an open quote or a backslash at the end is no list of words") {
  for (const char* text : {"'", "\"", "a 'b", "a \"b", "\"a\\", "\"a\\\"", "a\\", "\\", "'a\\''"}) {
    CAPTURE(text);
    CHECK_FALSE(split_shell_words(text));
  }
}

TEST_CASE("any words, quoted, are split into the same words") {
  random_source random{1};
  for (int i = 0; i < 500; ++i) {
    words expected;
    std::string text;
    for (std::uint64_t n = random.below(5); n > 0; --n) {
      expected.push_back(random_bytes(random, random.below(12)));
      text += " '";
      for (const char c : expected.back()) text += c == '\'' ? std::string{"'\\''"} : std::string{c};
      text += "'";
    }
    REQUIRE(split_shell_words(text) == expected);
  }
}

TEST_CASE("the nearest known word is suggested, if it is near") {
  const std::array<std::string_view, 5> known{"timeout", "time_zone", "command", "schedule", "env"};
  CHECK(nearest("timeuot", known) == "timeout");
  CHECK(nearest("timezone", known) == "time_zone");
  CHECK(nearest("comand", known) == "command");
  CHECK(nearest("shedule", known) == "schedule");
  CHECK(nearest("envs", known) == "env");
  CHECK(nearest("timeout", known) == "timeout");
  CHECK_FALSE(nearest("colour", known));
  CHECK_FALSE(nearest("", known));
  CHECK_FALSE(nearest("x", known));
  CHECK_FALSE(nearest(std::string(100'000, 'x'), known));
  CHECK_FALSE(nearest("timeout", {}));
}

TEST_CASE("two letters with nothing in common are no correction of each other") {
  const std::array<std::string_view, 1> known{"ab"};
  CHECK_FALSE(nearest("cd", known));
  CHECK(nearest("ba", known) == "ab");
}

TEST_CASE("exactly the well-formed UTF-8 sequences are accepted") {
  for (char32_t c = 0; c <= 0x10ffff; c += c < 0x3000 ? 1 : 37) {
    const bool surrogate = c >= 0xd800 && c <= 0xdfff;
    REQUIRE(is_utf8(encode_utf8(c)) == !surrogate);
  }
  for (const char32_t c : {0xd7ffU, 0xe000U, 0xffffU, 0x10000U, 0x10ffffU}) CHECK(is_utf8(encode_utf8(c)));
  for (const char32_t c : {0xd800U, 0xdfffU, 0x110000U, 0x1fffffU}) CHECK_FALSE(is_utf8(encode_utf8(c)));
  CHECK(is_utf8(""));
  CHECK(is_utf8(std::string_view{"\0", 1}));
  for (const char* bad : {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80",
                          "\xf0\x8f\xbf\xbf", "\x80", "\xbf", "\xfe", "\xff", "\xc3", "\xe2\x82",
                          "\xf0\x9f\x98", "\xc3(", "a\xe2(\xa1", "\xed\xa0\xbd\xed\xb8\x80"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_utf8(bad));
  }
}

TEST_CASE("text cut anywhere keeps its whole characters") {
  const std::string text = "a\u00e9\u20ac\U0001f600b";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view part = std::string_view{text}.substr(0, cut);
    const std::size_t kept = utf8_complete_prefix(part);
    CHECK(is_utf8(part.substr(0, kept)));
    CHECK(cut - kept < 4);
    const bool on_boundary = cut == text.size() || (static_cast<unsigned char>(text[cut]) & 0xc0) != 0x80;
    CHECK((kept == cut) == on_boundary);
  }
}

TEST_CASE("bytes that no continuation could mend are not held back") {
  for (const std::string_view bad :
       {"ab\xff", "ab\x80\x80\x80\x80", "ab\xc0", "ab\xe0\x80", "ab\xed\xa0", "ab\xf5\x80", "\xc3\xa9\x80"}) {
    CHECK(utf8_complete_prefix(bad) == bad.size());
  }
  CHECK(utf8_complete_prefix("") == 0);
  CHECK(utf8_complete_prefix("\xf0\x9f\x98") == 0);
}

TEST_CASE("base64 follows the vectors of RFC 4648") {
  const std::array<std::array<const char*, 2>, 7> vectors{{{"", ""},
                                                           {"f", "Zg=="},
                                                           {"fo", "Zm8="},
                                                           {"foo", "Zm9v"},
                                                           {"foob", "Zm9vYg=="},
                                                           {"fooba", "Zm9vYmE="},
                                                           {"foobar", "Zm9vYmFy"}}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(base64_encode(bytes) == text);
    CHECK(base64_decode(text) == bytes);
  }
}

TEST_CASE("base64 brings back any bytes") {
  random_source random{3};
  for (int i = 0; i < 500; ++i) {
    const std::string bytes = random_bytes(random, random.below(100));
    REQUIRE(base64_decode(base64_encode(bytes)) == bytes);
  }
}

TEST_CASE("what is not base64 is not decoded") {
  for (const char* bad : {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zm=v", "Zm9v=", "Zm9v====", "Zm9 ",
                          "Zm9v\n", "Zm-_", "Zh==", "Zm9=", "=Zg=", "Zg==Zg=="}) {
    CAPTURE(bad);
    CHECK_FALSE(base64_decode(bad));
  }
}

TEST_CASE("crc32c follows the vectors of RFC 3720") {
  CHECK(crc32c("123456789") == 0xe3069283);
  CHECK(crc32c("") == 0);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  std::string rising;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);
  CHECK(crc32c(rising) == 0x46dd794e);
}

TEST_CASE("crc32c of parts is crc32c of the whole, at any cut and alignment") {
  random_source random{4};
  const std::string bytes = random_bytes(random, 100);
  std::uint32_t bit_by_bit = 0xffffffff;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::string_view head = std::string_view{bytes}.substr(0, i);
    REQUIRE(crc32c(head) == ~bit_by_bit);
    REQUIRE(crc32c(std::string_view{bytes}.substr(i), crc32c(head)) == crc32c(bytes));
    bit_by_bit ^= static_cast<unsigned char>(bytes[i]);
    for (int bit = 0; bit < 8; ++bit) bit_by_bit = bit_by_bit >> 1 ^ (bit_by_bit & 1 ? 0x82f63b78U : 0);
  }
}

TEST_CASE("hash64 is FNV-1a with 64 bits") {
  CHECK(hash64("") == 0xcbf29ce484222325U);
  CHECK(hash64("a") == 0xaf63dc4c8601ec8cU);
  CHECK(hash64("foobar") == 0x85944171f73967e8U);
}

TEST_CASE("names follow their rule") {
  for (const char* good : {"a", "0", "nightly-report", "a.b", "A_b-c.d", "9..."}) CHECK(is_valid_name(good));
  CHECK(is_valid_name(std::string(128, 'a')));
  CHECK_FALSE(is_valid_name(std::string(129, 'a')));
  for (const char* bad : {"", ".", "..", "-a", "_a", ".a", "a b", "a/b", "a\n", "\xc3\xa9", "a\x80"}) {
    CHECK_FALSE(is_valid_name(bad));
  }
  CHECK_FALSE(is_valid_name(std::string_view{"a\0", 2}));
}

TEST_CASE("text becomes safe to print on one line") {
  CHECK(printable("plain caf\u00e9 \u65e5\u672c") == "plain caf\u00e9 \u65e5\u672c");
  CHECK(printable("a\nb\tc\x1b[2J\x7f") == "a\\x0ab\\x09c\\x1b[2J\\x7f");
  CHECK(printable(std::string_view{"\0", 1}) == "\\x00");
  CHECK(printable("\xff\xc3(") == "\\xff\\xc3(");
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");
  CHECK(printable("\u009b31m") == "\\xc2\\x9b31m");
  CHECK(printable("\u202eabc\u2028") == "\\xe2\\x80\\xaeabc\\xe2\\x80\\xa8");
}

TEST_CASE("long text is cut at a whole character and marked") {
  CHECK(printable("abcdef", 6) == "abcdef");
  CHECK(printable("abcdefg", 6) == "abc...");
  CHECK(printable("ab\u20accdef", 6) == "ab...");
  CHECK(printable("\n\n\n\n", 10) == "\\x0a...");
  CHECK(printable("abc", 2) == "..");
  CHECK(printable("abc", 0) == "");
  CHECK(printable(std::string(300, 'x')).size() == 256);
}

TEST_CASE("any bytes become short, well-formed, printable text") {
  random_source random{5};
  for (int i = 0; i < 2000; ++i) {
    const std::string text = printable(random_bytes(random, random.below(80)), 64);
    REQUIRE(text.size() <= 64);
    REQUIRE(is_utf8(text));
    for (const char c : text) REQUIRE((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
  }
}
