// The supervisor's life: daemons that come and go, leases seen before, its own end.
#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "identity.hpp"
#include "process_limits.hpp"
#include "supervisor_lock.hpp"
#include "support/process_fixture.hpp"
#include "wire.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

const supervised* find(const supervisor_client& client, std::uint64_t lease) {
  const auto& all = client.inventory();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const supervised& s) { return s.lease == lease; });
  return found == all.end() ? nullptr : &*found;
}

void send_all(int fd, const std::string& bytes) {
  REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

TEST_CASE("the work dir and what is in it belong to the user alone") {
  work_dir dir;
  const auto deep = dir.path() / "a" / std::string(100, 'b') / "work";  // longer than a socket address may be
  work_dir& owner = dir;
  auto connected = connect_supervisor(deep);
  REQUIRE(connected.has_value());
  owner.note_supervisor((*connected)->pid());
  using std::filesystem::perms;
  const auto mode = [&](const char* name) { return std::filesystem::status(deep / name).permissions(); };
  CHECK(std::filesystem::status(deep).permissions() == perms::owner_all);
  CHECK(mode("spool") == perms::owner_all);
  CHECK(mode("supervisor.sock") == (perms::owner_read | perms::owner_write));
  CHECK(mode("supervisor.lock") == (perms::owner_read | perms::owner_write));
}

TEST_CASE("the lock file names its holder") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto owner = parse_identity(read_small_file((dir.path() / "supervisor.lock").string(), 4096).value());
  REQUIRE(owner.has_value());
  CHECK(owner->pid == daemon.client().pid());
  CHECK(owner->boot_id == read_boot_id());
  CHECK(owner->boot_id.size() == 36);
  CHECK(owner->pid_namespace == read_pid_namespace());
  CHECK(owner->start_time == read_process_stat(owner->pid)->start_time);
}

TEST_CASE("a copy of a work dir whose supervisor lives gets none of its own") {
  work_dir original;
  work_dir copy;
  const auto lock = copy.path() / "supervisor.lock";
  test_daemon daemon(original);
  std::filesystem::copy_file(original.path() / "supervisor.lock", lock);
  CHECK(living_supervisor(copy.path()) == daemon.client().pid());
  const auto refused = connect_supervisor(copy.path());
  REQUIRE(refused.has_error());
  CHECK(is_in_use_elsewhere(refused.error()));
  auto other = parse_identity(read_small_file(lock.string(), 4096).value()).value();
  SUBCASE("another boot") { other.boot_id = "another"; }
  SUBCASE("another namespace") { ++other.pid_namespace; }
  SUBCASE("another process of that number") { --other.start_time; }
  std::filesystem::resize_file(lock, 0);
  write_lock_owner(unique_fd(::open(lock.c_str(), O_WRONLY)).get(), other);
  CHECK(living_supervisor(copy.path()) == 0);
  test_daemon own(copy);
  CHECK(own.client().fresh());
}

TEST_CASE("the supervisor has left the daemon's session and keeps none of its descriptors") {
  work_dir dir;
  const int leaky = ::open("/dev/null", O_RDONLY);
  test_daemon daemon(dir);
  const auto stat = read_process_stat(daemon.client().pid());
  REQUIRE(stat.has_value());
  CHECK(stat->session != ::getsid(0));
  CHECK(stat->parent != ::getpid());
  const auto files = "/proc/" + std::to_string(daemon.client().pid()) + "/fd";
  std::vector<std::string> targets;
  for (const auto& entry : std::filesystem::directory_iterator(files)) {
    targets.push_back(std::filesystem::read_symlink(entry.path()).string());
  }
  CHECK(std::count(targets.begin(), targets.end(), "/dev/null") == 3);  // 0, 1 and the one for children
  ::close(leaky);
}

