// Timeouts and kills reach the whole tree.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "identity.hpp"
#include "session_file.hpp"
#include "support/process_fixture.hpp"
#include "unique_fd.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

/// The number in a file that a process writes when it is ready.
int wait_for_number(const std::filesystem::path& path) {
  int number = 0;
  REQUIRE(eventually([&] {
    std::ifstream in(path);
    return static_cast<bool>(in >> number) && in.get() == '\n';
  }));
  return number;
}

/// A grandchild in a session of its own that ignores TERM and writes its number to `path`.
std::string stubborn_grandchild(const std::filesystem::path& path) {
  return "setsid sh -c 'trap \"\" TERM; echo $$ > " + path.string() + "; while :; do sleep 1; done' & ";
}

std::size_t zombies_of(int parent) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto stat = read_process_stat(std::stoi(name));
    if (stat && stat->parent == parent && stat->is_dead()) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a timeout ends a process with TERM") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"sleep", "300"});
  what.timeout = 200ms;
  const auto end = daemon.run(what);
  CHECK(end.timed_out);
  CHECK_FALSE(end.killed);
  CHECK(end.signal == SIGTERM);
  CHECK(end.duration_seconds >= 0.2);
  CHECK(end.duration_seconds < 5);
}

TEST_CASE("a process that exits 0 because of its timeout's TERM has timed out all the same (J17)") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = shell(1, "trap 'exit 0' TERM; while :; do sleep 0.05; done");
  what.timeout = 300ms;
  const auto end = daemon.run(what);
  CHECK(end.timed_out);
  CHECK(end.exit_code == 0);
  CHECK(end.signal == 0);
}

TEST_CASE("a timeout kills a tree whose grandchild left the session and ignores TERM (J16)") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto note = dir.path() / "grandchild";
  auto what = shell(1, stubborn_grandchild(note) + "trap '' TERM; while :; do sleep 1; done");
  what.timeout = 1s;
  what.kill_grace = 500ms;
  daemon.client().start(what);
  const int grandchild = wait_for_number(note);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.timed_out);
  CHECK(end.signal == SIGKILL);
  CHECK(end.duration_seconds >= 1.5);
  CHECK(end.leaked_processes == 0);
  CHECK_FALSE(is_alive(grandchild));
}

TEST_CASE("kill reaches a grandchild that double-forked, and the end waits for it (J16)") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto note = dir.path() / "grandchild";
  daemon.client().start(shell(1, "(" + stubborn_grandchild(note) + ") ; exec sleep 300"));
  const int grandchild = wait_for_number(note);
  daemon.client().kill(1, 400ms);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.killed);
  CHECK_FALSE(end.timed_out);
  CHECK(end.signal == SIGTERM);
  CHECK_FALSE(is_alive(grandchild));
}

TEST_CASE("a polite process gets the time it asked for") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(
      shell(1, "trap 'sleep 0.3; echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
  REQUIRE(daemon.until([&] { return daemon.outputs.contains({1, "stdout"}); }));
  daemon.client().kill(1, 10s);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.killed);
  CHECK(end.exit_code == 3);
  CHECK(daemon.read_all(1, "stdout") == "ready\nbye\n");
}

TEST_CASE("a stopped process is woken for its TERM (J16)") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(command(1, {"sleep", "300"}));
  const int pid = daemon.wait_for_start(1);
  ::kill(pid, SIGSTOP);
  daemon.client().kill(1, 15s);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.signal == SIGTERM);
  CHECK(end.duration_seconds < 10);
}

TEST_CASE("a second kill may shorten the grace of the first") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(shell(1, "trap '' TERM; echo ready; while :; do sleep 0.1; done"));
  REQUIRE(daemon.until([&] { return daemon.outputs.contains({1, "stdout"}); }));
  daemon.client().kill(1, 10min);
  daemon.client().kill(1, 0ms);
  CHECK(daemon.wait_for_end(1).signal == SIGKILL);
}

TEST_CASE("kill of an ended or unknown lease changes nothing") {
  work_dir dir;
  test_daemon daemon(dir);
  CHECK(daemon.run(command(1, {"true"})).exit_code == 0);
  daemon.client().kill(1, 0ms);
  daemon.client().kill(99, 0ms);
  CHECK(daemon.run(command(2, {"true"})).exit_code == 0);
  CHECK(daemon.end_count[1] == 1);
  CHECK_FALSE(daemon.ends[1].killed);
}

