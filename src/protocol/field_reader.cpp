// Reads members of one JSON object into plain types; every refusal names the member, what is wrong and the
// range.
#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>

#include "field_reader.hpp"

namespace orchestrator::protocol {
namespace {

std::string_view view(const json::string& s) { return {s.data(), s.size()}; }

bool same_key(json::string_view a, std::string_view b) {
  return a.size() == b.size() && std::char_traits<char>::compare(a.data(), b.data(), b.size()) == 0;
}

// Seconds as a JSON number, in the digits that the duration reader takes. Empty for what it cannot be.
std::string seconds_text(const json::value& v) {
  if (v.is_int64()) return fmt::format("{}", v.get_int64());
  if (!v.is_double()) return {};
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof digits, v.get_double(), std::chars_format::fixed);
  return end.ec == std::errc{} ? std::string(digits, end.ptr) : std::string{};
}

}  // namespace

const char* fault_of_text(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return "contains the character NUL";
  if (!is_utf8(text)) return "is not valid UTF-8";
  return nullptr;
}

std::string pointer_token(std::string_view key) {
  std::string token;
  for (const char c : key) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

refusal bad_field(std::string pointer, std::string detail, std::string hint) {
  return {.code = errc::bad_field,
          .detail = std::move(detail),
          .pointer = std::move(pointer),
          .hint = std::move(hint)};
}

const json::value* field_reader::find(std::string_view key) {
  const auto found = [this](json::object::const_iterator member) -> const json::value* {
    next_ = member + 1;
    return dialect_ == dialect::wire && member->value().is_null() ? nullptr : &member->value();
  };
  for (auto member = next_; member != object_->end(); ++member) {
    if (same_key(member->key(), key)) return found(member);
  }
  for (auto member = object_->begin(); member != next_; ++member) {
    if (same_key(member->key(), key)) return found(member);
  }
  return nullptr;
}

void field_reader::refuse(std::string_view key, std::string_view what, std::string hint) {
  if (!why_) why_ = bad_field(pointer(key), fmt::format("{} {}", key, what), std::move(hint));
}

std::optional<std::string> field_reader::text(std::string_view key, std::size_t max_bytes) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  const json::string* s = v->if_string();
  if (s == nullptr) {
    refuse(key, "must be a string");
  } else if (s->size() > max_bytes) {
    refuse(key, fmt::format("is longer than {} bytes", max_bytes));
  } else if (const char* fault = dialect_ == dialect::wire ? nullptr : fault_of_text(view(*s))) {
    refuse(key, fault);
  } else if (view(*s).find('\0') != std::string_view::npos) {
    refuse(key, "contains the character NUL");
  } else {
    return std::string{view(*s)};
  }
  return std::nullopt;
}

std::optional<std::string> field_reader::printed_text(std::string_view key) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  const json::string* s = v->if_string();
  if (s == nullptr) {
    refuse(key, "must be a string");
    return std::nullopt;
  }
  std::string out;
  std::string_view rest = view(*s);
  for (std::size_t at = rest.find('\0'); at != std::string_view::npos; at = rest.find('\0')) {
    out += rest.substr(0, at);
    out += "\xEF\xBF\xBD";
    rest.remove_prefix(at + 1);
  }
  out += rest;
  return out;
}

std::optional<bool> field_reader::boolean(std::string_view key) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  if (const bool* b = v->if_bool()) return *b;
  refuse(key, "must be true or false");
  return std::nullopt;
}

std::optional<std::int64_t> field_reader::integer(std::string_view key, std::int64_t lowest,
                                                  std::int64_t highest) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  // Text yields int64 wherever it fits; values that our own encoders made in memory may be uint64.
  std::optional<std::int64_t> i;
  if (v->is_int64()) i = v->get_int64();
  if (v->is_uint64() && v->get_uint64() <= static_cast<std::uint64_t>(largest_integer)) {
    i = static_cast<std::int64_t>(v->get_uint64());
  }
  if (i && *i >= lowest && *i <= highest) return i;
  refuse(key, fmt::format("must be a whole number from {} to {}", lowest, highest));
  return std::nullopt;
}

std::optional<double> field_reader::number(std::string_view key, double lowest) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  std::optional<double> d;
  if (v->is_double()) d = v->get_double();
  if (v->is_int64()) d = static_cast<double>(v->get_int64());
  if (v->is_uint64()) d = static_cast<double>(v->get_uint64());
  if (d && *d >= lowest) return d;
  refuse(key, d ? fmt::format("must be at least {}", lowest) : std::string{"must be a number"});
  return std::nullopt;
}

std::optional<uuid> field_reader::id(std::string_view key) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  if (const json::string* s = v->if_string()) {
    if (const auto parsed = parse_uuid(view(*s))) return parsed;
  }
  refuse(key, "must be a UUID: 36 characters, 8-4-4-4-12 hex digits");
  return std::nullopt;
}