TEST_CASE("a new daemon finds processes, output and ends of the old one") {
  work_dir dir;
  int pid = 0;
  int main = 0;
  {
    test_daemon old(dir);
    CHECK(old.client().fresh());
    pid = old.client().pid();
    old.client().start(shell(1, "echo first; while [ ! -e go ]; do sleep 0.02; done; echo second; exit 5"));
    main = old.wait_for_start(1);
    auto ended = shell(2, "echo done; exit 4");
    CHECK(old.run(ended).exit_code == 4);
    CHECK(old.run(command(3, {"no-such-program-here"})).started == false);
    old.client().start(command(4, {"sleep", "300"}));
    old.wait_for_start(4);
    REQUIRE(old.until([&] { return old.outputs.contains({1, "stdout"}); }));
  }
  test_daemon young(dir);
  CHECK_FALSE(young.client().fresh());
  CHECK(young.client().pid() == pid);
  REQUIRE(young.client().inventory().size() == 4);
  const auto* running = find(young.client(), 1);
  REQUIRE(running != nullptr);
  CHECK(running->pid == main);
  CHECK_FALSE(running->end.has_value());
  CHECK(running->output_end.at("stdout") == 6);
  const auto* ended = find(young.client(), 2);
  REQUIRE(ended->end.has_value());
  CHECK(ended->end->exit_code == 4);
  CHECK(ended->end->output_bytes.at("stdout") == 5);
  CHECK(young.read_all(2, "stdout") == "done\n");
  const auto* unstarted = find(young.client(), 3);
  REQUIRE(unstarted->end.has_value());
  CHECK_FALSE(unstarted->end->started);

  young.client().kill(1, 5s);
  CHECK(young.wait_for_end(1).killed);
  young.client().kill(4, 5s);
  CHECK(young.wait_for_end(4).killed);
  CHECK(young.starts.empty());  // the inventory has said it
}

TEST_CASE("an end that nobody was there for is in the next inventory") {
  work_dir dir;
  const auto go = dir.path() / "go";
  int pid = 0;
  {
    test_daemon old(dir);
    auto what = shell(1, "while [ ! -e " + go.string() + " ]; do sleep 0.02; done; echo out; exit 9");
    what.timeout = 30s;
    old.client().start(what);
    pid = old.wait_for_start(1);
  }
  std::filesystem::create_directory(go);
  REQUIRE(eventually([&] { return !is_alive(pid); }));
  test_daemon young(dir);
  if (!find(young.client(), 1)->end) young.wait_for_end(1);  // it may be reaped a moment after we ask
  const auto end = young.ends.contains(1) ? young.ends[1] : *find(young.client(), 1)->end;
  CHECK(end.exit_code == 9);
  CHECK(young.read_all(1, "stdout") == "out\n");
}

TEST_CASE("a timeout works without a daemon") {
  work_dir dir;
  int pid = 0;
  {
    test_daemon old(dir);
    auto what = command(1, {"sleep", "300"});
    what.timeout = 300ms;
    old.client().start(what);
    pid = old.wait_for_start(1);
  }
  CHECK(eventually([&] { return !is_alive(pid); }));
  test_daemon young(dir);
  if (!find(young.client(), 1)->end) young.wait_for_end(1);
  const auto end = young.ends.contains(1) ? young.ends[1] : *find(young.client(), 1)->end;
  CHECK(end.timed_out);
}

TEST_CASE("a lease is started once: asked again it repeats its news, forgotten it is refused") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto note = dir.path() / "note";
  const auto what = shell(5, "echo x >> " + note.string());
  CHECK(daemon.run(what).exit_code == 0);
  daemon.client().start(what);
  REQUIRE(daemon.until([&] { return daemon.end_count[5] == 2; }));
  CHECK(daemon.ends[5].exit_code == 0);
  CHECK(daemon.start_count[5] == 2);

  daemon.client().forget(5);
  daemon.ends.clear();
  auto end = daemon.run(what);
  CHECK_FALSE(end.started);
  CHECK(end.error_number == EALREADY);
  CHECK(end.error.find("lease 5") != std::string::npos);
  end = daemon.run(shell(4, "echo x >> " + note.string()));
  CHECK_FALSE(end.started);
  CHECK(std::filesystem::file_size(note) == 2);
}

