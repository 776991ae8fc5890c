// Helpers for tests that run real supervisors and processes: a work dir of their own, a daemon that records
// what it is told, and waiting by looking, with a limit.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/process/supervisor.hpp>

namespace orchestrator::process::testing {

using namespace std::chrono_literals;

inline constexpr auto patience = 20s;

/// Looks every 5 ms until `condition` holds. False when it did not within the patience.
template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

inline bool is_alive(int pid) {
  FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
  if (file == nullptr) return false;
  char line[512] = {};
  const bool read = std::fgets(line, sizeof line, file) != nullptr;
  std::fclose(file);
  const std::string text = line;
  const auto bracket = text.rfind(')');
  return read && bracket != std::string::npos && bracket + 2 < text.size() && text[bracket + 2] != 'Z';
}

/// A folder for one test, gone afterwards together with the supervisor that lives in it.
class work_dir {
 public:
  work_dir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "orchestrator-process-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~work_dir() {
    for (const int pid : supervisors_) {
      if (is_alive(pid)) ::kill(pid, SIGTERM);
      if (!eventually([pid] { return !is_alive(pid); })) ::kill(pid, SIGKILL);
    }
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  work_dir(const work_dir&) = delete;
  work_dir& operator=(const work_dir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void note_supervisor(int pid) { supervisors_.push_back(pid); }

 private:
  std::filesystem::path path_;
  std::vector<int> supervisors_;
};

/// A daemon: a connected client and everything it was told.
class test_daemon : public supervisor_events {
 public:
  explicit test_daemon(work_dir& dir) : dir_(dir) {
    auto connected = connect_supervisor(dir.path());
    REQUIRE_MESSAGE(connected.has_value(), connected.error().message());
    client_ = std::move(*connected);
    dir.note_supervisor(client_->pid());
  }

  supervisor_client& client() { return *client_; }

  /// Handles messages until `condition` holds.
  template <class Condition>
  bool until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
      client_->poll(*this);
      if (condition()) return true;
      if (std::chrono::steady_clock::now() > deadline) return false;
      pollfd readable{client_->native_handle(), POLLIN, 0};
      ::poll(&readable, 1, 20);
    }
  }
  /// Starts and waits for the end.
  process_end run(const launch& what) {
    client_->start(what);
    return wait_for_end(what.lease);
  }
  process_end wait_for_end(std::uint64_t lease) {
    REQUIRE(until([&] { return ends.contains(lease); }));
    return ends[lease];
  }
  int wait_for_start(std::uint64_t lease) {
    REQUIRE(until([&] { return starts.contains(lease); }));
    return starts[lease];
  }
  std::string read_all(std::uint64_t lease, const std::string& stream) {
    return read_spool(dir_.path(), lease, stream, 0, 64 << 20).data;
  }

  std::map<std::uint64_t, int> starts;
  std::map<std::uint64_t, int> start_count;
  std::map<std::uint64_t, process_end> ends;
  std::map<std::uint64_t, int> end_count;
  std::map<std::pair<std::uint64_t, std::string>, std::uint64_t> outputs;
  int output_news = 0;
  int lost_news = 0;
  int replaced_news = 0;

 private:
  void started(std::uint64_t lease, int pid, wall_time) override {
    starts[lease] = pid;
    ++start_count[lease];
  }
  void output(std::uint64_t lease, const std::string& stream, std::uint64_t end) override {
    outputs[{lease, stream}] = end;
    ++output_news;
  }
  void ended(const process_end& end) override {
    ends[end.lease] = end;
    ++end_count[end.lease];
  }
  void supervisor_lost() override { ++lost_news; }
  void replaced() override { ++replaced_news; }

  work_dir& dir_;
  std::unique_ptr<supervisor_client> client_;
};

inline launch command(std::uint64_t lease, std::vector<std::string> argv) {
  launch what;
  what.lease = lease;
  what.argv = std::move(argv);
  what.env = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"ORCHESTRATOR_LEASE", std::to_string(lease)}};
  return what;
}
inline launch shell(std::uint64_t lease, const std::string& script) {
  return command(lease, {"/bin/sh", "-c", script});
}

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace orchestrator::process::testing
