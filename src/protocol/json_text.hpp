// JSON text by itself: one strict reader and one writer. The decoders of this layer read through it; the
// encoders write through it, so that what leaves is always valid JSON in valid UTF-8.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/value.hpp>

#include <orchestrator/base/result.hpp>

namespace orchestrator::protocol {

namespace json = boost::json;

/// What the reader does with \u0000 in a string. In a key it is always refused.
enum class nul_rule {
  refuse,  ///< documents: nothing of ours may contain it
  keep,    ///< frames: a job's output may contain it, and the field that it is in decides
};

/// Reads one JSON document into `storage`. `scratch` is memory for values under construction; the heap is
/// used when it is too small. Refuses what limits.hpp and the header of parse_json name; the detail names the
/// byte offset.
result<json::value> read_json(std::string_view text, nul_rule nul, json::storage_ptr storage,
                              std::span<unsigned char> scratch);

/// Memory for one document that is decoded and thrown away: small ones never touch the heap.
class json_arena {
 public:
  json_arena() : resource_(buffer_, sizeof buffer_) {}
  json_arena(const json_arena&) = delete;
  json_arena& operator=(const json_arena&) = delete;
  /// The value lives as long as this arena.
  result<json::value> read(std::string_view text, nul_rule nul) {
    return read_json(text, nul, json::storage_ptr{&resource_}, scratch_);
  }

 private:
  alignas(std::max_align_t) unsigned char buffer_[8 * 1024];
  alignas(std::max_align_t) unsigned char scratch_[4 * 1024];
  json::monotonic_resource resource_;
};

/// Appends `text` as a JSON string. Bytes that are not UTF-8, and NUL, become U+FFFD: our own reader and
/// others' would refuse them.
void append_string(std::string& out, std::string_view text);

/// The shortest number that reads back as `number`. JSON has no infinity and no NaN: those are written as
/// null.
void append_number(std::string& out, double number);

template <std::integral T>
void append_number(std::string& out, T number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

/// Appends any value. Unlike Boost's serializer it writes 1.5 and not 1.5E0.
void append_value(std::string& out, const json::value& v);

/// Writes one object member by member, in the order of the calls.
class object_writer {
 public:
  explicit object_writer(std::string& out) : out_(out) { out_ += '{'; }
  void close() { out_ += '}'; }

  /// The member's name; its value is appended to the string by the caller.
  std::string& key(std::string_view name) {
    const bool first = !started_;
    started_ = true;
    const std::size_t at = out_.size();
    out_.resize(at + name.size() + (first ? 3 : 4));
    char* to = out_.data() + at;
    if (!first) *to++ = ',';
    *to++ = '"';
    std::memcpy(to, name.data(), name.size());
    to += name.size();
    *to++ = '"';
    *to = ':';
    return out_;
  }
  /// As key, for names that come from outside.
  std::string& any_key(std::string_view name) {
    if (started_) out_ += ',';
    started_ = true;
    append_string(out_, name);
    return out_ += ':';
  }

  void text(std::string_view name, std::string_view value) { append_string(key(name), value); }
  /// For values that need no escaping: words of ours, UUIDs.
  void word(std::string_view name, std::string_view value) {
    std::string& out = key(name);
    out += '"';
    out += value;
    out += '"';
  }
  void boolean(std::string_view name, bool value) { key(name) += value ? "true" : "false"; }
  template <class T>
    requires std::is_arithmetic_v<T>
  void number(std::string_view name, T value) {
    append_number(key(name), value);
  }

 private:
  std::string& out_;
  bool started_ = false;
};

}  // namespace orchestrator::protocol