TEST_CASE("a running lease that is asked for again goes on undisturbed") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto what = command(1, {"sleep", "300"});
  daemon.client().start(what);
  const int pid = daemon.wait_for_start(1);
  daemon.client().start(what);
  REQUIRE(daemon.until([&] { return daemon.start_count[1] == 2; }));
  CHECK(daemon.starts[1] == pid);
  CHECK(daemon.ends.empty());
  daemon.client().forget(1);  // not ended: cannot be forgotten
  daemon.client().kill(1, 5s);
  CHECK(daemon.wait_for_end(1).killed);
}

TEST_CASE("of two daemons the newer wins, and the older is told so") {
  work_dir dir;
  test_daemon older(dir);
  older.client().start(command(1, {"sleep", "300"}));
  older.wait_for_start(1);
  test_daemon newer(dir);
  CHECK(newer.client().inventory().size() == 1);
  REQUIRE(older.until([&] { return older.replaced_news + older.lost_news > 0; }));
  CHECK(older.replaced_news == 1);
  CHECK(older.lost_news == 0);
  CHECK(newer.run(command(2, {"true"})).exit_code == 0);
  older.client().start(command(3, {"true"}));
  CHECK_FALSE(older.wait_for_end(3).started);
  newer.client().kill(1, 5s);
  CHECK(newer.wait_for_end(1).killed);
}

TEST_CASE("what the old daemon sent is carried out before the new one is answered") {
  work_dir dir;
  {
    test_daemon first(dir);  // so that there is a supervisor
  }
  const auto folder = open_work_dir(dir.path());
  REQUIRE(folder.has_value());
  for (int round = 0; round < 20; ++round) {
    const auto lease = static_cast<std::uint64_t>(round) + 1;
    const auto socket = connect_in(folder->get());
    REQUIRE(socket.has_value());
    send_all(socket->get(), encode_hello(message_kind::daemon_hello, {}));
    send_all(socket->get(), encode_launch(command(lease, {"true"})));
    test_daemon next(dir);
    CHECK(find(next.client(), lease) != nullptr);
  }
}

TEST_CASE("unknown messages and surplus fields of a newer daemon are ignored") {
  work_dir dir;
  {
    test_daemon first(dir);
  }
  const auto folder = open_work_dir(dir.path());
  const auto socket = connect_in(folder->get());
  REQUIRE(socket.has_value());
  frame_writer hello(message_kind::daemon_hello);
  hello.number(77).number(1).text("a field of version 77");
  send_all(socket->get(), std::move(hello).finish());
  send_all(socket->get(),
           std::move(frame_writer(static_cast<message_kind>(200)).text("news to you")).finish());
  send_all(socket->get(), encode_launch(command(1, {"true"})));
  test_daemon next(dir);
  CHECK(find(next.client(), 1) != nullptr);
}

TEST_CASE("a connection that says nothing, or nonsense, disturbs nobody") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto folder = open_work_dir(dir.path());
  std::vector<unique_fd> silent;
  for (std::size_t i = 0; i < 2 * process::limits::candidates; ++i) {
    auto socket = connect_in(folder->get());
    if (socket) silent.push_back(std::move(*socket));
  }
  send_all(silent.back().get(), "GET / HTTP/1.1\r\n\r\n");
  for (std::uint64_t lease = 1; lease <= 5; ++lease)
    CHECK(daemon.run(command(lease, {"true"})).exit_code == 0);
  CHECK(daemon.replaced_news + daemon.lost_news == 0);
}

TEST_CASE("a supervisor without daemon and processes ends, and the work dir can be used again") {
  work_dir dir;
  int pid = 0;
  {
    test_daemon daemon(dir);
    pid = daemon.client().pid();
    CHECK(daemon.run(command(1, {"true"})).exit_code == 0);
    daemon.client().forget(1);
  }
  CHECK(eventually([&] { return !is_alive(pid); }));
  CHECK_FALSE(std::filesystem::exists(dir.path() / "supervisor.sock"));
  test_daemon daemon(dir);
  CHECK(daemon.client().fresh());
  CHECK(daemon.client().pid() != pid);
}

