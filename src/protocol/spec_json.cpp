// A run's specification as JSON, strict about everything that can be judged without a machine. Called for job
// files, submissions, and specifications that the store gives back.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "definition_parts.hpp"
#include "field_reader.hpp"
#include "json_text.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t path_bytes = 4096;  // PATH_MAX: longer ones cannot be opened
constexpr int priority_bound = 1000;
constexpr milliseconds backoff_min{1};

constexpr std::array<std::string_view, 2> lease_lost_words{"keep", "kill"};
constexpr std::array<std::string_view, 1> builtin_words{"noop"};
constexpr std::array<std::string_view, 5> retry_keys{"max_attempts", "max_lost", "backoff", "max_backoff",
                                                     "on_exit"};
constexpr std::array<std::string_view, 2> requires_keys{"labels", "resources"};
constexpr std::size_t exit_codes = 64;  // in retry.on_exit
constexpr int exit_code_max = 255;

constexpr map_bounds label_bounds{limits::labels, limits::label_bytes,
                                  limits::labels * 2 * limits::label_bytes};
constexpr map_bounds env_bounds{limits::env_items, limits::env_bytes, limits::env_bytes};

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// The loader's variables make a process run other code than the one named, and ours are set by the worker.
const char* fault_of_env_name(std::string_view name) {
  if (name.find('=') != std::string_view::npos) return "has a name with = in it";
  if (has_control_character(name)) return "has a name with control characters";
  if (name.starts_with("LD_") || name == "GLIBC_TUNABLES") {
    return "would change how every program is loaded; set it inside the command if it must be";
  }
  if (name.starts_with("ORCHESTRATOR_")) return "has a name that is reserved for what the worker sets";
  return nullptr;
}

void read_env(field_reader& r, run_spec& s) {
  s.env = r.text_map("env", env_bounds).value_or(s.env);
  for (const auto& [name, value] : s.env) {
    if (const char* fault = fault_of_env_name(name)) {
      r.refuse(bad_field("/env/" + pointer_token(name),
                         fmt::format("the variable \"{}\" {}", printable(name, 64), fault)));
      return;
    }
  }
}

std::map<std::string, std::string> read_labels(field_reader& r, std::string_view key) {
  auto labels = r.text_map(key, label_bounds).value_or(std::map<std::string, std::string>{});
  for (const auto& [name, value] : labels) {
    if (!has_control_character(name) && !has_control_character(value)) continue;
    r.refuse(bad_field(
        r.pointer(key) + '/' + pointer_token(name),
        fmt::format("the entry \"{}\" of {} contains control characters", printable(name, 64), key)));
  }
  return labels;
}

void read_command(field_reader& r, run_spec& s) {
  const json::value* v = r.find("command");
  if (v != nullptr && v->is_string()) {
    r.refuse("command", "must be a list of words, not one string",
             "write [\"sh\", \"-c\", \"…\"] if a shell is meant");
    return;
  }
  s.command = r.text_list("command", limits::argv_items, limits::argv_item_bytes).value_or(s.command);
  if (v == nullptr || r.why()) return;
  std::size_t bytes = 0;
  for (const std::string& word : s.command) bytes += word.size() + 1;
  if (s.command.empty()) r.refuse("command", "is empty");
  if (bytes > limits::argv_bytes) {
    r.refuse("command", fmt::format("has more than {} bytes altogether", limits::argv_bytes));
  }
  if (!s.command.empty() && s.command.front().empty()) {
    r.refuse(bad_field("/command/0", "the program to run, item 0 of command, is empty"));
  }
}

void read_executable(field_reader& r, run_spec& s) {
  s.script = r.text("script", path_bytes).value_or(s.script);
  if (r.has("script") && s.script.empty()) r.refuse("script", "is empty");
  read_command(r, s);
  const bool builtin = r.one_of("builtin", builtin_words).has_value();
  if (builtin) s.builtin = builtin_words.front();
  const int given = static_cast<int>(r.has("script")) + static_cast<int>(r.has("command")) +
                    static_cast<int>(r.has("builtin"));
  if (given == 0) {
    r.refuse(bad_field("", "nothing says what to run", "give one of script, command and builtin"));
  }
  if (given > 1) {
    r.refuse(r.has("builtin") ? "builtin" : "command",
             "is given beside another of script, command and builtin", "give exactly one of the three");
  }
  s.args = r.text("args", limits::argv_bytes).value_or(s.args);
  if (!s.args.empty() && s.script.empty()) {
    r.refuse("args", "belong to a script", "write the words into command");
  }
  if (auto fault = check_args(s.args)) r.refuse(std::move(*fault));
}

