// The strict reader: a handler for Boost.JSON's incremental parser that builds values and, while it does,
// refuses what the parser by itself lets pass (duplicate keys, NUL, numbers that no type of ours holds). And
// the writer.
#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <boost/container/small_vector.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "json_text.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t usual_text = 240;  // most documents are shorter, so that writing one allocates once

std::string_view view(json::string_view s) { return {s.data(), s.size()}; }

// The keys of every object that is still open, innermost last. Keys are compared when their object ends, so
// the members need no second look. Keys without escapes are not copied: they are still in the text that is
// being read.
class open_keys {
 public:
  explicit open_keys(std::string_view document) : document_(document) {}

  void add_part(std::string_view part) { parts_ += part; }

  void end_key(std::string_view last_part) {
    std::string_view key = last_part;
    const std::less<const char*> before;
    const bool in_document = !before(key.data(), document_.data()) &&
                             !before(document_.data() + document_.size(), key.data() + key.size());
    if (!in_document || !parts_.empty()) {
      parts_ += last_part;
      key = copies_.emplace_back(std::move(parts_));
      parts_.clear();
    }
    keys_.push_back({quick_hash(key), key});
  }

  // Ends an object of the last `n` keys. Returns a key that occurs twice among them, if there is one.
  std::optional<std::string_view> end_object(std::size_t n) {
    if (n == 0) return std::nullopt;
    const std::span<const entry> own{keys_.data() + keys_.size() - n, n};
    const entry* twice = n <= linear ? repeated_pair(own) : repeated_sorted(own);
    if (twice != nullptr) return twice->key;
    keys_.resize(keys_.size() - n);
    return std::nullopt;
  }

 private:
  struct entry {
    std::uint64_t hash;
    std::string_view key;
  };
  // Up to this many keys comparing all pairs of hashes is faster than sorting.
  static constexpr std::size_t linear = 24;

  static std::uint64_t quick_hash(std::string_view key) {
    std::uint64_t head = 0, tail = 0;
    const std::size_t n = std::min<std::size_t>(key.size(), 8);
    std::memcpy(&head, key.data(), n);
    std::memcpy(&tail, key.data() + key.size() - n, n);
    return (head * 0x9e3779b97f4a7c15U) ^ (tail + key.size() * 0xff51afd7ed558ccdU);
  }

  const entry* repeated_pair(std::span<const entry> own) const {
    for (const entry* one = own.data() + 1; one < own.data() + own.size(); ++one) {
      for (const entry* other = own.data(); other != one; ++other) {
        if (one->hash == other->hash && one->key == other->key) return one;
      }
    }
    return nullptr;
  }

  // Sorts by text and not by hash: nobody can choose texts that make this slow.
  const entry* repeated_sorted(std::span<const entry> own) {
    sorted_.assign(own.begin(), own.end());
    const auto key_of = [](const entry& e) { return e.key; };
    std::ranges::sort(sorted_, {}, key_of);
    const auto twice = std::ranges::adjacent_find(sorted_, {}, key_of);
    return twice == sorted_.end() ? nullptr : &*twice;
  }

  std::string_view document_;
  std::string parts_;               // of a key that has escapes
  std::deque<std::string> copies_;  // of such keys; stays put while it grows
  boost::container::small_vector<entry, 64> keys_;
  std::vector<entry> sorted_;
};

// What the parser calls. `why` is set when the handler and not the parser found the fault.
struct value_builder {
  static constexpr std::size_t max_object_size = limits::json_members;
  static constexpr std::size_t max_array_size =
      json::array::max_size();  // bounded by the text and by the fields
  static constexpr std::size_t max_key_size = limits::json_key;
  static constexpr std::size_t max_string_size = json::string::max_size();

  value_builder(std::string_view document, nul_rule nul, json::storage_ptr storage,
                std::span<unsigned char> scratch)
      : values({}, scratch.data(), scratch.size()), keys(document), nul_in_strings(nul) {
    values.reset(std::move(storage));
  }

  bool fail(json::error_code& ec, std::string reason) {
    why = std::move(reason);
    ec = json::error::syntax;
    return false;
  }

