// Reads job files. TOML becomes a JSON value and a map from JSON pointer to place; the protocol's decoder
// judges the value, and the map turns its pointer into a place. Called by the verbs `job apply` and `job
// validate`.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/cli/job_file.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "toml_text.hpp"

namespace orchestrator::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t file_bytes = 1024 * 1024;
constexpr std::size_t files_max = 10'000;
text_place place_of(const toml::source_region& source) {
  return {std::max<std::size_t>(source.begin.line, 1), std::max<std::size_t>(source.begin.column, 1)};
}

/// `/schedule/cron` as people write it: `schedule.cron`.
std::string key_of(std::string_view pointer) {
  std::string key;
  for (std::size_t i = pointer.empty() ? 0 : 1; i < pointer.size(); ++i) {
    const std::string_view rest = pointer.substr(i);
    if (rest.starts_with("~1") || rest.starts_with("~0")) {
      key += rest[1] == '1' ? '/' : '~';
      ++i;
    } else {
      key += pointer[i] == '/' ? '.' : pointer[i];
    }
  }
  return printable(key);
}

std::string pointer_below(const std::string& parent, std::string_view key) {
  std::string pointer = parent + '/';
  for (const char c : key) {
    if (c == '~')
      pointer += "~0";
    else if (c == '/')
      pointer += "~1";
    else
      pointer += c;
  }
  return pointer;
}

std::string with_place(const std::string& file, text_place place, const refusal& why) {
  std::string text = fmt::format("{}:{}:{}: ", file, place.line, place.column);
  if (!why.pointer.empty()) text += key_of(why.pointer) + ": ";
  text += why.detail;
  if (!why.hint.empty()) text += " (" + why.hint + ")";
  return text;
}

/// One refusal whose text is complete: the hint is in it already.
refusal placed(const std::string& file, text_place place, const refusal& why) {
  return {.code = why.code, .detail = with_place(file, place, why), .pointer = why.pointer, .hint = {}};
}

refusal about_file(const std::string& file, std::string_view what, std::string hint,
                   errc code = errc::bad_field) {
  return {.code = code, .detail = fmt::format("{}: {}", file, what), .pointer = {}, .hint = std::move(hint)};
}

/// Turns a TOML table into JSON and notes where everything was written. The first value that JSON cannot
/// express is kept and the rest is converted harmlessly.
class converter {
 public:
  std::optional<refusal> fault;
  text_place fault_place;
  std::map<std::string, text_place> places;

  json::object object(const toml::table& table, const std::string& pointer, std::size_t depth) {
    json::object out;
    if (!fits(depth, pointer, place_of(table.source()))) return out;
    for (const auto& [key, node] : table) {
      const std::string below = pointer_below(pointer, key.str());
      places[below] = place_of(key.source());
      out[key.str()] = value(node, below, depth + 1);
    }
    return out;
  }

 private:
  bool fits(std::size_t depth, const std::string& pointer, text_place place) {
    if (depth <= limits::json_depth) return true;
    refuse(pointer, place, fmt::format("tables and lists are nested more than {} deep", limits::json_depth),
           {});
    return false;
  }

  void refuse(const std::string& pointer, text_place place, std::string why, std::string hint) {
    if (fault) return;
    fault = refusal{
        .code = errc::bad_field, .detail = std::move(why), .pointer = pointer, .hint = std::move(hint)};
    fault_place = place;
  }

  json::value array(const toml::array& items, const std::string& pointer, std::size_t depth) {
    json::array out;
    if (!fits(depth, pointer, place_of(items.source()))) return out;
    for (const toml::node& item : items) {
      const std::string below = fmt::format("{}/{}", pointer, out.size());
      places[below] = place_of(item.source());
      out.push_back(value(item, below, depth + 1));
    }
    return out;
  }

  json::value value(const toml::node& node, const std::string& pointer, std::size_t depth) {
    if (const auto* table = node.as_table()) return object(*table, pointer, depth);
    if (const auto* items = node.as_array()) return array(*items, pointer, depth);
    if (const auto* text = node.as_string()) return json::value(text->get());
    if (const auto* number = node.as_integer()) return json::value(number->get());
    if (const auto* flag = node.as_boolean()) return json::value(flag->get());
    if (const auto* number = node.as_floating_point()) {
      if (std::isfinite(number->get())) return json::value(number->get());
      refuse(pointer, place_of(node.source()), "inf and nan are no values of a job", "give a number");
      return nullptr;
    }
    refuse(pointer, place_of(node.source()), "no key of a job takes a TOML date or time",
           "put it in quotes, as in \"2026-01-31T02:30:00Z\"");
    return nullptr;
  }
};

/// The place of a pointer, or of the nearest table around it when that key was never written.
text_place place_in(const std::map<std::string, text_place>& places, std::string pointer) {
  for (;;) {
    const auto found = places.find(pointer);
    if (found != places.end()) return found->second;
    const std::size_t slash = pointer.rfind('/');
    if (slash == std::string::npos || slash == 0) return {};
    pointer.resize(slash);
  }
}

