// JSON text of facts. See facts.hpp.
#include "facts.hpp"

#include <algorithm>

namespace orchestrator::engine {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  const auto is_special = [](char c) {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  };
  out += '"';
  for (auto at = text.begin(); at != text.end();) {
    const auto plain = std::find_if(at, text.end(), is_special);
    out.append(at, plain);
    if ((at = plain) == text.end()) break;
    const auto byte = static_cast<unsigned char>(*at++);
    if (byte >= 0x20) {
      out += '\\';
      out += static_cast<char>(byte);
    } else {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  out += '"';
}

}  // namespace

void fact_data::start(std::string_view key) {
  if (text_.size() > 1) text_ += ',';
  append_quoted(text_, key);
  text_ += ':';
}

fact_data& fact_data::add(std::string_view key, std::string_view value) {
  start(key);
  append_quoted(text_, value);
  return *this;
}

fact_data& fact_data::add(std::string_view key, bool value) {
  start(key);
  text_ += value ? "true" : "false";
  return *this;
}

}  // namespace orchestrator::engine