  static bool has_nul(json::string_view s) { return std::memchr(s.data(), 0, s.size()) != nullptr; }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return true; }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  bool on_object_end(std::size_t n, json::error_code& ec) {
    if (const auto repeated = keys.end_object(n)) {
      return fail(ec, fmt::format("the key \"{}\" occurs twice in one object", printable(*repeated, 64)));
    }
    values.push_object(n);
    return true;
  }
  bool on_array_end(std::size_t n, json::error_code&) {
    values.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view s, std::size_t, json::error_code& ec) {
    if (has_nul(s)) return fail(ec, "a key contains the character NUL");
    keys.add_part(view(s));
    values.push_chars(s);
    return true;
  }
  bool on_key(json::string_view s, std::size_t, json::error_code& ec) {
    if (has_nul(s)) return fail(ec, "a key contains the character NUL");
    keys.end_key(view(s));
    values.push_key(s);
    return true;
  }
  bool on_string_part(json::string_view s, std::size_t, json::error_code& ec) {
    if (nul_in_strings == nul_rule::refuse && has_nul(s)) return fail(ec, nul_in_string);
    values.push_chars(s);
    return true;
  }
  bool on_string(json::string_view s, std::size_t, json::error_code& ec) {
    if (nul_in_strings == nul_rule::refuse && has_nul(s)) return fail(ec, nul_in_string);
    values.push_string(s);
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t i, json::string_view, json::error_code&) {
    values.push_int64(i);
    return true;
  }
  bool on_uint64(std::uint64_t u, json::string_view, json::error_code&) {
    values.push_uint64(u);
    return true;
  }
  // Boost 1.81 rounds doubles wrongly now and then and turns 1e999 and long integers into other numbers, so
  // the digits are read again. The text is always whole here, as is the number's.
  bool on_double(double, json::string_view s, json::error_code& ec) {
    const std::string_view digits = view(s);
    double exact = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), exact);
    const bool is_integer = digits.find_first_of(".eE") == std::string_view::npos;
    if (read.ec != std::errc{} || !std::isfinite(exact) || is_integer) {
      return fail(ec, fmt::format("the number {} is out of range", printable(digits, 40)));
    }
    ORC_CHECK(read.ptr == digits.data() + digits.size(),
              "the parser and from_chars agree on what a number is");
    values.push_double(exact);
    return true;
  }
  bool on_bool(bool b, json::error_code&) {
    values.push_bool(b);
    return true;
  }
  bool on_null(json::error_code&) {
    values.push_null();
    return true;
  }

  static constexpr const char* nul_in_string = "a string contains the character NUL";

  json::value_stack values;
  open_keys keys;
  nul_rule nul_in_strings;
  std::string why;
};

refusal bad_json(std::size_t offset, std::string_view why) {
  return {.code = errc::bad_json,
          .detail = fmt::format("not acceptable as JSON at byte {}: {}", offset, why),
          .pointer = {},
          .hint = {}};
}

std::string describe_error(const json::error_code& ec) {
  if (ec == json::error::too_deep) return fmt::format("nested deeper than {} levels", limits::json_depth);
  if (ec == json::error::incomplete) return "the text ends too early";
  if (ec == json::error::extra_data) return "there is more text after the end of the value";
  if (ec == json::error::key_too_large) return fmt::format("a key is longer than {} bytes", limits::json_key);
  if (ec == json::error::object_too_large) {
    return fmt::format("an object has more than {} members", limits::json_members);
  }
  return ec.message();
}

// The bytes that end a run of characters which stand for themselves inside a JSON string.
constexpr std::array<bool, 256> needs_care = [] {
  std::array<bool, 256> table{};
  for (std::size_t c = 0; c < 256; ++c) table[c] = c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
  return table;
}();