void read_limits(field_reader& r, run_spec& s) {
  s.timeout = r.duration("timeout", limits::timeout_min, limits::timeout_max).value_or(s.timeout);
  s.kill_grace = r.duration("kill_grace", milliseconds{0}, limits::kill_grace_max).value_or(s.kill_grace);
  s.lost_after = r.duration("lost_after", limits::lease_ttl_min, limits::lease_ttl_max);
  s.start_within = r.duration("start_within", limits::timeout_min, limits::timeout_max);
  const auto lost = r.one_of("on_lease_lost", lease_lost_words);
  if (lost) s.on_lease_lost = *lost == 0 ? on_lease_lost::keep : on_lease_lost::kill;
  s.at_most_once = r.boolean("at_most_once").value_or(s.at_most_once);
  const auto output = r.integer("output_limit", 0, limits::output_max);
  if (output) s.output_limit = static_cast<std::uint64_t>(*output);
}

void read_on_exit(field_reader& part, retry_policy& p) {
  const json::array* list = part.array("on_exit", exit_codes);
  if (list == nullptr) return;
  for (const json::value& v : *list) {
    if (!v.is_int64() || v.get_int64() < 1 || v.get_int64() > exit_code_max) {
      return part.refuse("on_exit", fmt::format("must be a list of exit codes from 1 to {}", exit_code_max));
    }
    p.on_exit.push_back(static_cast<int>(v.get_int64()));
  }
  if (p.on_exit.empty()) part.refuse("on_exit", "is empty", "leave it out to try again after any failure");
  std::sort(p.on_exit.begin(), p.on_exit.end());
  p.on_exit.erase(std::unique(p.on_exit.begin(), p.on_exit.end()), p.on_exit.end());
}

void read_retry(field_reader& r, run_spec& s) {
  const json::object* o = r.object("retry");
  if (o == nullptr) return;
  field_reader part{*o, dialect::definition, r.pointer("retry")};
  part.allow_only(retry_keys);
  retry_policy& p = s.retry;
  p.max_attempts =
      static_cast<int>(part.integer("max_attempts", 1, limits::attempts_max).value_or(p.max_attempts));
  p.max_lost = static_cast<int>(part.integer("max_lost", 1, limits::attempts_max).value_or(p.max_lost));
  p.backoff = part.duration("backoff", backoff_min, limits::backoff_max).value_or(p.backoff);
  const auto max_backoff = part.duration("max_backoff", backoff_min, limits::backoff_max);
  p.max_backoff = max_backoff.value_or(std::max(p.max_backoff, p.backoff));
  if (p.max_backoff < p.backoff) part.refuse("max_backoff", "is less than backoff");
  read_on_exit(part, p);
  if (s.at_most_once && p.max_attempts > 1) {
    part.refuse("max_attempts", "contradicts at_most_once: such a run is never tried again",
                "leave out one of the two");
  }
  if (part.why()) r.refuse(*part.why());
}

void read_locks(field_reader& r, run_spec& s) {
  const auto words = r.text_list("locks", limits::locks_of_run, 256);
  if (!words) return;
  for (const std::string& word : *words) {
    auto lock = parse_lock(word);
    if (!lock) {
      return r.refuse("locks", fmt::format("cannot contain \"{}\"", printable(word, 64)),
                      "write \"name\" to have it alone, or \"name:read\" to share it with other readers");
    }
    s.locks.push_back(std::move(*lock));
  }
  std::sort(s.locks.begin(), s.locks.end());
  const auto twice = std::adjacent_find(s.locks.begin(), s.locks.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != s.locks.end()) r.refuse("locks", fmt::format("names the lock {} twice", twice->name));
  if (!s.locks.empty() && r.has("on_lease_lost") && s.on_lease_lost == on_lease_lost::keep) {
    r.refuse("on_lease_lost", "cannot be keep beside locks: a process that lost its lease lost its locks too",
             "leave it out");
  }
}