TEST_CASE("kill of one lease leaves the processes of another alone") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto note = dir.path() / "grandchild";
  daemon.client().start(shell(1, stubborn_grandchild(note) + "exec sleep 300"));
  const int grandchild = wait_for_number(note);
  daemon.client().start(command(2, {"sleep", "300"}));
  daemon.wait_for_start(2);
  daemon.client().kill(2, 0ms);
  CHECK(daemon.wait_for_end(2).killed);
  CHECK(is_alive(grandchild));
  CHECK(is_alive(daemon.starts[1]));
  daemon.client().kill(1, 0ms);
  CHECK(daemon.wait_for_end(1).killed);
  CHECK_FALSE(is_alive(grandchild));
}

TEST_CASE("adopted orphans are reaped: no zombie stays (J16)") {
  work_dir dir;
  test_daemon daemon(dir);
  for (std::uint64_t lease = 1; lease <= 20; ++lease) {
    daemon.client().start(shell(lease, "(sleep 0.1 &) ; (true &) ; (setsid true &) ; exit 0"));
  }
  for (std::uint64_t lease = 1; lease <= 20; ++lease) CHECK(daemon.wait_for_end(lease).exit_code == 0);
  CHECK(eventually([&] { return zombies_of(daemon.client().pid()) == 0; }));
}

TEST_CASE("a lease's processes are found and killed without any supervisor") {
  work_dir dir;
  const auto note = dir.path() / "grandchild";
  test_daemon daemon(dir);
  daemon.client().start(shell(1000001, stubborn_grandchild(note) + "exec sleep 300"));
  const int grandchild = wait_for_number(note);
  const int main = daemon.wait_for_start(1000001);
  ::kill(daemon.client().pid(), SIGKILL);
  REQUIRE(daemon.until([&] { return daemon.lost_news == 1; }));
  CHECK(daemon.replaced_news == 0);
  CHECK(is_alive(main));
  CHECK(kill_lease_processes(dir.path(), {1000001, ""}));
  CHECK_FALSE(is_alive(main));
  CHECK_FALSE(is_alive(grandchild));
  CHECK(kill_lease_processes(dir.path(), {1000001, ""}));

  SUBCASE("and a launch after the loss is answered") {
    daemon.client().start(command(1000002, {"true"}));
    CHECK_FALSE(daemon.wait_for_end(1000002).started);
    CHECK(daemon.lost_news == 1);
  }
  SUBCASE("and a new supervisor takes the work dir") {
    test_daemon next(dir);
    CHECK(next.client().fresh());
    CHECK(next.client().inventory().empty());
    CHECK(next.run(command(1000003, {"true"})).exit_code == 0);
  }
}

TEST_CASE("processes of a dead supervisor are found by their session where the environment says nothing") {
  work_dir dir;
  const auto note = dir.path() / "orphan";
  test_daemon daemon(dir);
  // The leader is gone by the time they are looked for; what is left has no environment and no parent of
  // ours.
  daemon.client().start(shell(1000005, "(env -i sh -c 'echo $$ > " + note.string() +
                                           "; exec sleep 300' &) ; until test -s " + note.string() +
                                           "; do sleep 0.01; done"));
  const int orphan = wait_for_number(note);
  REQUIRE(daemon.wait_for_end(1000005).exit_code == 0);
  ::kill(daemon.client().pid(), SIGKILL);
  REQUIRE(daemon.until([&] { return daemon.lost_news == 1; }));
  CHECK(is_alive(orphan));

  SUBCASE("by its number") {
    CHECK(kill_lease_processes(dir.path(), {1000005, ""}));
    CHECK_FALSE(is_alive(orphan));
  }
  SUBCASE("but not one of another boot, nor of a leader younger than they are: that is another session") {
    auto recorded =
        parse_identity(read_small_file((dir.path() / "spool/1000005.session").string(), 4096).value())
            .value();
    const unique_fd spool(::open((dir.path() / "spool").c_str(), O_RDONLY | O_DIRECTORY));
    SUBCASE("boot") { recorded.boot_id = "another"; }
    SUBCASE("namespace") { ++recorded.pid_namespace; }
    SUBCASE("time") { recorded.start_time = read_process_stat(orphan)->start_time + 1; }
    write_session(spool.get(), 1000005, recorded);
    CHECK(kill_lease_processes(dir.path(), {1000005, ""}));
    CHECK(is_alive(orphan));
    ::kill(orphan, SIGKILL);
  }
}

