// Output: streaming, bounds of the spool, survivors that hold pipes.
#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>

#include "support/process_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

/// Its files of output; beside them is the record of the lease's session.
std::vector<std::filesystem::directory_entry> segments(const work_dir& dir) {
  std::vector<std::filesystem::directory_entry> found;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() / "spool")) {
    if (entry.path().extension() != ".session") found.push_back(entry);
  }
  return found;
}

std::uint64_t spool_bytes(const work_dir& dir) {
  std::uint64_t bytes = 0;
  for (const auto& entry : segments(dir)) bytes += entry.file_size();
  return bytes;
}

std::size_t spool_files(const work_dir& dir) { return segments(dir).size(); }

/// Byte `i` of the stream that `flood` prints: lines of 16 bytes with their own number.
std::string flood_text(std::uint64_t from, std::uint64_t to) {
  std::string text;
  for (auto line = from / 16; text.size() < to - from + 16; ++line) {
    char buffer[17];
    std::snprintf(buffer, sizeof buffer, "%015llu\n", static_cast<unsigned long long>(line));
    text += buffer;
  }
  return text.substr(from % 16, to - from);
}

launch flood(std::uint64_t lease, std::uint64_t bytes) {
  return command(lease, {"awk", "BEGIN { for (i = 0; i < " + std::to_string(bytes / 16) +
                                    "; ++i) printf \"%015d\\n\", i }"});
}

}  // namespace

TEST_CASE("output is announced before a line is complete, and the two streams stay apart (J15)") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(shell(1, "printf half; printf complaint >&2; exec sleep 60"));
  CHECK(daemon.until([&] { return daemon.outputs.size() == 2; }));
  CHECK(daemon.outputs.at({1, "stdout"}) == 4);
  CHECK(daemon.outputs.at({1, "stderr"}) == 9);
  CHECK(daemon.read_all(1, "stdout") == "half");
  CHECK(daemon.read_all(1, "stderr") == "complaint");
  CHECK_FALSE(daemon.ends.contains(1));
  daemon.client().kill(1, 5s);
  CHECK(daemon.wait_for_end(1).killed);
}

TEST_CASE("a silent process leaves no file behind") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(command(1, {"true"}));
  CHECK(end.output_bytes == std::map<std::string, std::uint64_t>{{"stdout", 0}, {"stderr", 0}});
  CHECK(spool_files(dir) == 0);
}

TEST_CASE("a flood keeps its head and its tail, and the disk stays bounded (J15)") {
  work_dir dir;
  test_daemon daemon(dir);
  constexpr std::uint64_t mib = 1 << 20;
  auto what = flood(1, 12 * mib);
  what.output_limit = 4 * mib;
  const auto end = daemon.run(what);
  CHECK(end.exit_code == 0);
  CHECK(end.output_bytes.at("stdout") == 12 * mib);
  CHECK(spool_bytes(dir) <= 5 * mib);
  CHECK(daemon.output_news < 2000);

  const auto head = read_spool(dir.path(), 1, "stdout", 0, 16 * mib);
  CHECK(head.offset == 0);
  CHECK((head.data == flood_text(0, 2 * mib)));
  const auto tail = read_spool(dir.path(), 1, "stdout", 2 * mib + 5, 16 * mib);
  CHECK(tail.offset == 10 * mib);
  CHECK((tail.data == flood_text(10 * mib, 12 * mib)));
  const auto part = read_spool(dir.path(), 1, "stdout", 11 * mib - 10, 20);
  CHECK(part.offset == 11 * mib - 10);
  CHECK(part.data == flood_text(11 * mib - 10, 11 * mib + 10));
  CHECK(read_spool(dir.path(), 1, "stdout", 12 * mib, 100).data.empty());
}

