// How the engine's own texts are read back from the store. See stored_texts.hpp.
#include <orchestrator/engine/stored_texts.hpp>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

namespace orchestrator::engine {
namespace {

/// A row stands under a name, and its text has one too.
refusal another_name(std::string_view what, std::string_view found) {
  return {errc::bad_field, fmt::format("it is the {} of {}", what, printable(found)), "/name", ""};
}

template <class T>
std::optional<std::string> complaint(const result<T>& read) {
  if (read) return std::nullopt;
  const refusal& why = read.error();
  return why.pointer.empty() ? why.detail : fmt::format("{}: {}", why.pointer, why.detail);
}

}  // namespace

result<run_spec> read_stored_spec(std::string_view text) { return protocol::decode_spec(text); }

result<job_definition> read_stored_job(std::string_view name, std::string_view text) {
  const auto parsed = protocol::parse_json(text);
  if (!parsed) return parsed.error();
  auto definition = protocol::decode_job(*parsed);
  if (definition && definition->name != name) return another_name("definition", definition->name);
  return definition;
}

result<day_calendar> read_stored_calendar(std::string_view name, std::string_view text) {
  const auto parsed = protocol::parse_json(text);
  if (!parsed) return parsed.error();
  auto days = protocol::decode_calendar(*parsed);
  if (days && days->name != name) return another_name("calendar", days->name);
  return days;
}

std::optional<std::string> judge_stored_text(std::string_view table, std::string_view name,
                                             std::string_view text) {
  if (table == specs_table) return complaint(read_stored_spec(text));
  if (table == jobs_table) return complaint(read_stored_job(name, text));
  if (table == calendars_table) return complaint(read_stored_calendar(name, text));
  return std::nullopt;
}

}  // namespace orchestrator::engine
