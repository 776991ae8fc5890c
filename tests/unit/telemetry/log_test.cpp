// The log writes exact lines, hides nothing it dropped, and never makes its callers wait for stderr.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <orchestrator/telemetry/log.hpp>

namespace telemetry = orchestrator::telemetry;
using telemetry::level;

namespace {

// Puts a pipe in the place of stderr for its lifetime.
class captured_stderr {
 public:
  captured_stderr() : saved_{::dup(STDERR_FILENO)} {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read_end_ = ends[0];
    REQUIRE(::dup2(ends[1], STDERR_FILENO) >= 0);
    ::close(ends[1]);
  }
  ~captured_stderr() {
    restore();
    ::close(read_end_);
  }
  captured_stderr(const captured_stderr&) = delete;
  captured_stderr& operator=(const captured_stderr&) = delete;

  int read_end() const { return read_end_; }
  void restore() {
    if (saved_ < 0) return;
    ::dup2(saved_, STDERR_FILENO);  // closes the pipe's writing end, so reading finds its end
    ::close(saved_);
    saved_ = -1;
  }
  std::string all() {
    restore();
    std::string text;
    char buffer[65536];
    for (ssize_t n; (n = ::read(read_end_, buffer, sizeof buffer)) > 0;) text.append(buffer, std::size_t(n));
    return text;
  }

 private:
  int saved_;
  int read_end_ = -1;
};

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// The sum of what the lines about dropped lines say.
std::size_t reported_as_dropped(const std::string& text) {
  std::size_t sum = 0;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    std::size_t count = 0;
    if (std::sscanf(line.c_str(), "[WARNING] %zu log lines were dropped", &count) == 1) sum += count;
  }
  return sum;
}

std::size_t count_starting_with(const std::string& text, std::string_view start) {
  std::size_t count = 0;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) count += line.starts_with(start) ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a line is its level in brackets and its text") {
  captured_stderr capture;
  telemetry::start_logging(level::debug, false);
  telemetry::debug("d {}", 1);
  telemetry::info("i {}", 2);
  telemetry::warning("w {}", 3);
  telemetry::error("e {}", 4);
  telemetry::stop_logging();
  CHECK(capture.all() == "[DEBUG] d 1\n[INFO] i 2\n[WARNING] w 3\n[ERROR] e 4\n");
}

TEST_CASE("lines below the lowest level are not written") {
  captured_stderr capture;
  telemetry::start_logging(level::warning, false);
  telemetry::debug("no");
  telemetry::info("no");
  telemetry::warning("yes");
  telemetry::stop_logging();
  CHECK(capture.all() == "[WARNING] yes\n");
}

TEST_CASE("lines before the start and after the stop are written at once") {
  captured_stderr capture;
  telemetry::start_logging(level::info, false);
  telemetry::stop_logging();
  telemetry::info("outside");
  CHECK(capture.all() == "[INFO] outside\n");
}

TEST_CASE("logging can be stopped twice and started again") {
  captured_stderr capture;
  for (int round = 0; round < 3; ++round) {
    telemetry::start_logging(level::info, false);
    telemetry::info("round {}", round);
    telemetry::stop_logging();
    telemetry::stop_logging();
  }
  CHECK(capture.all() == "[INFO] round 0\n[INFO] round 1\n[INFO] round 2\n");
}

TEST_CASE("input cannot forge a line") {
  captured_stderr capture;
  telemetry::start_logging(level::info, false);
  telemetry::info("name {}", "x\n[ERROR] forged\x1b[2J");
  telemetry::stop_logging();
  CHECK(capture.all() == "[INFO] name x\\x0a[ERROR] forged\\x1b[2J\n");
}

TEST_CASE("a very long text is cut to one line that a pipe takes whole") {
  captured_stderr capture;
  telemetry::start_logging(level::info, true);
  telemetry::info("{}", std::string(100'000, 'x'));
  telemetry::stop_logging();
  const std::string text = capture.all();
  CHECK(text.size() <= 4096);
  CHECK(text.ends_with("x...\n"));
  CHECK(count_lines(text) == 1);
}

TEST_CASE("the time comes before the level when it is asked for") {
  captured_stderr capture;
  telemetry::start_logging(level::info, true);
  telemetry::info("timed");
  telemetry::stop_logging();
  telemetry::start_logging(level::info, false);
  telemetry::stop_logging();
  const std::string text = capture.all();
  REQUIRE(text.size() == std::string{"2026-01-31T23:59:59.125Z [INFO] timed\n"}.size());
  CHECK(text[10] == 'T');
  CHECK(text.substr(23) == "Z [INFO] timed\n");
}

TEST_CASE(
    "every line is written once or counted as dropped, and nobody waits for a stderr that is not read") {
  constexpr std::size_t lines = 40'000;
  captured_stderr capture;
  telemetry::start_logging(level::info, false);
  const auto before = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < lines; ++i) telemetry::info("line {}", i);
  const auto taken = std::chrono::steady_clock::now() - before;
  CHECK(taken < std::chrono::seconds{20});  // waiting for the pipe would take forever

  std::string text;
  std::thread reader{[&] {
    char buffer[65536];
    for (ssize_t n; (n = ::read(capture.read_end(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, std::size_t(n));
    }
  }};
  telemetry::stop_logging();
  capture.restore();
  reader.join();
  const std::size_t dropped = reported_as_dropped(text);
  CHECK(dropped > 0);
  const std::size_t written = count_starting_with(text, "[INFO] line ");
  CHECK(written + dropped == lines);
}

TEST_CASE(
    "the stop does not wait for a stderr that nobody reads, and what it left unwritten is counted later") {
  constexpr std::size_t lines = 20'000;
  std::string text;
  {
    captured_stderr capture;
    telemetry::start_logging(level::info, false);
    for (std::size_t i = 0; i < lines; ++i) telemetry::info("line {}", i);
    const auto before = std::chrono::steady_clock::now();
    telemetry::stop_logging();
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds{4});
    text = capture.all();
  }
  captured_stderr capture;
  telemetry::start_logging(level::info, false);
  telemetry::stop_logging();
  text += capture.all();
  CHECK(reported_as_dropped(text) > 0);
  CHECK(count_starting_with(text, "[INFO] line ") + reported_as_dropped(text) == lines);
}

TEST_CASE("many threads log whole lines while logging starts and stops") {
  captured_stderr capture;
  std::string text;
  std::thread reader{[&] {
    char buffer[65536];
    for (ssize_t n; (n = ::read(capture.read_end(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, std::size_t(n));
    }
  }};
  telemetry::start_logging(level::info, false);
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([t] {
      for (int i = 0; i < 1000; ++i) telemetry::info("thread {} line {} end", t, i);
    });
  }
  for (int i = 0; i < 20; ++i) {
    telemetry::stop_logging();
    telemetry::start_logging(level::info, false);
  }
  for (auto& writer : writers) writer.join();
  telemetry::stop_logging();
  capture.restore();
  reader.join();
  std::size_t whole = 0;
  std::istringstream stream{text};
  for (std::string line; std::getline(stream, line);) {
    whole += line.starts_with("[INFO] thread ") && line.ends_with(" end") ? 1 : 0;
  }
  CHECK(whole + reported_as_dropped(text) == 4000);
}