TEST_CASE("a limit below the head keeps that much of the beginning") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = flood(1, 3 << 20);
  what.output_limit = 1000;
  const auto end = daemon.run(what);
  CHECK(end.output_bytes.at("stdout") == 3 << 20);
  CHECK(daemon.read_all(1, "stdout") == flood_text(0, 1000));
  const auto rest = read_spool(dir.path(), 1, "stdout", 1000, 100);
  CHECK(rest.data.empty());
  CHECK(spool_bytes(dir) == 1000);
  daemon.client().forget(1);
  CHECK(eventually([&] { return spool_files(dir) == 0; }));
}

TEST_CASE("released segments and forgotten leases leave the disk") {
  work_dir dir;
  test_daemon daemon(dir);
  constexpr std::uint64_t mib = 1 << 20;
  REQUIRE(daemon.run(flood(1, 5 * mib + 160)).exit_code == 0);
  CHECK(spool_files(dir) == 6);
  daemon.client().release_output(1, "stdout", 3 * mib - 1);
  CHECK(eventually([&] { return spool_files(dir) == 4; }));
  const auto read = read_spool(dir.path(), 1, "stdout", 0, 10);
  CHECK(read.offset == 2 * mib);
  CHECK(read.data == flood_text(2 * mib, 2 * mib + 10));
  daemon.client().forget(1);
  CHECK(eventually([&] { return spool_files(dir) == 0; }));
}

TEST_CASE("output of a supervisor that is gone is forgotten by the next one") {
  work_dir dir;
  std::filesystem::create_directory(dir.path() / "spool");
  for (const char* name : {"7.stdout.0", "7.stdout.1", "7.stderr.0", "8.stdout.0"}) {
    FILE* file = std::fopen((dir.path() / "spool" / name).c_str(), "w");
    std::fputs("old", file);
    std::fclose(file);
  }
  test_daemon daemon(dir);
  daemon.client().release_output(7, "stdout", 1 << 20);
  CHECK(eventually([&] { return spool_files(dir) == 3; }));
  daemon.client().forget(7);
  CHECK(eventually([&] { return spool_files(dir) == 1; }));
  CHECK(daemon.run(shell(8, "echo new >&2")).exit_code == 0);
  CHECK(daemon.read_all(8, "stdout").empty());
  CHECK(daemon.read_all(8, "stderr") == "new\n");
}

TEST_CASE("a flood does not keep others from starting and ending") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(command(1, {"cat", "/dev/zero"}));
  daemon.wait_for_start(1);
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t lease = 2; lease < 12; ++lease) CHECK(daemon.run(shell(lease, "echo x")).exit_code == 0);
  CHECK(seconds_since(begin) < 10);
  CHECK(spool_bytes(dir) < (12u << 20));
  daemon.client().kill(1, 1s);
  CHECK(daemon.wait_for_end(1).signal == SIGTERM);
}

TEST_CASE("a survivor that holds the pipes silently does not delay the end by more than the drain") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto begin = std::chrono::steady_clock::now();
  const auto end = daemon.run(shell(1, "sleep 300 & echo $!"));
  CHECK(seconds_since(begin) > 1.5);
  CHECK(seconds_since(begin) < 6);
  CHECK(end.exit_code == 0);
  CHECK(end.output_detached);
  CHECK(end.duration_seconds < 1.5);
  // A background process of a successful job is left alone.
  const int survivor = std::stoi(daemon.read_all(1, "stdout"));
  CHECK(is_alive(survivor));
  ::kill(survivor, SIGKILL);
  CHECK(eventually([&] { return !is_alive(survivor); }));
}

TEST_CASE("what a survivor prints during the drain is kept, and a quick one delays nothing (J15)") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(shell(1, "(sleep 0.3; echo late) & echo early"));
  CHECK_FALSE(end.output_detached);
  CHECK(daemon.read_all(1, "stdout") == "early\nlate\n");
}

TEST_CASE("a process may close its streams and go on (J15)") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(shell(1, "exec >&- 2>&-; sleep 0.2; exit 7"));
  CHECK(end.exit_code == 7);
  CHECK_FALSE(end.output_detached);
}