// True if one of eight bytes needs care. Whether a byte is zero after an exclusive or, or below 0x20, shows
// as a borrow into its top bit; bytes of 0x80 and above have that bit already.
bool any_needs_care(std::uint64_t eight) {
  constexpr std::uint64_t ones = 0x0101010101010101U, tops = 0x8080808080808080U;
  const std::uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
  return ((eight | (eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) != 0;
}

// How many bytes at the front of `text` stand for themselves.
std::size_t plain_prefix(std::string_view text) {
  std::size_t plain = 0;
  for (std::uint64_t eight = 0; text.size() - plain >= sizeof eight; plain += sizeof eight) {
    std::memcpy(&eight, text.data() + plain, sizeof eight);
    if (any_needs_care(eight)) break;
  }
  while (plain < text.size() && !needs_care[static_cast<unsigned char>(text[plain])]) ++plain;
  return plain;
}

constexpr std::string_view replacement = "\xEF\xBF\xBD";

std::size_t sequence_length(unsigned char lead) { return lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2; }

// Appends what the byte at the front of `rest` starts, and returns how many bytes that was.
std::size_t append_special(std::string& out, std::string_view rest) {
  const auto c = static_cast<unsigned char>(rest.front());
  if (c >= 0x80) {
    const std::string_view sequence = rest.substr(0, sequence_length(c));
    const bool valid = is_utf8(sequence);
    out += valid ? sequence : replacement;
    return valid ? sequence.size() : 1;
  }
  switch (c) {
    case 0: out += replacement; return 1;
    case '"': out += "\\\""; return 1;
    case '\\': out += "\\\\"; return 1;
    case '\n': out += "\\n"; return 1;
    case '\r': out += "\\r"; return 1;
    case '\t': out += "\\t"; return 1;
    default:
      constexpr std::string_view hex = "0123456789abcdef";
      out += "\\u00";
      out += hex[c >> 4U];
      out += hex[c & 0xFU];
      return 1;
  }
}

void append_object(std::string& out, const json::object& o) {
  object_writer w{out};
  for (const auto& [name, value] : o) append_value(w.any_key(view(name)), value);
  w.close();
}

void append_array(std::string& out, const json::array& a) {
  out += '[';
  bool first = true;
  for (const json::value& item : a) {
    if (!first) out += ',';
    first = false;
    append_value(out, item);
  }
  out += ']';
}

}  // namespace

result<json::value> read_json(std::string_view text, nul_rule nul, json::storage_ptr storage,
                              std::span<unsigned char> scratch) {
  if (text.starts_with("\xEF\xBB\xBF"))
    return bad_json(0, "it starts with a byte order mark; leave that out");
  json::parse_options options;
  options.max_depth = limits::json_depth;
  json::basic_parser<value_builder> parser{options, text, nul, std::move(storage), scratch};
  json::error_code ec;
  const std::size_t offset = parser.write_some(false, text.data(), text.size(), ec);
  if (!ec && offset < text.size()) ec = json::error::extra_data;
  value_builder& built = parser.handler();
  if (ec) return bad_json(offset, built.why.empty() ? describe_error(ec) : built.why);
  return built.values.release();
}

void append_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const std::size_t plain = plain_prefix(text);
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (!text.empty()) text.remove_prefix(append_special(out, text));
  }
  out += '"';
}

void append_number(std::string& out, double number) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  number += 0.0;  // a negative zero would be read as the integer 0, which is written in another way
  char digits[32];
  // Large whole numbers get an exponent, so that readers take them for doubles and not for integers too long.
  const auto end = std::abs(number) < 1e15
                       ? std::to_chars(digits, digits + sizeof digits, number)
                       : std::to_chars(digits, digits + sizeof digits, number, std::chars_format::scientific);
  out.append(digits, end.ptr);
}

void append_value(std::string& out, const json::value& v) {
  switch (v.kind()) {
    case json::kind::null: out += "null"; return;
    case json::kind::bool_: out += v.get_bool() ? "true" : "false"; return;
    case json::kind::int64: append_number(out, v.get_int64()); return;
    case json::kind::uint64: append_number(out, v.get_uint64()); return;
    case json::kind::double_: append_number(out, v.get_double()); return;
    case json::kind::string: append_string(out, view(v.get_string())); return;
    case json::kind::array: append_array(out, v.get_array()); return;
    case json::kind::object: append_object(out, v.get_object()); return;
  }
}

result<json::value> parse_json(std::string_view text) {
  alignas(std::max_align_t) unsigned char scratch[4 * 1024];
  return read_json(text, nul_rule::refuse, {}, scratch);
}

std::string write_json(const json::value& v) {
  std::string out;
  out.reserve(usual_text);
  append_value(out, v);
  return out;
}

}  // namespace orchestrator::protocol
