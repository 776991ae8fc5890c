// The tables of settings, and their merging from flags, environment, file and defaults. See settings.hpp.
#include <orchestrator/cli/settings.hpp>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

#include "toml_text.hpp"

namespace orchestrator::cli {
namespace {

using kind = setting::kind;
constexpr std::int64_t ms_per_s = 1000;
constexpr std::int64_t hour_ms = 3'600 * ms_per_s;
constexpr std::int64_t day_ms = 24 * hour_ms;
constexpr std::uintmax_t largest_file = 1024 * 1024;

constexpr setting server_table[] = {
    {"listen", kind::text, "127.0.0.1:8000", "address to serve on; port 0 picks a free one", "HOST:PORT"},
    {"data-dir", kind::text, "",
     "where jobs, runs and output are kept; default $XDG_STATE_HOME/orchestrator/server", "DIR"},
    {"auth", kind::choice, "token", "who may call: holders of a token, or (on loopback) everybody", "",
     "token|off"},
    {"insecure-plaintext", kind::boolean, "false", "allow a listen address beyond loopback without TLS"},
    {"allowed-host", kind::list, "", "further value accepted in the Host header; may be repeated", "HOST"},
    {"lease-ttl", kind::duration, "60s", "a worker silent for this long and 10 s more loses its attempts",
     "D", "", 2 * ms_per_s, day_ms},
    {"ping-interval", kind::duration, "20s", "WebSocket ping this often", "D", "", 100, hour_ms},
    {"ping-timeout", kind::duration, "10s", "no pong within this means the connection is dead", "D", "", 100,
     hour_ms},
    {"close-timeout", kind::duration, "5s", "wait this long for the peer's half of a close", "D", "", 100,
     hour_ms},
    {"stale-after", kind::duration, "90s", "show a worker as stale after this much silence", "D", "",
     ms_per_s, day_ms},
    {"offline-after", kind::duration, "180s", "show a worker as offline after this much silence", "D", "",
     ms_per_s, day_ms},
    {"retain-age", kind::duration, "30d", "remove final runs older than this", "D", "", hour_ms,
     3650 * day_ms},
    {"retain-count", kind::number, "1000000", "keep at most this many final runs", "N", "", 1, 1'000'000'000},
    {"trust-clock", kind::boolean, "false",
     "let retention go by the clock at once, although it is more than a day ahead of when this server ran "
     "last"},
    {"accept-lost-output", kind::boolean, "false",
     "start although output.db is missing: what runs printed until now is gone"},
    {"audit-age", kind::duration, "365d", "remove entries of the audit trail older than this", "D", "",
     hour_ms, 3650 * day_ms},
    {"audit-count", kind::number, "1000000",
     "keep at most this many entries of the audit trail, and a tenth as many refusals", "N", "", 1'000,
     1'000'000'000},
    {"disk-reserve", kind::number, "512",
     "with less than this left on the disk (MiB, and at most 5 % of it) new work is refused and output of "
     "jobs is "
     "dropped; 0: only when it is full",
     "MIB", "", 0, 1'000'000},
    {"log-level", kind::choice, "info", "lowest level that is logged", "", "debug|info|warning|error"},
    {"log-time", kind::boolean, "false", "begin each log line with the time"},
};

constexpr setting worker_table[] = {
    {"server", kind::text, "127.0.0.1:8000",
     "the coordinator: HOST:PORT, http:// or ws://[user:password@]host[/path]", "URL"},
    {"slots", kind::number, "1", "processes it runs at once", "N", "", 1, 10'000},
    {"credit", kind::number, "-1", "attempts it holds waiting beyond its slots; -1: 64 for each slot", "N",
     "", -1, 640'000},
    {"label", kind::list, "", "what jobs can require of it; may be repeated", "K=V"},
    {"resource", kind::list, "",
     "what it offers and jobs can require of it, such as gpu=2 or memory=8GiB; cpu and memory are the "
     "machine's by default; may be repeated",
     "K=N"},
    {"worker-id", kind::text, "", "its name; default made once and kept in the work dir", "ID"},
    {"work-dir", kind::text, "", "its outbox and spool; default $XDG_STATE_HOME/orchestrator/workers/N",
     "DIR"},
    {"token-file", kind::text, "",
     "file with the worker token; found by itself for a coordinator of the same user", "FILE"},
    {"heartbeat-interval", kind::duration, "60s", "report its state this often", "D", "", 100, hour_ms},
    {"retry-delay", kind::duration, "5s", "first wait before it connects again; doubles", "D", "", 10,
     hour_ms},
    {"retry-max", kind::duration, "60s", "longest wait before it connects again", "D", "", 10, day_ms},
    {"ping-interval", kind::duration, "20s", "WebSocket ping this often", "D", "", 100, hour_ms},
    {"ping-timeout", kind::duration, "10s", "no pong within this means the connection is dead", "D", "", 100,
     hour_ms},
    {"close-timeout", kind::duration, "5s", "wait this long for the peer's half of a close", "D", "", 100,
     hour_ms},
    {"on-stop", kind::choice, "auto",
     "what SIGTERM does to running jobs: leave them to a restart, drain, or kill; auto leaves them, and "
     "kills on Ctrl-C "
     "and as pid 1",
     "", "auto|leave|drain|kill"},
    {"log-level", kind::choice, "info", "lowest level that is logged", "", "debug|info|warning|error"},
    {"log-time", kind::boolean, "false", "begin each log line with the time"},
};

constexpr setting client_table[] = {
    {"server", kind::text, "127.0.0.1:8000", "the coordinator: HOST:PORT or http://host:port", "URL"},
    {"output", kind::choice, "table", "how results are printed", "", "table|json|jsonl|name"},
    {"token-file", kind::text, "",
     "file with a token; the admin token is found by itself for a coordinator of the same user", "FILE"},
};

constexpr const char* from_flag = "flag";

/// Of a flag the text begins with the flag itself, of everything else with where it stands.
refusal wrong(const std::string& origin, std::string_view flag, const std::string& value,
              const std::string& wanted) {
  const std::string place = origin == from_flag ? "" : origin + ": ";
  return {errc::bad_field,
          fmt::format("{}--{} cannot be `{}`: it takes {}", place, flag, printable(value), wanted), "", ""};
}

std::optional<refusal> check_value(const setting& s, const std::string& value, const std::string& origin) {
  if (s.what == kind::number) {
    std::int64_t n = 0;
    const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (ec != std::errc{} || end != value.data() + value.size() || n < s.low || n > s.high) {
      return wrong(origin, s.flag, value, fmt::format("a whole number from {} to {}", s.low, s.high));
    }
  } else if (s.what == kind::duration) {
    const auto d = parse_duration(value);
    if (!d || d->count() < s.low || d->count() > s.high) {
      return wrong(origin, s.flag, value,
                   fmt::format("a duration from {} to {}, like 90s, 30m or 1h30m",
                               format_duration(milliseconds{s.low}), format_duration(milliseconds{s.high})));
    }
  } else if (s.what == kind::boolean && value != "true" && value != "false") {
    return wrong(origin, s.flag, value, "true or false");
  } else if (s.what == kind::choice &&
             ("|" + std::string(s.choices) + "|").find("|" + value + "|") == std::string::npos) {
    return wrong(origin, s.flag, value, "one of " + std::string(s.choices));
  }
  return std::nullopt;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  std::size_t from = 0;
  while (from <= text.size() && !text.empty()) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    out.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  return out;
}

std::string file_key(std::string_view flag) {
  std::string key(flag);
  for (char& c : key) {
    if (c == '-') c = '_';
  }
  return key;
}

std::string find_config() {
  namespace fs = std::filesystem;
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  fs::path user;
  if (config != nullptr && *config == '/')
    user = config;
  else if (home != nullptr && *home == '/')
    user = fs::path(home) / ".config";
  std::error_code ec;
  if (!user.empty() && fs::exists(user / "orchestrator/orchestrator.toml", ec)) {
    return (user / "orchestrator/orchestrator.toml").string();
  }
  return fs::exists("/etc/orchestrator/orchestrator.toml", ec) ? "/etc/orchestrator/orchestrator.toml" : "";
}

std::string node_text(const toml::node& node) {
  if (const auto* s = node.as_string()) return s->get();
  if (const auto* n = node.as_integer()) return std::to_string(n->get());
  if (const auto* b = node.as_boolean()) return b->get() ? "true" : "false";
  if (const auto* f = node.as_floating_point()) return fmt::format("{}", f->get());
  return "";
}

std::vector<std::string> node_values(const toml::node& node) {
  std::vector<std::string> out;
  if (const auto* array = node.as_array()) {
    for (const auto& element : *array) out.push_back(node_text(element));
  } else if (const auto* table = node.as_table()) {
    for (const auto& [key, value] : *table)
      out.push_back(fmt::format("{}={}", std::string_view(key), node_text(value)));
  } else {
    out.push_back(node_text(node));
  }
  return out;
}

refusal unknown_key(const std::string& where, std::string_view key, std::span<const std::string_view> known) {
  refusal r{errc::unknown_field, fmt::format("{}: unknown key `{}`", where, key), "", ""};
  if (const auto near = nearest(key, known)) r.hint = fmt::format("did you mean `{}`?", *near);
  return r;
}

/// Settings of one role's table; every table of the file is checked, so that a typing error never hides.
result<std::map<std::string, setting_value>> read_file(const std::string& path, std::string_view role) {
  std::error_code ec;
  if (std::filesystem::file_size(path, ec) > largest_file || ec) {
    return refusal{errc::too_large, fmt::format("{}: {}", path, ec ? ec.message() : "larger than 1 MiB"), "",
                   ""};
  }
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>{in}, {}};
  const auto parsed = parse_toml(text);
  if (!parsed) {
    const toml_fault& f = parsed.error();
    return refusal{f.why.code, fmt::format("{}:{}:{}: {}", path, f.line, f.column, f.why.detail), "",
                   f.why.hint};
  }
  const toml::table& file = *parsed;
  const std::map<std::string_view, std::span<const setting>> tables = {
      {"server", server_table}, {"worker", worker_table}, {"client", client_table}};
  std::map<std::string, setting_value> out;
  for (const auto& [name, node] : file) {
    const std::string where =
        fmt::format("{}:{}:{}", path, node.source().begin.line, node.source().begin.column);
    const auto known = tables.find(std::string_view(name));
    const std::string_view table_names[] = {"server", "worker", "client"};
    if (known == tables.end() || !node.is_table()) return unknown_key(where, name, table_names);
    std::vector<std::string> keys;
    for (const setting& s : known->second) keys.push_back(file_key(s.flag));
    const std::vector<std::string_view> key_views(keys.begin(), keys.end());
    for (const auto& [key, value] : *node.as_table()) {
      const auto at = key.source().begin;
      const std::string origin = fmt::format("{}:{}", path, at.line);
      const auto found = std::find(keys.begin(), keys.end(), std::string_view(key));
      if (found == keys.end())
        return unknown_key(fmt::format("{}:{}:{}", path, at.line, at.column), key, key_views);
      const setting& s = known->second[static_cast<std::size_t>(found - keys.begin())];
      setting_value v{node_values(value), origin};
      for (const std::string& one : v.values) {
        if (auto bad = check_value(s, one, origin)) return *bad;
      }
      if (std::string_view(name) == role) out[std::string(s.flag)] = std::move(v);
    }
  }
  return out;
}

}  // namespace

std::span<const setting> server_settings() { return server_table; }
std::span<const setting> worker_settings() { return worker_table; }
std::span<const setting> client_settings() { return client_table; }

std::string environment_name(std::string_view flag) {
  std::string name = "ORCHESTRATOR_";
  for (const char c : flag)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

result<settings> merge_settings(std::string_view role, std::span<const setting> known,
                                const std::map<std::string, std::vector<std::string>>& flags,
                                const std::string& config_path) {
  const char* from_environment = std::getenv("ORCHESTRATOR_CONFIG");
  std::string path = config_path;
  if (path.empty() && from_environment != nullptr) path = from_environment;
  if (path.empty()) path = find_config();
  std::map<std::string, setting_value> file;
  if (!path.empty()) {
    auto read = read_file(path, role);
    if (!read) return read.error();
    file = std::move(*read);
  }
  settings out;
  for (const setting& s : known) {
    setting_value v;
    const auto flag = flags.find(std::string(s.flag));
    const std::string variable = environment_name(s.flag);
    const char* environment = std::getenv(variable.c_str());
    if (flag != flags.end() && !flag->second.empty()) {
      v = {flag->second, from_flag};
    } else if (environment != nullptr) {
      v = {s.what == kind::list ? split_list(environment) : std::vector<std::string>{environment}, variable};
    } else if (const auto in_file = file.find(std::string(s.flag)); in_file != file.end()) {
      v = in_file->second;
    } else {
      v = {s.what == kind::list ? std::vector<std::string>{} : std::vector{std::string(s.fallback)},
           "default"};
    }
    for (const std::string& one : v.values) {
      if (auto bad = check_value(s, one, v.origin)) return *bad;
    }
    out.values[std::string(s.flag)] = std::move(v);
  }
  return out;
}

std::vector<std::string> settings::list(std::string_view flag) const {
  const auto found = values.find(flag);
  ORC_CHECK(found != values.end(), "a setting that is not in the role's table was asked for");
  return found->second.values;
}

std::string settings::text(std::string_view flag) const {
  const auto all = list(flag);
  return all.empty() ? "" : all.back();
}

std::int64_t settings::number(std::string_view flag) const {
  return std::strtoll(text(flag).c_str(), nullptr, 10);
}
milliseconds settings::duration(std::string_view flag) const {
  return parse_duration(text(flag)).value_or(milliseconds{0});
}
bool settings::boolean(std::string_view flag) const { return text(flag) == "true"; }

}  // namespace orchestrator::cli