TEST_CASE("in a session without leader only who has an emptied environment, or ours, is ended") {
  work_dir dir;
  const auto note = dir.path() / "orphan";
  test_daemon daemon(dir);
  daemon.client().start(shell(1000007, "(env -i HOME=/of/somebody sh -c 'echo $$ > " + note.string() +
                                           "; exec sleep 300' &) ; until test -s " + note.string() +
                                           "; do sleep 0.01; done"));
  const int stranger = wait_for_number(note);
  REQUIRE(daemon.wait_for_end(1000007).exit_code == 0);
  ::kill(daemon.client().pid(), SIGKILL);
  REQUIRE(daemon.until([&] { return daemon.lost_news == 1; }));
  CHECK(kill_lease_processes(dir.path(), {1000007, ""}));
  CHECK(is_alive(stranger));
  ::kill(stranger, SIGKILL);
}

TEST_CASE("what the daemon remembers of a session does where the disk took no record of it") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(command(1000008, {"env", "-i", "sleep", "300"}));
  const int leader = daemon.wait_for_start(1000008);
  const auto known = session_led_by(leader);
  CHECK(known.number == leader);
  std::filesystem::remove(dir.path() / "spool/1000008.session");
  ::kill(daemon.client().pid(), SIGKILL);
  REQUIRE(daemon.until([&] { return daemon.lost_news == 1; }));
  CHECK(kill_lease_processes(dir.path(), {1000008, ""}));
  CHECK(is_alive(leader));
  CHECK(kill_lease_processes(dir.path(), {1000008, ""}, known));
  CHECK_FALSE(is_alive(leader));
}

TEST_CASE("the session's number of a living stranger kills nobody") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(command(1000006, {"env", "-i", "sleep", "300"}));
  const int stranger = daemon.wait_for_start(1000006);
  auto recorded =
      parse_identity(read_small_file((dir.path() / "spool/1000006.session").string(), 4096).value()).value();
  CHECK(recorded.pid == stranger);
  --recorded.start_time;  // one that had the number before
  const unique_fd spool(::open((dir.path() / "spool").c_str(), O_RDONLY | O_DIRECTORY));
  write_session(spool.get(), 1000006, recorded);
  CHECK(kill_lease_processes(dir.path(), {1000006, ""}));
  CHECK(is_alive(stranger));
  daemon.client().kill(1000006, 0ms);
  daemon.wait_for_end(1000006);
  daemon.client().forget(1000006);
  CHECK(eventually([&] { return std::filesystem::is_empty(dir.path() / "spool"); }));
}

TEST_CASE("the same lease number of another work dir is left alone when a supervisor died") {
  // Two workers of different clusters on one machine, or a work dir and its copy, have the same numbers.
  work_dir ours;
  work_dir theirs;
  const auto launch_in = [](const work_dir& dir) {
    auto what = command(1000004, {"sleep", "300"});
    what.env["ORCHESTRATOR_OUTPUT"] = (dir.path() / "outputs/1000004").string();
    return what;
  };
  test_daemon mine(ours);
  mine.client().start(launch_in(ours));
  const int my_process = mine.wait_for_start(1000004);
  test_daemon other(theirs);
  other.client().start(launch_in(theirs));
  const int their_process = other.wait_for_start(1000004);
  ::kill(mine.client().pid(), SIGKILL);
  REQUIRE(mine.until([&] { return mine.lost_news == 1; }));
  CHECK(kill_lease_processes(ours.path(), {1000004, launch_in(ours).env.at("ORCHESTRATOR_OUTPUT")}));
  CHECK_FALSE(is_alive(my_process));
  CHECK(is_alive(their_process));
  other.client().kill(1000004, 0ms);
  CHECK(other.wait_for_end(1000004).signal != 0);
}
