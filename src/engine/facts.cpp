// JSON text of facts. See facts.hpp.
#include "facts.hpp"

namespace orchestrator::engine {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    } else {
      out += c;
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
