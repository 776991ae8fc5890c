// Golden files and seeded random values for the tests of the protocol layer.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include <orchestrator/base/random.hpp>
#include <orchestrator/protocol/definitions.hpp>
#include <orchestrator/protocol/message.hpp>

#include "support/tests_dir.hpp"

namespace orchestrator::protocol::samples {

/// The lines of tests/golden/`name`.
inline std::vector<std::string> golden_lines(const std::string& name) {
  const auto path = testing::tests_dir() / "golden" / name;
  std::ifstream in{path};
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Random values of every type; the same seed makes the same ones.
class maker {
 public:
  explicit maker(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  bool coin() { return below(2) == 0; }
  template <class T>
  T pick(std::initializer_list<T> from) {
    return *(from.begin() + below(from.size()));
  }
  /// Valid UTF-8 without NUL, with everything that needs escaping.
  std::string text(std::size_t pieces = 12) {
    static const std::vector<std::string> parts{
        "a",          "Z",      "0",         " ",       "\"",   "\\",          "/",
        "\n",         "\t",     "\x01",      "\x1f",    "\x7f", "é",           "€",
        "\U0001F600", "\u2028", "</script>", "\\u0041", "\r",   "plain words", "{}[],:"};
    std::string out;
    for (std::size_t n = below(pieces + 1); n > 0; --n) out += parts[below(parts.size())];
    return out;
  }
  std::string name() {
    std::string out{"n"};
    for (std::size_t n = below(12); n > 0; --n) out += pick<char>({'a', 'B', '7', '.', '-', '_'});
    return out;
  }
  std::string bytes() {
    std::string out;
    for (std::size_t n = below(40); n > 0; --n) out += static_cast<char>(below(256));
    return out;
  }
  std::uint64_t number() {
    return pick<std::uint64_t>({1, 2, 53, 1ULL << 53U, (1ULL << 53U) + 1, (1ULL << 63U) - 1});
  }
  int small() { return static_cast<int>(below(1000)) + 1; }
  double real() {
    return pick<double>({0, 0.1, 1.5, 60, 1e-7, 1.7976931348623157e308, 123456.789012345678, 1e21}) +
           random_.unit();
  }
  uuid id() { return make_uuid_v4(random_.next(), random_.next()); }
  template <class T>
  std::optional<T> maybe(T value) {
    if (coin()) return value;
    return std::nullopt;
  }
  job_ref ref() {
    if (coin()) return {text(4)};
    return {static_cast<std::int64_t>(number())};
  }
  std::map<std::string, std::string> map() {
    std::map<std::string, std::string> out;
    for (std::size_t n = below(4); n > 0; --n) out[name()] = name();
    return out;
  }
  std::vector<lease_ref> refs() {
    std::vector<lease_ref> out;
    for (std::size_t n = below(4); n > 0; --n) out.push_back({ref(), {number()}});
    return out;
  }

  worker_message from_worker();
  coordinator_message from_coordinator();
  run_spec spec();
  orchestrator::schedule schedule();

 private:
  worker_register registration_of_worker();
  job_result result_of_job();
  execute_job job();

  random_source random_;
};

inline worker_register maker::registration_of_worker() {
  worker_register m;
  m.worker_id = name();
  m.hostname = text();
  m.platform = text();
  m.python_version = maybe(text());
  if (coin()) return m;
  m.protocol = small();
  m.features = {"batch", name()};
  m.slots = small();
  m.credit = small();
  m.labels = map();
  m.version = text();
  m.pid = small();
  m.instance = id();
  m.boot_id = text();
  m.process = text();
  m.opened = maybe(static_cast<std::int64_t>(number()));
  m.cluster = maybe(id());
  m.term = maybe(number());
  m.highest_lease = maybe(lease_id{number()});
  m.running = refs();
  m.unacked = refs();
  m.lost = refs();
  return m;
}

inline job_result maker::result_of_job() {
  job_result m;
  m.job_id = ref();
  m.worker_id = name();
  m.status = static_cast<result_status>(below(7));
  m.log_output = text(200);
  m.run_time = text();
  m.duration_seconds = real();
  m.lease = maybe(lease_id{number()});
  m.exit_code = maybe(static_cast<int>(below(256)));
  m.signal = maybe(static_cast<int>(below(64)) + 1);
  m.max_rss_bytes = maybe(static_cast<std::int64_t>(number()));
  m.cpu_seconds = maybe(real());
  if (coin()) m.output_bytes = {{"stderr", number()}, {"stdout", 0}};
  m.output_lost = coin();
  return m;
}

inline worker_message maker::from_worker() {
  worker_message m;
  m.seq = maybe(number());
  switch (below(6)) {
    case 0: m.body = registration_of_worker(); break;
    case 1:
      m.body = heartbeat{name(), text(),         small(),       real(),
                         text(), maybe(small()), maybe(real()), maybe<std::int64_t>(small())};
      break;
    case 2:
      m.body = event{name(), name(), maybe(ref()), maybe(lease_id{number()}), maybe(number()), {}};
      break;
    case 3: {
      const std::uint64_t offset = number();
      m.body = job_output{name(),
                          maybe(ref()),
                          {number()},
                          pick<const char*>({"stdout", "stderr"}),
                          offset,
                          maybe(offset / 2),
                          coin() ? bytes() : text(50)};
      break;
    }
    case 4: m.body = result_of_job(); break;
    default: m.seq.reset(); m.body = worker_ack{maybe(number()), coin()};
  }
  return m;
}

inline execute_job maker::job() {
  execute_job m;
  m.job_id = ref();
  switch (below(3)) {
    case 0:
      m.script_path = name();
      m.script_args = text();
      break;
    case 1: m.command = {name(), text(), ""}; break;
    default: m.builtin = "noop";
  }
  m.env = map();
  m.cwd = text();
  m.stdin_text = text();
  m.timeout_seconds = maybe(real());
  m.kill_grace_seconds = maybe(real());
  m.lease = maybe(lease_id{number()});
  m.attempt = maybe(small());
  m.term = maybe(number());
  m.lease_ttl_seconds = maybe(real());
  m.on_lease_lost = maybe<std::string>(pick<const char*>({"keep", "kill"}));
  m.at_most_once = maybe(coin());
  m.output_limit_bytes = maybe(number());
  m.traceparent = text();
  m.run_id = text();
  m.job = text();
  m.scheduled_at = maybe(text());
  return m;
}

inline coordinator_message maker::from_coordinator() {
  coordinator_message m;
  m.seq = maybe(number());
  switch (below(6)) {
    case 0:
    case 1: m.body = job(); return m;
    case 2: m.body = cancel_job{ref(), {number()}, real()}; return m;
    case 3: m.body = drain{coin()}; return m;
    default: break;
  }
  m.seq.reset();
  ack a{coin(), maybe(number()), coin(), maybe(static_cast<disposition>(below(6))), {}};
  if (coin()) a.dispositions = {{3, disposition::duplicate}, {number() + 4, disposition::superseded}};
  registration r{maybe(number()), name(), id(),     number(), small(),
                 {"batch"},       real(), number(), refs(),   refs()};
  switch (below(3)) {
    case 0: m.body = a; break;
    case 1: m.body = r; break;
    default: m.body = error_message{name(), text(), maybe(number()), coin()};
  }
  return m;
}

inline run_spec maker::spec() {
  run_spec s;
  switch (below(3)) {
    case 0:
      s.script = "jobs/" + name() + ".py";
      s.args = coin() ? "" : "--day 'yester day' \"x\" " + name();
      break;
    case 1: s.command = {"make", text(), ""}; break;
    default: s.builtin = "noop";
  }
  s.env = map();
  s.cwd = coin() ? "" : text();
  s.stdin_text = coin() ? "" : text(100);
  if (coin()) s.timeout = milliseconds{1000 + below(1'000'000'000)};
  if (coin()) s.kill_grace = milliseconds{below(3'600'001)};
  s.lost_after = maybe(milliseconds{2000 + below(80'000'000)});
  s.start_within = maybe(milliseconds{1000 + below(1'000'000'000)});
  if (coin()) s.on_lease_lost = on_lease_lost::kill;
  s.at_most_once = coin();
  if (coin()) s.output_limit = below(limits::output_max + 1);
  if (!s.at_most_once && coin()) s.retry.max_attempts = static_cast<int>(below(100)) + 1;
  if (coin()) s.retry.max_lost = static_cast<int>(below(100)) + 1;
  if (coin()) s.retry.backoff = milliseconds{1 + below(86'400'000)};
  const auto room = static_cast<std::uint64_t>((milliseconds{86'400'000} - s.retry.backoff).count());
  s.retry.max_backoff = s.retry.backoff + milliseconds{below(room + 1)};
  s.required_labels = map();
  if (coin()) s.priority = static_cast<int>(below(2001)) - 1000;
  if (coin()) s.queue = name();
  s.tags = map();
  return s;
}

inline schedule maker::schedule() {
  orchestrator::schedule s;
  s.kind = static_cast<schedule_kind>(below(7));
  if (s.kind == schedule_kind::interval) s.every = milliseconds{1000 + below(1'000'000'000)};
  if (s.kind >= schedule_kind::hourly && s.kind <= schedule_kind::monthly)
    s.minute = static_cast<int>(below(60));
  if (s.kind >= schedule_kind::daily && s.kind <= schedule_kind::monthly)
    s.hour = static_cast<int>(below(24));
  if (s.kind == schedule_kind::weekly) s.weekday = static_cast<int>(below(7));
  if (s.kind == schedule_kind::monthly) s.day = static_cast<int>(below(31)) + 1;
  if (s.kind == schedule_kind::cron) s.cron = pick<const char*>({"*/5 * * * *", "30 2 * * 1-5", "@daily"});
  if (coin())
    s.time_zone = pick<const char*>({"Asia/Hong_Kong", "Etc/GMT+8", "America/Argentina/Buenos_Aires"});
  s.catch_up = static_cast<catch_up_policy>(below(3));
  s.overlap = static_cast<overlap_policy>(below(5));
  s.gap = static_cast<gap_policy>(below(2));
  s.fold = static_cast<fold_policy>(below(2));
  if (coin()) s.start_deadline = milliseconds{1000 + below(100'000'000)};
  return s;
}

}  // namespace orchestrator::protocol::samples