TEST_CASE("a supervisor keeps ends that nobody has fetched beyond its idle life") {
  work_dir dir;
  int pid = 0;
  {
    test_daemon daemon(dir);
    pid = daemon.client().pid();
    CHECK(daemon.run(command(1, {"true"})).exit_code == 0);
  }
  // Two idle lives pass; the only way to see that something does not happen is to look for a while.
  const auto begin = std::chrono::steady_clock::now();
  while (seconds_since(begin) < 4.0 && is_alive(pid)) ::poll(nullptr, 0, 50);
  CHECK(is_alive(pid));
  test_daemon daemon(dir);
  CHECK(daemon.client().pid() == pid);
  CHECK(find(daemon.client(), 1) != nullptr);
}

TEST_CASE("SIGTERM ends the processes, reports them, and then the supervisor") {
  work_dir dir;
  test_daemon daemon(dir);
  daemon.client().start(command(1, {"sleep", "300"}));
  daemon.wait_for_start(1);
  ::kill(daemon.client().pid(), SIGTERM);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.killed);
  CHECK(end.signal == SIGTERM);
  CHECK(daemon.until([&] { return daemon.lost_news == 1; }));
}

TEST_CASE("a supervisor that does not answer is not replaced by a second one") {
  work_dir dir;
  test_daemon daemon(dir);
  const int pid = daemon.client().pid();
  ::kill(pid, SIGSTOP);
  const auto second = connect_supervisor(dir.path());
  ::kill(pid, SIGCONT);
  REQUIRE(second.has_error());
  CHECK(second.error().message().find("does not answer") != std::string::npos);
}

TEST_CASE("more processes than the soft limit of open files allows run all the same, with that limit") {
  work_dir dir;
  rlimit original{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &original) == 0);
  rlimit low = original;
  low.rlim_cur = 64;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  test_daemon daemon(dir);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &original) == 0);
  constexpr std::uint64_t count = 100;
  for (std::uint64_t lease = 1; lease <= count; ++lease) daemon.client().start(shell(lease, "sleep 1"));
  for (std::uint64_t lease = 1; lease <= count; ++lease) CHECK(daemon.wait_for_end(lease).started);
  const auto last = count + 1;
  CHECK(daemon.run(shell(last, "sleep 0.2; ulimit -Sn")).exit_code == 0);
  CHECK(daemon.read_all(last, "stdout") == "64\n");
}

TEST_CASE("a launch beyond the size of a message is refused here, with what to do") {
  work_dir dir;
  test_daemon daemon(dir);
  auto what = command(1, {"cat"});
  what.stdin_text.assign(2 << 20, 'x');
  const auto end = daemon.run(what);
  CHECK_FALSE(end.started);
  CHECK(end.error_number == E2BIG);
  CHECK(end.error.find("by file") != std::string::npos);
  CHECK(daemon.run(command(2, {"true"})).exit_code == 0);
}

TEST_CASE("two thousand launches at once all end, once each (J20)") {
  work_dir dir;
  test_daemon daemon(dir);
  constexpr std::uint64_t count = 2000;
  for (std::uint64_t lease = 1; lease <= count; ++lease) daemon.client().start(command(lease, {"true"}));
  REQUIRE(daemon.until([&] { return daemon.ends.size() == count; }));
  CHECK(std::all_of(daemon.ends.begin(), daemon.ends.end(), [](const auto& e) { return e.second.started; }));
  CHECK(std::all_of(daemon.end_count.begin(), daemon.end_count.end(),
                    [](const auto& e) { return e.second == 1; }));
  for (std::uint64_t lease = 1; lease <= count; ++lease) daemon.client().forget(lease);
}