void read_rate(field_reader& r, run_spec& s) {
  const auto text = r.text("rate", 64);
  if (!text) return;
  s.rate = parse_rate(*text);
  if (!s.rate) {
    r.refuse("rate", "must be a number of starts and a time, such as \"10/m\" or \"1/6s\"",
             "at most 1,000,000, within 1ms to 30d");
  }
}

void read_resources(field_reader& part, run_spec& s) {
  const json::object* o = part.object("resources");
  if (o == nullptr) return;
  auto amounts = read_amounts(*o, part.pointer("resources"));
  if (amounts) {
    s.required_resources = std::move(*amounts);
  } else {
    part.refuse(amounts.error());
  }
}

void read_placement(field_reader& r, run_spec& s) {
  s.priority = static_cast<int>(r.integer("priority", -priority_bound, priority_bound).value_or(s.priority));
  s.queue = r.text("queue", 128).value_or(s.queue);
  if (!is_valid_name(s.queue)) {
    r.refuse("queue",
             "must be 1 to 128 of letters, digits, dot, dash and underscore, the first a letter or digit");
  }
  s.tags = read_labels(r, "tags");
  read_locks(r, s);
  s.max_running =
      static_cast<int>(r.integer("max_running", 1, limits::max_running_max).value_or(s.max_running));
  read_rate(r, s);
  if (const json::object* o = r.object("requires")) {
    field_reader part{*o, dialect::definition, r.pointer("requires")};
    part.allow_only(requires_keys);
    s.required_labels = read_labels(part, "labels");
    read_resources(part, s);
    if (part.why()) r.refuse(*part.why());
  }
}

json::object write_map(const std::map<std::string, std::string>& map) {
  json::object o;
  for (const auto& [name, value] : map) o[name] = value;
  return o;
}

json::array write_list(const std::vector<std::string>& words) {
  json::array a;
  for (const std::string& word : words) a.emplace_back(word);
  return a;
}

void write_retry(const retry_policy& p, json::object& o) {
  const retry_policy standard;
  json::object out;
  if (p.max_attempts != standard.max_attempts) out["max_attempts"] = p.max_attempts;
  if (p.max_lost != standard.max_lost) out["max_lost"] = p.max_lost;
  if (p.backoff != standard.backoff) out["backoff"] = format_duration(p.backoff);
  if (p.max_backoff != std::max(standard.max_backoff, p.backoff)) {
    out["max_backoff"] = format_duration(p.max_backoff);
  }
  if (!p.on_exit.empty()) out["on_exit"] = json::array(p.on_exit.begin(), p.on_exit.end());
  if (!out.empty()) o["retry"] = std::move(out);
}

void write_placement(const run_spec& s, json::object& o) {
  const run_spec standard;
  if (s.priority != standard.priority) o["priority"] = s.priority;
  if (s.queue != standard.queue) o["queue"] = s.queue;
  if (!s.tags.empty()) o["tags"] = write_map(s.tags);
  if (!s.locks.empty()) {
    json::array& list = o["locks"].emplace_array();
    for (const lock_request& l : s.locks) list.emplace_back(format_lock(l));
  }
  if (s.max_running != standard.max_running) o["max_running"] = s.max_running;
  if (s.rate) o["rate"] = format_rate(*s.rate);
  if (s.required_labels.empty() && s.required_resources.empty()) return;
  json::object& part = o["requires"].emplace_object();
  if (!s.required_labels.empty()) part["labels"] = write_map(s.required_labels);
  if (!s.required_resources.empty()) part["resources"] = write_amounts(s.required_resources);
}

}  // namespace

std::optional<refusal> check_args(std::string_view args) {
  const auto words = split_shell_words(args);
  if (!words) {
    return bad_field("/args", "args end inside a quotation or in a backslash", "close the quotation");
  }
  if (words->size() > limits::argv_items) {
    return bad_field(
        "/args", fmt::format("args are {} words; at most {} are taken", words->size(), limits::argv_items));
  }
  for (const std::string& word : *words) {
    if (word.size() > limits::argv_item_bytes) {
      return bad_field("/args",
                       fmt::format("a word of args is longer than {} bytes", limits::argv_item_bytes));
    }
  }
  return std::nullopt;
}