result<std::string> read_text(const fs::path& path) {
  const std::string name = path.string();
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) {
    return about_file(name, ec ? ec.message() : "is not a file", "give a TOML file or a directory of them",
                      errc::not_found);
  }
  std::ifstream in{path, std::ios::binary};
  std::string text(file_bytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.is_open())
    return about_file(name, "cannot be read", "check its permissions", errc::not_found);
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() <= file_bytes) return text;
  return about_file(name, fmt::format("is larger than {} bytes", file_bytes), "a job file describes one job",
                    errc::too_large);
}

/// Takes the calendars out of what a file says.
result<std::vector<loaded_calendar>> take_calendars(const std::string& file, json::object& body,
                                                    const std::map<std::string, text_place>& places) {
  std::vector<loaded_calendar> found;
  const json::value* list = body.if_contains("calendars");
  if (list == nullptr) return found;
  if (!list->is_array()) {
    const refusal why{errc::bad_field, "calendars is a list of tables", "/calendars", "write [[calendars]]"};
    return placed(file, place_in(places, why.pointer), why);
  }
  for (const json::value& item : list->as_array()) {
    const std::string pointer = fmt::format("/calendars/{}", found.size());
    auto days = protocol::decode_calendar(item);
    if (!days) {
      refusal why = days.error();
      why.pointer = pointer + why.pointer;
      return placed(file, place_in(places, why.pointer), why);
    }
    found.push_back({file, *std::move(days), item.as_object(), pointer, places});
  }
  body.erase("calendars");
  return found;
}

result<loaded_files> load_job_file(const fs::path& path) {
  const auto text = read_text(path);
  if (!text) return text.error();
  const std::string file = path.string();
  const auto table = parse_toml(*text);
  if (!table) return placed(file, {table.error().line, table.error().column}, table.error().why);
  converter c;
  json::object body = c.object(*table, "", 1);
  if (c.fault) return placed(file, c.fault_place, *c.fault);
  auto calendars = take_calendars(file, body, c.places);
  if (!calendars) return calendars.error();
  loaded_files found{.jobs = {}, .calendars = *std::move(calendars)};
  if (body.empty() && !found.calendars.empty()) return found;
  auto definition = protocol::decode_job(body);
  if (!definition) return placed(file, place_in(c.places, definition.error().pointer), definition.error());
  found.jobs.push_back({file, *std::move(definition), std::move(body), std::move(c.places)});
  return found;
}

result<std::vector<fs::path>> files_of(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_directory(path, ec)) return std::vector<fs::path>{path};
  std::vector<fs::path> files;
  for (fs::directory_iterator entry{path, ec}, end; !ec && entry != end; entry.increment(ec)) {
    if (entry->path().extension() == ".toml") files.push_back(entry->path());
    if (files.size() <= files_max) continue;
    return about_file(path.string(), fmt::format("has more than {} job files", files_max),
                      "spread them over several directories", errc::limit);
  }
  if (ec) return about_file(path.string(), ec.message(), "check its permissions", errc::not_found);
  if (files.empty())
    return about_file(path.string(), "has no *.toml file", "name the file itself", errc::not_found);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

result<loaded_files> load_job_files(const fs::path& path) {
  const auto files = files_of(path);
  if (!files) return files.error();
  loaded_files all;
  std::map<std::string, std::string> file_of_job, file_of_calendar;
  const auto twice = [](const char* what, const auto& earlier, const std::string& pointer) {
    return refusal{
        .code = errc::conflict,
        .detail = fmt::format("the {} \"{}\" is in {} already", what, earlier->first, earlier->second),
        .pointer = pointer,
        .hint = "give one of the two another name"};
  };
  for (const fs::path& file : *files) {
    auto one = load_job_file(file);
    if (!one) return one.error();
    for (loaded_job& job : one->jobs) {
      const auto [earlier, fresh] = file_of_job.emplace(job.definition.name, job.file);
      if (!fresh) return placed(job.file, place_in(job.places, "/name"), twice("job", earlier, "/name"));
      all.jobs.push_back(std::move(job));
    }
    for (loaded_calendar& c : one->calendars) {
      const auto [earlier, fresh] = file_of_calendar.emplace(c.calendar.name, c.file);
      const std::string pointer = c.pointer + "/name";
      if (!fresh) return placed(c.file, place_in(c.places, pointer), twice("calendar", earlier, pointer));
      all.calendars.push_back(std::move(c));
    }
  }
  return all;
}

std::string describe_at_place(const loaded_job& job, const refusal& why) {
  return with_place(job.file, place_in(job.places, why.pointer), why);
}

std::string describe_at_place(const loaded_calendar& c, const refusal& why) {
  refusal here = why;
  here.pointer = c.pointer + why.pointer;
  return with_place(c.file, place_in(c.places, here.pointer), here);
}

}  // namespace orchestrator::cli
