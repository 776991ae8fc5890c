// A scanner over JSON text that knows just enough to find a tag; see spec_tags.hpp. Depth is bounded because
// it skips nested values by counting brackets, not by recursion.
#include "spec_tags.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace orchestrator::store {
namespace {

class scanner {
 public:
  explicit scanner(std::string_view text) : text_(text) {}

  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  /// A string with its escapes resolved.
  std::optional<std::string> string() {
    if (!take('"')) return std::nullopt;
    std::string result;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return result;
      if (c != '\\')
        result.push_back(c);
      else if (!escape(result))
        return std::nullopt;
    }
    return std::nullopt;
  }

  /// Any value; false if the text ends inside it.
  bool skip_value() {
    int depth = 0;
    do {
      skip_blanks();
      if (at_ >= text_.size()) return false;
      const char c = text_[at_];
      if (c == '"') {
        if (!string()) return false;
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (--depth < 0) return false;
        ++at_;
      } else {
        ++at_;
        if (depth == 0) return skip_word();
      }
    } while (depth > 0);
    return true;
  }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && std::string_view{" \t\r\n"}.find(text_[at_]) != std::string_view::npos)
      ++at_;
  }

  bool skip_word() {
    while (at_ < text_.size() && std::string_view{",}] \t\r\n"}.find(text_[at_]) == std::string_view::npos)
      ++at_;
    return true;
  }

  std::optional<std::uint32_t> hex4() {
    if (text_.size() - at_ < 4) return std::nullopt;
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      const auto digit = std::string_view{"0123456789abcdef"}.find(
          static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c));
      if (digit == std::string_view::npos) return std::nullopt;
      value = value << 4 | static_cast<std::uint32_t>(digit);
    }
    return value;
  }

  bool escape(std::string& out) {
    if (at_ >= text_.size()) return false;
    const char c = text_[at_++];
    static constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    const auto simple = names.find(c);
    if (simple != std::string_view::npos) {
      out.push_back(values[simple]);
      return true;
    }
    if (c != 'u') return false;
    auto code = hex4();
    if (!code) return false;
    if (*code >= 0xd800 && *code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const auto low = hex4();
      if (!low) return false;
      code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
    }
    append_utf8(out, *code);
    return true;
  }

  static void append_utf8(std::string& out, std::uint32_t code) {
    const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
      put(0xc0 | code >> 6);
    } else {
      if (code < 0x10000) {
        put(0xe0 | code >> 12);
      } else {
        put(0xf0 | (code >> 18 & 0x07));
        put(0x80 | (code >> 12 & 0x3f));
      }
      put(0x80 | (code >> 6 & 0x3f));
    }
    put(0x80 | (code & 0x3f));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

bool spec_has_tag(std::string_view text, std::string_view key, std::string_view value) {
  scanner in(text);
  if (!in.take('{')) return false;
  do {
    const auto name = in.string();
    if (!name || !in.take(':')) return false;
    if (*name != "tags") {
      if (!in.skip_value()) return false;
      continue;
    }
    if (!in.take('{')) return false;
    do {
      const auto tag = in.string();
      if (!tag || !in.take(':')) return false;
      if (*tag == key) {
        const auto found = in.string();
        return found && *found == value;
      }
      if (!in.skip_value()) return false;
    } while (in.take(','));
    return false;
  } while (in.take(','));
  return false;
}

}  // namespace orchestrator::store