std::optional<lease_id> field_reader::lease(std::string_view key) {
  const auto i = integer(key, 1, largest_integer);
  if (!i) return std::nullopt;
  return lease_id{static_cast<std::uint64_t>(*i)};
}

std::optional<milliseconds> field_reader::duration(std::string_view key, milliseconds lowest,
                                                   milliseconds highest) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  const json::string* s = v->if_string();
  const auto d = parse_duration(s != nullptr ? std::string{view(*s)} : seconds_text(*v));
  if (d && *d >= lowest && *d <= highest) return d;
  refuse(key,
         fmt::format("must be a duration from {} to {}", format_duration(lowest), format_duration(highest)),
         "write it as \"90s\", \"30m\", \"1h30m\", or a number of seconds");
  return std::nullopt;
}

std::optional<std::vector<std::string>> field_reader::text_list(std::string_view key, std::size_t max_items,
                                                                std::size_t max_bytes) {
  const json::array* items = array(key, max_items);
  if (items == nullptr) return std::nullopt;
  std::vector<std::string> out;
  out.reserve(items->size());
  for (const json::value& item : *items) {
    const json::string* s = item.if_string();
    const char* fault = s == nullptr ? "must be a string" : fault_of_text(view(*s));
    if (fault == nullptr && s->size() > max_bytes) fault = "is too long";
    if (fault != nullptr) {
      refuse(bad_field(
          fmt::format("{}/{}", pointer(key), out.size()),
          fmt::format("item {} of {} {} (at most {} bytes each)", out.size(), key, fault, max_bytes)));
      return std::nullopt;
    }
    out.emplace_back(view(*s));
  }
  return out;
}

std::optional<std::map<std::string, std::string>> field_reader::text_map(std::string_view key,
                                                                         const map_bounds& bounds) {
  const json::object* members = object(key);
  if (members == nullptr) return std::nullopt;
  if (members->size() > bounds.items) {
    refuse(key, fmt::format("has more than {} entries", bounds.items));
    return std::nullopt;
  }
  std::map<std::string, std::string> out;
  std::size_t bytes = 0;
  for (const auto& member : *members) {
    const std::string name{member.key().data(), member.key().size()};
    const json::string* s = member.value().if_string();
    const char* fault = s == nullptr ? "must be a string" : fault_of_text(view(*s));
    if (name.empty()) fault = "needs a name";
    if (const char* fault_of_name = fault_of_text(name)) fault = fault_of_name;
    if (fault == nullptr && std::max(name.size(), s->size()) > bounds.item_bytes) fault = "is too long";
    if (fault != nullptr) {
      refuse(bad_field(
          pointer(key) + '/' + pointer_token(name),
          fmt::format("the entry \"{}\" of {} {} (names and values are strings of at most {} bytes)",
                      printable(name, 64), key, fault, bounds.item_bytes)));
      return std::nullopt;
    }
    bytes += name.size() + s->size();
    out.emplace(name, view(*s));
  }
  if (bytes > bounds.bytes) refuse(key, fmt::format("has more than {} bytes altogether", bounds.bytes));
  return out;
}

const json::object* field_reader::object(std::string_view key) {
  const json::value* v = find(key);
  if (v == nullptr) return nullptr;
  if (const json::object* o = v->if_object()) return o;
  refuse(key, "must be an object (a table)");
  return nullptr;
}

const json::array* field_reader::array(std::string_view key, std::size_t max_items) {
  const json::value* v = find(key);
  if (v == nullptr) return nullptr;
  const json::array* a = v->if_array();
  if (a == nullptr) {
    refuse(key, "must be a list");
    return nullptr;
  }
  if (a->size() <= max_items) return a;
  refuse(key, fmt::format("has {} items; at most {} are taken", a->size(), max_items));
  return nullptr;
}

std::optional<std::size_t> field_reader::one_of(std::string_view key,
                                                std::span<const std::string_view> words) {
  const json::value* v = find(key);
  if (v == nullptr) return std::nullopt;
  const json::string* s = v->if_string();
  if (s != nullptr) {
    const auto word = std::find(words.begin(), words.end(), view(*s));
    if (word != words.end()) return static_cast<std::size_t>(word - words.begin());
  }
  std::string hint;
  if (const auto near = s == nullptr ? std::nullopt : nearest(view(*s), words)) {
    hint = fmt::format("did you mean \"{}\"?", *near);
  }
  refuse(key, fmt::format("must be one of {}", fmt::join(words, ", ")), std::move(hint));
  return std::nullopt;
}

void field_reader::allow_only(std::span<const std::string_view> known) {
  for (const auto& member : *object_) {
    const std::string_view key{member.key().data(), member.key().size()};
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto near = nearest(key, known);
    refuse({.code = errc::unknown_field,
            .detail = fmt::format("there is no key \"{}\" here", printable(key, 64)),
            .pointer = pointer(key),
            .hint = near ? fmt::format("did you mean \"{}\"?", *near) : std::string{}});
    return;
  }
}

}  // namespace orchestrator::protocol