result<resource_amounts> read_amounts(const json::object& o, const std::string& path) {
  resource_amounts amounts;
  if (o.size() > limits::resources_of_run) {
    return bad_field(path, fmt::format("has more than {} entries", limits::resources_of_run));
  }
  for (const auto& [key, value] : o) {
    const std::string name(key);
    const std::string pointer = path + '/' + pointer_token(name);
    if (!is_valid_name(name)) {
      return bad_field(pointer, fmt::format("\"{}\" is no name of a resource", printable(name, 64)));
    }
    const auto amount = parse_amount(value.is_string() ? std::string(value.get_string()) : write_json(value));
    if (!amount) {
      return bad_field(
          pointer, fmt::format("the amount of {} must be a number above zero with at most three decimals, "
                               "or bytes such as \"512MiB\"",
                               name));
    }
    amounts[name] = *amount;
  }
  return amounts;
}

// Fifteen digits come back from a double as they went in; what has more is written as a text.
constexpr std::int64_t exact_in_double = 1'000'000'000'000'000;

json::object write_amounts(const resource_amounts& amounts) {
  json::object o;
  for (const auto& [name, amount] : amounts) {
    if (amount % resource_unit == 0)
      o[name] = amount / resource_unit;
    else if (amount < exact_in_double)
      o[name] = static_cast<double>(amount) / static_cast<double>(resource_unit);
    else
      o[name] = format_amount(amount);
  }
  return o;
}

result<run_spec> read_spec(const json::object& o) {
  field_reader r{o, dialect::definition};
  run_spec s;
  read_executable(r, s);
  read_env(r, s);
  s.cwd = r.text("cwd", path_bytes).value_or(s.cwd);
  s.stdin_text = r.text("stdin", limits::stdin_bytes).value_or(s.stdin_text);
  read_limits(r, s);
  read_placement(r, s);
  read_retry(r, s);
  if (r.why()) return *r.why();
  return s;
}

void write_spec(const run_spec& s, json::object& o) {
  const run_spec standard;
  if (!s.script.empty()) o["script"] = s.script;
  if (!s.args.empty()) o["args"] = s.args;
  if (!s.command.empty()) o["command"] = write_list(s.command);
  if (!s.builtin.empty()) o["builtin"] = s.builtin;
  if (!s.env.empty()) o["env"] = write_map(s.env);
  if (!s.cwd.empty()) o["cwd"] = s.cwd;
  if (!s.stdin_text.empty()) o["stdin"] = s.stdin_text;
  if (s.timeout != standard.timeout) o["timeout"] = format_duration(s.timeout);
  if (s.kill_grace != standard.kill_grace) o["kill_grace"] = format_duration(s.kill_grace);
  if (s.lost_after) o["lost_after"] = format_duration(*s.lost_after);
  if (s.start_within) o["start_within"] = format_duration(*s.start_within);
  if (s.on_lease_lost == on_lease_lost::kill) o["on_lease_lost"] = "kill";
  if (s.at_most_once) o["at_most_once"] = true;
  if (s.output_limit != standard.output_limit) o["output_limit"] = s.output_limit;
  write_placement(s, o);
  write_retry(s.retry, o);
}

result<run_spec> decode_spec(std::string_view text) {
  json_arena arena;
  const auto v = arena.read(text, nul_rule::refuse);
  if (!v) return v.error();
  const json::object* o = v->if_object();
  if (o == nullptr) return bad_field("", "a run specification must be an object");
  field_reader r{*o, dialect::definition};
  r.allow_only(spec_keys);
  if (r.why()) return *r.why();
  return read_spec(*o);
}

std::string encode_spec(const run_spec& s) {
  alignas(std::max_align_t) unsigned char memory[4 * 1024];
  json::monotonic_resource resource{memory, sizeof memory};
  json::value v(json::object_kind, json::storage_ptr{&resource});
  write_spec(s, v.get_object());
  return write_json(v);
}

}  // namespace orchestrator::protocol
